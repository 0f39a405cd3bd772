//! Rules of CPython: Lib/test/test_socketserver.py, and of Lib/test/test_socket.py the classes named. Each comment
//! names the test there.

use std::ffi::OsStr;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerEvent, ServerOptions, Socket, SocketOptions};
use landline::{Address, BlockList, Error, Family, Report, dgram};
use landline_peers::*;
use socket2::SockRef;

const MSG: &str = "a line and no more \u{1234}\r\n";
const LINE: &str = "a line and no more \u{1234}";

mod socketserver {
    use super::*;

    fn a_line_back(socket: &Socket) -> io::Result<()> {
        match socket.buffered()?.lines().next() {
            Some(line) => socket.write_all(format!("{}\n", line?)),
            None => Ok(()),
        }
    }

    fn three_clients_and_a_shutdown(server: Server) {
        let served = Served::on(server, a_line_back);
        for _ in 0..3 {
            let client = served.client();
            client.write_all("hello world\n").unwrap();
            assert_eq!(io::read_to_string(&client).unwrap(), "hello world\n");
        }
        let server = served.server.clone();
        server.close();
        served.join().unwrap();
        assert!(!server.is_listening());
        assert!(Socket::connect(server.address()).is_err());
    }

    /// test_TCPServer, test_ThreadingTCPServer
    #[test]
    fn three_clients_get_their_line_back_and_the_server_stops() {
        within(|| three_clients_and_a_shutdown(Server::listen("127.0.0.1:0").unwrap()));
    }

    /// test_UnixStreamServer, test_ThreadingUnixStreamServer
    #[test]
    fn three_clients_of_a_path_get_their_line_back_and_the_server_stops() {
        within(|| {
            let folder = Folder::temporary();
            three_clients_and_a_shutdown(Server::listen(folder.join("sock")).unwrap());
        });
    }

    /// test_UDPServer, test_ThreadingUDPServer
    #[test]
    fn three_clients_get_their_datagram_back_and_the_server_stops() {
        within(|| {
            let server = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let running = receiving(&server, |server, bytes, from| server.send_to(bytes, from).map(drop));
            for _ in 0..3 {
                let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
                client.send_to(b"hello world\n", server.address()).unwrap();
                let mut buffer = [0; 100];
                assert_eq!(client.recv_timeout(&mut buffer, LONG).unwrap().unwrap().0, b"hello world\n");
            }
            server.close();
            running.join().unwrap().unwrap();
        });
    }

    /// test_shutdown
    #[test]
    fn a_server_that_is_stopped_right_after_its_start_stops() {
        within(|| {
            let servers: Vec<_> = (0..20).map(|_| Server::listen("127.0.0.1:0").unwrap()).collect();
            let running: Vec<_> = servers
                .iter()
                .map(|server| {
                    let running = server.spawn(echo).unwrap();
                    let _ = server.shutdown(Duration::from_secs(1));
                    running
                })
                .collect();
            running.into_iter().for_each(|running| running.join().unwrap());
        });
    }

