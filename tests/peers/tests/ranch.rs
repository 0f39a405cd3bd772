//! Rules of Ranch: test/acceptor_SUITE.erl, test/shutdown_SUITE.erl, test/stampede_SUITE.erl,
//! test/ranch_concuerror.erl, test/sendfile_SUITE.erl. Each comment names the test there. The PROXY headers are in
//! proxy.rs.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket, SocketEvent, WhenFull};
use landline::{Report, dgram};
use landline_peers::*;
use socket2::SockRef;

/// Handlers that report that they run, and end when their client ends.
struct Notify {
    served: Served,
    connected: Receiver<u64>,
}

fn notify_and_wait(options: &ServerOptions) -> Notify {
    let (tell, connected) = channel();
    let tell = Mutex::new(tell);
    let served = Served::with(options, "127.0.0.1:0", move |socket| {
        tell.lock().unwrap().send(socket.id().get()).unwrap();
        all(socket).map(drop)
    });
    Notify { served, connected }
}

impl Notify {
    #[track_caller]
    fn expect(&self, n: usize) {
        for i in 0..n {
            self.connected.recv_timeout(LONG).unwrap_or_else(|_| panic!("only {i} of {n} were let in"));
        }
    }

    /// Checks that no other client comes in. A second is no bound on a wait here: more load only lets a fault pass.
    #[track_caller]
    fn expect_no_more(&self) {
        assert!(self.connected.recv_timeout(Duration::from_secs(1)).is_err(), "one more was let in");
    }

    fn clients(&self, n: usize) -> Vec<Socket> {
        (0..n).map(|_| self.served.client()).collect()
    }
}

fn waiting(max: usize) -> ServerOptions {
    ServerOptions::new().max_connections(max).when_full(WhenFull::Wait)
}

mod acceptor {
    use super::*;

    /// tcp_active_echo
    #[test]
    fn an_echo_by_events_answers_and_ends_with_the_server() {
        within(|| {
            let served = Served::new(|socket| {
                socket.each(|socket, event| match event {
                    SocketEvent::Data(bytes) => socket.write_all(bytes),
                    _ => Ok(()),
                })
            });
            let client = served.client();
            ping(&client, "does it answer?");
            let server = served.server.clone();
            drop(served);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            assert!(Socket::connect(server.address()).is_err());
        });
    }

    /// tcp_active_n_echo: a reader that takes a number of messages and then has to ask for more
    #[test]
    fn a_paused_connection_gives_nothing_until_it_is_resumed() {
        within(|| {
            let served = Served::new(|socket| {
                let mut taken = 0;
                socket.each(|socket, event| {
                    if let SocketEvent::Data(bytes) = event {
                        taken += 1;
                        socket.write_all(bytes)?;
                        if taken % 2 == 0 {
                            socket.pause();
                            let socket = socket.clone();
                            thread::spawn(move || {
                                // This paces the reader.
                                thread::sleep(Duration::from_millis(20));
                                socket.resume();
                            });
                        }
                    }
                    Ok(())
                })
            });
            let client = served.client();
            (0..10).for_each(|_| ping(&client, "again"));
        });
    }

