//! What the two comparisons share: the cases, the load, the servers over std and over landline, and the way a case is run.

use std::io;

use self::case::{Case, Load};
use self::run::Server;

pub(crate) mod case;
pub(crate) mod figures;
pub(crate) mod load;
pub(crate) mod load_udp;
pub(crate) mod proc;
pub(crate) mod run;
pub(crate) mod serve_landline;
pub(crate) mod serve_std;

/// landline, and what one writes by hand.
pub(crate) fn servers() -> Vec<Server> {
    vec![
        Server::own("landline", &["serve", "landline", "each"], |case| is_of_bytes(case) && !is_bulk(case)),
        Server::own("landline", &["serve", "landline", "pipe"], is_bulk),
        Server::own("std", &["serve", "std", "plain"], |case| !case.is_of_a_protocol()),
        Server::own("std, no-delay", &["serve", "std", "no-delay"], |case| case.name == "echo-64k"),
        Server::own("std, tuned", &["serve", "std", "tuned"], |case| {
            is_of_bytes(case) && !case.is_of_scale() && !matches!(case.name, "udp" | "udp-window")
        }),
        Server::own("landline, read", &["serve", "landline", "read"], Case::is_about_ways),
        Server::own("landline, each", &["serve", "landline", "each"], Case::is_about_ways),
        Server::own("landline, channel", &["serve", "landline", "channel"], Case::is_about_ways),
    ]
}

/// Where bytes are to be carried, whatever messages they make.
fn is_bulk(case: &Case) -> bool {
    matches!(case.load, Load::Bulk { .. })
}

/// Whether it compares servers of bytes.
fn is_of_bytes(case: &Case) -> bool {
    !case.is_about_ways() && !case.is_of_a_protocol()
}

/// Serves as the arguments say: the library, how, what, and for a proxy the address behind it.
pub(crate) fn serve(args: &[String]) -> io::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("nothing serves {args:?}"));
    let target = args.get(3).and_then(|at| at.parse().ok());
    run::end_with_input();
    match args[..] {
        ["landline", way, mode @ ("udp" | "sink")] => serve_landline::udp(mode, way),
        ["landline", way, mode, ..] => serve_landline::tcp(mode, target, way),
        ["std", how, mode, ..] => {
            let tuning = match how {
                "plain" => serve_std::PLAIN,
                "no-delay" => serve_std::NO_DELAY,
                "tuned" => serve_std::TUNED,
                _ => return Err(wrong()),
            };
            if mode == "udp" || mode == "sink" {
                serve_std::udp(mode, tuning)
            } else {
                serve_std::tcp(mode, target, tuning)
            }
        }
        _ => Err(wrong()),
    }
}
