//! Unix sockets in the same server and socket.
#![cfg(unix)]

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{env, fs, process};

#[cfg(feature = "channel")]
use landline::net::ServerEvent;
use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketEvent, SocketOptions};
use landline::{Address, Cancel, Family};

use crate::support::Whole;
use crate::support::fixtures::{Served, accept, noise};
use crate::support::{
    Folder, HANG, Told, blocked, descriptors, differs, each_ip, eventually, has_proc, in_child, in_surroundings,
    this_program, threads, tool, within,
};

/// A path in a folder of its own; what is there is removed when dropped.
struct Place(PathBuf, Folder);

impl Place {
    fn new() -> Place {
        let folder = Folder::new();
        Place(folder.file("socket"), folder)
    }
}

fn mode(path: &PathBuf) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o777
}

/// Ensures that a server on a path has that path as its address, as text and as JSON too, and keeps it. Mirrors
/// pipe-address.js.
#[test]
fn the_address_of_a_server_on_a_path_is_the_path() {
    let place = Place::new();
    let server = Server::listen(&place.0).expect("the path is free");
    assert_eq!(server.address().path(), Some(place.0.as_path()), "the path as it was given");
    assert_eq!((server.address().ip(), server.address().port()), (None, 0), "and nothing else");
    assert_eq!(server.address().family(), Family::Unix, "of its own kind");
    assert_eq!(server.address().to_string(), place.0.display().to_string(), "in messages");
    assert_eq!(server.address().to_json(), format!("\"{}\"", place.0.display()), "as Node's JSON shows it");
    server.close();
    assert_eq!(server.address().path(), Some(place.0.as_path()), "it is kept");
}

/// Ensures that every form of a path listens, that the file can be opened to all, and that a second server on the path is an
/// error with Node's text. Mirrors net-server-listen-path.js.
#[test]
fn a_server_listens_on_a_path_and_opens_it_to_all() {
    let place = Place::new();
    let options = [
        (ServerOptions::new(), 0o000),
        (ServerOptions::new().readable_all(true), 0o444),
        (ServerOptions::new().writable_all(true), 0o222),
        (ServerOptions::new().readable_all(true).writable_all(true), 0o666),
    ];
    let mut usual = None;
    for (options, open) in options {
        let server = options.listen(place.0.as_path()).expect("the path is free");
        // What the umask leaves, first.
        let usual = *usual.get_or_insert(mode(&place.0));
        assert_eq!(mode(&place.0), usual | open, "open to whoever was asked for, and as usual to the rest");
        drop(server);
    }
    for at in [landline::Endpoint::from(place.0.clone()), (&place.0).into(), (&Address::from(place.0.clone())).into()] {
        let server = Server::listen(at).expect("the path is free again");
        let error = Server::listen(&place.0).expect_err("it is taken");
        let text = format!("listen EADDRINUSE: address already in use {}", place.0.display());
        assert_eq!((error.told().code(), error.to_string()), ("EADDRINUSE", text), "Node's text");
        assert_eq!(error.told().address().and_then(Address::path), Some(place.0.as_path()), "and it names the path");
        assert!(Socket::connect(&place.0).is_ok(), "the first one still listens");
        drop(server);
    }
}

/// Ensures that a client connects by every form of a path, gets data and the end. Mirrors net-connect-options-path.js.
#[test]
fn a_client_connects_by_every_form_of_a_path() {
    let place = Place::new();
    let served = Served::start(&place.0, &ServerOptions::new(), |socket| socket.write_end("hello"));
    let path = &place.0;
    let clients = [
        Socket::connect(path),
        Socket::connect(path.clone()),
        Socket::connect(path.as_path()),
        Socket::connect(served.server.address()),
        Socket::connect(served.server.address().clone()),
        SocketOptions::new().no_delay(true).keep_alive(true).connect(path),
    ];
    for client in clients {
        let client = client.expect("the server listens");
        assert_eq!(client.read_text().expect("an orderly end"), "hello", "data, then the end");
        assert_eq!(client.remote_address().path(), Some(path.as_path()), "it knows where it is");
        assert_eq!(client.ready_state(), ReadyState::WriteOnly, "and where things stand");
    }
    served.stop();
}

/// Ensures that a client connects from a path of its own, which both ends know, and that its file is removed when the
/// connection is closed, by a call or with its last handle, with a limit on the time and without.
#[test]
fn a_client_connects_from_a_path_of_its_own() {
    within("every connect returns", || {
        let (place, own) = (Place::new(), Place::new());
        let server = Server::listen(&place.0).expect("the path is free");
        let plain = SocketOptions::new().local_path(&own.0);
        let limited = plain.clone().connect_timeout(HANG).cancel(&Cancel::new());
        for options in [plain, limited] {
            for is_dropped in [false, true] {
                let client = options.connect(&place.0).expect("the server listens");
                let accepted = accept(&server);
                assert_eq!(client.local_address().path(), Some(own.0.as_path()), "the client knows its path");
                assert_eq!(accepted.remote_address(), client.local_address(), "and so does the server");
                client.write_end("hello").expect("it is connected");
                assert_eq!(accepted.read_text().expect("an orderly end"), "hello", "it is a connection");
                assert!(own.0.exists(), "the file is there while the connection is");
                if is_dropped {
                    drop(client);
                    assert!(!own.0.exists(), "it is removed with the last handle");
                } else {
                    client.destroy();
                    assert!(!own.0.exists(), "it is removed when the connection is closed");
                }
            }
        }
        assert!(place.0.exists(), "the server's is left");
    });
}

