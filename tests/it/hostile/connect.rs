//! Connecting under hostile use: what must hold all the same.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use landline::net::{Socket, SocketOptions};
use landline::{BlockList, Cancel};

use crate::support::blocked;
#[cfg(target_os = "linux")]
use crate::support::fixtures::kernel;
use crate::support::{HANG, Told, within};

/// Ensures that a wildcard, by which Linux reaches this machine, does not get around a list that blocks this machine,
/// as an address or as what a name stands for.
#[test]
fn a_wildcard_is_no_way_around_a_block_list() {
    let list = BlockList::new();
    list.add_address([127, 0, 0, 1]);
    list.add_address(std::net::Ipv6Addr::LOCALHOST);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["0.0.0.0", "::", "::ffff:0.0.0.0", "::ffff:127.0.0.1"] {
        for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
            let options = options.block_list(&list);
            let ip: std::net::IpAddr = host.parse().unwrap();
            let error = options.connect((host, port)).unwrap_err();
            assert_eq!(error.told().code(), "ERR_IP_BLOCKED", "{host}: {error}");
            let error = options.lookup(move |_, _| Ok([ip])).connect(("name.example", port)).unwrap_err();
            assert_eq!(error.told().code(), "ERR_IP_BLOCKED", "a name for {host}: {error}");
        }
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

/// Ensures that the longest times are no times that overflow.
#[test]
fn the_longest_times_are_no_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let options = SocketOptions::new()
        .attempt_timeout(Duration::MAX)
        // Not a bound: times without measure are the subject.
        .connect_timeout(Duration::MAX)
        .lookup(|_, _| Ok([[127, 0, 0, 9], [127, 0, 0, 1]]));
    within("the second address answers", move || options.connect(("name.example", at.port()))).unwrap();
}

/// A Unix socket whose queue of connections is full, so that Linux keeps every further connect waiting.
#[cfg(target_os = "linux")]
fn full_queue(name: &str) -> (socket2::Socket, Vec<std::os::unix::net::UnixStream>, std::path::PathBuf) {
    let path = format!("\0landline attacks {name} {}", std::process::id());
    let address = socket2::SockAddr::unix(&path).unwrap();
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut clients = Vec::new();
    loop {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        if client.connect(&address).is_err() {
            return (listener, clients, path.into());
        }
        clients.push(client.into());
    }
}

/// Ensures that the time for connecting holds for a path too, where a listener that accepts nobody keeps it waiting.
#[cfg(target_os = "linux")]
#[test]
fn the_time_for_connecting_holds_for_a_path() {
    let (_listener, _clients, path) = full_queue("timeout");
    let time = Duration::from_millis(100);
    // Not a bound: the timer that is tested.
    let options = SocketOptions::new().connect_timeout(time);
    let begun = std::time::Instant::now();
    let error = within("the connect ends", move || options.connect(path)).unwrap_err();
    assert!(begun.elapsed() >= time, "it took {:?}", begun.elapsed());
    assert_eq!((error.kind(), error.told().code()), (std::io::ErrorKind::TimedOut, "ETIMEDOUT"), "{error}");
    assert_eq!(error.told().syscall(), Some("connect"), "it says what was waited for");
}

/// Ensures that a connect to a path can be called off while it waits.
#[cfg(target_os = "linux")]
#[test]
fn cancelling_ends_a_connect_to_a_path() {
    let (_listener, _clients, path) = full_queue("cancel");
    let cancel = Cancel::new();
    let options = SocketOptions::new().cancel(&cancel);
    let connecting = blocked(move || options.connect(path));
    cancel.cancel();
    let error = within("the connect ends", || connecting.join().unwrap()).unwrap_err();
    assert_eq!(error.told().code(), "ABORT_ERR");
}

/// Ensures that a connect to a path that had to wait is like any other: it gets in when there is room, and its limit is
/// not one for its writes.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_to_a_path_that_waits_gets_in() {
    let (listener, _clients, path) = full_queue("room");
    let options = SocketOptions::new().connect_timeout(HANG);
    let connecting = blocked(move || options.connect(path));
    let (accepted, _) = listener.accept().unwrap();
    let socket: Socket = within("there is room", || connecting.join().unwrap()).unwrap();
    assert_eq!(kernel(&socket, |raw| raw.write_timeout()), None);
    drop(accepted);
}

/// Ensures that what a family is asked for is what a name is looked up for, and that an IP address is taken as it is.
#[test]
fn a_family_is_asked_of_names_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let options = SocketOptions::new().family(landline::Family::Ipv6);
    options.connect(at).expect("an address needs no choice");
    let error = options.lookup(|_, _| Ok([[127, 0, 0, 1]])).connect(("name.example", at.port())).unwrap_err();
    assert_eq!(error.told().code(), "ERR_INVALID_ADDRESS_FAMILY");
}

/// Ensures that a resolver may cancel the very connect it serves.
#[test]
fn a_resolver_may_cancel_its_connect() {
    let cancel = Cancel::new();
    let firing = cancel.clone();
    let options = SocketOptions::new().cancel(&cancel).lookup(move |_, _| {
        firing.cancel();
        Ok([[127, 0, 0, 1]])
    });
    let error = within("the connect ends", move || options.connect("name.example:1")).unwrap_err();
    assert_eq!(error.told().code(), "ABORT_ERR");
    assert!(format!("{cancel:?}").contains("0 attached"), "nothing is left attached: {cancel:?}");
}