    /// test_close_immediately, test_context_manager
    #[test]
    fn a_server_that_was_never_served_can_be_closed_or_dropped_and_frees_its_port() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            server.close();
            let again = Server::listen(server.address()).unwrap();
            let at = again.address().clone();
            drop(again);
            Server::listen(&at).unwrap();
        });
    }

    /// test_context_manager, and what every test there asks at its end: the closed server has no descriptor any more
    #[test]
    fn a_server_that_was_closed_has_no_descriptor_left_though_its_handle_lives() {
        const NAME: &str = "socketserver::a_server_that_was_closed_has_no_descriptor_left_though_its_handle_lives";
        in_child(NAME, || {
            let folder = Folder::temporary();
            let before = descriptors();
            let mut handles = Vec::new();
            for i in 0..20 {
                let server = if i % 2 == 0 {
                    Server::listen("127.0.0.1:0").unwrap()
                } else {
                    Server::listen(folder.join("sock")).unwrap()
                };
                let running = server.spawn(echo).unwrap();
                ping(&Socket::connect(server.address()).unwrap(), "x");
                server.close();
                running.join().unwrap();
                handles.push(server);
                let datagrams = dgram::Socket::bind("127.0.0.1:0").unwrap();
                datagrams.close();
            }
            assert_eq!(descriptors(), before);
        });
    }

    /// test_tcpserver_bind_leak
    #[test]
    fn a_listen_that_fails_leaks_no_descriptor() {
        const NAME: &str = "socketserver::a_listen_that_fails_leaks_no_descriptor";
        in_child(NAME, || {
            let taken = Server::listen("127.0.0.1:0").unwrap();
            let before = descriptors();
            for _ in 0..1024 {
                Server::listen(taken.address()).unwrap_err();
                Server::listen(("127.0.0.1:99999").to_string()).unwrap_err();
                dgram::Socket::bind("198.51.100.1:1").unwrap_err();
                Server::listen(Path::new("/nonexistent/sock")).unwrap_err();
            }
            assert_eq!(descriptors(), before);
        });
    }

    /// ErrorHandlerTest.test_sync_handled, test_threading_handled
    #[test]
    fn an_error_of_a_handler_is_reported_and_the_server_keeps_running() {
        within(|| {
            let (tell, told) = channel();
            let tell = Mutex::new(tell);
            let server = Server::listen("127.0.0.1:0").unwrap();
            let running = server
                .on()
                .connection(|_| Err(io::Error::other("Test error")))
                .error(move |error, socket| tell.lock().unwrap().send((error.to_string(), socket.is_some())).unwrap())
                .spawn()
                .unwrap();
            for _ in 0..2 {
                let client = Socket::connect(server.address()).unwrap();
                assert_eq!(told.recv_timeout(LONG).unwrap(), ("Test error".to_string(), true));
                assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
            }
            server.close();
            running.join().unwrap();
            assert_eq!(server.stats().failed, 2);
        });
    }

    /// ErrorHandlerTest.test_sync_not_handled, test_threading_not_handled: in Rust a panic, which is reported and is no
    /// error
    #[test]
    fn a_panic_of_a_handler_is_reported_as_such() {
        within(|| {
            let (tell, told) = channel();
            let tell = Mutex::new(tell);
            let options = ServerOptions::new().report(move |report| {
                if let Report::Panicked { message, .. } = report {
                    tell.lock().unwrap().send(message.clone()).unwrap();
                }
            });
            let served = Served::with(&options, "127.0.0.1:0", |_| std::panic::resume_unwind(Box::new("Test panic")));
            drop(served.client());
            assert_eq!(told.recv_timeout(LONG).unwrap(), "Test panic");
            // It is reported before it is counted.
            eventually("it is counted", || served.server.stats().panicked == 1);
            assert_eq!(served.server.stats().failed, 0);
        });
    }

    /// SocketWriterTest.test_write: sent at once, without a flush; and whole, although signals interrupt it
    #[test]
    fn a_write_is_sent_at_once_and_whole_although_it_is_interrupted() {
        const NAME: &str = "socketserver::a_write_is_sent_at_once_and_whole_although_it_is_interrupted";
        const BIG: usize = 32 << 20;
        interrupted(NAME, || {
            // A time limit makes the kernel end the call when the process is stopped and continued.
            let options = ServerOptions::new().timeout(Duration::from_secs(40));
            let served = Served::with(&options, "127.0.0.1:0", |socket| {
                socket.write_all("write data\n")?;
                assert_eq!(socket.buffered()?.lines().next().unwrap()?, "client response");
                socket.write_all(vec![7; BIG])
            });
            let client = served.client();
            let mut reader = client.buffered().unwrap();
            assert_eq!(reader.next_line().unwrap().as_deref(), Some("write data"));
            client.write_all("client response\n").unwrap();
            ready();
            // This paces the reader: the handler is still writing while the signals come.
            thread::sleep(Duration::from_secs(2));
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest.len(), BIG);
            assert!(rest.iter().all(|byte| *byte == 7));
        });
    }

    /// MiscTestCase.test_shutdown_request_called_if_verify_request_false
    #[test]
    fn a_client_on_a_block_list_is_closed_and_counted_once() {
        within(|| {
            let list = BlockList::new();
            list.add_address([127, 0, 0, 1]);
            let served = Served::with(&ServerOptions::new().block_list(&list), "127.0.0.1:0", echo);
            let client = served.client();
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
            assert_eq!(served.server.stats().refused(landline::RefusedBy::Blocked), 1);
        });
    }

    /// MiscTestCase.test_threads_reaped
    #[test]
    fn threads_do_not_pile_up_with_connections_that_have_ended() {
        const NAME: &str = "socketserver::threads_do_not_pile_up_with_connections_that_have_ended";
        in_child(NAME, || {
            let served = Served::echo();
            let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
            ping(&served.client(), "x");
            let before = threads();
            (0..200).for_each(|_| ping(&served.client(), "x"));
            assert!(threads() < before + 10, "{} threads, {before} before", threads());
        });
    }
}

/// Runs a body in a process of its own.
fn in_child(name: &str, body: impl FnOnce()) {
    child(name, false, body);
}

/// The same, stopped and continued now and then from the moment it says it is ready.
fn interrupted(name: &str, body: impl FnOnce()) {
    child(name, true, body);
}

/// Said by the child: it may be interrupted from now on.
fn ready() {
    println!("READY");
    io::stdout().flush().unwrap();
}

