//! What a host program may rely on that lets the library in: it is quiet, it leaves the process as it was, and its threads
//! can be told apart.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;
use std::{fs, panic, thread};

use landline::net::{Server, ServerOptions, Socket, SocketEvent, SocketOptions, WhenFull, relay};
use landline::{BlockList, Cancel, RefusedBy, dgram};

use crate::support::Whole;
use crate::support::dgram::receiving;
use crate::support::fixtures::{Refusing, Served, pair};
use crate::support::{
    Folder, HANG, Told, WHOLE, descriptors, ended, eventually, has_proc, in_child, in_surroundings, this_program,
    threads, within,
};

/// A client that is turned away, or cut off: it sees the end, or a reset.
fn sees_the_end(client: &Socket) {
    let client = client.clone();
    let _ = within("the client sees the end", move || client.read_all());
}

/// All that can go wrong in a server, its clients, and datagrams, with nobody told of it.
fn everything_goes_wrong() {
    let list = BlockList::new();
    list.add_address([127, 0, 0, 2]);
    let options = ServerOptions::new().max_connections(3).block_list(&list).report(|_| panic!("a hook"));
    let failing = Served::start("127.0.0.1:0", &options, |socket| {
        let mut kind = [0];
        socket.read_exact(&mut kind)?;
        match kind[0] {
            b'e' => Err(io::Error::other("an error")),
            b'p' => panic!("a handler"),
            b'd' => {
                socket.destroy();
                socket.write_all("never")
            }
            b'o' => {
                socket.outbox().try_send([0; 100])?;
                socket.write_all([0; 1 << 20])
            }
            _ => socket.pipe(socket),
        }
    });
    for kind in ["e", "p", "d", "o"] {
        let client = failing.connect();
        client.write_all(kind).expect("it is connected");
        if kind == "o" {
            client.reset_and_destroy().expect("it is connected");
        }
        sees_the_end(&client);
    }
    // One that is still counted would take the place of one of the next.
    let stats = || failing.server.stats();
    eventually("each was served and has ended", || (stats().accepted, stats().open) == (4, 0));
    let idle: Vec<_> = (0..3).map(|_| failing.connect()).collect();
    idle.iter().for_each(|client| client.write_all("x").expect("it is connected"));
    eventually("the server is full", || failing.server.connections() == 3);
    sees_the_end(&failing.connect());
    let blocked = SocketOptions::new().local_address("127.0.0.2").connect(failing.server.address());
    sees_the_end(&blocked.expect("it is accepted first"));
    let served_twice = failing.server.serve(|_| Ok(()));
    assert!(served_twice.is_err(), "a server is served once");
    let report = failing.server.shutdown(HANG);
    assert_eq!((report.forced, report.still_running), (0, 0), "those who wait for their clients are woken: {report}");
    failing.stop();

    // No thread can be had: the client is refused.
    let server =
        ServerOptions::new().stack_size(crate::support::NO_STACK).listen("127.0.0.1:0").expect("port 0 is free");
    let served = server.clone();
    let serving = thread::spawn(move || served.serve(|_| Ok(())));
    sees_the_end(&Socket::connect(server.address()).expect("it listens"));
    server.close();
    serving.join().expect("nothing panicked").expect("serving ended in order");

    // Events: closures that fail and panic.
    for kind in 0..3 {
        let (server, client, accepted) = pair("127.0.0.1:0");
        let running = thread::spawn(move || {
            accepted.each(|_, event| match (kind, event) {
                (0, _) => Err(io::Error::other("a closure")),
                (1, SocketEvent::Data(_)) | (2, SocketEvent::Close { .. }) => panic!("a closure"),
                _ => Ok(()),
            })
        });
        client.write_all("x").and_then(|()| client.end()).expect("it is connected");
        let ended = within("it ends", move || running.join());
        assert!(ended.map_or(kind > 0, |ended| kind == 0 && ended.is_err()), "the error or the panic is its result");
        drop(server);
    }

    // Listening, connecting, looking up, sending, adopting.
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    assert!(Server::listen(taken.local_addr().expect("it is bound")).is_err(), "the port is taken");
    assert!(
        Server::listen("127.0.0.1:x").is_err() && Server::listen("/nowhere/at/all").is_err(),
        "these are no places"
    );
    let refusing = Refusing::at("127.0.0.1:0");
    assert!(Socket::connect(refusing.address).is_err(), "nobody listens");
    let short = SocketOptions::new().connect_timeout(HANG);
    assert!(short.connect("no.such.host.invalid:1").is_err(), "there is no such name");
    let fired = Cancel::new();
    fired.cancel();
    assert!(SocketOptions::new().cancel(&fired).connect(refusing.address).is_err(), "it was cancelled");
    let stream = TcpStream::connect(taken.local_addr().expect("it is bound")).expect("it listens");
    assert!(ServerOptions::new().adopt(stream).is_err(), "it does not listen");
    let socket = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
    assert!(
        socket.send(b"x").is_err() && socket.send_to([0; 70_000], socket.address()).is_err(),
        "neither can be sent"
    );
    let receiving = receiving(&socket, |_, _, _| panic!("a message"));
    socket.send_to(b"x", socket.address()).expect("it is bound");
    assert!(within("it ends", move || receiving.join()).is_err(), "the panic is its result");
}