/// Ensures that a client whose connect fails leaves no file, and that a file it did not make is left, whether it was there
/// before or came after.
#[test]
fn a_client_removes_no_file_but_its_own() {
    within("every connect returns", || {
        let (place, own) = (Place::new(), Place::new());
        let options = SocketOptions::new().local_path(&own.0);
        let error = options.connect(&place.0).map(drop).expect_err("nothing is there");
        let text = format!("connect ENOENT {} - Local ({})", place.0.display(), own.0.display());
        assert_eq!(error.to_string(), text, "it names both ends");
        assert_eq!(error.told().local_address().and_then(Address::path), Some(own.0.as_path()), "and has ours");
        assert!(!own.0.exists(), "no file is left");

        let server = Server::listen(&place.0).expect("the path is free");
        fs::write(&own.0, "mine").expect("a file can be made");
        let error = options.connect(&place.0).map(drop).expect_err("there is a file");
        assert_eq!(error.to_string(), format!("bind EADDRINUSE {}", own.0.display()), "it says which");
        assert_eq!(fs::read(&own.0).expect("it is there"), b"mine", "the file is left");
        fs::remove_file(&own.0).expect("it is there");
        let missing = own.0.join("missing");
        let error = SocketOptions::new().local_path(&missing).connect(&place.0).map(drop).expect_err("no such folder");
        assert_eq!(error.to_string(), format!("bind ENOENT {}", missing.display()), "it says which");

        let client = options.connect(&place.0).expect("the server listens");
        fs::remove_file(&own.0).expect("the client has made it");
        fs::write(&own.0, "another's").expect("a file can be made");
        drop((client, server));
        assert_eq!(fs::read(&own.0).expect("it is there"), b"another's", "a file that came after is left");
    });
}

/// Ensures that on Linux a client connects from an abstract name, which is free once the connection is closed.
#[test]
#[cfg(target_os = "linux")]
fn a_client_connects_from_an_abstract_name() {
    let place = Place::new();
    let server = Server::listen(&place.0).expect("the path is free");
    let name = PathBuf::from(format!("\0landline-client-{}", process::id()));
    let options = SocketOptions::new().local_path(&name);
    let client = options.connect(&place.0).expect("the server listens");
    assert_eq!(accept(&server).remote_address().path(), Some(name.as_path()), "the server sees the name");
    assert_eq!(client.local_address().path(), Some(name.as_path()), "as the client does");
    client.destroy();
    // A program that another test starts has a copy of the descriptor until it runs.
    eventually("the name is free", || options.connect(&place.0).is_ok());
}

/// Ensures that an end of ours that is of another kind than the endpoint is an error that names both, before a socket is made.
#[test]
fn ends_of_two_kinds_are_an_error_that_names_both() {
    let (place, own) = (Place::new(), Place::new());
    let to = place.0.display();
    let _server = Server::listen(&place.0).expect("the path is free");
    let from_path = || SocketOptions::new().local_path(&own.0);
    let ours = own.0.display();
    let cases = [
        (SocketOptions::new().local_address("127.0.0.1").connect(&place.0), format!("127.0.0.1 to {to}")),
        (SocketOptions::new().local_port(3000).connect(&place.0), format!("port 3000 to {to}")),
        (from_path().local_address("::1").connect(&place.0), format!("::1 to {to}")),
        (from_path().connect("127.0.0.1:1"), format!("{ours} to 127.0.0.1:1")),
        (from_path().connect(("localhost", 1)), format!("{ours} to localhost:1")),
        (from_path().connect(1), format!("{ours} to :1")),
    ];
    for (result, ends) in cases {
        let error = result.map(drop).expect_err("one end is a path, the other is not");
        let text = format!("Cannot connect from {ends}: either both ends are paths, or neither is");
        assert_eq!(error.to_string(), text, "it names both");
        assert_eq!(
            (error.told().code(), error.kind()),
            ("ERR_INVALID_ARG_VALUE", ErrorKind::InvalidInput),
            "bad input"
        );
    }
    assert!(!own.0.exists(), "nothing was made");
}

/// Ensures that a path in a missing folder is EACCES and names the path. Mirrors net-better-error-messages-listen-path.js.
#[test]
fn a_path_in_a_missing_folder_is_an_error_that_names_it() {
    let path = Place::new().0.join("missing").join("socket");
    let error = Server::listen(&path).expect_err("there is no such folder");
    assert_eq!((error.told().code(), error.told().syscall()), ("EACCES", Some("listen")), "as Node says it");
    assert_eq!(error.to_string(), format!("listen EACCES: permission denied {}", path.display()), "in Node's text");
    assert_eq!(error.told().address().and_then(Address::path), Some(path.as_path()), "with the path");
}