    /// tcp_echo
    #[test]
    fn an_echo_by_blocking_calls_answers_and_ends_with_the_server() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            ping(&client, "does it answer?");
            drop(served);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
    }

    /// tcp_local_echo
    #[test]
    fn a_server_on_a_path_has_no_port_and_removes_its_file() {
        within(|| {
            let folder = Folder::temporary();
            let path = folder.join("sock");
            let served = Served::on(Server::listen(&path).unwrap(), echo);
            assert_eq!(served.server.address().port(), 0);
            assert!(served.server.address().ip().is_none());
            let client = Socket::connect(&path).unwrap();
            ping(&client, "does it answer?");
            assert!(path.exists());
            drop(served);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            assert!(!path.exists());
        });
    }

    /// tcp_graceful. There is no suspend and resume. The server is closed, which leaves its connections open, and
    /// another listens.
    #[test]
    fn a_closed_server_keeps_its_connections_refuses_others_and_another_takes_the_port_over() {
        within(|| {
            let first = Server::listen("127.0.0.1:0").unwrap();
            let at = first.address().clone();
            let running = first.spawn(echo).unwrap();
            let one = Socket::connect(&at).unwrap();
            ping(&one, "fresh");
            first.close();
            assert!(!first.is_listening());
            ping(&one, "suspended");
            assert_eq!(Socket::connect(&at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let second = Served::on(Server::listen(&at).unwrap(), echo);
            let two = Socket::connect(&at).unwrap();
            ping(&two, "resumed");
            ping(&one, "still there");
            drop(second);
            assert_eq!(two.read(&mut [0]).unwrap(), 0);
            ping(&one, "and still");
            drop(one);
            running.join().unwrap();
        });
    }

    /// tcp_graceful, in another way: a limit of 0 leaves clients in the queue instead of refusing them
    #[test]
    fn a_limit_of_0_leaves_clients_waiting_and_a_higher_one_accepts_them() {
        within(|| {
            let served = Served::with(&waiting(10), "127.0.0.1:0", echo);
            let one = served.client();
            ping(&one, "fresh");
            served.server.set_max_connections(0);
            ping(&one, "suspended");
            // One may be in hand already; it waits too.
            let two = served.client();
            two.write_all("resumed").unwrap();
            two.set_timeout(Duration::from_secs(1));
            let mut back = [0; 7];
            assert_eq!(two.read(&mut back).unwrap_err().kind(), ErrorKind::TimedOut);
            served.server.set_max_connections(10);
            two.set_timeout(None);
            two.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"resumed");
            ping(&one, "still there");
        });
    }

    /// tcp_inherit_options
    #[test]
    fn options_of_the_server_hold_for_its_connections() {
        within(|| {
            let options = ServerOptions::new().no_delay(false).timeout(Duration::from_secs(77));
            let (_server, _client, socket) = pair_with(&options, "127.0.0.1:0");
            assert!(!socket.with_raw(|fd| SockRef::from(&fd).tcp_nodelay()).unwrap().unwrap());
            assert_eq!(socket.timeout(), Some(Duration::from_secs(77)));
        });
    }

    /// tcp_max_connections
    #[test]
    fn ten_of_eleven_are_accepted_and_the_last_when_there_is_room() {
        within(|| {
            let notify = notify_and_wait(&waiting(10));
            let mut clients = notify.clients(11);
            notify.expect(10);
            assert_eq!(notify.served.server.connections(), 10);
            notify.expect_no_more();
            clients.remove(0);
            notify.expect(1);
        });
    }

    /// tcp_max_connections, with landline's default: a client beyond the limit is refused
    #[test]
    fn the_eleventh_is_refused_by_default() {
        within(|| {
            let notify = notify_and_wait(&ServerOptions::new().max_connections(10));
            let clients = notify.clients(10);
            notify.expect(10);
            let last = notify.served.client();
            assert_eq!(last.read(&mut [0]).unwrap(), 0);
            assert_eq!(notify.served.server.stats().refused(landline::RefusedBy::Full), 1);
            drop(clients);
        });
    }

    /// tcp_max_connections_infinity
    #[test]
    fn without_a_limit_all_are_accepted_and_setting_it_again_closes_none() {
        within(|| {
            let notify = notify_and_wait(&waiting(10));
            let clients = notify.clients(20);
            notify.expect(10);
            let server = &notify.served.server;
            assert_eq!((server.connections(), server.max_connections()), (10, 10));
            server.set_max_connections(None);
            notify.expect(10);
            assert!(server.max_connections() > 1000);
            server.set_max_connections(10);
            assert_eq!((server.connections(), server.max_connections()), (20, 10));
            clients.iter().for_each(|client| client.write_all("still there").unwrap());
            drop(clients);
            eventually("all have ended", || server.connections() == 0);
        });
    }

    /// tcp_set_max_connections
    #[test]
    fn a_higher_limit_accepts_the_clients_that_wait() {
        within(|| {
            let notify = notify_and_wait(&waiting(10));
            let clients = notify.clients(20);
            notify.expect(10);
            notify.expect_no_more();
            notify.served.server.set_max_connections(20);
            notify.expect(10);
            drop(clients);
        });
    }

    /// tcp_set_max_connections_clean
    #[test]
    fn limits_set_by_eighty_threads_harm_no_client_and_all_are_accepted() {
        within(|| {
            let notify = notify_and_wait(&waiting(4));
            let clients = notify.clients(100);
            let setters: Vec<_> = (0..20)
                .flat_map(|_| [Some(6), Some(4), Some(8), None])
                .map(|max| {
                    let server = notify.served.server.clone();
                    thread::spawn(move || server.set_max_connections(max))
                })
                .collect();
            setters.into_iter().for_each(|thread| thread.join().unwrap());
            notify.served.server.set_max_connections(8);
            drop(clients);
            notify.expect(100);
            let server = &notify.served.server;
            eventually("all have ended", || server.connections() == 0);
            let stats = server.stats();
            assert_eq!((stats.accepted, stats.ended + stats.failed, stats.panicked), (100, 100, 0));
        });
    }

    /// tcp_getopts_capability
    #[test]
    fn a_handler_can_ask_for_its_sockets_options() {
        within(|| {
            let served = Served::new(|socket| {
                let ask = |raw: SockRef<'_>| Ok::<_, io::Error>((raw.recv_buffer_size()?, raw.keepalive()?));
                let (size, keep_alive) = socket.with_raw(|fd| ask(SockRef::from(&fd)))??;
                socket.write_end(format!("{size} {keep_alive}"))
            });
            let said = io::read_to_string(&served.client()).unwrap();
            assert!(
                said.ends_with(" false") && said.split(' ').next().unwrap().parse::<usize>().unwrap() > 0,
                "{said}"
            );
        });
    }

    /// tcp_getstat_capability
    #[test]
    fn a_handler_can_ask_how_much_was_carried() {
        within(|| {
            let served = Served::new(|socket| {
                socket.read_exact(&mut [0; 9])?;
                socket.write_all("12345")?;
                socket.write_end(format!(" {} {}", socket.bytes_read(), socket.bytes_written()))
            });
            let client = served.client();
            client.write_all("getstat/1").unwrap();
            assert_eq!(io::read_to_string(&client).unwrap(), "12345 9 5");
        });
    }

    /// tcp_10_acceptors_10_listen_sockets
    #[test]
    fn ten_servers_share_a_port_and_every_client_is_served() {
        within(|| {
            let options = ServerOptions::new().reuse_port(true);
            let first = options.listen("127.0.0.1:0").unwrap();
            let at = first.address().clone();
            let mut servers = vec![Served::on(first, echo)];
            for _ in 1..10 {
                servers.push(Served::on(options.listen(&at).unwrap(), echo));
            }
            let clients: Vec<_> = (0..100).map(|_| Socket::connect(&at).unwrap()).collect();
            clients.iter().for_each(|client| ping(client, "x"));
            let accepted: Vec<_> = servers.iter().map(|served| served.server.stats().accepted).collect();
            assert_eq!(accepted.iter().sum::<u64>(), 100);
            assert!(accepted.iter().filter(|n| **n > 0).count() > 5, "they are shared out: {accepted:?}");
        });
    }

    /// tcp_many_listen_sockets_no_reuseport
    #[test]
    fn without_asking_for_it_a_port_is_not_shared() {
        let first = ServerOptions::new().reuse_port(true).listen("127.0.0.1:0").unwrap();
        assert_eq!(Server::listen(first.address()).unwrap_err().told().code(), "EADDRINUSE");
        let second = Server::listen("127.0.0.1:0").unwrap();
        assert_eq!(
            ServerOptions::new().reuse_port(true).listen(second.address()).unwrap_err().told().code(),
            "EADDRINUSE"
        );
    }

    /// tcp_error_eaddrinuse
    #[test]
    fn an_address_in_use_is_an_error_one_can_read_and_match() {
        let first = Server::listen("127.0.0.1:0").unwrap();
        let error = Server::listen(first.address()).unwrap_err();
        assert_eq!(error.told().code(), "EADDRINUSE");
        assert_eq!(error.told().address(), Some(first.address()));
        assert_eq!(error.to_string(), format!("listen EADDRINUSE: address already in use {}", first.address()));
    }

    /// tcp_error_eacces: as a user without privileges, in a process of its own
    #[test]
    fn a_privileged_port_is_an_error_one_can_read_and_match() {
        use std::os::unix::process::CommandExt;
        const NAME: &str = "acceptor::a_privileged_port_is_an_error_one_can_read_and_match";
        const USER: u32 = 65_534;
        const PORT: u16 = 283;
        if is_child(NAME) {
            let error = Server::listen(("127.0.0.1", PORT)).unwrap_err();
            assert_eq!((error.told().code(), error.kind()), ("EACCES", ErrorKind::PermissionDenied));
            assert_eq!(error.to_string(), "listen EACCES: permission denied 127.0.0.1:283");
            return;
        }
        let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
        if first.trim().parse::<u16>().unwrap() <= PORT {
            return println!("skipped: port {PORT} is not privileged here");
        }
        if !can_run_as(USER) {
            return;
        }
        let folder = Folder::temporary();
        let output = again(NAME, &folder.program(), &[]).current_dir("/").uid(USER).gid(USER).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }

    /// misc_info
    #[test]
    fn a_server_knows_its_address_limit_and_connections() {
        within(|| {
            let notify = notify_and_wait(&ServerOptions::new().max_connections(33));
            let _clients = notify.clients(2);
            notify.expect(2);
            let server = &notify.served.server;
            assert!(server.is_listening() && server.address().port() > 0);
            assert_eq!((server.max_connections(), server.connections(), server.sockets().len()), (33, 2, 2));
            server.set_max_connections(44);
            assert_eq!(server.max_connections(), 44);
        });
    }

    /// misc_metrics
    #[test]
    fn accepts_and_ends_are_counted() {
        within(|| {
            let notify = notify_and_wait(&ServerOptions::new());
            let server = notify.served.server.clone();
            let counts = || (server.stats().accepted, server.stats().ended);
            let first = notify.clients(10);
            notify.expect(10);
            assert_eq!(counts(), (10, 0));
            let second = notify.clients(10);
            notify.expect(10);
            assert_eq!(counts(), (20, 0));
            drop(second);
            eventually("10 have ended", || counts() == (20, 10));
            drop(first);
            eventually("all have ended", || counts() == (20, 20));
        });
    }

    /// misc_post_listen_callback: what is to be done to the listening socket is done before it is adopted
    #[test]
    fn a_listener_prepared_elsewhere_keeps_what_was_set() {
        within(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket.set_recv_buffer_size(50_000).unwrap();
            socket.listen(100).unwrap();
            let asked = socket.recv_buffer_size().unwrap();
            let server = ServerOptions::new().adopt(std::os::fd::OwnedFd::from(socket)).unwrap();
            let _client = Socket::connect(server.address()).unwrap();
            let accepted = server.accept().unwrap().unwrap();
            assert_eq!(accepted.with_raw(|fd| SockRef::from(&fd).recv_buffer_size()).unwrap().unwrap(), asked);
        });
    }

    /// misc_wait_for_connections, by the report hook: there is no call that waits for a number
    #[test]
    fn a_program_can_wait_for_a_number_of_connections_by_reports() {
        within(|| {
            let state = Arc::new((Mutex::new(0usize), Condvar::new()));
            let told = Arc::clone(&state);
            let options = ServerOptions::new().report(move |report| {
                let mut open = told.0.lock().unwrap();
                match report {
                    Report::Accepted { .. } => *open += 1,
                    Report::Ended { .. } => *open -= 1,
                    _ => return,
                }
                told.1.notify_all();
            });
            let wait_for = |n: usize| {
                let open = state.0.lock().unwrap();
                let (open, _) = state.1.wait_timeout_while(open, LONG, |open| *open != n).unwrap();
                assert_eq!(*open, n);
            };
            let served = Served::with(&options, "127.0.0.1:0", echo);
            wait_for(0);
            let one = served.client();
            wait_for(1);
            let two = served.client();
            wait_for(2);
            drop(one);
            wait_for(1);
            drop(two);
            wait_for(0);
        });
    }

    /// misc_connection_alarms
    #[test]
    fn a_threshold_of_connections_is_reported_with_each_one_that_reaches_it() {
        within(|| {
            let (tell, alarms) = channel();
            let tell = Mutex::new(tell);
            let options = ServerOptions::new().report(move |report| match report {
                Report::Accepted { open, .. } if *open >= 2 => tell.lock().unwrap().send(*open).unwrap(),
                _ => {}
            });
            let notify = notify_and_wait(&options);
            let mut clients = notify.clients(1);
            notify.expect(1);
            assert!(alarms.try_recv().is_err());
            for open in [2, 3] {
                clients.extend(notify.clients(1));
                notify.expect(1);
                assert_eq!(alarms.recv_timeout(LONG), Ok(open));
            }
        });
    }

    /// misc_repeated_start_stop
    #[test]
    fn a_server_starts_and_stops_again_and_again_on_one_port() {
        within(|| {
            let mut at = "127.0.0.1:0".parse::<landline::Address>().unwrap();
            for _ in 0..10 {
                let served = Served::on(Server::listen(&at).unwrap(), echo);
                at = served.server.address().clone();
                ping(&served.client(), "x");
                served.server.close();
                served.join().unwrap();
                assert!(Socket::connect(&at).is_err());
            }
        });
    }

    /// misc_bad_transport_options. Differs: an option that cannot be is an error that names it, and is not passed over.
    #[test]
    fn an_option_that_cannot_be_is_an_error_that_names_it() {
        let error = ServerOptions::new().stack_size(1).listen("127.0.0.1:0").unwrap_err();
        assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE");
        assert!(error.to_string().contains("stack_size"), "{error}");
    }

    /// supervisor_conns_alive
    #[test]
    fn connections_live_on_when_the_listening_socket_is_closed() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            ping(&client, "before");
            served.server.close();
            assert_eq!(Socket::connect(served.server.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            ping(&client, "after");
            client.end().unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            served.join().unwrap();
        });
    }

    /// supervisor_clean_child_restart: another owner of the descriptor shuts the listening socket down. Differs: the
    /// server is closed then.
    #[test]
    fn a_listening_socket_that_its_giver_shuts_ends_serving_with_an_error_and_harms_no_connection() {
        within(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let giver = socket2::Socket::from(listener.try_clone().unwrap());
            let server = ServerOptions::new().adopt(listener).unwrap();
            let running = server.spawn(echo).unwrap();
            let client = Socket::connect(server.address()).unwrap();
            ping(&client, "before");
            giver.shutdown(std::net::Shutdown::Both).unwrap();
            eventually("it is closed", || !server.is_listening());
            ping(&client, "after");
            drop(client);
            let error = running.join().unwrap_err();
            assert_eq!(landline::Error::of(&error).unwrap().code(), "EINVAL", "{error}");
        });
    }

    /// supervisor_protocol_start_link_crash
    #[test]
    fn a_handler_that_panics_at_once_harms_no_other_connection() {
        within(|| {
            let served = Served::new(|socket| {
                let mut first = [0];
                socket.read_exact(&mut first)?;
                if first == *b"!" {
                    std::panic::resume_unwind(Box::new("crash"));
                }
                echo(socket)
            });
            let good = served.client();
            good.write_all(".").unwrap();
            ping(&good, "before");
            let bad = served.client();
            bad.write_all("!").unwrap();
            assert!(matches!(bad.read(&mut [0]), Ok(0) | Err(_)));
            eventually("it is counted", || served.server.stats().panicked == 1);
            ping(&good, "after");
            let next = served.client();
            next.write_all(".").unwrap();
            ping(&next, "next");
        });
    }
}