fn child(name: &str, interrupt: bool, body: impl FnOnce()) {
    if is_child(name) {
        return body();
    }
    let mut child = again(name, &std::env::current_exe().unwrap(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = io::BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    if interrupt {
        while !said.contains("READY") {
            assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let id = child.id().to_string();
        for signal in ["STOP", "CONT"].repeat(5) {
            // This paces the signals.
            thread::sleep(Duration::from_millis(150));
            assert!(Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap().success());
        }
    }
    out.read_to_string(&mut said).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(child.wait().unwrap().success() && said.contains("1 passed"), "{said}\n{err}");
}

mod general {
    use super::*;

    /// GeneralModuleTests.testSockName, testNewAttributes
    #[test]
    fn a_wildcard_stays_a_wildcard_and_has_a_family() {
        let server = Server::listen("0.0.0.0:0").unwrap();
        assert!(server.address().ip().unwrap().is_unspecified() && server.address().port() > 0);
        assert_eq!(server.address().family(), Family::Ipv4);
    }

    /// GeneralModuleTests.testSendAfterClose; ContextManagersTest.testCreateConnectionClose;
    /// SendmsgTests.testSendmsgAfterClose
    #[test]
    fn sending_after_the_close_fails() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            client.destroy();
            for result in [
                client.write_all("spam"),
                write_all_vectored(&client, &[b"spam"]),
                client.write_end("spam"),
                client.outbox().send(*b"spam").map_err(io::Error::from),
                client.buffered().and_then(|mut buffered| buffered.write_all(b"spam")),
            ] {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::NotConnected);
            }
            let datagrams = dgram::Socket::bind("127.0.0.1:0").unwrap();
            datagrams.close();
            assert_eq!(datagrams.send_to(b"spam", datagrams.address()).unwrap_err().kind(), ErrorKind::NotConnected);
        });
    }

    /// GeneralModuleTests.test_getsockaddrarg
    #[test]
    fn a_port_above_65535_or_below_0_is_an_error_before_there_is_a_socket() {
        for bad in ["127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:99999999999999999999", "127.0.0.1:"] {
            assert_eq!(Server::listen(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
            assert_eq!(Socket::connect(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
            assert_eq!(dgram::Socket::bind(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }

    /// GeneralModuleTests.testIPv4toString, testIPv6toString
    #[test]
    fn texts_of_ip_addresses_are_distinguished_from_others() {
        let family = |text: &str| text.parse::<Address>().ok().map(|address| address.family());
        for good in ["0.0.0.0", "255.0.255.0", "170.170.170.170"] {
            assert_eq!(family(&format!("{good}:1")), Some(Family::Ipv4), "{good}");
        }
        for bad in ["0.0.0.", "300.0.0.0", "a.0.0.0", "1.2.3.4.5", "::1", "0x7f.1", "1.2.3"] {
            assert_eq!(family(&format!("{bad}:1")), None, "{bad}");
        }
        for good in [
            "::",
            "0::0",
            "1::",
            "45ef:76cb:1a:56ef:afeb:bac:1924:aeae",
            "ad42:abc::127:0:254:2",
            "::254.42.23.64",
            "42:a8b9:0:2:ffff:a29b:254.42.23.64",
        ] {
            assert_eq!(family(&format!("[{good}]:1")), Some(Family::Ipv6), "{good}");
        }
        for bad in [
            "0x20::",
            ":::",
            "::0::",
            "1::abc::",
            "1:2:3:4:5:6",
            "1:2:3:4:5:6:",
            "1:2:3:4:5:6:7:8:0",
            "1:2:3:4:5:6:7:8:",
            "255.254.253.252",
            "1::260.2.3.0",
            "1::0.be.e.0",
            "1:2:3:4:5:6:7:1.2.3.4",
            "::1.2.3.4:0",
            "0.100.200.0:3:4:5:6:7:8",
        ] {
            assert_eq!(family(&format!("[{bad}]:1")), None, "{bad}");
        }
    }

    /// GeneralModuleTests.test_getaddrinfo_ipv6_scopeid_symbolic
    #[test]
    fn a_zone_may_be_a_name_or_a_number() {
        within(|| {
            for zone in ["lo", "1"] {
                // The zone is found, and no interface has the address.
                let error = Server::listen(format!("[fe80::1234%{zone}]:0")).unwrap_err();
                assert_eq!(error.told().code(), "EADDRNOTAVAIL", "{error}");
            }
            let error = Server::listen("[fe80::1234%nosuch]:0").unwrap_err();
            assert!(error.told().code() == "ENOTFOUND" || error.kind() == ErrorKind::NotFound, "{error}");
        });
    }

    /// GeneralModuleTests.test_listen_backlog, test_listen_backlog_overflow
    #[test]
    fn any_backlog_is_taken_from_none_to_more_than_a_c_int() {
        within(|| {
            for backlog in [0, 1, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX] {
                let options = ServerOptions::new().backlog(backlog);
                let served = Served::with(&options, "127.0.0.1:0", echo);
                ping(&served.client(), "x");
            }
        });
    }

    /// GeneralModuleTests.test_sendall_interrupted
    #[test]
    fn a_write_that_is_interrupted_continues_and_one_with_a_timeout_still_times_out() {
        const NAME: &str = "general::a_write_that_is_interrupted_continues_and_one_with_a_timeout_still_times_out";
        interrupted(NAME, || {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(3));
            ready();
            let began = Instant::now();
            let error = client.write_all(vec![0; 64 << 20]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(3));
        });
    }

    /// InterruptedRecvTimeoutTest, TCPTimeoutTest.testInterruptedTimeout. Differs: an interrupted
    /// call continues, as in std.
    #[test]
    fn a_read_that_is_interrupted_continues_with_the_time_that_is_left() {
        const NAME: &str = "general::a_read_that_is_interrupted_continues_with_the_time_that_is_left";
        interrupted(NAME, || {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(3));
            let datagrams = dgram::Socket::bind("127.0.0.1:0").unwrap();
            ready();
            let other = thread::spawn(move || {
                let began = Instant::now();
                let error = datagrams.recv_timeout(&mut [0], Duration::from_secs(3)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                began.elapsed()
            });
            let began = Instant::now();
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(3));
            assert!(other.join().unwrap() >= Duration::from_secs(3));
        });
    }

    /// InheritanceTest
    #[test]
    fn no_socket_is_passed_on_to_a_program_that_is_started() {
        const NAME: &str = "general::no_socket_is_passed_on_to_a_program_that_is_started";
        in_child(NAME, || {
            let (server, client, socket) = pair("127.0.0.1:0");
            let datagrams = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            let pair = [Socket::from(one), Socket::from(other)];
            let dup = socket.with_raw(|fd| fd.try_clone_to_owned()).unwrap().unwrap();
            let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert!(listed.contains("->") && !listed.contains("socket:"), "{listed}");
            drop((server, client, socket, datagrams, pair, dup));
        });
    }
}

mod basic_tcp {
    use super::*;

    /// BasicTCPTest.testRecv, testOverFlowRecv; RecvmsgGenericStreamTests.testRecvmsgOverflow, testRecvmsgEOF
    #[test]
    fn a_message_is_read_whole_or_in_pieces() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let mut buffer = [0; 1024];
            socket.write_all(MSG).unwrap();
            assert_eq!(client.read(&mut buffer).unwrap(), MSG.len());
            socket.write_all(MSG).unwrap();
            assert_eq!(client.read(&mut buffer[..MSG.len() - 3]).unwrap(), MSG.len() - 3);
            assert_eq!(client.read(&mut buffer[MSG.len() - 3..]).unwrap(), 3);
            assert_eq!(&buffer[..MSG.len()], MSG.as_bytes());
            drop(socket);
            assert_eq!(client.read(&mut buffer).unwrap(), 0);
        });
    }

    /// BasicTCPTest.testSendAll
    #[test]
    fn all_of_a_large_message_arrives() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let sender = thread::spawn(move || socket.write_all([b'f'; 2048]).unwrap());
            assert_eq!(all(&client).unwrap(), [b'f'; 2048]);
            sender.join().unwrap();
        });
    }

    /// BasicTCPTest.testFromFd, testDup
    #[test]
    fn a_duplicate_of_the_descriptor_is_another_socket_on_the_same_connection() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(MSG).unwrap();
            let fd = client.with_raw(|fd| fd.try_clone_to_owned()).unwrap().unwrap();
            let other = Socket::try_from(fd).unwrap();
            let mut buffer = [0; 1024];
            assert_eq!(other.read(&mut buffer).unwrap(), MSG.len());
            assert_eq!(other.remote_address(), client.remote_address());
            assert_ne!(other, client);
        });
    }

    /// BasicTCPTest.testShutdown
    #[test]
    fn a_peer_that_closes_both_ways_after_writing_is_read_to_the_end() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(MSG).unwrap();
            socket.with_raw(|fd| SockRef::from(&fd).shutdown(std::net::Shutdown::Both)).unwrap().unwrap();
            assert_eq!(io::read_to_string(&client).unwrap(), MSG);
        });
    }

    /// BasicTCPTest.testDetach: the owner of a duplicate can use the connection when our handles are gone
    #[test]
    fn a_duplicate_can_use_the_connection_when_the_socket_is_dropped() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let fd = client.with_raw(|fd| fd.try_clone_to_owned()).unwrap().unwrap();
            drop(client);
            let mut std = std::net::TcpStream::from(fd);
            socket.write_all(MSG).unwrap();
            let mut buffer = [0; 1024];
            assert_eq!(std.read(&mut buffer).unwrap(), MSG.len());
            std.write_all(b"back").unwrap();
            assert_eq!(socket.read(&mut buffer).unwrap(), 4);
        });
    }

    /// BasicTCPTest.testDetach, out of a handler. Differs: the connection ends when the handler returns.
    #[test]
    fn a_duplicate_does_not_outlive_the_handlers_return() {
        within(|| {
            let (tell, told) = channel();
            let tell = Mutex::new(tell);
            let served = Served::new(move |socket| {
                tell.lock().unwrap().send(socket.with_raw(|fd| fd.try_clone_to_owned())??).unwrap();
                Ok(())
            });
            let client = served.client();
            let mut std = std::net::TcpStream::from(told.recv().unwrap());
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "it has ended");
            client.destroy();
            assert!(matches!(std.read(&mut [0]), Ok(0) | Err(_)));
        });
    }

    /// TCPCloserTest.testClose
    #[test]
    fn closing_many_times_is_safe_and_the_peer_sees_the_end() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.write_all("x").unwrap();
            socket.read_exact(&mut [0]).unwrap();
            (0..3).for_each(|_| socket.destroy());
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
    }

    /// FreeThreadingTests.test_close_detach_race
    #[test]
    fn closing_and_duplicating_from_two_threads_is_safe() {
        within(|| {
            for _ in 0..50 {
                let (_server, client, _socket) = pair("127.0.0.1:0");
                let other = client.clone();
                let closer = thread::spawn(move || (0..1000).for_each(|_| other.destroy()));
                for _ in 0..1000 {
                    let _ = client.with_raw(|fd| fd.try_clone_to_owned());
                }
                closer.join().unwrap();
            }
        });
    }

    /// BufferIOTest
    #[test]
    fn a_buffer_may_be_larger_than_the_message_or_empty() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(MSG).unwrap();
            let mut large = vec![0; 1024];
            assert_eq!(client.read(&mut []).unwrap(), 0);
            assert_eq!(client.peek(&mut []).unwrap(), 0);
            assert_eq!(client.read(&mut large).unwrap(), MSG.len());
            assert_eq!(&large[..MSG.len()], MSG.as_bytes());
        });
    }

    /// NonBlockingTCPTests.testLargeTimeout
    #[test]
    fn the_longest_times_are_taken_by_every_call() {
        within(|| {
            for time in [Duration::from_secs(2_147_483_648), Duration::MAX] {
                let options =
                    ServerOptions::new().timeout(time).deadline(time).lingering_close(time).proxy_timeout(time);
                let served = Served::with(&options, "127.0.0.1:0", echo);
                let options = SocketOptions::new().timeout(time).connect_timeout(time).attempt_timeout(time);
                let client = options.connect(served.server.address()).unwrap();
                ping(&client, "x");
                client.set_timeout(time);
                ping(&client, "y");
                client.end().unwrap();
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
                let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
                socket.send_to(b"x", socket.address()).unwrap();
                assert!(socket.recv_timeout(&mut [0], time).unwrap().is_some());
                let report = served.server.shutdown(time);
                assert_eq!(report.still_running, 0);
            }
        });
    }

    /// NonBlockingTCPTests.testInheritFlagsBlocking
    #[test]
    fn an_accepted_socket_blocks_without_a_time_limit() {
        within(|| {
            let (_server, _client, socket) = pair("127.0.0.1:0");
            assert!(!socket.with_raw(|fd| SockRef::from(&fd).nonblocking()).unwrap().unwrap());
            assert_eq!(socket.with_raw(|fd| SockRef::from(&fd).read_timeout()).unwrap().unwrap(), None);
            // Nor does one of a listener that has a time limit, or does not block.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            socket2::SockRef::from(&listener).set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let server = ServerOptions::new().adopt(listener).unwrap();
            let _client = TcpStream::connect(at).unwrap();
            let socket = server.accept().unwrap().unwrap();
            assert_eq!(socket.with_raw(|fd| SockRef::from(&fd).read_timeout()).unwrap().unwrap(), None);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let at = listener.local_addr().unwrap();
            let server = ServerOptions::new().adopt(listener).unwrap();
            let _client = TcpStream::connect(at).unwrap();
            let socket = server.accept().unwrap().unwrap();
            assert!(!socket.with_raw(|fd| SockRef::from(&fd).nonblocking()).unwrap().unwrap());
        });
    }

    /// TCPTimeoutTest.testTCPTimeout, testTimeoutZero, NonBlockingTCPTests.testAccept: `accept` has no time limit; the
    /// channel of a server's events has
    #[test]
    fn waiting_for_a_client_can_be_limited_by_the_channel_of_events() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let events = server.events(4).unwrap();
            let began = Instant::now();
            assert!(events.recv_timeout(Duration::from_secs(1)).is_err());
            assert!(began.elapsed() >= Duration::from_secs(1));
            assert!(events.try_recv().is_err());
            let _client = Socket::connect(server.address()).unwrap();
            assert!(matches!(events.recv_timeout(LONG).unwrap(), ServerEvent::Connection(_)));
        });
    }

    /// NonBlockingTCPTests.testRecv, in the same way
    #[test]
    fn waiting_for_data_can_be_done_without_by_a_channel_of_events() {
        use landline::net::SocketEvent;
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let events = socket.events(4).unwrap();
            assert!(events.try_recv().is_err());
            client.write_all(MSG).unwrap();
            match events.recv_timeout(LONG).unwrap() {
                SocketEvent::Data(bytes) => assert_eq!(bytes, MSG.as_bytes()),
                other => panic!("{other:?}"),
            }
        });
    }

    /// SendmsgStreamTests.testSendmsgDontWait
    #[test]
    fn writing_without_waiting_ends_when_the_outbox_is_full() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            let outbox = client.outbox();
            let full = (0..100_000).find_map(|_| outbox.try_send([b'a'; 512]).err());
            assert!(full.expect("it fills").is_full());
            client.destroy();
        });
    }

    /// SendmsgTests.testSendmsg, testSendmsgGather; SendmsgStreamTests.testSendmsgTimeout
    #[test]
    fn a_gathered_write_arrives_whole_and_times_out_like_any_other() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let (a, b) = MSG.as_bytes().split_at(3);
            write_all_vectored(&client, &[a, b]).unwrap();
            let mut buffer = [0; 100];
            assert_eq!(socket.read(&mut buffer).unwrap(), MSG.len());
            client.set_timeout(Duration::from_secs(1));
            let error = loop {
                if let Err(error) = write_all_vectored(&client, &[&[b'a'; 40_000], &[b'b'; 40_000]]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }
}

