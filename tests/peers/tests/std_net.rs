//! Rules of Rust's std: library/std/src/net/tcp/tests.rs, library/std/src/net/udp/tests.rs,
//! library/std/src/os/unix/net/tests.rs, library/std/src/net/socket_addr/tests.rs. Each comment names the test there.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketOptions};
use landline::{Address, Endpoint, Family, dgram};
use landline_peers::*;
use socket2::SockRef;

mod tcp {
    use super::*;

    /// tcp: bind_error
    #[test]
    fn listening_on_a_foreign_address_is_not_available() {
        let error = Server::listen("198.51.100.1:9999").unwrap_err();
        assert_eq!((error.kind(), error.told().code()), (ErrorKind::AddrNotAvailable, "EADDRNOTAVAIL"));
    }

    /// tcp: connect_error
    #[test]
    fn connecting_to_a_port_without_a_listener_is_refused_even_by_wildcard() {
        within(|| {
            let error = Socket::connect("0.0.0.0:1").unwrap_err();
            assert_eq!((error.kind(), error.told().code()), (ErrorKind::ConnectionRefused, "ECONNREFUSED"));
        });
    }

    /// tcp: listen_localhost
    #[test]
    fn a_name_reaches_a_listener_on_its_address() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let port = server.address().port();
            let client = thread::spawn(move || Socket::connect(("localhost", port)).unwrap().write_all([144]).unwrap());
            let socket = server.accept().unwrap().unwrap();
            let mut byte = [0];
            assert_eq!(socket.read(&mut byte).unwrap(), 1);
            assert_eq!(byte, [144]);
            client.join().unwrap();
        });
    }

    /// tcp: connect_loopback
    #[test]
    fn a_host_and_a_port_reach_the_loopback_of_each_family() {
        within(|| {
            each_ip(|at| {
                let server = Server::listen(at).unwrap();
                let host = if server.address().family() == Family::Ipv4 { "127.0.0.1" } else { "::1" };
                let client = Socket::connect((host, server.address().port())).unwrap();
                client.write_all([66]).unwrap();
                let mut byte = [0];
                server.accept().unwrap().unwrap().read_exact(&mut byte).unwrap();
                assert_eq!(byte, [66]);
            });
        });
    }

    /// tcp: smoke_test
    #[test]
    fn the_peer_of_an_accepted_socket_is_the_clients_own_address() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                client.write_all([99]).unwrap();
                let mut byte = [0];
                assert_eq!(socket.read(&mut byte).unwrap(), 1);
                assert_eq!(byte, [99]);
                assert_eq!(socket.remote_address(), client.local_address());
            });
        });
    }

    /// tcp: read_eof
    #[test]
    fn the_end_is_read_again_and_again_as_zero() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                drop(client);
                let mut byte = [0];
                for _ in 0..3 {
                    assert_eq!(socket.read(&mut byte).unwrap(), 0);
                }
            });
        });
    }

    /// tcp: write_close
    #[test]
    fn writing_to_a_peer_that_closed_fails_by_reset_or_pipe() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                drop(client);
                let mut written = Ok(());
                eventually("a write fails", || {
                    written = socket.write_all([0]);
                    written.is_err()
                });
                let kind = written.unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
            });
        });
    }

    /// tcp: multiple_connect_serial
    #[test]
    fn clients_one_after_the_other_are_all_accepted() {
        within(|| {
            each_ip(|at| {
                let server = Server::listen(at).unwrap();
                let to = server.address().clone();
                let clients = thread::spawn(move || {
                    for _ in 0..10 {
                        Socket::connect(&to).unwrap().write_all([99]).unwrap();
                    }
                });
                for _ in 0..10 {
                    let mut byte = [0];
                    assert_eq!(server.accept().unwrap().unwrap().read(&mut byte).unwrap(), 1);
                    assert_eq!(byte, [99]);
                }
                clients.join().unwrap();
            });
        });
    }

    /// Clients that each connect before the one before has written: the writes come in the opposite order.
    fn interleaved(at: &str, served_by_handler: bool) {
        const CLIENTS: usize = 10;
        fn connect(i: usize, to: &Address) {
            if i < CLIENTS {
                let client = Socket::connect(to).unwrap();
                connect(i + 1, to);
                client.write_all([i as u8]).unwrap();
                client.end().unwrap();
                assert_eq!(all(&client).unwrap(), [i as u8, i as u8]);
            }
        }
        let server = Server::listen(at).unwrap();
        let answer = |socket: &Socket| {
            let got = all(socket)?;
            socket.write_end([got[0], got[0]])
        };
        if served_by_handler {
            let served = Served::on(server, answer);
            connect(0, served.server.address());
        } else {
            let to = server.address().clone();
            let clients = thread::spawn(move || connect(0, &to));
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let socket = server.accept().unwrap().unwrap();
                    thread::spawn(move || answer(&socket).unwrap())
                })
                .collect();
            clients.join().unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }

    /// tcp: multiple_connect_interleaved_greedy_schedule
    #[test]
    fn a_client_that_connected_first_and_writes_last_delays_no_other() {
        within(|| each_ip(|at| interleaved(at, true)));
    }

    /// tcp: multiple_connect_interleaved_lazy_schedule
    #[test]
    fn accepted_sockets_can_be_served_by_threads_of_the_program() {
        within(|| each_ip(|at| interleaved(at, false)));
    }

    /// tcp: socket_and_peer_name
    #[test]
    fn a_listener_has_the_address_asked_for_and_the_client_that_peer() {
        within(|| {
            each_ip(|at| {
                let free = std::net::TcpListener::bind(at).unwrap().local_addr().unwrap();
                let server = Server::listen(free).unwrap();
                assert_eq!(server.address().socket_addr(), Some(free));
                let client = Socket::connect(server.address()).unwrap();
                assert_eq!(client.remote_address().socket_addr(), Some(free));
            });
        });
    }

    /// tcp: partial_read
    #[test]
    fn a_read_gives_what_is_there_and_does_not_wait_for_a_full_buffer() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                socket.write_all([10]).unwrap();
                let mut buffer = [0; 10];
                assert_eq!(client.read(&mut buffer).unwrap(), 1);
                client.write_all([1]).unwrap();
                assert_eq!(socket.read(&mut buffer).unwrap(), 1);
            });
        });
    }

    /// tcp: read_vectored
    #[test]
    fn a_vectored_read_begins_with_the_first_buffer_that_is_not_empty() {
        within(|| {
            each_ip(|at| {
                let (_server, client, mut socket) = pair(at);
                client.write_all([10, 11, 12]).unwrap();
                let (mut a, mut b, mut c) = ([], [0], [0; 3]);
                let mut buffers = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
                let n = Read::read_vectored(&mut socket, &mut buffers).unwrap();
                assert!(n > 0);
                assert_eq!(b, [10]);
                assert!(n == 1 || c == [11, 12, 0]);
            });
        });
    }

    /// tcp: write_vectored (what std's rule tolerates: any number of whole buffers from the first)
    #[test]
    fn a_vectored_write_begins_with_the_first_buffer_that_is_not_empty() {
        within(|| {
            each_ip(|at| {
                let (_server, mut client, socket) = pair(at);
                let n =
                    client.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[10]), IoSlice::new(&[11, 12])]).unwrap();
                client.end().unwrap();
                let got = all(&socket).unwrap();
                assert!(n == 1 || n == 3);
                assert_eq!(got, &[10, 11, 12][..n]);
            });
        });
    }

    /// tcp: write_vectored (what std does on Linux, and code that moves from it relies on: one call takes all)
    #[test]
    fn a_vectored_write_of_a_generic_writer_takes_all_buffers_as_stds_stream_does() {
        within(|| {
            let (_server, mut client, socket) = pair("127.0.0.1:0");
            let n =
                client.write_vectored(&[IoSlice::new(&[10]), IoSlice::new(&[11, 12]), IoSlice::new(b"xyz")]).unwrap();
            client.end().unwrap();
            assert_eq!(all(&socket).unwrap().len(), n);
            assert_eq!(n, 6, "one call writes all buffers");
        });
    }

    /// tcp: read_vectored (as above)
    #[test]
    fn a_vectored_read_of_a_generic_reader_fills_all_buffers_as_stds_stream_does() {
        within(|| {
            let (_server, client, mut socket) = pair("127.0.0.1:0");
            client.write_all([10, 11, 12]).unwrap();
            let (mut b, mut c) = ([0], [0; 3]);
            let mut buffers = [IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
            let n = Read::read_vectored(&mut socket, &mut buffers).unwrap();
            assert_eq!((n, b, c), (3, [10], [11, 12, 0]), "one call fills all buffers");
        });
    }

    /// tcp: write_vectored, of a message
    #[test]
    fn a_message_of_several_buffers_is_written_whole() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                write_all_vectored(&client, &[&[], &[10], &[11, 12]]).unwrap();
                let mut buffer = [0; 4];
                assert_eq!(socket.read(&mut buffer).unwrap(), 3);
                assert_eq!(buffer, [10, 11, 12, 0]);
            });
        });
    }

    /// tcp: write_vectored, with more than the kernel takes at once
    #[test]
    fn a_message_of_several_large_buffers_is_written_whole_though_the_kernel_takes_it_in_parts() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let buffers = [1u8, 2, 3].map(|byte| vec![byte; 6 << 20]);
                let expected = buffers.concat();
                // With a time limit the kernel gives up now and then, at an eighth of it, with a part of the message
                // taken.
                client.set_timeout(Duration::from_secs(16));
                let writer = thread::spawn(move || {
                    write_all_vectored(&client, &[&buffers[0], &[], &buffers[1], &buffers[2]]).unwrap();
                    client.bytes_written()
                });
                // This paces the reader, so that the kernel gives up at least once.
                thread::sleep(Duration::from_secs(3));
                let got = all(&socket).unwrap();
                assert_eq!(writer.join().unwrap(), 18 << 20);
                assert!(got == expected, "{} bytes", got.len());
            });
        });
    }

    /// tcp: double_bind
    #[test]
    fn a_port_with_a_listener_is_in_use() {
        each_ip(|at| {
            let first = Server::listen(at).unwrap();
            let error = Server::listen(first.address()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
        });
    }

    /// tcp: tcp_clone_smoke
    #[test]
    fn a_clone_writes_while_the_original_reads() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let clone = socket.clone();
                let reader = thread::spawn(move || {
                    let mut buffer = [0; 2];
                    assert_eq!(socket.read(&mut buffer).unwrap(), 1);
                    buffer[0]
                });
                let writer = thread::spawn(move || clone.write_all([1]).unwrap());
                let mut buffer = [0; 2];
                assert_eq!(client.read(&mut buffer).unwrap(), 1);
                assert_eq!(buffer[0], 1);
                client.write_all([2]).unwrap();
                assert_eq!(reader.join().unwrap(), 2);
                writer.join().unwrap();
            });
        });
    }

    /// tcp: tcp_clone_two_read
    #[test]
    fn two_clones_that_read_each_get_a_byte_of_their_own() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let (tell, told) = channel();
                for clone in [socket.clone(), socket] {
                    let tell = tell.clone();
                    thread::spawn(move || {
                        let mut byte = [0];
                        assert_eq!(clone.read(&mut byte).unwrap(), 1);
                        tell.send(byte[0]).unwrap();
                    });
                }
                client.write_all([1]).unwrap();
                let first = told.recv().unwrap();
                client.write_all([2]).unwrap();
                let second = told.recv().unwrap();
                assert_eq!((first, second), (1, 2));
            });
        });
    }

    /// tcp: tcp_clone_two_write
    #[test]
    fn two_clones_can_write() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let clone = socket.clone();
                let writer = thread::spawn(move || clone.write_all([1]).unwrap());
                socket.write_all([2]).unwrap();
                writer.join().unwrap();
                let mut both = [0; 2];
                client.read_exact(&mut both).unwrap();
                both.sort();
                assert_eq!(both, [1, 2]);
            });
        });
    }

    /// tcp: shutdown_smoke
    #[test]
    fn after_our_end_writing_fails_and_reading_still_works() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                client.end().unwrap();
                assert_eq!(client.write_all([1]).unwrap_err().kind(), ErrorKind::BrokenPipe);
                let mut buffer = [0; 2];
                assert_eq!(socket.read(&mut buffer).unwrap(), 0);
                socket.write_all([1]).unwrap();
                assert_eq!(client.read(&mut buffer).unwrap(), 1);
                assert_eq!(buffer[0], 1);
            });
        });
    }

    /// tcp: close_readwrite_smoke, as far as there are calls: shutdown(Write) is `end`, and both is `destroy`
    #[test]
    fn ending_and_closing_hold_for_all_clones_old_and_new() {
        within(|| {
            each_ip(|at| {
                let (_server, client, _socket) = pair(at);
                let before = client.clone();
                client.end().unwrap();
                assert!(before.write_all([0]).is_err());
                client.destroy();
                let after = client.clone();
                for handle in [&client, &before, &after] {
                    assert_eq!(handle.write_all([0]).unwrap_err().kind(), ErrorKind::NotConnected);
                    assert_eq!(handle.read(&mut [0]).unwrap_err().kind(), ErrorKind::NotConnected);
                    handle.end().unwrap();
                    handle.destroy();
                }
            });
        });
    }

    /// tcp: close_read_wakes_up, by `destroy`, since there is no shutdown of the reading direction alone
    #[test]
    fn closing_wakes_a_clone_that_is_blocked_in_a_read() {
        within(|| {
            each_ip(|at| {
                let (_server, client, _socket) = pair(at);
                let clone = client.clone();
                let reader = blocked(move || clone.read(&mut [0]));
                client.destroy();
                assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
            });
        });
    }

    /// tcp: close_read_wakes_up, close_readwrite_smoke (the reading half), by `with_raw`
    #[test]
    fn shutting_the_reading_direction_by_raw_wakes_a_read_with_zero_and_leaves_writing_alone() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let clone = client.clone();
                let reader = blocked(move || clone.read(&mut [0]).unwrap());
                client.with_raw(|fd| SockRef::from(&fd).shutdown(std::net::Shutdown::Read)).unwrap().unwrap();
                assert_eq!(reader.join().unwrap(), 0);
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
                client.write_end("still").unwrap();
                assert_eq!(io::read_to_string(&socket).unwrap(), "still");
            });
        });
    }

    /// tcp: clone_while_reading
    #[test]
    fn cloning_does_not_disturb_a_blocked_read() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                let clone = socket.clone();
                let reader = blocked(move || clone.read(&mut [0]).unwrap());
                drop(socket.clone());
                client.write_all([0]).unwrap();
                assert_eq!(reader.join().unwrap(), 1);
            });
        });
    }

    /// tcp: clone_accept_smoke
    #[test]
    fn a_cloned_listener_accepts_too() {
        within(|| {
            each_ip(|at| {
                let server = Server::listen(at).unwrap();
                let clone = server.clone();
                let _clients = [0; 2].map(|_| Socket::connect(server.address()).unwrap());
                assert!(server.accept().unwrap().is_some());
                assert!(clone.accept().unwrap().is_some());
            });
        });
    }

    /// tcp: clone_accept_concurrent
    #[test]
    fn two_threads_that_accept_each_get_a_client() {
        within(|| {
            each_ip(|at| {
                let server = Server::listen(at).unwrap();
                let acceptors = [0; 2].map(|_| {
                    let server = server.clone();
                    thread::spawn(move || server.accept().unwrap().unwrap())
                });
                let clients = [0; 2].map(|_| Socket::connect(server.address()).unwrap());
                let mut got = acceptors.map(|thread| thread.join().unwrap().remote_address().clone());
                let mut sent = clients.map(|client| client.local_address().clone());
                got.sort();
                sent.sort();
                assert_eq!(got, sent);
            });
        });
    }

    /// tcp: debug
    #[test]
    fn debug_names_the_address_and_the_peer() {
        within(|| {
            let (server, client, _socket) = pair("127.0.0.1:0");
            assert!(format!("{server:?}").contains(&server.address().to_string()));
            assert!(format!("{client:?}").contains(&client.remote_address().to_string()));
            let _: &dyn std::fmt::Debug = &client;
        });
    }

    /// tcp: timeouts
    #[test]
    fn a_timeout_is_none_at_first_and_reads_back_as_it_was_set() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            let time = Duration::new(15410, 0);
            assert_eq!(client.timeout(), None);
            client.set_timeout(time);
            assert_eq!(client.timeout(), Some(time));
            client.set_timeout(None);
            assert_eq!(client.timeout(), None);
        });
    }

    /// tcp: timeouts, test_timeout_zero_duration
    #[test]
    fn a_timeout_for_reading_and_one_for_writing_read_back_and_are_not_zero() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            let time = Duration::new(15410, 0);
            client.set_read_timeout(time).unwrap();
            assert_eq!((client.read_timeout().unwrap(), client.write_timeout().unwrap()), (Some(time), None));
            client.set_write_timeout(time).unwrap();
            client.set_read_timeout(None).unwrap();
            assert_eq!((client.read_timeout().unwrap(), client.write_timeout().unwrap()), (None, Some(time)));
            client.set_write_timeout(None).unwrap();
            assert_eq!(client.write_timeout().unwrap(), None);
            assert_eq!(client.set_read_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(client.set_write_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
        });
    }

    /// tcp: test_read_timeout
    #[test]
    fn a_read_of_a_silent_peer_times_out_and_never_early() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            let began = Instant::now();
            let error = client.read_exact(&mut [0; 10]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(1));
        });
    }

    /// tcp: test_read_with_timeout
    #[test]
    fn a_timeout_lets_what_comes_in_time_pass_and_then_fires() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            socket.write_all("hello world").unwrap();
            let mut buffer = [0; 11];
            assert_eq!(client.read(&mut buffer).unwrap(), 11);
            assert_eq!(&buffer, b"hello world");
            let began = Instant::now();
            assert_eq!(client.read_exact(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(1));
        });
    }

    /// tcp: test_timeout_zero_duration. Differs: zero switches the idle timeout off, as `None` does.
    #[test]
    fn a_timeout_of_zero_is_none() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.set_timeout(Duration::from_secs(1));
            client.set_timeout(Duration::ZERO);
            assert_eq!(client.timeout(), None);
            thread::spawn(move || {
                // The peer writes later than the timeout would have fired.
                thread::sleep(Duration::from_millis(1500));
                socket.write_all([7]).unwrap();
            });
            assert_eq!(client.read(&mut [0]).unwrap(), 1);
        });
    }

    /// tcp: timeouts. Differs: the idle timeout limits how long no byte is read and none written.
    #[test]
    fn a_write_does_not_time_out_while_the_peer_sends() {
        within(|| {
            const TIME: Duration = Duration::from_secs(4);
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.set_timeout(TIME);
            let reader = client.clone();
            let reading = thread::spawn(move || while reader.read(&mut [0; 99]).is_ok_and(|n| n > 0) {});
            let sending = thread::spawn(move || {
                let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
                for _ in 0..100 {
                    if socket.write_all("still here").is_err() {
                        break;
                    }
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    // This paces the peer.
                    thread::sleep(Duration::from_millis(100));
                }
                (longest.max(last.elapsed()), socket)
            });
            let began = Instant::now();
            let error = client.write_all(vec![0; 64 << 20]).unwrap_err();
            let took = began.elapsed();
            client.destroy();
            reading.join().unwrap();
            let (longest, _socket) = sending.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // A machine that stands still for seconds silences the peer too.
            assert!(
                took >= Duration::from_secs(10) || longest > TIME / 2,
                "{took:?}, at most {longest:?} between two sends"
            );
        });
    }

    /// tcp: linger, by `with_raw`: landline has no call for it
    #[test]
    fn so_linger_can_be_set_and_read_by_raw() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client
                .with_raw(|fd| {
                    let raw = SockRef::from(&fd);
                    assert_eq!(raw.linger().unwrap(), None);
                    raw.set_linger(Some(Duration::from_secs(1))).unwrap();
                    assert_eq!(raw.linger().unwrap(), Some(Duration::from_secs(1)));
                    raw.set_linger(None).unwrap();
                    assert_eq!(raw.linger().unwrap(), None);
                })
                .unwrap();
        });
    }

    /// tcp: nodelay. Differs: it is on by default.
    #[test]
    fn no_delay_is_on_at_first_and_reads_back_as_it_was_set() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            for socket in [client, socket] {
                let of_system = || socket.with_raw(|fd| SockRef::from(&fd).tcp_nodelay()).unwrap().unwrap();
                assert!(socket.no_delay() && of_system());
                socket.set_no_delay(false).unwrap();
                assert!(!socket.no_delay() && !of_system());
                socket.set_no_delay(true).unwrap();
                assert!(socket.no_delay() && of_system());
            }
        });
    }

    /// tcp: ttl, of a connection by `with_raw`
    #[test]
    fn the_ttl_of_a_connection_can_be_set_and_read_by_raw() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.with_raw(|fd| SockRef::from(&fd).set_ttl_v4(100)).unwrap().unwrap();
            assert_eq!(client.with_raw(|fd| SockRef::from(&fd).ttl_v4()).unwrap().unwrap(), 100);
        });
    }

    /// tcp: ttl, of a listener: only of one made elsewhere and adopted
    #[test]
    fn the_ttl_of_a_listener_is_the_adopted_ones_and_is_inherited() {
        within(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_ttl(100).unwrap();
            let server = ServerOptions::new().adopt(listener).unwrap();
            let _client = Socket::connect(server.address()).unwrap();
            let socket = server.accept().unwrap().unwrap();
            assert_eq!(socket.with_raw(|fd| SockRef::from(&fd).ttl_v4()).unwrap().unwrap(), 100);
        });
    }

    /// tcp: set_nonblocking, by `with_raw`: a read that would wait says so
    #[test]
    fn a_read_in_non_blocking_mode_says_would_block() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            client.with_raw(|fd| SockRef::from(&fd).set_nonblocking(true)).unwrap().unwrap();
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert_eq!(client.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            socket.write_all([1]).unwrap();
            eventually("the byte is read", || client.read(&mut [0]).is_ok_and(|n| n == 1));
        });
    }

    /// tcp: set_nonblocking: what a read would do is known without waiting
    #[test]
    fn whether_a_read_would_wait_is_known_without_waiting() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            assert_eq!(client.available().unwrap(), None);
            socket.write_all([1, 3, 3, 7]).unwrap();
            eventually("the bytes arrive", || client.available().unwrap() == Some(4));
            client.read_exact(&mut [0; 4]).unwrap();
            socket.end().unwrap();
            eventually("the end arrives", || client.available().unwrap() == Some(0));
        });
    }

    /// tcp: peek
    #[test]
    fn what_was_peeked_at_is_there_to_be_read() {
        within(|| {
            each_ip(|at| {
                let (_server, client, socket) = pair(at);
                socket.write_all([1, 3, 3, 7]).unwrap();
                let mut buffer = [0; 10];
                for _ in 0..3 {
                    assert_eq!(client.peek(&mut buffer).unwrap(), 4);
                    assert_eq!(&buffer[..4], [1, 3, 3, 7]);
                }
                assert_eq!(client.read(&mut buffer).unwrap(), 4);
                client.set_timeout(Duration::from_secs(1));
                assert_eq!(client.peek(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
            });
        });
    }

    /// tcp: connect_timeout_valid
    #[test]
    fn a_connect_with_a_time_limit_succeeds_and_leaves_no_timeout_behind() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let client =
                SocketOptions::new().connect_timeout(Duration::from_secs(2)).connect(server.address()).unwrap();
            assert_eq!(client.timeout(), None);
            assert_eq!(client.with_raw(|fd| SockRef::from(&fd).read_timeout()).unwrap().unwrap(), None);
            assert_eq!(client.with_raw(|fd| SockRef::from(&fd).write_timeout()).unwrap().unwrap(), None);
            assert!(!client.with_raw(|fd| SockRef::from(&fd).nonblocking()).unwrap().unwrap());
        });
    }
}