/// Ensures that a path through a link to itself is ELOOP, in Node's text.
#[test]
fn a_path_through_a_link_to_itself_is_an_error_in_nodes_text() {
    let place = Place::new();
    std::os::unix::fs::symlink(&place.0, &place.0).expect("the path is free");
    let path = place.0.join("socket");
    let error = Server::listen(&path).expect_err("the link leads nowhere");
    let text = format!("listen ELOOP: too many symbolic links encountered {}", path.display());
    assert_eq!(error.to_string(), text, "in Node's text");
}

/// Runs a test again as a user without rights, and with these in its environment.
fn as_another_user(test: &str, variables: &[&str]) {
    const USER: [&str; 3] = ["setpriv", "--reuid=65534", "--clear-groups"];
    let this = this_program();
    if tool(USER[0]).is_none() {
        return;
    }
    let runs = process::Command::new(USER[0]).args(&USER[1..]).arg(this).arg("--list").output();
    if !runs.is_ok_and(|output| output.status.success()) {
        println!("skipped: another user may not run this program");
        return;
    }
    // For what the test makes as this user.
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let enters = process::Command::new(USER[0]).args(&USER[1..]).args(["test", "-w"]).arg(folder.path()).status();
    if !enters.is_ok_and(|status| status.success()) {
        println!("skipped: another user may not enter the folder for temporary files");
        return;
    }
    let folder = format!("TMPDIR={}", folder.path().display());
    in_child(test, &[&USER[..], &["env", &folder], variables].concat(), || {});
}

/// Ensures that connecting to a regular file is refused, to nothing is not found, and to a file one may not write is denied.
/// Mirrors net-pipe-connect-errors.js.
#[test]
fn connecting_to_what_is_no_socket_is_an_error() {
    const PATH: &str = "LANDLINE_TEST_PATH";
    const NAME: &str = "unix::connecting_to_what_is_no_socket_is_an_error";
    if let Some(path) = env::var_os(PATH) {
        return in_child(NAME, &[], || {
            let error = Socket::connect(PathBuf::from(path)).expect_err("nobody may write it");
            assert_eq!((error.told().code(), error.kind()), ("EACCES", ErrorKind::PermissionDenied), "{error}");
        });
    }
    let place = Place::new();
    let error = Socket::connect(&place.0).expect_err("there is nothing");
    assert_eq!(error.to_string(), format!("connect ENOENT {}", place.0.display()), "nothing is there");
    fs::write(&place.0, "no socket").expect("the folder can be written");
    let error = Socket::connect(&place.0).expect_err("it is no socket");
    assert!(matches!(error.told().code(), "ENOTSOCK" | "ECONNREFUSED"), "a regular file: {error}");
    fs::remove_file(&place.0).expect("it is ours");

    let server = Server::listen(&place.0).expect("the path is free");
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o0)).expect("it is ours");
    match Socket::connect(&place.0) {
        Err(error) => assert_eq!(error.told().code(), "EACCES", "its owner may not write it either: {error}"),
        // root may write everything, so another user has to try.
        Ok(_) => as_another_user(NAME, &[&format!("{PATH}={}", place.0.display())]),
    }
    drop(server);
}

/// Ensures that a client cannot forge a line of a log by its name: a report is one line, whatever the client is called.
#[cfg(target_os = "linux")]
#[test]
fn a_report_is_one_line_whatever_the_client_is_called() {
    let (tell, reports) = std::sync::mpsc::channel();
    let options = ServerOptions::new().report(move |report| drop(tell.send(report.to_string())));
    let name = PathBuf::from(format!("\0landline forged {}", process::id()));
    let server = options.listen(name.clone()).expect("the name is free");
    let client =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket can be made");
    let forged = format!("\0evil {}\n#1 all is well\u{1b}[2J", process::id());
    client.bind(&socket2::SockAddr::unix(&forged).expect("it fits")).expect("the name is free");
    client.connect(&socket2::SockAddr::unix(&name).expect("it fits")).expect("the server listens");
    let accepted = accept(&server);
    let report = reports.recv_timeout(HANG).expect("it is reported");
    assert!(report.contains("@evil ") && report.contains("\\n#1 all is well\\u{1b}[2J"), "escaped: {report}");
    assert!(!report.contains(char::is_control), "one line, and nothing that moves a terminal's cursor: {report:?}");
    assert_eq!(accepted.remote_address().path().and_then(|path| path.to_str()), Some(&*forged), "the path is as it is");
}

/// Ensures that an abstract name needs no file, and that opening it to all is refused before anything is made. Mirrors
/// pipe-abstract-socket.js.
#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_has_no_file() {
    let name = PathBuf::from(format!("\0landline test {}", process::id()));
    for options in [ServerOptions::new().readable_all(true), ServerOptions::new().writable_all(true)] {
        let error = options.listen(&name).expect_err("there is no file to open");
        assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "{error}");
    }
    // In a process that starts no program meanwhile, which would have the listener for a moment.
    in_child(this_test!(), &[], served_by_an_abstract_name);
}