mod shutdown {
    use super::*;

    fn is_refused(server: &Server) -> bool {
        Socket::connect(server.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    /// brutal_kill
    #[test]
    fn a_shutdown_without_time_disconnects_all_clients() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            ping(&client, "PING");
            let report = served.server.shutdown(Duration::ZERO);
            assert_eq!(report.finished + report.forced, 1);
            assert_eq!(report.still_running, 0);
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
            assert!(is_refused(&served.server));
            served.join().unwrap();
        });
    }

    /// timeout
    #[test]
    fn a_shutdown_with_time_ends_a_handler_that_waits_for_its_client_and_not_late() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            ping(&client, "PING");
            let report = served.server.shutdown(LONG);
            assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0));
            assert!(report.elapsed < LONG, "a shutdown does not wait for its time to end: {:?}", report.elapsed);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            assert!(is_refused(&served.server));
            served.join().unwrap();
        });
    }

    /// A handler that runs until the test lets it return, whatever happens to its connection.
    fn stubborn() -> (Served, Socket, Sender<()>) {
        let (let_go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let served = Served::new(move |socket| {
            let mut word = [0; 4];
            socket.read_exact(&mut word)?;
            socket.write_all(word)?;
            let _ = wait.lock().unwrap().recv();
            Ok(())
        });
        let client = served.client();
        ping(&client, "PING");
        (served, client, let_go)
    }

    /// infinity, infinity_trap_exit: to wait without end is `close` and `wait`
    #[test]
    fn close_and_wait_take_as_long_as_a_handler_does_and_accept_no_client() {
        within(|| {
            let (served, client, let_go) = stubborn();
            served.server.close();
            let server = served.server.clone();
            let waiter = blocked(move || server.wait().unwrap());
            assert!(is_refused(&served.server));
            assert!(!waiter.is_finished());
            let_go.send(()).unwrap();
            waiter.join().unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            served.join().unwrap();
        });
    }

    /// timeout_trap_exit. Differs: a thread cannot be killed, so the report counts handlers that have not
    /// returned.
    #[test]
    fn a_shutdown_returns_when_its_time_is_up_and_counts_handlers_that_still_run() {
        within(|| {
            let (served, client, let_go) = stubborn();
            let began = Instant::now();
            let report = served.server.shutdown(Duration::from_secs(1));
            assert!(began.elapsed() >= Duration::from_secs(1));
            assert_eq!((report.finished, report.forced, report.still_running), (0, 1, 1));
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "its connection is cut all the same");
            assert!(is_refused(&served.server));
            let_go.send(()).unwrap();
            served.join().unwrap();
        });
    }
}