mod basic_udp {
    use super::*;

    /// BasicUDPTest.testSendtoAndRecv, testRecvFrom; RecvmsgGenericTests.testRecvmsg, testRecvmsgShorter,
    /// testRecvmsgTrunc, testRecvmsgFromSendmsg
    #[test]
    fn a_datagram_is_received_whole_or_says_that_it_was_cut() {
        within(|| {
            let server = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let mut buffer = [0; 100];
            for (room, cut) in [(MSG.len() + 42, false), (MSG.len(), false), (MSG.len() - 3, true)] {
                let (a, b) = MSG.as_bytes().split_at(3);
                let slices = [io::IoSlice::new(a), io::IoSlice::new(b)];
                client.send_vectored_to(&slices, server.address()).unwrap();
                let (bytes, from) = server.recv(&mut buffer[..room]).unwrap().unwrap();
                assert_eq!(bytes, &MSG.as_bytes()[..room.min(MSG.len())]);
                assert_eq!((from.address(), from.size(), from.is_truncated()), (client.address(), MSG.len(), cut));
            }
        });
    }

    /// SendmsgConnectionlessTests.testSendmsgNoDestAddr
    #[test]
    fn sending_without_a_peer_is_an_error() {
        let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
        assert_eq!(socket.send(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(socket.send_vectored(&[]).unwrap_err().kind(), ErrorKind::NotConnected);
    }

    /// RecvmsgGenericTests.testRecvmsgAfterClose. Differs: a receive gives `None` once the socket is closed.
    #[test]
    fn receiving_after_the_close_gives_none() {
        within(|| {
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            socket.close();
            assert!(socket.recv(&mut [0]).unwrap().is_none());
            assert!(socket.try_recv(&mut [0]).unwrap().is_none());
            assert!(socket.recv_timeout(&mut [0], Duration::from_secs(1)).unwrap().is_none());
        });
    }
}

/// The classes FileObjectClassTestCase and its kin: reading by a buffer, and by lines.
mod file_object {
    use super::*;

    /// testSmallRead, testFullRead, testUnbufferedRead
    #[test]
    fn lines_can_be_read_from_as_a_file_in_any_pieces() {
        within(|| {
            for step in [1, 2, MSG.len() - 3, MSG.len(), 1000] {
                let (_server, client, socket) = pair("127.0.0.1:0");
                socket.write_end(MSG).unwrap();
                let mut reader = client.buffered().unwrap();
                let mut got: Vec<u8> = Vec::new();
                let mut buffer = vec![0; step];
                loop {
                    match reader.read(&mut buffer).unwrap() {
                        0 => break,
                        n => got.extend(&buffer[..n]),
                    }
                }
                assert_eq!(got, MSG.as_bytes());
            }
        });
    }

    /// testReadline
    #[test]
    fn a_line_is_given_as_soon_as_it_is_whole_although_the_peer_sends_more() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(MSG).unwrap();
            socket.write_all("begun").unwrap();
            let mut reader = client.buffered().unwrap();
            assert_eq!(reader.next_line().unwrap().as_deref(), Some(LINE));
            socket.write_end(" and ended").unwrap();
            assert_eq!(reader.next_line().unwrap().as_deref(), Some("begun and ended"));
            assert_eq!(reader.next_line().unwrap(), None);
        });
    }

    /// testReadline, by `BufRead`, which leaves the line's end on
    #[test]
    fn lines_are_bufread_too_with_line_ends_and_in_turns_with_those_without() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_end(format!("{MSG}two\nthree\r\nfour")).unwrap();
            let mut reader = client.buffered().unwrap();
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, MSG);
            assert_eq!(reader.next_line().unwrap().as_deref(), Some("two"));
            assert_eq!(reader.fill_buf().unwrap(), b"three\r\nfour");
            reader.consume(2);
            assert_eq!(reader.next_line().unwrap().as_deref(), Some("ree"));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "four");
            assert_eq!(reader.next_line().unwrap(), None);
        });
    }

    /// testReadAfterTimeout. Differs: a step that timed out loses nothing, and the next one continues
    /// where it stopped.
    #[test]
    fn a_line_that_timed_out_half_way_is_read_on() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            socket.write_all("half").unwrap();
            let mut lines = client.buffered().unwrap().lines();
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
            socket.write_all(" and half\nnext\n").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "half and half");
            assert_eq!(lines.next().unwrap().unwrap(), "next");
        });
    }

    /// testReadAfterTimeout, by `BufRead`: std's read_line keeps what it has, too
    #[test]
    fn a_read_line_that_timed_out_half_way_is_read_on() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            socket.write_all("half").unwrap();
            let (mut reader, mut line) = (client.buffered().unwrap(), String::new());
            assert_eq!(reader.read_line(&mut line).unwrap_err().kind(), ErrorKind::TimedOut);
            socket.write_all(" and half\nnext\n").unwrap();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "half and half\n");
        });
    }

    /// testCloseAfterMakefile
    #[test]
    fn lines_keep_the_connection_open_when_the_socket_is_dropped() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let mut lines = client.buffered().unwrap().lines();
            drop(client);
            socket.write_all(MSG).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), LINE);
            drop(lines);
            assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        });
    }

    /// testMakefileAfterMakefileClose
    #[test]
    fn lines_that_have_read_nothing_take_nothing_along() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(MSG).unwrap();
            drop(client.buffered().unwrap());
            let mut buffer = [0; 100];
            assert_eq!(client.read(&mut buffer).unwrap(), MSG.len());
        });
    }

    /// testRealClose, testMakefileClose
    #[test]
    fn lines_of_a_closed_socket_fail_and_end() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            let mut lines = client.buffered().unwrap().lines();
            client.destroy();
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
            assert!(lines.next().is_none());
        });
    }

    /// UnbufferedFileObjectClassTestCase.testUnbufferedReadline. Differs: what was received beyond the line
    /// is in the `Buffered`, of which there is one at a time, until that is dropped.
    #[test]
    fn a_second_line_that_came_with_the_first_is_left_to_the_next_reader() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all(format!("A. {MSG}B. {MSG}")).unwrap();
            let mut reader = client.buffered().unwrap();
            assert_eq!(reader.next_line().unwrap().unwrap(), format!("A. {LINE}"));
            assert_eq!(client.buffered().unwrap_err().kind(), ErrorKind::ResourceBusy);
            drop(reader);
            assert_eq!(client.buffered().unwrap().next_line().unwrap().unwrap(), format!("B. {LINE}"));
        });
    }

    /// UnicodeReadFileObjectClassTestCase; for lines that are not UTF-8 the rule is landline's own: such a line is an
    /// error and the next one follows.
    #[test]
    fn a_line_that_is_not_utf_8_is_an_error_and_the_next_follows() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_end(b"\xff\xfe\n\xe1\x88\xb4\n\xe1\x88\n".as_slice()).unwrap();
            let mut lines = client.buffered().unwrap().lines();
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
            assert_eq!(lines.next().unwrap().unwrap(), "\u{1234}");
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(lines.next().is_none());
        });
    }

    /// SmallBufferedFileObjectClassTestCase: bounded; the bound is on the line, without its end
    #[test]
    fn a_line_as_long_as_the_limit_passes_and_a_longer_one_is_the_last() {
        within(|| {
            for end in ["\n", "\r\n"] {
                for pieces in [1, 1000] {
                    let (_server, client, socket) = pair("127.0.0.1:0");
                    let text = format!("{}{end}{end}{}{end}x{end}", "a".repeat(10), "b".repeat(11));
                    let writer = thread::spawn(move || {
                        text.as_bytes().chunks(pieces).for_each(|piece| socket.write_all(piece).unwrap());
                        socket
                    });
                    let mut reader = client.buffered().unwrap();
                    reader.set_line_limit(10);
                    let mut lines = reader.lines();
                    assert_eq!(lines.next().unwrap().unwrap(), "a".repeat(10));
                    assert_eq!(lines.next().unwrap().unwrap(), "");
                    assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
                    assert!(lines.next().is_none());
                    drop(writer.join().unwrap());
                }
            }
        });
    }

    /// As above: a peer that never ends its line is found out at the limit and not at its end
    #[test]
    fn a_line_without_end_costs_no_more_than_the_limit() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            let flood = thread::spawn(move || while socket.write_all([b'x'; 4096]).is_ok() {});
            let mut lines = client.buffered().unwrap().lines();
            assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::InvalidData);
            assert!(client.bytes_read() <= 64 * 1024 + 8 * 1024 + 1);
            client.destroy();
            flood.join().unwrap();
        });
    }

    /// Lone CRs, of which Python's universal newlines would make lines; here they are part of one
    #[test]
    fn a_cr_alone_ends_no_line() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_end("a\rb\r\r\nc\r").unwrap();
            let lines: Result<Vec<_>, _> = client.buffered().unwrap().lines().collect();
            assert_eq!(lines.unwrap(), ["a\rb\r", "c\r"]);
        });
    }
}