/// Ensures that nothing is printed whatever goes wrong, but for what std says of a panic in a program that lets it.
#[test]
fn nothing_is_printed_whatever_happens() {
    const TEST: &str = "embedding::nothing_is_printed_whatever_happens";
    const MARK: &str = "LANDLINE_QUIET_CHILD";
    if let Some(hook) = std::env::var_os(MARK) {
        if hook == "silent" {
            panic::set_hook(Box::new(|_| {}));
        }
        return everything_goes_wrong();
    }
    let run = |hook: &str| {
        let mut command = Command::new(this_program());
        command.args([TEST, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, hook).env("RUST_BACKTRACE", "0");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let (status, out, err) = ended(WHOLE, child.expect("the test program starts again"));
        assert!(status.success(), "{out}{err}");
        assert!(out.contains(&format!("\ntest {TEST} ... ok\n")), "the test program says this, and nobody else: {out}");
        assert_eq!(out.lines().filter(|line| !line.is_empty()).count(), 3, "nor more than this: {out}");
        err
    };
    assert_eq!(run("silent"), "", "nothing but panics comes on standard error");
    let said = run("std's");
    assert!(said.contains("panicked at"), "the premise: std says what panicked: {said}");
    let ours = said
        .lines()
        .filter(|line| line.contains("panicked at"))
        .all(|line| line.contains("tests/it/server/embedding.rs"));
    assert!(ours, "no panic comes from the library itself: {said}");
}

/// The first 15 bytes of a thread's name, which is what Linux keeps, of each thread.
fn names() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("this is Linux").map(|task| task.expect("a thread").path());
    // A thread may end meanwhile.
    tasks.filter_map(|task| fs::read_to_string(task.join("comm")).ok()).map(|name| name.trim_end().to_owned()).collect()
}