/// stampede_tcp: a hundred connections, of which a random one is ended in a random way all the time
#[test]
fn a_server_whose_connections_end_in_every_way_for_seconds_still_serves() {
    within(|| {
        let turn = AtomicUsize::new(0);
        let served = Served::new(move |socket| {
            let turn = turn.fetch_add(1, SeqCst);
            loop {
                let mut byte = [0];
                match socket.read(&mut byte)? {
                    0 => return Ok(()),
                    _ if byte == *b"k" => match turn % 4 {
                        0 => std::panic::resume_unwind(Box::new("killed")),
                        1 => return Err(io::Error::other("killed")),
                        2 => socket.destroy(),
                        _ => drop(socket.reset_and_destroy()),
                    },
                    _ => socket.write_all(byte)?,
                }
            }
        });
        let mut clients: Vec<_> = (0..100).map(|_| served.client()).collect();
        let end = Instant::now() + Duration::from_secs(5);
        let mut random = 12345u64;
        while Instant::now() < end {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let i = (random >> 33) as usize % clients.len();
            let _ = clients[i].write_all("k");
            // From outside too.
            if random >> 60 == 0 {
                served.server.sockets().first().inspect(|socket| socket.destroy());
            }
            clients[i] = served.client();
            // This paces the ends.
            thread::sleep(Duration::from_millis(5));
        }
        drop(clients);
        ping(&served.client(), "y");
        let server = served.server.clone();
        eventually("none is left", || server.connections() == 0);
        let stats = server.stats();
        assert_eq!(stats.accepted, stats.ended + stats.failed + stats.panicked);
        assert!(stats.panicked > 5 && stats.failed > 5 && stats.ended > 5, "{stats:?}");
    });
}