mod connecting {
    use super::*;

    fn unused_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    /// NetworkConnectionNoServer.test_connect, test_create_connection
    #[test]
    fn a_refused_connect_has_the_systems_number() {
        within(|| {
            let options = [SocketOptions::new(), SocketOptions::new().connect_timeout(Duration::from_secs(20))];
            for options in options {
                for host in ["127.0.0.1", "localhost"] {
                    let error = options.connect((host, unused_port())).unwrap_err();
                    assert_eq!(error.told().code(), "ECONNREFUSED");
                    assert_eq!(error.told().raw_os_error(), Some(111));
                    // As an io::Error it has the kind, and the number inside.
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                    assert_eq!(Error::of(&error).unwrap().raw_os_error(), Some(111));
                }
            }
        });
    }

    /// NetworkConnectionNoServer.test_create_connection_all_errors
    #[test]
    fn when_all_addresses_of_a_name_fail_there_is_an_error_for_each() {
        within(|| {
            let addresses = ["::1", "127.0.0.1", "127.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
            let names = SocketOptions::new().lookup(move |_, _| Ok(addresses));
            let port = unused_port();
            let error = names.connect(("three.example", port)).unwrap_err();
            assert_eq!(error.told().causes().len(), 3);
            assert!(error.told().causes().iter().all(|cause| cause.code() == "ECONNREFUSED"), "{error}");
            let addresses: Vec<_> =
                error.told().causes().iter().map(|cause| cause.address().unwrap().to_string()).collect();
            assert_eq!(addresses, [format!("[::1]:{port}"), format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")]);
        });
    }

    /// NetworkConnectionNoServer.test_create_connection_timeout
    #[test]
    fn a_connect_without_an_answer_times_out_as_such_and_never_early() {
        within(|| {
            let port = SilentPort::at("127.0.0.1:0");
            let time = Duration::from_secs(1);
            let error =
                ends_after(time, || SocketOptions::new().connect_timeout(time).connect(port.address).unwrap_err());
            assert_eq!((error.kind(), error.told().code()), (ErrorKind::TimedOut, "ETIMEDOUT"));
        });
    }

    /// NetworkConnectionAttributesTest
    #[test]
    fn a_client_has_the_family_the_source_port_and_the_timeout_asked_for() {
        within(|| {
            let served = Served::echo();
            let port = unused_port();
            let options = SocketOptions::new().local_port(port).timeout(Duration::from_secs(30));
            let client = options.connect(("localhost", served.server.address().port())).unwrap();
            assert_eq!(client.local_address().port(), port);
            assert_eq!(client.local_address().family(), Family::Ipv4);
            assert_eq!(client.timeout(), Some(Duration::from_secs(30)));
            assert_eq!(served.client().timeout(), None);
        });
    }

    /// NetworkConnectionBehaviourTest
    #[test]
    fn a_late_answer_is_read_without_a_timeout_and_times_out_with_one() {
        within(|| {
            let (let_go, wait) = channel();
            let wait = Mutex::new(wait);
            let served = Served::new(move |socket| {
                wait.lock().unwrap().recv_timeout(LONG).expect("the test lets it answer");
                socket.write_all("done!")
            });
            let patient = served.client();
            let hasty = SocketOptions::new().timeout(Duration::from_secs(1)).connect(served.server.address()).unwrap();
            assert_eq!(hasty.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::TimedOut);
            (0..2).for_each(|_| let_go.send(()).unwrap());
            let mut said = [0; 5];
            patient.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"done!");
            hasty.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"done!", "and nothing was lost by the timeout");
        });
    }

    /// ContextManagersTest.testCreateConnectionBase
    #[test]
    fn a_client_that_goes_out_of_scope_is_closed() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            {
                let client = client;
                client.write_all("foo").unwrap();
            }
            assert_eq!(io::read_to_string(&socket).unwrap(), "foo");
        });
    }
}