mod udp {
    use super::*;
    use landline::dgram::SocketOptions;

    fn two(at: &str) -> (dgram::Socket, dgram::Socket) {
        (dgram::Socket::bind(at).unwrap(), dgram::Socket::bind(at).unwrap())
    }

    /// udp: bind_error
    #[test]
    fn binding_to_a_foreign_address_is_not_available() {
        let error = dgram::Socket::bind("198.51.100.1:9999").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }

    /// udp: socket_smoke_test_ip4
    #[test]
    fn a_datagram_arrives_with_its_senders_address() {
        within(|| {
            each_ip(|at| {
                let (server, client) = two(at);
                client.send_to([99], server.address()).unwrap();
                let mut buffer = [0];
                let (bytes, from) = server.recv(&mut buffer).unwrap().unwrap();
                assert_eq!((bytes, from.address()), (&[99][..], client.address()));
            });
        });
    }

    /// udp: socket_and_peer_name
    #[test]
    fn there_is_no_peer_before_connecting_and_that_one_after() {
        each_ip(|at| {
            let (a, b) = two(at);
            assert_eq!(a.remote_address().unwrap_err().kind(), ErrorKind::NotConnected);
            a.connect(b.address()).unwrap();
            b.connect(a.address()).unwrap();
            assert_eq!(a.remote_address().unwrap(), b.address());
            assert_eq!(b.remote_address().unwrap(), a.address());
        });
    }