#[cfg(target_os = "linux")]
fn served_by_an_abstract_name() {
    let name = PathBuf::from(format!("\0landline test {}", process::id()));
    let served = Served::start(&name, &ServerOptions::new(), |socket| socket.pipe(socket));
    assert!(served.server.address().to_string().starts_with("@landline test"), "its NUL is shown");
    let client = Socket::connect(&name).expect("the server listens");
    client.outbox().try_send([]).expect("it is connected");
    client.write_end("hello").expect("it is connected");
    assert_eq!(client.read_text().expect("an orderly end"), "hello", "it works");
    served.stop();
    Server::listen(&name).expect("the name is free as soon as the server is closed");
}

/// Ensures that closing a server removes its file, that a file somebody has put in its place stays, and that one a crash has
/// left is in use until it is removed.
#[test]
fn close_removes_the_servers_own_file() {
    let place = Place::new();
    let server = Server::listen(&place.0).expect("the path is free");
    server.close();
    assert!(!place.0.exists(), "its file is gone when close has returned");
    drop(Server::listen(&place.0).expect("the path is free"));
    assert!(!place.0.exists(), "dropping the last handle closes it too");

    let server = Server::listen(&place.0).expect("the path is free");
    fs::remove_file(&place.0).expect("it is ours");
    let other = Server::listen(&place.0).expect("the path is free");
    server.close();
    assert!(place.0.exists(), "the other server's file stays");
    drop(other);

    drop(UnixListener::bind(&place.0).expect("the path is free"));
    assert_eq!(
        Server::listen(&place.0).expect_err("std leaves its file").told().code(),
        "EADDRINUSE",
        "as after a crash"
    );
    fs::remove_file(&place.0).expect("it is ours");
    Server::listen(&place.0).expect("then it is free");
}

/// Ensures that with `remove_stale` a server takes over a file on which nothing listens, and nothing else: not one on which a
/// server, a full one or a datagram socket listens, not a link, and no other kind of file.
#[test]
fn only_a_stale_socket_is_taken_over() {
    // A program that another test starts has a copy of a dropped listener until it runs.
    in_child(this_test!(), &[], takes_over_what_is_stale);
}

fn takes_over_what_is_stale() {
    let taking_over = ServerOptions::new().remove_stale(true);
    let place = Place::new();
    for _ in 0..3 {
        drop(UnixListener::bind(&place.0).expect("std leaves its file, as a crash does"));
        assert_eq!(
            Server::listen(&place.0).expect_err("there is a file").told().code(),
            "EADDRINUSE",
            "without the option"
        );
        let server = taking_over.listen(&place.0).expect("nothing listens there");
        Socket::connect(&place.0).expect("the new server listens");
        let error = taking_over.listen(&place.0).expect_err("a server listens there");
        assert_eq!(error.to_string(), format!("listen EADDRINUSE: address already in use {}", place.0.display()));
        Socket::connect(&place.0).expect("it still does");
        server.close();
        assert!(!place.0.exists(), "its file is its own");
    }
    let beside = || fs::read_dir(place.1.path()).expect("it can be read").count();
    assert_eq!(beside(), 0, "no file is left beside it");

    // A backlog without room: a connect would wait.
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&socket2::SockAddr::unix(&place.0).expect("a short path")).expect("the path is free");
    full.listen(0).expect("it is bound");
    let queued = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    queued.connect(&socket2::SockAddr::unix(&place.0).expect("a short path")).expect("there is room for one");
    let path = place.0.clone();
    let options = taking_over.clone();
    let error = within("listening does not wait", move || options.listen(path).map(drop)).expect_err("it is in use");
    assert_eq!(error.told().code(), "EADDRINUSE", "a full server listens too");
    drop((full, queued));
    fs::remove_file(&place.0).expect("it is ours");

    let datagrams = std::os::unix::net::UnixDatagram::bind(&place.0).expect("the path is free");
    assert_eq!(
        taking_over.listen(&place.0).expect_err("it is in use").told().code(),
        "EADDRINUSE",
        "a datagram socket is alive"
    );
    drop(datagrams);
    fs::remove_file(&place.0).expect("the file of another program stays");

    let real = Place::new();
    drop(UnixListener::bind(&real.0).expect("the path is free"));
    std::os::unix::fs::symlink(&real.0, &place.0).expect("the path is free");
    assert_eq!(
        taking_over.listen(&place.0).expect_err("it is a link").told().code(),
        "EADDRINUSE",
        "a link is no socket"
    );
    fs::remove_file(&place.0).expect("the link stays");
    fs::write(&place.0, "of another program").expect("the path is free");
    assert_eq!(taking_over.listen(&place.0).expect_err("it is a file").told().code(), "EADDRINUSE", "no socket");
    assert_eq!(fs::read(&place.0).expect("it stays"), b"of another program", "a file stays as it is");
    assert_eq!(beside(), 1, "no file is left beside it");
}