/// ranch_concuerror: start_stop, info, in many runs and not in every order
#[test]
fn starting_asking_and_stopping_at_once_never_hangs() {
    within(|| {
        for _ in 0..100 {
            let served = Served::echo();
            let server = served.server.clone();
            let asking = thread::spawn(move || (server.stats(), server.connections(), server.is_listening()));
            served.server.close();
            asking.join().unwrap();
            served.join().unwrap();
        }
    });
}

mod sendfile {
    use super::*;

    /// A file and what is in it.
    fn file(folder: &Folder, size: usize) -> (File, Vec<u8>) {
        let data: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
        let path = folder.join("file");
        std::fs::write(&path, &data).unwrap();
        (File::open(path).unwrap(), data)
    }

    /// Sends a part of a file by std's copy, since there is no call for files, and gives what arrived.
    fn send(mut file: File, offset: u64, most: u64) -> (u64, Vec<u8>) {
        let (_server, client, socket) = pair("127.0.0.1:0");
        let receiver = thread::spawn(move || all(&socket).unwrap());
        file.seek(SeekFrom::Start(offset)).unwrap();
        let sent = io::copy(&mut file.take(most), &mut &client).unwrap();
        client.end().unwrap();
        (sent, receiver.join().unwrap())
    }

    /// filename, rawfile, rawfile_chunk_size_large
    #[test]
    fn a_whole_file_is_sent_by_copy() {
        within(|| {
            for size in [0, 1, 4000, 8192, 3_000_000] {
                let folder = Folder::temporary();
                let (file, data) = file(&folder, size);
                let (sent, got) = send(file, 0, u64::MAX);
                assert_eq!(sent, size as u64);
                assert_eq!(got, data);
            }
        });
    }