    /// udp: udp_clone_smoke
    #[test]
    fn a_clone_sends_while_the_original_receives() {
        within(|| {
            each_ip(|at| {
                let (a, b) = two(at);
                let (clone, to) = (a.clone(), b.address());
                let answering = thread::spawn(move || {
                    let mut buffer = [0; 2];
                    let (bytes, from) = b.recv(&mut buffer).unwrap().unwrap();
                    assert_eq!(bytes, [1]);
                    b.send_to([2], from).unwrap();
                });
                let sending = thread::spawn(move || clone.send_to([1], to).unwrap());
                let mut buffer = [0; 2];
                assert_eq!(a.recv(&mut buffer).unwrap().unwrap().0, [2]);
                answering.join().unwrap();
                sending.join().unwrap();
            });
        });
    }

    /// udp: udp_clone_two_read
    #[test]
    fn two_clones_that_receive_each_get_a_datagram_of_their_own() {
        within(|| {
            each_ip(|at| {
                let (a, b) = two(at);
                let (tell, told) = channel();
                for clone in [a.clone(), a.clone()] {
                    let tell = tell.clone();
                    thread::spawn(move || {
                        let mut buffer = [0; 2];
                        tell.send(clone.recv(&mut buffer).unwrap().unwrap().0.to_vec()).unwrap();
                    });
                }
                b.send_to([1], a.address()).unwrap();
                assert_eq!(told.recv().unwrap(), [1]);
                b.send_to([2], a.address()).unwrap();
                assert_eq!(told.recv().unwrap(), [2]);
            });
        });
    }

