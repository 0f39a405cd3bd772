//! The pages for those who come from std, Go, tokio and Python name only what there is.

use crate::support::pages::{public_names, quoted, read, root};

/// A table of a page: its heading, and the rows below it.
type Table<'a> = (Vec<&'a str>, Vec<Vec<&'a str>>);

fn tables(page: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut is_inside = false;
    for line in page.lines().filter(|line| !line.starts_with("|---")) {
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|'));
        if let Some(cells) = cells.map(|cells| cells.split('|').map(str::trim).collect()) {
            match tables.last_mut() {
                Some((_, rows)) if is_inside => rows.push(cells),
                _ => tables.push((cells, Vec::new())),
            }
        }
        is_inside = cells.is_some();
    }
    tables
}

/// The paths that a text names: `Server::listen`, and of `Server::listen(at)` the same. Lower case alone is a test.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let names = quoted(text).filter_map(|name| name.split('(').next());
    names.filter(|name| name.contains("::") && name.contains(char::is_uppercase))
}

/// What is wrong with a page: paths that are neither ours nor std's, and rows that lack a cell, a name, a reason or a
/// proof. The first cell of a row is what others have.
fn wrong(page: &str) -> Vec<String> {
    let names = public_names();
    let mut wrong = Vec::new();
    let mut claims: Vec<&str> = Vec::new();
    for (heading, rows) in tables(page) {
        let column = |name| heading.iter().position(|cell| *cell == name);
        for cells in rows {
            claims.extend(&cells[1..]);
            let is_whole = cells.len() == heading.len();
            let ours = column("landline").filter(|_| is_whole).map(|at| cells[at]);
            let is_left_out = ours.is_some_and(|ours| ours.starts_with("not here: "));
            let names_ours = ours.is_none_or(|ours| quoted(ours).any(|name| names.contains(name)));
            let proofs = column("proved by").filter(|_| is_whole).map(|at| cells[at]);
            let is_proved = proofs.is_none_or(|proofs| proofs.starts_with("none: ") || quoted(proofs).next().is_some());
            let is_right = is_left_out || names_ours && is_proved;
            if !is_whole || !is_right {
                wrong.push(format!("a row lacks a cell, a name or a proof: {cells:?}"));
            }
        }
    }
    claims.extend(page.split("```").step_by(2).flat_map(str::lines).filter(|line| !line.starts_with('|')));
    let of_std = |name: &str| ["std::", "io::Error::", "io::Result"].iter().any(|path| name.starts_with(path));
    let lost = claims.iter().flat_map(|text| paths(text)).filter(|name| !names.contains(*name) && !of_std(name));
    wrong.extend(lost.map(|name| format!("it does not exist: {name}")));
    wrong
}

/// Ensures that every name of ours on the two pages exists, that each row of their tables names one, or says why there
/// is none, and that what is said to be proved names a test.
#[test]
fn what_the_pages_for_others_name_exists() {
    for (page, least) in [("docs/std.md", 70), ("docs/others.md", 50)] {
        let text = read(&root().join(page));
        let rows: usize = tables(&text).iter().map(|(_, rows)| rows.len()).sum();
        assert!(rows >= least, "{page} is read: {rows} rows");
        let most = tables(&text).iter().map(|(_, rows)| rows.len()).max();
        assert!(most <= Some(25), "a table is read at a glance: {page} has one of {most:?} rows");
        assert_eq!(wrong(&text), Vec::<String>::new(), "{page}");
    }
    let table = |row: &str| format!("| std | landline | proved by |\n|---|---|---|\n{row}\n");
    for (row, is_right) in [
        ("| `bind` | `Server::listen` | `server::listen::a_test` |", true),
        ("| `bind` | not here: none needed | |", true),
        ("| `bind` | `Server::lisen`, `Server` | `server::listen::a_test` |", false),
        ("| `bind` | yes | `server::listen::a_test` |", false),
        ("| `bind` | `Server::listen` | |", false),
        ("| `bind` | `Server::listen` |", false),
    ] {
        assert_eq!(wrong(&table(row)).is_empty(), is_right, "the reader of pages can tell: {row}");
    }
}

/// Ensures that every method of std's sockets has a row on their page, but those that are not stable.
#[test]
fn every_method_of_stds_sockets_has_a_row() {
    const BOTH: &str = "local_addr try_clone set_ttl ttl take_error set_nonblocking";
    const STREAM: &str = "connect connect_timeout peer_addr shutdown set_read_timeout set_write_timeout read_timeout \
                          write_timeout peek set_nodelay nodelay pair connect_addr";
    const LISTENER: &str = "bind accept incoming bind_addr";
    const UDP: &str = "bind recv_from peek_from send_to peer_addr set_read_timeout set_write_timeout read_timeout \
                       write_timeout set_broadcast broadcast set_multicast_loop_v4 multicast_loop_v4 \
                       set_multicast_ttl_v4 multicast_ttl_v4 set_multicast_loop_v6 multicast_loop_v6 join_multicast_v4 \
                       join_multicast_v6 leave_multicast_v4 leave_multicast_v6 connect send recv peek";
    let page = read(&root().join("docs/std.md"));
    let tables = tables(&page);
    for (heading, methods) in [("`TcpListener`", LISTENER), ("`TcpStream`", STREAM), ("`UdpSocket`", UDP)] {
        let (_, rows) = tables.iter().find(|(cells, _)| cells[0].starts_with(heading)).expect("there is a table");
        let theirs: Vec<&str> =
            rows.iter().flat_map(|cells| quoted(cells[0])).filter_map(|name| name.split('(').next()).collect();
        for method in methods.split_whitespace().chain(BOTH.split_whitespace()) {
            assert!(theirs.contains(&method), "{heading} has a row for {method}: {theirs:?}");
        }
    }
}