    /// rawfile_bytes_large, rawfile_offset_large, rawfile_range_large, rawfile_range_medium, rawfile_range_small
    #[test]
    fn a_range_of_a_file_is_sent_by_copy_and_never_more_than_there_is() {
        within(|| {
            for (offset, most) in [(0, 9_000_000), (99_999_999, 5), (2_900_000, 500_000), (1000, 1_000_000), (5, 6)] {
                let folder = Folder::temporary();
                let (file, data) = file(&folder, 3_000_000);
                let (from, to) = (data.len().min(offset), data.len().min(offset + most));
                let (sent, got) = send(file, offset as u64, most as u64);
                assert_eq!(sent, (to - from) as u64);
                assert!(got == data[from..to]);
            }
        });
    }
}

/// tcp_upgrade, in landline's way: what the handler goes by is the program's own, and may change
#[test]
fn a_handler_sees_what_the_program_changes_for_the_next_client() {
    within(|| {
        let word = Arc::new(Mutex::new("connected"));
        let shared = Arc::clone(&word);
        let served = Served::new(move |socket| socket.write_end(*shared.lock().unwrap()));
        assert_eq!(io::read_to_string(&served.client()).unwrap(), "connected");
        *word.lock().unwrap() = "upgraded";
        assert_eq!(io::read_to_string(&served.client()).unwrap(), "upgraded");
        let _ = (io::sink().flush(), dgram::Socket::bind("127.0.0.1:0"));
    });
}