/// Ensures that of several servers that take over one file at the same time, one listens, and is reached.
#[test]
fn one_of_several_servers_takes_a_stale_socket_over() {
    // A program that another test starts has a copy of a dropped listener until it runs.
    in_child(this_test!(), &[], || {
        for _ in 0..10 {
            let place = Place::new();
            drop(UnixListener::bind(&place.0).expect("std leaves its file, as a crash does"));
            let all = std::sync::Barrier::new(8);
            let servers: Vec<Server> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            all.wait();
                            ServerOptions::new().remove_stale(true).listen(&place.0)
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().expect("no panic").ok()).collect()
            });
            assert_eq!(servers.len(), 1, "one of them listens");
            let client = Socket::connect(&place.0).expect("its file is there");
            client.write_end("hello").expect("it is connected");
            // The others have looked whether it listens.
            let said = (0..64).find_map(|_| {
                let text = accept(&servers[0]).read_text().expect("no reset");
                (!text.is_empty()).then_some(text)
            });
            assert_eq!(said.as_deref(), Some("hello"), "it is reached there");
        }
    });
}

/// Ensures that a path with a NUL in it is an error, and no other file is made or connected to; an abstract name may hold any.
#[test]
fn a_path_with_a_nul_is_an_error() {
    let place = Place::new();
    for path in [format!("{}\0", place.0.display()), format!("{}\0.suffix", place.0.display())].map(PathBuf::from) {
        for options in [ServerOptions::new(), ServerOptions::new().remove_stale(true)] {
            assert_eq!(options.listen(&path).expect_err("it holds a NUL").told().code(), "EINVAL", "listening");
        }
        let _other = UnixListener::bind(&place.0).expect("no file was made");
        for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
            assert_eq!(options.connect(&path).expect_err("it holds a NUL").told().code(), "EINVAL", "connecting");
        }
        fs::remove_file(&place.0).expect("it is ours");
    }
    #[cfg(target_os = "linux")]
    {
        let name = PathBuf::from(format!("\0landline-{}\0name", process::id()));
        let server = Server::listen(&name).expect("an abstract name may hold a NUL");
        Socket::connect(server.address()).expect("it is the whole name");
    }
}

/// Adopts a listener, closes the server after `before`, and checks that no thread stays in accept(2).
fn adopt_and_close(listener: UnixListener, before: impl FnOnce()) {
    let server = ServerOptions::new().adopt(listener).expect("it listens");
    let acceptor = server.clone();
    let accepting = blocked(move || acceptor.accept());
    before();
    server.close();
    let socket = within("accept() returns", move || accepting.join()).expect("no panic").expect("no error");
    assert!(socket.is_none(), "a closed server has no client");
    assert!(server.wait_timeout(HANG).expect("no handler waits"), "the server has stopped");
}

/// Ensures that `close()` wakes a thread at an adopted listener whose file was removed or moved since, and keeps nothing of
/// the file.
#[test]
fn an_adopted_listener_whose_file_is_gone_is_woken() {
    if differs("no path leads to a file that was moved or removed") || !has_proc() {
        return;
    }
    if cfg!(target_env = "musl") {
        return println!("skipped: std does not pass O_PATH on to musl");
    }
    in_child(this_test!(), &[], || {
        let before = descriptors();
        for is_moved in [true, false] {
            let (place, aside) = (Place::new(), Place::new());
            let listener = UnixListener::bind(&place.0).expect("the path is free");
            adopt_and_close(listener, || {
                if is_moved { fs::rename(&place.0, &aside.0) } else { fs::remove_file(&place.0) }.expect("it is ours");
            });
            assert_eq!(descriptors(), before, "no descriptor is left, moved: {is_moved}");
        }
    });
}

/// Ensures that `close()` wakes a thread at an adopted listener to whose file this user may not write.
#[test]
fn an_adopted_listener_that_may_not_be_connected_to_is_woken() {
    if differs("open(2) of a socket does not say who may write to it") {
        return;
    }
    let place = Place::new();
    let listener = UnixListener::bind(&place.0).expect("the path is free");
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o0)).expect("it is ours");
    match UnixStream::connect(&place.0) {
        Err(_) => adopt_and_close(listener, || {}),
        // root may write everything, so another user has to try.
        Ok(_) => as_another_user(this_test!(), &[]),
    }
}

/// Ensures that `close()` wakes a thread at an adopted listener whose path another server has taken before, and that this
/// server gets no client of it.
#[test]
fn an_adopted_listener_whose_path_another_server_has_is_woken() {
    if differs("no table says who listens on a path") || !has_proc() {
        return;
    }
    let place = Place::new();
    let listener = UnixListener::bind(&place.0).expect("the path is free");
    fs::remove_file(&place.0).expect("it is ours");
    let other = UnixListener::bind(&place.0).expect("the path is free again");
    adopt_and_close(listener, || {});
    other.set_nonblocking(true).expect("it is a socket");
    assert_eq!(other.accept().expect_err("no client").kind(), ErrorKind::WouldBlock, "the other server is not called");
}