mod unix {
    use super::*;

    fn path(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(bytes))
    }

    /// TestLinuxAbstractNamespace.testLinuxAbstractNamespace, testStrName, testBytearrayName, testMaxName
    #[test]
    fn an_abstract_name_may_hold_any_bytes_up_to_the_longest() {
        within(|| {
            let own = format!("\0peers-python-{}", std::process::id());
            let mut longest = own.clone().into_bytes();
            longest.resize(108, b'h');
            let names = [[own.as_bytes(), b"\0\xff"].concat(), [own.as_bytes(), b"\0test\0"].concat(), longest];
            for name in names.map(|name| path(&name)) {
                let server = Server::listen(&name).unwrap();
                let client = Socket::connect(server.address()).unwrap();
                let socket = server.accept().unwrap().unwrap();
                assert_eq!(server.address().path(), Some(&*name));
                assert_eq!(client.remote_address().path(), Some(&*name));
                assert_eq!(socket.local_address().path(), Some(&*name));
                client.write_end(MSG).unwrap();
                assert_eq!(io::read_to_string(&socket).unwrap(), MSG);
            }
        });
    }

    /// TestLinuxAbstractNamespace.testNameOverflow
    #[test]
    fn a_longer_abstract_name_is_an_error() {
        let name = path(&[&b"\0"[..], &[b'h'; 108]].concat());
        assert_eq!(Server::listen(&name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    /// TestUnixDomain.testStrAddr, testBytesAddr, testSurrogateescapeBind, testUnencodableAddr
    #[test]
    fn a_path_may_be_any_text_or_bytes() {
        within(|| {
            let folder = Folder::temporary();
            for name in [&b"plain"[..], "\u{1234}\u{20ac}".as_bytes(), b"\xe7w\xf0\xff"] {
                let path = folder.0.join(OsStr::from_bytes(name));
                let server = Server::listen(&path).unwrap();
                let client = Socket::connect(&path).unwrap();
                assert_eq!(server.address().path(), Some(&*path));
                assert_eq!(client.remote_address().path(), Some(&*path));
                assert!(path.exists());
                server.close();
                assert!(!path.exists());
            }
        });
    }

    /// TestUnixDomain.testEmptyAddress (on Linux Python binds to a name of the system's choice: testAutobind)
    #[test]
    fn an_empty_path_is_an_error() {
        assert_eq!(Server::listen(Path::new("")).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Socket::connect(Path::new("")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

mod create_server {
    use super::*;

    /// CreateServerTest.test_address, test_family_and_type
    #[test]
    fn a_server_has_the_address_and_family_asked_for() {
        for (ip, family) in [("127.0.0.1", Family::Ipv4), ("::1", Family::Ipv6)] {
            let server = Server::listen((ip, 0)).unwrap();
            assert_eq!(server.address().ip().unwrap().to_string(), ip);
            assert_eq!(server.address().family(), family);
            let port = server.address().port();
            server.close();
            assert_eq!(Server::listen((ip, port)).unwrap().address().port(), port);
        }
    }

    /// CreateServerTest.test_reuse_port
    #[test]
    fn a_port_is_shared_only_if_asked_for() {
        let shared = ServerOptions::new().reuse_port(true);
        let first = shared.listen("127.0.0.1:0").unwrap();
        shared.listen(first.address()).unwrap();
        let alone = Server::listen("127.0.0.1:0").unwrap();
        assert_eq!(shared.listen(alone.address()).unwrap_err().told().code(), "EADDRINUSE");
    }

    /// CreateServerTest.test_ipv6_only_default. Differs: by default `::` takes IPv4 too.
    #[test]
    fn an_ipv6_server_takes_ipv4_too_unless_ipv6_only_is_set() {
        within(|| {
            let both = Served::on(Server::listen("[::]:0").unwrap(), echo);
            ping(&Socket::connect(("127.0.0.1", both.server.address().port())).unwrap(), "x");
            let only = Served::with(&ServerOptions::new().ipv6_only(true), "[::]:0", echo);
            let port = only.server.address().port();
            assert_eq!(Socket::connect(("127.0.0.1", port)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            ping(&Socket::connect(("::1", port)).unwrap(), "x");
        });
    }

    /// CreateServerFunctionalTest.test_tcp4, test_tcp6, test_dual_stack_client_v4, test_dual_stack_client_v6
    #[test]
    fn clients_of_each_family_are_served_and_have_names_of_their_own() {
        within(|| {
            let name = |socket: &Socket| socket.write_end(socket.remote_address().ip().unwrap().to_string());
            let v4 = Served::on(Server::listen("0.0.0.0:0").unwrap(), name);
            let v6 = Served::with(&ServerOptions::new().ipv6_only(true), "[::]:0", name);
            let both = Served::on(Server::listen(0).unwrap(), name);
            for (server, ip) in [(&v4, "127.0.0.1"), (&v6, "::1"), (&both, "127.0.0.1"), (&both, "::1")] {
                let client = Socket::connect((ip, server.server.address().port())).unwrap();
                assert_eq!(io::read_to_string(&client).unwrap(), ip);
            }
        });
    }

    /// CreateServerFunctionalTest, with datagrams
    #[test]
    fn datagrams_of_each_family_reach_a_socket_for_both() {
        within(|| {
            let server = dgram::SocketOptions::udp6().bind(0).unwrap();
            for ip in ["127.0.0.1", "::1"] {
                let client = dgram::Socket::bind((ip, 0)).unwrap();
                client.send_to(b"foo", (ip, server.address().port())).unwrap();
                let mut buffer = [0; 9];
                let (bytes, from) = server.recv(&mut buffer).unwrap().unwrap();
                assert_eq!((bytes, from.address()), (&b"foo"[..], client.address()));
                server.send_to(b"bar", from).unwrap();
                assert_eq!(client.recv(&mut buffer).unwrap().unwrap().0, b"bar");
            }
        });
    }
}

mod sendfile {
    use super::*;

    /// SendfileUsingSendTest.testRegularFile, testNonRegularFile, testOffset, testCount, testWithTimeout: by std's copy
    #[test]
    fn ten_megabytes_of_a_file_arrive_by_copy_with_and_without_a_timeout() {
        within(|| {
            let folder = Folder::temporary();
            let data: Vec<u8> = (0..10 << 20).map(|i| (i % 253) as u8).collect();
            std::fs::write(folder.join("file"), &data).unwrap();
            for (time, from, most) in
                [(None, 0, u64::MAX), (Some(Duration::from_secs(20)), 0, u64::MAX), (None, 5000, 5_000_007)]
            {
                let (_server, client, socket) = pair("127.0.0.1:0");
                client.set_timeout(time);
                let receiver = thread::spawn(move || all(&socket).unwrap());
                let mut file = std::fs::File::open(folder.join("file")).unwrap();
                io::Seek::seek(&mut file, io::SeekFrom::Start(from)).unwrap();
                let sent = io::copy(&mut file.take(most), &mut &client).unwrap();
                drop(client);
                let got = receiver.join().unwrap();
                let to = (from.saturating_add(most)).min(data.len() as u64);
                assert_eq!(sent, to - from);
                assert!(got == data[from as usize..to as usize]);
            }
        });
    }

    /// SendfileUsingSendTest.testWithTimeoutTriggeredSend
    #[test]
    fn a_copy_to_a_peer_that_takes_nothing_times_out() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            let error = io::copy(&mut io::repeat(1), &mut &client).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }
}

/// What `test_threads_reaped` is about, from the other side: no descriptor is left when all have ended
#[test]
fn descriptors_do_not_pile_up_with_connections_that_have_ended() {
    const NAME: &str = "descriptors_do_not_pile_up_with_connections_that_have_ended";
    in_child(NAME, || {
        static SERVED: AtomicUsize = AtomicUsize::new(0);
        let served = Served::new(|socket| {
            SERVED.fetch_add(1, SeqCst);
            echo(socket)
        });
        ping(&served.client(), "x");
        eventually("it has ended", || served.server.connections() == 0);
        let before = descriptors();
        (0..200).for_each(|_| ping(&served.client(), "x"));
        eventually("all are closed", || descriptors() <= before + 1);
        assert_eq!(SERVED.load(SeqCst), 201);
    });
}