/// Ensures that each kind of thread that is started has a name that a debugger, `top -H` and /proc show.
#[cfg(feature = "channel")]
#[test]
fn every_thread_says_what_it_is_for() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| {
            socket.outbox().try_send(vec![0; 1 << 20])?;
            socket.outbox().set_limit(64 << 20);
            socket.outbox().send(vec![0; 32 << 20])?;
            socket.pipe(socket)
        });
        let unread = served.connect(); // its outbox has a thread as long as nobody reads
        let (_one, client, accepted) = pair("127.0.0.1:0");
        let events = accepted.events(0).expect("a thread starts");
        let (_two, a, b) = pair("127.0.0.1:0");
        let (_three, c, d) = pair("127.0.0.1:0");
        let relaying = thread::spawn(move || relay(&b, &c));
        let datagrams = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
        let received = datagrams.events(0).expect("a thread starts");
        let (answer, asked) = mpsc::channel::<()>();
        let asked = std::sync::Mutex::new(asked);
        let connecting = thread::spawn(move || {
            let options = SocketOptions::new().connect_timeout(HANG).lookup(move |_, _| {
                let _ = asked.lock().expect("one look-up").recv();
                Err::<Vec<IpAddr>, _>(io::ErrorKind::NotFound.into())
            });
            options.connect("a.name:1").map(drop)
        });
        // A backlog that is full lets connects hang, here two of them that race.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket can be had");
        full.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("port 0 is free");
        full.listen(0).expect("it can listen");
        let port = full.local_addr().expect("it is bound").as_socket().expect("it is TCP").port();
        let _first = TcpStream::connect(("127.0.0.1", port)).expect("there is room for one");
        let cancel = Cancel::new();
        let hanging = SocketOptions::new().cancel(&cancel).connect_timeout(HANG);
        let hanging = hanging.lookup(|_, _| Ok([Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)]));
        let hanging = thread::spawn(move || hanging.connect(("a.name", port)).map(drop));

        // A client that is turned away has a goodbye said to it as long as it stays.
        let options = ServerOptions::new().max_connections(0).when_full(WhenFull::RefuseWith(b"full\n".to_vec()));
        let refusing = Served::start("127.0.0.1:0", &options.lingering_close(HANG), |_| Ok(()));
        let refused = refusing.connect();

        let kinds = ["worker", "serve", "socket", "outbox", "relay", "recv", "lookup", "connect", "linger"];
        let wanted = kinds.map(|kind| format!("landline {kind}").chars().take(15).collect::<String>());
        eventually("every kind of thread is seen by its name", || {
            let names = names();
            wanted.iter().all(|name| names.iter().any(|is| is.starts_with(name)))
        });
        println!(
            "measured names: {:?}",
            names().iter().filter(|name| name.starts_with("landline")).collect::<Vec<_>>()
        );

        cancel.cancel();
        drop(answer);
        datagrams.close();
        for end in [&unread, &client, &a, &d, &refused] {
            end.destroy();
        }
        within("all end", move || {
            let _ = (hanging.join(), connecting.join(), relaying.join());
            drop((events, received));
        });
        // A connect that cannot be called off is refused at its next try.
        drop(full);
        served.stop();
        refusing.stop();
        eventually("no thread of ours is left", || !names().iter().any(|name| name.starts_with("landline ")));
    });
}

/// Ensures that the threads of a server, of a client's socket and of a datagram socket have the name that was asked for, and that one no thread can
/// have is an error that names the option.
#[cfg(feature = "channel")]
#[test]
fn threads_are_named_as_asked_for() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let options = ServerOptions::new().thread_name("web").max_connections(0);
        let served = Served::start(
            "127.0.0.1:0",
            &options.when_full(WhenFull::RefuseWith("full".into())).lingering_close(HANG),
            |_| Ok(()),
        );
        let refused = served.connect();
        eventually("it is refused", || served.server.stats().refused(RefusedBy::Full) == 1);
        served.server.set_max_connections(1);
        let client = served.connect();
        let datagrams = dgram::SocketOptions::udp4().thread_name("dns").bind("127.0.0.1:0").expect("port 0 is free");
        let received = datagrams.events(0).expect("a thread starts");
        let (silent, reader) = (Server::listen("127.0.0.1:0"), Server::listen("127.0.0.1:0"));
        let (silent, reader) = (silent.expect("port 0 is free"), reader.expect("port 0 is free"));
        let named = SocketOptions::new().thread_name("app");
        let socket = named.connect(silent.address()).expect("it listens");
        let events = socket.events(0).expect("a thread starts");
        socket.outbox().set_limit(64 << 20);
        socket.outbox().send(vec![0; 32 << 20]).expect("there is room");
        let other = named.connect(reader.address()).expect("it listens");
        let relaying = thread::spawn({
            let (one, other) = (Socket::connect(reader.address()).expect("it listens"), other.clone());
            move || relay(&one, &other)
        });
        eventually("all have the names asked for", || {
            let names = names();
            ["web serve", "web worker", "web linger", "dns recv", "app socket", "app outbox", "app relay"]
                .iter()
                .all(|wanted| names.iter().any(|name| name.starts_with(wanted)))
        });
        assert!(!names().iter().any(|name| name.starts_with("landline ")), "and no other: {:?}", names());
        datagrams.close();
        within("it ends", move || received.iter().last());
        other.destroy();
        drop(events);
        let _ = within("the relay ends", move || relaying.join());
        drop((refused, client));
        served.stop();

        for error in [
            ServerOptions::new().thread_name("a\0b").listen("127.0.0.1:0").map(drop),
            named.thread_name("a\0b").connect(silent.address()).map(drop),
            dgram::SocketOptions::udp4().thread_name("a\0b").bind("127.0.0.1:0").map(drop),
        ] {
            let error = error.expect_err("a NUL would be a panic of std's");
            assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "it is an argument that cannot be: {error}");
            assert!(error.to_string().contains("thread_name"), "it names the option: {error}");
        }
    });
}