/// Ensures that `close()` wakes a thread at an adopted listener after /proc has gone, as its file is in place.
#[test]
#[cfg(target_os = "linux")]
fn an_adopted_listener_is_woken_after_proc_has_gone() {
    if differs("the call that wakes a thread is taken for a client") || !has_proc() {
        return;
    }
    in_surroundings(this_test!(), "true", || {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).expect("the path is free");
        adopt_and_close(listener, || {
            let mounted = process::Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/proc"]).status();
            assert!(mounted.expect("mount starts").success(), "/proc can be hidden");
        });
    });
}

/// Ensures that a server that was bound or adopted by a relative path is woken and removes its own file after the program has
/// gone to another directory.
#[test]
fn a_relative_path_is_kept_when_the_directory_changes() {
    in_child(this_test!(), &[], || {
        let place = Place::new();
        let base = &place.0;
        for folder in ["a", "b"] {
            fs::create_dir_all(base.join(folder)).expect("the folder can be written");
        }
        env::set_current_dir(base.join("a")).expect("it was made");
        let own = Server::listen(std::path::Path::new("own.sock")).expect("the path is free");
        let given = UnixListener::bind("given.sock").expect("the path is free");
        let adopted = ServerOptions::new().adopt(given).expect("it listens");
        let waiting = [&own, &adopted].map(|server| {
            let server = server.clone();
            // Where the call that wakes it is taken for a client, that comes first.
            blocked(move || while server.accept().expect("no error").is_some() {})
        });
        env::set_current_dir(base.join("b")).expect("it was made");
        let _other = UnixListener::bind("own.sock").expect("the path is free here");
        own.close();
        adopted.close();
        for accept in waiting {
            within("accept is woken", move || accept.join()).expect("no panic");
        }
        assert!(!base.join("a/own.sock").exists(), "its own file is removed");
        assert!(base.join("b/own.sock").exists(), "the file of another program stays");
        fs::remove_dir_all(base).expect("it is ours");
    });
}

/// Ensures that a file that cannot be removed is reported, with its path: a server's, and that of a client with a path of its
/// own.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_be_removed_is_reported() {
    if !has_proc() {
        return;
    }
    let place = Place::new();
    fs::create_dir(&place.0).expect("the folder can be written");
    let script = format!("mount -t tmpfs tmpfs {}", place.0.display());
    in_surroundings(this_test!(), &script, || {
        // The folder of the parent process, whose number is another.
        let rows = fs::read_to_string("/proc/self/mounts").expect("/proc is there");
        let folder = rows.lines().rev().find_map(|row| row.split(' ').nth(1).filter(|at| at.contains("/landline-")));
        let folder = PathBuf::from(folder.expect("it is mounted"));
        let (path, own) = (folder.join("socket"), folder.join("own"));
        let (tell, told) = std::sync::mpsc::channel();
        let tell_too = tell.clone();
        let options = ServerOptions::new().report(move |report| tell.send(report.to_string()).expect("the test waits"));
        let server = options.listen(&path).expect("the path is free");
        let client = SocketOptions::new()
            .local_path(&own)
            .report(move |report| tell_too.send(report.to_string()).expect("the test waits"))
            .connect(&path)
            .expect("it listens");
        // Without `bind`, mount(8) hands on the owner that it reads of the mount, which a user namespace does not know.
        let mut mount = process::Command::new("mount");
        let mounted = mount.args(["-o", "remount,bind,ro"]).arg(&folder).status().expect("mount starts");
        assert!(mounted.success(), "a mount can be made read-only");
        client.destroy();
        server.close();
        drop((client, server, options));
        let lines: Vec<_> = told.iter().collect();
        let text = format!("failed: unlink EROFS {}", path.display());
        assert!(lines.contains(&text), "it is reported as {text}: {lines:?}");
        let end = format!(" failed: unlink EROFS {}", own.display());
        assert!(lines.iter().any(|line| line.ends_with(&end)), "a client's is, with its connection{end}: {lines:?}");
        assert!(path.exists() && own.exists(), "the files are still there: the premise");
    });
}

/// Ensures that a server whose file another program moves aside before the server listens, as one does that looks for a stale
/// file, listens all the same, on a file made anew.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_moved_before_its_server_listens_is_made_anew() {
    // Each call of listen(2) begins a second late, so that the file is moved in time.
    let slow =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=listen", "-e", "inject=listen:delay_enter=1000000"];
    in_child(this_test!(), &slow, || {
        eventually("the file is moved in time", || {
            let (place, aside, over) = (Place::new(), Place::new(), AtomicBool::new(false));
            let server = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(SeqCst) && fs::rename(&place.0, &aside.0).is_err() {
                        std::thread::yield_now();
                    }
                });
                let server = Server::listen(&place.0);
                over.store(true, SeqCst);
                server
            });
            let _server = server.expect("no other program has the path");
            let is_anew = aside.0.exists() && place.0.exists();
            if is_anew {
                Socket::connect(&place.0).expect("the server listens on it");
            }
            is_anew
        });
    });
}