    /// udp: udp_clone_two_write
    #[test]
    fn two_clones_can_send() {
        within(|| {
            each_ip(|at| {
                let (a, b) = two(at);
                let (clone, to) = (a.clone(), b.address());
                let sending = thread::spawn(move || clone.send_to([1], to).unwrap());
                a.send_to([2], b.address()).unwrap();
                sending.join().unwrap();
                let mut got: Vec<_> = (0..2).map(|_| b.recv(&mut [0; 2]).unwrap().unwrap().0[0]).collect();
                got.sort();
                assert_eq!(got, [1, 2]);
            });
        });
    }

    /// udp: debug
    #[test]
    fn debug_names_the_address() {
        let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
        assert!(format!("{socket:?}").contains(&socket.address().to_string()));
    }

    /// udp: test_read_timeout, with the time said at each call
    #[test]
    fn a_receive_without_a_sender_times_out_and_never_early() {
        within(|| {
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let began = Instant::now();
            let error = socket.recv_timeout(&mut [0; 10], Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(1));
        });
    }

    /// udp: test_read_with_timeout
    #[test]
    fn a_timeout_lets_a_datagram_pass_that_is_there_and_then_fires() {
        within(|| {
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"hello world", socket.address()).unwrap();
            let mut buffer = [0; 11];
            let time = Duration::from_secs(1);
            assert_eq!(socket.recv_timeout(&mut buffer, time).unwrap().unwrap().0, b"hello world");
            let began = Instant::now();
            assert_eq!(socket.recv_timeout(&mut buffer, time).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= time);
        });
    }

    /// udp: test_timeout_zero_duration. Differs: a time of zero does not wait.
    #[test]
    fn a_timeout_of_zero_does_not_wait_and_gives_what_is_there() {
        within(|| {
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let error = socket.recv_timeout(&mut [0; 9], Duration::ZERO).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            socket.send_to(b"x", socket.address()).unwrap();
            let mut buffer = [0; 9];
            assert_eq!(socket.recv_timeout(&mut buffer, Duration::ZERO).unwrap().unwrap().0, b"x");
        });
    }

    /// udp: connect_send_recv
    #[test]
    fn a_socket_that_is_connected_to_itself_hears_itself() {
        within(|| {
            each_ip(|at| {
                let socket = dgram::Socket::bind(at).unwrap();
                socket.connect(socket.address()).unwrap();
                assert_eq!(socket.send(b"hello world").unwrap(), 11);
                let mut buffer = [0; 11];
                assert_eq!(socket.recv(&mut buffer).unwrap().unwrap().0, b"hello world");
                // And close wakes it all the same.
                let clone = socket.clone();
                let receiver = blocked(move || clone.recv(&mut [0]).unwrap().is_none());
                socket.close();
                assert!(receiver.join().unwrap());
            });
        });
    }

    /// unix: test_connect_unix_datagram ("changing the default"), as std's UDP has it too. Differs:
    /// a socket that has a peer has to disconnect first.
    #[test]
    fn another_peer_takes_a_disconnect_first_and_no_other_address_can_be_sent_to() {
        within(|| {
            let (a, b) = two("127.0.0.1:0");
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            socket.connect(a.address()).unwrap();
            assert_eq!(socket.connect(b.address()).unwrap_err().told().code(), "ERR_SOCKET_DGRAM_IS_CONNECTED");
            assert_eq!(socket.send_to(b"x", b.address()).unwrap_err().told().code(), "ERR_SOCKET_DGRAM_IS_CONNECTED");
            socket.send(b"to a").unwrap();
            let address = socket.address();
            socket.disconnect().unwrap();
            socket.connect(b.address()).unwrap();
            socket.send(b"to b").unwrap();
            let mut buffer = [0; 9];
            for (peer, text) in [(a, b"to a"), (b, b"to b")] {
                let (bytes, from) = peer.recv(&mut buffer).unwrap().unwrap();
                assert_eq!((bytes, from.address()), (&text[..], address));
            }
        });
    }

    /// udp: peek_from, connect_send_peek_recv: there is no call; what one can do is to keep a duplicate of an adopted
    /// socket
    #[test]
    fn a_duplicate_of_an_adopted_socket_can_peek_at_what_is_received_next() {
        within(|| {
            let made = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let duplicate = made.try_clone().unwrap();
            let socket = SocketOptions::new().adopt(made).unwrap();
            let sender = dgram::Socket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"hello world", socket.address()).unwrap();
            let mut buffer = [0; 11];
            for _ in 0..2 {
                assert_eq!(duplicate.peek_from(&mut buffer).unwrap().0, 11);
                assert_eq!(&buffer, b"hello world");
            }
            let (bytes, from) = socket.recv(&mut buffer).unwrap().unwrap();
            assert_eq!((bytes, from.address()), (&b"hello world"[..], sender.address()));
        });
    }

    /// udp: ttl. There is no way to read it back but on a descriptor of one's own, before it is adopted.
    #[test]
    fn the_ttl_is_what_was_set() {
        let made = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = made.try_clone().unwrap();
        let socket = SocketOptions::new().ttl(99).adopt(made).unwrap();
        assert_eq!(other.ttl().unwrap(), 99);
        socket.set_ttl(100).unwrap();
        assert_eq!(other.ttl().unwrap(), 100);
        assert_eq!(socket.set_ttl(0).unwrap_err().told().code(), "EINVAL");
        assert_eq!(socket.set_ttl(256).unwrap_err().told().code(), "EINVAL");
    }

    /// udp: hop_limit
    #[test]
    fn the_hop_limit_of_ipv6_is_what_was_set() {
        let made = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let other = socket2::Socket::from(made.try_clone().unwrap());
        let socket = SocketOptions::new().adopt(made).unwrap();
        socket.set_ttl(100).unwrap();
        assert_eq!(other.unicast_hops_v6().unwrap(), 100);
    }

    /// udp: set_nonblocking
    #[test]
    fn a_receive_that_does_not_wait_says_would_block() {
        within(|| {
            each_ip(|at| {
                let socket = dgram::Socket::bind(at).unwrap();
                assert_eq!(socket.try_recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                socket.connect(socket.address()).unwrap();
                assert_eq!(socket.try_recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                // It has not changed the mode of the socket: a blocking one still waits.
                let error = socket.recv_timeout(&mut [0], Duration::from_secs(1)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            });
        });
    }

    /// udp: send_datagram_larger_than_c_int_max
    #[test]
    fn a_datagram_of_two_gigabytes_is_refused_and_not_cut() {
        within(|| {
            // Zeroed pages take no memory until they are touched.
            let data = vec![0; i32::MAX as usize + 1];
            let socket = dgram::Socket::bind("127.0.0.1:0").unwrap();
            assert!(socket.send_to(&data, socket.address()).is_err());
            assert!(socket.send_vectored_to(&[IoSlice::new(&data)], socket.address()).is_err());
            socket.connect(socket.address()).unwrap();
            assert!(socket.send(&data).is_err());
            assert_eq!(socket.try_recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "nothing was sent");
        });
    }
}

mod unix {
    use super::*;

    /// unix: sock_addr_from_pathname
    #[test]
    fn an_address_keeps_its_path() {
        let address = Address::from(PathBuf::from("/path/to/socket"));
        assert_eq!(address.path(), Some(Path::new("/path/to/socket")));
        assert_eq!(address.family(), Family::Unix);
    }

    /// unix: basic
    #[test]
    fn a_server_on_a_path_and_its_client_name_that_path() {
        within(|| {
            let folder = Folder::temporary();
            let path = folder.join("sock");
            let served = Served::on(Server::listen(&path).unwrap(), |socket| {
                let mut buffer = [0; 5];
                socket.read_exact(&mut buffer)?;
                assert_eq!(&buffer, b"hello");
                socket.write_all("world!")
            });
            assert_eq!(served.server.address().path(), Some(&*path));
            let client = Socket::connect(&path).unwrap();
            assert_eq!(client.remote_address().path(), Some(&*path));
            client.write_all("hello").unwrap();
            assert_eq!(io::read_to_string(&client).unwrap(), "world!");
        });
    }

    fn unix_pair() -> (Socket, Socket) {
        let (a, b) = UnixStream::pair().unwrap();
        (a.into(), b.into())
    }

    /// unix: vectored
    #[test]
    fn a_message_of_several_buffers_arrives_by_a_unix_socket() {
        within(|| {
            let (a, b) = unix_pair();
            write_all_vectored(&a, &[b"hello", b" ", b"world!"]).unwrap();
            let mut buffer = [0; 13];
            assert_eq!(b.read(&mut buffer).unwrap(), 12);
            assert_eq!(&buffer, b"hello world!\0");
        });
    }

    /// unix: pair
    #[test]
    fn a_pair_of_stds_talks_and_has_no_names() {
        within(|| {
            let (a, b) = unix_pair();
            for address in [a.local_address(), b.remote_address()] {
                assert_eq!(address.path(), Some(Path::new("")));
            }
            let peer = thread::spawn(move || {
                let mut buffer = [0; 5];
                a.read_exact(&mut buffer).unwrap();
                a.write_all("world!").unwrap();
            });
            b.write_all("hello").unwrap();
            assert_eq!(io::read_to_string(&b).unwrap(), "world!");
            peer.join().unwrap();
        });
    }

    /// unix: try_clone
    #[test]
    fn a_clone_reads_on_where_the_original_stopped() {
        within(|| {
            let (a, b) = unix_pair();
            a.write_all("hello").unwrap();
            a.write_all("world").unwrap();
            let clone = b.clone();
            let mut buffer = [0; 5];
            b.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"hello");
            clone.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"world");
        });
    }

    fn two_clients_one_after_the_other(at: impl Into<Endpoint>) {
        let server = Server::listen(at).unwrap();
        let to = server.address().clone();
        let clients = thread::spawn(move || (0..2).for_each(|_| Socket::connect(&to).unwrap().write_all([0]).unwrap()));
        for _ in 0..2 {
            assert_eq!(server.accept().unwrap().unwrap().read(&mut [1]).unwrap(), 1);
        }
        clients.join().unwrap();
    }

    /// unix: iter
    #[test]
    fn clients_of_a_path_are_accepted_one_after_the_other() {
        within(|| {
            let folder = Folder::temporary();
            two_clients_one_after_the_other(folder.join("sock"));
        });
    }

    /// unix: long_path
    #[test]
    fn a_path_that_is_too_long_is_invalid_input_for_both_sides() {
        let folder = Folder::temporary();
        let path = folder.join(&"a".repeat(108));
        assert_eq!(Socket::connect(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Server::listen(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    /// unix: test_unix_datagram_max_path, with a stream
    #[test]
    fn the_longest_path_works() {
        within(|| {
            let folder = Folder::temporary();
            let room = 107 - folder.0.as_os_str().len() - 1;
            let path = folder.join(&"a".repeat(room));
            assert_eq!(path.as_os_str().len(), 107);
            two_clients_one_after_the_other(path);
        });
    }

    /// unix: timeouts, test_unix_stream_timeout_zero_duration. Differs: zero switches the idle timeout off.
    #[test]
    fn a_unix_socket_has_the_same_timeouts() {
        within(|| {
            let (a, _b) = unix_pair();
            assert_eq!(a.timeout(), None);
            a.set_timeout(Duration::new(15410, 0));
            assert_eq!(a.timeout(), Some(Duration::new(15410, 0)));
            a.set_timeout(Duration::ZERO);
            assert_eq!(a.timeout(), None);
            a.set_read_timeout(Duration::new(15410, 0)).unwrap();
            assert_eq!(a.read_timeout().unwrap(), Some(Duration::new(15410, 0)));
            assert_eq!(a.set_write_timeout(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
        });
    }

    /// unix: test_read_timeout, test_read_with_timeout
    #[test]
    fn a_read_of_a_unix_socket_times_out_after_what_came_in_time() {
        within(|| {
            let (a, b) = unix_pair();
            a.set_timeout(Duration::from_secs(1));
            let began = Instant::now();
            assert_eq!(a.read_exact(&mut [0; 10]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(1));
            b.write_all("hello world").unwrap();
            let mut buffer = [0; 11];
            assert_eq!(a.read(&mut buffer).unwrap(), 11);
            assert_eq!(a.read_exact(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
        });
    }

    /// unix: abstract_namespace_not_allowed_connect. Differs: a path that starts with a NUL is an abstract
    /// name. A text is never a path, so the name has to be given as one.
    #[test]
    fn a_text_is_no_abstract_name_and_a_path_is() {
        assert!(Socket::connect("\0asdf").is_err());
        assert_eq!(Socket::connect(Path::new("\0peers-nobody")).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    /// unix: test_abstract_stream_connect, test_abstract_no_pathname_and_not_unnamed, abstract_socket_addr_debug
    #[test]
    fn an_abstract_name_is_listened_on_reported_as_the_peer_and_shown() {
        within(|| {
            let name = PathBuf::from(format!("\0peers-{}-name", std::process::id()));
            let served = Served::on(Server::listen(&name).unwrap(), |socket| {
                let mut buffer = [0; 5];
                socket.read_exact(&mut buffer)?;
                socket.write_all("world")
            });
            let client = Socket::connect(&name).unwrap();
            assert_eq!(client.remote_address().path(), Some(&*name));
            assert_eq!(client.remote_address().to_string(), format!("@peers-{}-name", std::process::id()));
            client.write_all("hello").unwrap();
            assert_eq!(io::read_to_string(&client).unwrap(), "world");
            drop(served);
        });
    }

    /// unix: test_abstract_stream_iter
    #[test]
    fn clients_of_an_abstract_name_are_accepted_one_after_the_other() {
        within(|| two_clients_one_after_the_other(PathBuf::from(format!("\0peers-{}-hidden", std::process::id()))));
    }

    /// unix: test_abstract_name_too_long
    #[test]
    fn an_abstract_name_that_is_too_long_is_invalid_input() {
        let name = PathBuf::from(format!("\0{}", "a".repeat(130)));
        assert_eq!(Server::listen(&name).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Socket::connect(&name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    /// unix: test_unix_stream_peek
    #[test]
    fn a_unix_socket_can_be_peeked_at() {
        within(|| {
            let (a, b) = unix_pair();
            a.write_all([1, 3, 3, 7]).unwrap();
            let mut buffer = [0; 10];
            for _ in 0..2 {
                assert_eq!(b.peek(&mut buffer).unwrap(), 4);
            }
            assert_eq!(b.read(&mut buffer).unwrap(), 4);
            assert_eq!(&buffer[..4], [1, 3, 3, 7]);
        });
    }
}

mod addresses {
    use super::*;

    fn shown(at: impl Into<Endpoint>) -> String {
        at.into().to_string()
    }

    /// socket_addr: to_socket_addr_ipaddr_u16, to_socket_addr_str_u16, to_socket_addr_str, to_socket_addr_string
    #[test]
    fn every_form_of_an_address_means_the_same() {
        let v4 = "77.88.21.11:24352";
        let ip = Ipv4Addr::new(77, 88, 21, 11);
        assert_eq!(shown((ip, 24352)), v4);
        assert_eq!(shown(("77.88.21.11", 24352)), v4);
        assert_eq!(shown(v4), v4);
        let text = v4.to_string();
        assert_eq!(shown(&text), v4);
        assert_eq!(shown(text), v4);
        assert_eq!(shown(SocketAddrV4::new(ip, 24352)), v4);
        assert_eq!(shown(SocketAddr::from((ip, 24352))), v4);
        let v6 = "[2a02:6b8:0:1::1]:53";
        let ip: Ipv6Addr = "2a02:6b8:0:1::1".parse().unwrap();
        assert_eq!(shown(("2a02:6b8:0:1::1", 53)), v6);
        assert_eq!(shown(v6), v6);
        assert_eq!(shown(SocketAddrV6::new(ip, 53, 0, 0)), v6);
    }

    /// socket_addr: bind_udp_socket_bad
    #[test]
    fn a_text_that_is_no_address_binds_nothing() {
        let bad = "1200::AB00:1234::2552:7777:1313:34300";
        assert!(dgram::Socket::bind(bad).is_err());
        assert!(Server::listen(bad).is_err());
        assert!(Socket::connect(bad).is_err());
    }

    /// socket_addr: ipv4_socket_addr_to_string, ipv6_socket_addr_to_string, socket_v4_to_str, socket_v6_to_str
    #[test]
    fn an_address_prints_as_stds_with_zone_and_padding() {
        for (text, padded) in [("1.1.1.1:53", "1.1.1.1:53      "), ("[1:2:3:4:5:6:7:8]:9", "[1:2:3:4:5:6:7:8]:9   ")] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(format!("{address:w$}", w = padded.len()), padded);
        }
        let zoned = SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 5);
        assert_eq!(Address::from(SocketAddr::from(zoned)).to_string(), "[fe80::1%5]:53");
        // Differs: an IPv4-mapped address is IPv4.
        assert_eq!("[::ffff:192.0.2.128]:8080".parse::<Address>().unwrap().to_string(), "192.0.2.128:8080");
    }

    /// socket_addr: ipv4_socket_addr_to_string (padding), for the path that an address may be as well
    #[test]
    fn an_address_that_is_a_path_prints_with_padding_too() {
        let address = Address::from(PathBuf::from("/run/a"));
        assert_eq!(format!("{address:10}|"), "/run/a    |");
    }

    /// socket_addr: compare
    #[test]
    fn addresses_order_by_ip_and_then_by_port() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert!(address("224.120.45.1:23456") < address("224.210.103.5:12345"));
        assert!(address("224.210.103.5:12345") < address("224.210.103.5:23456"));
        assert!(address("[2001:db8:f00::1002]:23456") < address("[2001:db8:f00::2001]:12345"));
        assert_eq!(address("224.120.45.1:1"), address("224.120.45.1:1"));
    }

    /// socket_addr: is_v4, is_v6, set_ip, set_port (what can be asked; an Address does not change)
    #[test]
    fn an_address_has_its_family_ip_and_port() {
        let v4: Address = "77.88.21.11:80".parse().unwrap();
        assert_eq!((v4.family(), v4.ip(), v4.port()), (Family::Ipv4, Some([77, 88, 21, 11].into()), 80));
        let v6: Address = "[::1]:81".parse().unwrap();
        assert_eq!((v6.family(), v6.ip(), v6.port()), (Family::Ipv6, Some(Ipv6Addr::LOCALHOST.into()), 81));
    }
}

/// What std's documentation promises and its tests use everywhere.
mod traits {
    use super::*;

    /// tcp, unix: all that use `Read` and `Write` by generic code
    #[test]
    fn sockets_are_read_and_write_by_value_and_by_reference() {
        within(|| {
            let (_server, client, mut socket) = pair("127.0.0.1:0");
            let copied = thread::spawn(move || {
                let mut copy = Vec::new();
                io::copy(&mut socket, &mut copy).map(|n| (n, copy))
            });
            let mut by_reference = &client;
            write!(by_reference, "{}-{}", 1, 2).unwrap();
            by_reference.flush().unwrap();
            io::copy(&mut &b"abc"[..], &mut &client).unwrap();
            assert_eq!(client.ready_state(), ReadyState::Open);
            client.end().unwrap();
            assert_eq!(copied.join().unwrap().unwrap(), (6, b"1-2abc".to_vec()));
        });
    }
}