/// Ensures that what the library keeps for the whole process comes back to nothing: the seats of its threads, of which there
/// are so many that they end when none comes back, and the places of look-ups, of which there are 16. The process is told
/// that it may map little memory, so that it has few seats.
#[cfg(feature = "channel")]
#[test]
fn what_is_kept_for_the_process_comes_back() {
    const MAPPINGS: usize = 5_200;
    const FILE: &str = "/proc/sys/vm/max_map_count";
    if !has_proc() {
        return;
    }
    let folder = Folder::new();
    let told = folder.file("mappings");
    fs::write(&told, MAPPINGS.to_string()).expect("it is a file of ours");
    in_surroundings(this_test!(), &format!("mount --bind {} {FILE}", told.display()), || {
        assert_eq!(fs::read_to_string(FILE).expect("this is Linux"), MAPPINGS.to_string(), "the premise: few seats");
        let seats = MAPPINGS / 4 - 1000;
        let started = Instant::now();
        let (threads_before, descriptors_before) = (threads(), descriptors());

        // Threads that cannot be started give their seats back, and so do those that have ended.
        let server =
            ServerOptions::new().stack_size(crate::support::NO_STACK).listen("127.0.0.1:0").expect("port 0 is free");
        for n in 0..=seats {
            let error = server.spawn(|_| Ok(())).expect_err("no such stack can be had");
            assert_eq!(error.told().raw_os_error(), Some(11), "{n}: it is the system that refuses, not the ceiling");
        }
        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.end().expect("it is connected");
        for n in 0..=seats {
            let datagrams = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
            let events = datagrams.events(1);
            let events = events.unwrap_or_else(|error| panic!("thread {n} of {seats} has a seat: {error}"));
            datagrams.close();
            let _ = events.iter().last();
        }
        for n in 0..40 {
            let options = SocketOptions::new()
                .connect_timeout(HANG)
                .lookup(|_, _| Err::<Vec<IpAddr>, _>(io::ErrorKind::NotFound.into()));
            let error = options.connect("a.name:1").expect_err("there is no such name");
            assert_ne!(error.told().code(), "EAI_AGAIN", "look-up {n} has a place");
        }
        drop((server, client, accepted, _server));
        eventually("threads and descriptors are as before", || {
            (threads(), descriptors()) == (threads_before, descriptors_before)
        });
        println!("measured {} threads refused and ended in {:.1} s", 2 * seats, started.elapsed().as_secs_f64());
    });
}

/// Ensures that once a shutdown has said that nothing is still running, and serving has returned, the threads of the server
/// are gone but for a moment that std needs to end them: a host may unload the code then.
#[test]
fn nothing_runs_after_a_shutdown_that_says_so() {
    in_child(this_test!(), &[], || {
        let before = threads();
        let mut late = 0;
        for _ in 0..20 {
            let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| socket.pipe(socket));
            let clients: Vec<_> = (0..10).map(|_| served.connect()).collect();
            let mut reply = [0];
            for client in &clients {
                client.write_all("x").and_then(|()| client.read_exact(&mut reply)).expect("it is served");
            }
            let report = served.server.shutdown(HANG);
            assert_eq!((report.finished, report.still_running), (10, 0), "{report}");
            served.stop();
            // Their work is done, but std has a last word to say in each.
            late += threads().saturating_sub(before);
            eventually("no thread is left", || threads() == before);
        }
        println!("measured {late} of 220 threads that were seen for a moment after serving had ended");
    });
}