/// Ensures that a server whose file another program takes over while it is held up after bind(2) fails, and leaves the file
/// that is there.
#[test]
#[cfg(target_os = "linux")]
fn a_server_whose_file_was_taken_over_does_not_listen() {
    // The first call of bind(2) of each thread returns a second late, so that the file is taken over in time.
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bind", "-e"];
    in_child(this_test!(), &[&slow[..], &["inject=bind:delay_exit=1000000:when=1"]].concat(), || {
        eventually("the file is taken over in time", || {
            let (place, ready) = (Place::new(), std::sync::Barrier::new(2));
            let (held_up, other) = std::thread::scope(|scope| {
                let held_up = scope.spawn(|| {
                    ready.wait();
                    ServerOptions::new().remove_stale(true).listen(&place.0)
                });
                std::net::UdpSocket::bind("127.0.0.1:0").expect("the first bind of this thread");
                ready.wait();
                while !place.0.exists() {
                    std::thread::yield_now();
                }
                std::fs::remove_file(&place.0).expect("it is there");
                let other = std::os::unix::net::UnixListener::bind(&place.0);
                (held_up.join().expect("no panic"), other)
            });
            let Ok(other) = other else { return false };
            let error = held_up.expect_err("the other program has the path");
            assert_eq!(error.told().code(), "EADDRINUSE", "it says so: {error}");
            Socket::connect(&place.0).expect("the file of the other program is there");
            drop(other);
            true
        });
    });
}

/// Ensures that a server listens although each call of bind(2) is slow, as on a slow file system.
#[test]
#[cfg(target_os = "linux")]
fn a_server_listens_although_bind_is_slow() {
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bind", "-e", "inject=bind:delay_exit=50000"];
    in_child(this_test!(), &slow, || {
        let place = Place::new();
        let options = ServerOptions::new().remove_stale(true);
        let server = options.listen(&place.0).expect("no other program has the path");
        Socket::connect(&place.0).expect("the server listens on it");
        server.close();
        assert!(!place.0.exists(), "its file is its own");
    });
}

/// Ensures that a path that is too long is an error and not another path.
#[test]
fn a_path_that_is_too_long_is_an_error() {
    let long = PathBuf::from("x".repeat(109));
    assert_eq!(Server::listen(&long).expect_err("it is too long").told().code(), "EINVAL", "listening");
    assert_eq!(Socket::connect(&long).expect_err("it is too long").told().code(), "EINVAL", "connecting");
    assert_eq!(Server::listen(PathBuf::new()).expect_err("it is empty").told().code(), "EINVAL", "and none is none");
}

/// Ensures that 1,001 pings are answered over a Unix socket, both IP families, by a half-open server: in the handler the count is 1
/// and the server knows the socket, at the end it can still be written, after the close neither. Mirrors net-pingpong.js.
#[test]
fn pings_are_answered_over_every_kind_of_socket() {
    fn pings(at: landline::Endpoint) {
        let options = ServerOptions::new().allow_half_open(true).max_connections(1);
        let server = options.listen(at).expect("port 0 and a path of its own can be listened on");
        let counted = server.clone();
        let running = server.spawn(move |socket| {
            assert_eq!(counted.connections(), 1, "the count includes it");
            assert!(counted.sockets().contains(socket), "and the server knows it");
            socket.each(|socket, event| match event {
                SocketEvent::Data(bytes) => {
                    assert_eq!(bytes, b"PING", "one at a time");
                    socket.write_all("PONG")
                }
                SocketEvent::End => {
                    assert_eq!(socket.ready_state(), ReadyState::WriteOnly, "it can still be written");
                    socket.end()
                }
                SocketEvent::Close { had_error } => {
                    assert_eq!((had_error, socket.ready_state()), (false, ReadyState::Closed), "and now neither");
                    Ok(())
                }
                _ => Ok(()),
            })
        });
        let running = running.expect("a thread can be started");
        let client = Socket::connect(server.address()).expect("the server listens");
        for _ in 0..1_001 {
            let mut answer = [0; 4];
            client.write_all("PING").and_then(|()| client.read_exact(&mut answer)).expect("it answers");
            assert_eq!(&answer, b"PONG");
        }
        client.end().expect("it is connected");
        assert_eq!(client.read_all().expect("an orderly end"), b"", "nothing more");
        let stats = server.stats();
        server.close();
        within("serve returns", move || running.join()).expect("serving ended in order");
        assert_eq!((stats.accepted, stats.panicked), (1, 0), "no rule was broken in the handler");
    }
    let place = Place::new();
    pings((&place.0).into());
    each_ip(|at| pings(at.into()));
}

/// Ensures that what has no meaning on a Unix socket does nothing, or says so.
#[test]
fn what_is_tcps_alone_does_nothing_on_a_unix_socket() {
    let place = Place::new();
    let server = Server::listen(&place.0).expect("the path is free");
    let client = Socket::connect(&place.0).expect("the server listens");
    let accepted = accept(&server);
    for socket in [&client, &accepted] {
        socket.set_no_delay(false).and_then(|()| socket.set_keep_alive(true)).expect("they do nothing");
        let code = |error: io::Error| error.told().code().to_owned();
        assert_eq!(socket.set_type_of_service(16).map_err(code), Err("ENOTSUP".into()), "there is no such thing");
        let error = socket.reset_and_destroy().expect_err("there is no reset");
        assert_eq!(
            (error.told().code(), error.to_string().as_str()),
            ("ERR_INVALID_HANDLE_TYPE", "This handle type cannot be sent")
        );
        assert_eq!(socket.ready_state(), ReadyState::Open, "and it stays open");
    }
    assert_eq!(accepted.remote_address().path().map(|path| path.as_os_str().len()), Some(0), "a client has no name");
    assert_eq!(accepted.local_address(), server.address(), "the server's end has");
}

/// Ensures that outbox, channel, half-close and big data work over a Unix socket, and that dropping everything leaves no
/// thread, descriptor or file.
#[cfg(feature = "channel")]
#[test]
fn a_unix_socket_does_what_tcp_does() {
    in_child(this_test!(), &[], || {
        let place = Place::new();
        let before = (threads(), descriptors());
        let server = ServerOptions::new().outbox_limit(8 << 20).listen(&place.0).expect("the path is free");
        let events = server.events(4).expect("a thread can be started");
        let client = Socket::connect(&place.0).expect("the server listens");
        let reader = client.clone();
        let reading = std::thread::spawn(move || reader.read_all());
        let sent = noise(4 << 20, 1);
        let writer = (client.clone(), sent.clone());
        let writing = std::thread::spawn(move || writer.0.write_end(&writer.1));
        for event in events.iter() {
            match event {
                ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => socket.outbox().try_send(bytes).expect("room"),
                ServerEvent::Socket(socket, SocketEvent::End) => socket.outbox().end().expect("it is open"),
                ServerEvent::Socket(_, SocketEvent::Close { .. }) => server.close(),
                _ => {}
            }
        }
        writing.join().expect("nothing panicked").expect("the server reads");
        let came = within("the end comes", || reading.join()).expect("nothing panicked").expect("in order");
        assert!(came == sent, "every byte: {}", came.len());
        drop((events, client));
        assert!(!place.0.exists(), "no file is left");
        eventually("no thread and no descriptor is left", || threads() <= before.0 && descriptors() == before.1);
    });
}

/// Ensures that `close` wakes a blocked accept on a path, on an abstract name, and after the file was removed; and on an
/// adopted listener, whose file is its giver's.
#[test]
fn close_wakes_accept_on_a_path() {
    let place = Place::new();
    let abstract_name = PathBuf::from(format!("\0landline close {}", process::id()));
    let adopted = || {
        let listener = UnixListener::bind(&place.0).expect("the path is free");
        ServerOptions::new().adopt(listener).expect("it listens")
    };
    type Make<'a> = &'a dyn Fn() -> Server;
    let servers: [(&str, Make<'_>); 4] = [
        ("path", &|| Server::listen(&place.0).expect("the path is free")),
        ("removed", &|| {
            let server = Server::listen(&place.0).expect("the path is free");
            fs::remove_file(&place.0).expect("it is ours");
            server
        }),
        ("adopted", &adopted),
        ("abstract", &|| Server::listen(&abstract_name).expect("the name is free")),
    ];
    for (what, make) in servers {
        if what == "abstract" && !cfg!(target_os = "linux") {
            continue;
        }
        if what == "removed" && differs("a thread that accepts at a removed path cannot be called to wake it") {
            continue;
        }
        let server = make();
        let acceptor = server.clone();
        let accepting = blocked(move || acceptor.accept());
        let closer = server.clone();
        within("close returns", move || closer.close());
        let mut accepted = within("accept returns", || accepting.join()).expect("nothing panicked").expect("no error");
        if what == "adopted" && differs("no name tells our own call from a client: it is one that ends at once") {
            let call = accepted.take().expect("the call is accepted");
            assert_eq!(within("it ends", move || call.read(&mut [0])).expect("in order"), 0, "it ends at once");
            accepted = server.accept().expect("no error");
        }
        assert!(accepted.is_none(), "{what}: closed");
        assert_eq!(place.0.exists(), what == "adopted", "{what}: only a giver's file stays");
        let _ = fs::remove_file(&place.0);
    }
}

/// Ensures that a stream of std's can be taken over, and that std's programs are peers like any other.
#[test]
fn std_streams_are_peers() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair can be had");
    ours.set_nonblocking(true).expect("it can be");
    let ours = Socket::from(ours);
    theirs.write_all(b"x").expect("it is connected");
    assert_eq!(ours.read(&mut [0; 8]).expect("it blocks now"), 1, "a byte arrives");
    drop(theirs);
    assert_eq!(ours.read(&mut [0; 8]).expect("an orderly end"), 0, "and the end");
}
