//! Rules of POCO: Net/testsuite/src/TCPServerTest.cpp, SocketTest.cpp, SocketStreamTest.cpp, DialogSocketTest.cpp,
//! DatagramSocketTest.cpp, UDPServerTest.cpp, MulticastSocketTest.cpp, NetworkInterfaceTest.cpp, SocketAddressTest.cpp.
//! Each comment names the test there.

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{KeepAlive, Server, ServerOptions, Socket, SocketOptions, WhenFull};
use landline::{Address, BlockList, Endpoint, Family, dgram};
use landline_peers::*;
use socket2::SockRef;

mod tcp_server {
    use super::*;

    /// testOneConnection
    #[test]
    fn one_connection_is_counted_while_it_lasts() {
        within(|| {
            let served = Served::echo();
            let counts = || (served.server.connections(), served.server.stats().accepted);
            assert_eq!(counts(), (0, 0));
            let client = served.client();
            ping(&client, "hello, world");
            assert_eq!(counts(), (1, 1));
            assert_eq!(served.server.queued(), Some(0));
            drop(client);
            eventually("it has ended", || counts() == (0, 1));
        });
    }

    /// testTwoConnections
    #[test]
    fn two_connections_are_counted_each_while_it_lasts() {
        within(|| {
            let served = Served::echo();
            let counts = || (served.server.connections(), served.server.stats().accepted);
            let (one, two) = (served.client(), served.client());
            ping(&one, "hello, world");
            ping(&two, "hello, world");
            assert_eq!(counts(), (2, 2));
            drop(one);
            eventually("one has ended", || counts() == (1, 2));
            ping(&two, "still there");
            drop(two);
            eventually("both have ended", || counts() == (0, 2));
        });
    }

    /// testMultiConnections: more clients than threads; the others wait, and come in as places become free
    #[test]
    fn clients_beyond_the_limit_wait_are_counted_as_queued_and_come_in_one_by_one() {
        within(|| {
            let options = ServerOptions::new().max_connections(4).when_full(WhenFull::Wait);
            let served = Served::with(&options, "127.0.0.1:0", echo);
            let counts = || (served.server.connections(), served.server.stats().accepted);
            let mut clients: Vec<_> = (0..4).map(|_| served.client()).collect();
            clients.iter().for_each(|client| ping(client, "hello, world"));
            assert_eq!(counts(), (4, 4));
            assert_eq!(served.server.queued(), Some(0));
            for n in 1..=2 {
                clients.push(served.client());
                eventually("it is queued", || served.server.queued() == Some(n));
            }
            for (n, now) in [(1, (4, 5)), (0, (4, 6))] {
                drop(clients.remove(0));
                eventually("one has come in", || counts() == now && served.server.queued() == Some(n));
            }
            clients.iter().for_each(|client| ping(client, "all are in"));
            for now in [(3, 6), (2, 6)] {
                drop(clients.remove(0));
                eventually("one has left", || counts() == now);
            }
            clients.clear();
            eventually("all have left", || counts() == (0, 6));
        });
    }

    /// testThreadCapacity
    #[test]
    fn the_limit_is_at_least_what_was_asked_for() {
        let server = ServerOptions::new().max_connections(64).listen("127.0.0.1:0").unwrap();
        assert_eq!(server.max_connections(), 64);
    }

    /// testFilter: a client that is filtered out sees the end and is no connection
    #[test]
    fn a_client_that_is_filtered_out_sees_the_end_and_is_not_counted() {
        within(|| {
            let all = BlockList::new();
            all.add_cidr("0.0.0.0/0").unwrap();
            let by_list = (ServerOptions::new().block_list(&all), landline::RefusedBy::Blocked);
            let by_function = (ServerOptions::new().filter(|_| false), landline::RefusedBy::Filtered);
            for (options, by) in [by_list, by_function] {
                let served = Served::with(&options, "127.0.0.1:0", echo);
                assert_eq!(served.client().read(&mut [0]).unwrap(), 0);
                let stats = served.server.stats();
                assert_eq!((served.server.connections(), stats.accepted, stats.refused(by)), (0, 0, 1));
            }
        });
    }
}

mod socket {
    use super::*;

    /// testEcho
    #[test]
    fn an_echo_echoes() {
        within(|| ping(&Served::echo().client(), "hello"));
    }

    /// testPeek
    #[test]
    fn peeking_at_a_part_and_at_all_takes_nothing() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            socket.write_all("hello, world!").unwrap();
            let mut buffer = [0; 256];
            assert_eq!(client.peek(&mut buffer[..5]).unwrap(), 5);
            assert_eq!(&buffer[..5], b"hello");
            assert_eq!(client.peek(&mut buffer).unwrap(), 13);
            assert_eq!(client.read(&mut buffer).unwrap(), 13);
            assert_eq!(&buffer[..13], b"hello, world!");
            assert_eq!(client.bytes_read(), 13);
        });
    }

    /// testMoveStreamSocket, testAssign: handles of one connection are equal, those of two are not
    #[test]
    fn moved_and_cloned_handles_are_one_connection() {
        within(|| {
            let served = Served::echo();
            let (one, two) = (served.client(), served.client());
            assert_ne!(one, two);
            let clone = one.clone();
            assert_eq!(one, clone);
            let moved = one;
            assert_eq!(moved, clone);
            ping(&moved, "hello");
            drop(moved);
            ping(&clone, "still open");
        });
    }

    /// testPoll, by a peek with a timeout; testAvailable
    #[test]
    fn whether_there_is_something_to_read_is_known_by_a_peek_with_a_timeout() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            client.set_timeout(Duration::from_secs(1));
            let began = Instant::now();
            assert_eq!(client.peek(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= Duration::from_secs(1));
            assert_eq!(client.available().unwrap(), None);
            client.write_all("hello").unwrap();
            let mut buffer = [0; 256];
            let available = client.peek(&mut buffer).unwrap();
            assert!(available > 0 && available <= 5);
            assert!(client.available().unwrap() >= Some(available));
            client.read_exact(&mut buffer[..5]).unwrap();
            assert_eq!(&buffer[..5], b"hello");
        });
    }

    /// testConnect
    #[test]
    fn a_connect_with_a_time_limit_succeeds() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            SocketOptions::new().connect_timeout(Duration::from_secs(20)).connect(server.address()).unwrap();
        });
    }

    /// testConnectRefused, testConnectRefusedNB
    #[test]
    fn connecting_to_a_closed_port_is_refused_with_and_without_a_time_limit() {
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            server.close();
            let options = [SocketOptions::new(), SocketOptions::new().connect_timeout(Duration::from_secs(20))];
            for options in options {
                let error = options.connect(server.address()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        });
    }

    /// testNonBlocking, for writing: by an outbox. There is no read that does not wait.
    #[test]
    fn writing_without_waiting_is_done_by_an_outbox() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            client.outbox().try_send(*b"hello").unwrap();
            let mut buffer = [0; 5];
            client.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"hello");
        });
    }

    /// testAddress
    #[test]
    fn the_servers_view_of_the_client_is_the_clients_own() {
        within(|| {
            let (_server, client, socket) = pair("127.0.0.1:0");
            assert_eq!(socket.remote_address().ip(), client.local_address().ip());
            assert_eq!(socket.remote_address().port(), client.local_address().port());
            assert_eq!(socket.local_address(), client.remote_address());
        });
    }

    /// testTimeout
    #[test]
    fn a_receive_timeout_fires_and_not_much_late() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            client.set_timeout(Duration::from_secs(1));
            let error = ends_after(Duration::from_secs(1), || client.read(&mut [0; 256]).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
    }

    /// testTimeout, the part about sending
    #[test]
    fn a_send_timeout_fires_when_the_peer_takes_nothing() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client.set_write_timeout(Duration::from_secs(1)).unwrap();
            let error = client.write_all(vec![0; 64 << 20]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(client.bytes_written() > 0 && client.bytes_written() < 64 << 20);
        });
    }

    /// testBufferSize, by `with_raw`: landline has no call for the buffers of a connection
    #[test]
    fn the_buffers_of_a_connection_can_be_set_and_read_by_raw() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client
                .with_raw(|fd| {
                    let raw = SockRef::from(&fd);
                    raw.set_send_buffer_size(32_000).unwrap();
                    raw.set_recv_buffer_size(32_000).unwrap();
                    assert_eq!((raw.send_buffer_size().unwrap(), raw.recv_buffer_size().unwrap()), (64_000, 64_000));
                })
                .unwrap();
        });
    }

    /// testOptions
    #[test]
    fn the_options_of_a_connection_read_back_as_they_were_set() {
        within(|| {
            let (_server, client, _socket) = pair("127.0.0.1:0");
            client
                .with_raw(|fd| {
                    let raw = SockRef::from(&fd);
                    raw.set_linger(Some(Duration::from_secs(20))).unwrap();
                    assert_eq!(raw.linger().unwrap(), Some(Duration::from_secs(20)));
                    raw.set_linger(None).unwrap();
                    assert_eq!(raw.linger().unwrap(), None);
                    for on in [true, false] {
                        client.set_no_delay(on).unwrap();
                        assert_eq!((client.no_delay(), raw.tcp_nodelay().unwrap()), (on, on));
                        client.set_keep_alive(KeepAlive::from(on)).unwrap();
                        assert_eq!(raw.keepalive().unwrap(), on);
                        raw.set_out_of_band_inline(on).unwrap();
                        assert_eq!(raw.out_of_band_inline().unwrap(), on);
                    }
                })
                .unwrap();
        });
    }

    /// testSelect, testSelect2: which of several sockets has something to read; by one channel of the server's
    #[test]
    fn one_thread_sees_which_of_two_connections_has_something() {
        use landline::net::{ServerEvent, SocketEvent};
        within(|| {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let events = server.events(16).unwrap();
            let next = || events.recv_timeout(LONG).unwrap();
            let clients = [0; 2].map(|_| Socket::connect(server.address()).unwrap());
            let mut sockets = Vec::new();
            for _ in 0..2 {
                let ServerEvent::Connection(socket) = next() else { panic!("a connection is first") };
                sockets.push(socket);
            }
            assert!(events.recv_timeout(Duration::from_secs(1)).is_err(), "no client has sent anything");
            clients[1].write_all("hello").unwrap();
            let ServerEvent::Socket(socket, SocketEvent::Data(bytes)) = next() else { panic!("then data") };
            assert_eq!((socket.remote_address(), &bytes[..]), (clients[1].local_address(), &b"hello"[..]));
            assert!(sockets.contains(&socket));
        });
    }

    /// testEchoUnixLocal
    #[test]
    fn a_unix_socket_echoes() {
        within(|| {
            let folder = Folder::temporary();
            let path = folder.join("SocketTest.sock");
            let _served = Served::on(Server::listen(&path).unwrap(), echo);
            ping(&Socket::connect(&path).unwrap(), "hello");
        });
    }

    /// testUnixLocalAbstract
    #[test]
    fn an_abstract_name_with_spaces_echoes() {
        within(|| {
            let name = PathBuf::from(format!("\0a name with spaces {}", std::process::id()));
            let _served = Served::on(Server::listen(&name).unwrap(), echo);
            ping(&Socket::connect(&name).unwrap(), "hello");
        });
    }

    /// testUseFd
    #[test]
    fn a_descriptor_that_listens_already_is_served() {
        within(|| {
            let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = ServerOptions::new().adopt(std::os::fd::OwnedFd::from(listener)).unwrap();
            let _served = Served::on(server, echo);
            ping(&Socket::connect(("127.0.0.1", port)).unwrap(), "hello");
        });
    }

    /// testAssign (incompatible kinds): what is no stream, or no listener, is not taken for one
    #[test]
    fn a_descriptor_of_another_kind_is_refused() {
        use std::os::fd::OwnedFd;
        let listener = || OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let udp = || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!(Socket::try_from(listener()).unwrap_err().told().code(), "ERR_INVALID_FD_TYPE");
        assert_eq!(Socket::try_from(udp()).unwrap_err().told().code(), "ERR_INVALID_FD_TYPE");
        assert_eq!(ServerOptions::new().adopt(udp()).unwrap_err().told().code(), "EINVAL");
        assert_eq!(dgram::SocketOptions::new().adopt(listener()).unwrap_err().told().code(), "ERR_INVALID_FD_TYPE");
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(ServerOptions::new().adopt(OwnedFd::from(stream)).unwrap_err().told().code(), "EINVAL");
    }

    fn send_file(size: usize, offset: usize, count: usize) {
        let folder = Folder::temporary();
        let path = folder.join("file");
        let data = b"0123456789abcdef".repeat(size.div_ceil(16));
        std::fs::write(&path, &data[..size]).unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&got);
        let served = Served::new(move |socket| {
            *shared.lock().unwrap() = all(socket)?;
            Ok(())
        });
        let client = served.client();
        let mut file = std::fs::File::open(path).unwrap();
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset as u64)).unwrap();
        assert_eq!(io::copy(&mut file.take(count as u64), &mut &client).unwrap(), count as u64);
        client.end().unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(*got.lock().unwrap() == data[offset..offset + count]);
    }

    /// testSendFile, testSendFileLarge, testSendFileRange; SocketStreamTest::testSendFile: by std's copy
    #[test]
    fn a_file_or_a_range_of_it_is_sent_by_copy() {
        within(|| {
            send_file(13, 0, 13);
            send_file(160_000, 0, 160_000);
            send_file(16_384, 4000, 10_000);
            send_file(64_000, 0, 64_000);
        });
    }
}

mod stream {
    use super::*;

    /// testStreamEcho, testLargeStreamEcho
    #[test]
    fn what_a_buffered_writer_sent_comes_back_after_our_end() {
        within(|| {
            let served = Served::echo();
            for size in [5, 64_000, 4_000_000] {
                let client = served.client();
                let writer = client.clone();
                let writing = thread::spawn(move || {
                    let mut buffered = io::BufWriter::new(&writer);
                    buffered.write_all(&vec![b'x'; size]).unwrap();
                    buffered.flush().unwrap();
                    drop(buffered);
                    writer.end().unwrap();
                });
                let mut back = vec![0; size];
                client.read_exact(&mut back).unwrap();
                assert!(back.iter().all(|byte| *byte == b'x'));
                assert_eq!(client.read(&mut back).unwrap(), 0);
                writing.join().unwrap();
            }
        });
    }

    /// testEOF
    #[test]
    fn after_the_server_has_ended_a_buffered_reader_sees_the_end() {
        within(|| {
            let served = Served::echo();
            let client = served.client();
            let mut reader = io::BufReader::new(&client);
            client.write_all("hello").unwrap();
            client.end().unwrap();
            let mut five = [0; 5];
            reader.read_exact(&mut five).unwrap();
            assert_eq!(&five, b"hello");
            drop(served);
            assert!(reader.fill_buf().unwrap().is_empty());
            assert!(reader.fill_buf().unwrap().is_empty());
        });
    }
}

/// DialogSocketTest::testDialogSocket: lines by CRLF or LF, and raw bytes behind a line
#[test]
fn lines_come_without_their_ends_and_raw_bytes_follow_where_a_line_ended() {
    within(|| {
        let served = Served::echo();
        let client = served.client();
        let mut reader = client.buffered().unwrap();
        let mut next = || reader.next_line().unwrap().unwrap().to_owned();
        client.write_all("Hello, world!\r\n").unwrap();
        assert_eq!(next(), "Hello, world!");
        client.write_all("Hello, World!\n").unwrap();
        assert_eq!(next(), "Hello, World!");
        client.write_fmt(format_args!("{} {} {}\r\n", "PUT", "local.txt", "remote.txt")).unwrap();
        assert_eq!(next(), "PUT local.txt remote.txt");
        client.write_all("220-line1\r\nline2\r\n220 line3\r\n").unwrap();
        assert_eq!([next(), next(), next()], ["220-line1", "line2", "220 line3"]);
        client.write_all("Header\nMore Bytes").unwrap();
        assert_eq!(next(), "Header");
        let mut rest = [0; 10];
        reader.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"More Bytes");
        client.write_all("Even More Bytes").unwrap();
        let mut rest = [0; 15];
        reader.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"Even More Bytes");
    });
}

mod datagram {
    use super::*;
    use landline::dgram::SocketOptions;

    /// A UDP server that sends everything back, until it is dropped.
    struct Echo(dgram::Socket, Option<thread::JoinHandle<io::Result<()>>>);

    impl Echo {
        fn on(socket: dgram::Socket) -> Echo {
            let running = receiving(&socket, |socket, bytes, from| socket.send_to(bytes, from).map(drop).or(Ok(())));
            Echo(socket, Some(running))
        }

        fn new() -> Echo {
            Echo::on(dgram::Socket::bind("127.0.0.1:0").unwrap())
        }
    }

    impl Drop for Echo {
        fn drop(&mut self) {
            self.0.close();
            self.1.take().unwrap().join().unwrap().unwrap();
        }
    }

    fn receive(socket: &dgram::Socket) -> Vec<u8> {
        let mut buffer = vec![0; 65_535];
        socket.recv_timeout(&mut buffer, LONG).unwrap().unwrap().0.to_vec()
    }

    /// testEcho, testUnbound: a client that binds to nothing of its own choice
    #[test]
    fn a_connected_socket_sends_and_receives() {
        within(|| {
            let echo = Echo::new();
            let client = dgram::Socket::bind(0).unwrap();
            client.connect(echo.0.address()).unwrap();
            assert_eq!(client.send(b"hello").unwrap(), 5);
            assert_eq!(receive(&client), b"hello");
        });
    }

    /// testMoveDatagramSocket
    #[test]
    fn moved_and_cloned_handles_are_one_socket() {
        within(|| {
            let echo = Echo::new();
            let first = dgram::Socket::bind(0).unwrap();
            first.connect(echo.0.address()).unwrap();
            let clone = first.clone();
            let moved = first;
            moved.send(b"hello").unwrap();
            assert_eq!(receive(&clone), b"hello");
            drop(moved);
            clone.send(b"again").unwrap();
            assert_eq!(receive(&clone), b"again");
        });
    }

    /// testEchoBuffer: a buffer for nothing
    #[test]
    fn a_receive_into_no_buffer_takes_the_datagram_and_says_its_size() {
        within(|| {
            let echo = Echo::new();
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"hello", echo.0.address()).unwrap();
            let (bytes, from) = client.recv(&mut []).unwrap().unwrap();
            assert_eq!((bytes.len(), from.size(), from.is_truncated()), (0, 5, true));
            client.send_to(b"world", echo.0.address()).unwrap();
            assert_eq!(receive(&client), b"world");
        });
    }

    /// testSendToReceiveFrom, testReceiveFromAvailable
    #[test]
    fn the_sender_of_an_answer_is_the_address_it_was_sent_to_and_its_size_is_known() {
        within(|| {
            let echo = Echo::new();
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            assert_eq!(client.send_to(b"hello", echo.0.address()).unwrap(), 5);
            let mut buffer = [0; 256];
            let (bytes, from) = client.recv(&mut buffer).unwrap().unwrap();
            assert_eq!((bytes, from.address(), from.size()), (&b"hello"[..], echo.0.address(), 5));
        });
    }

    /// testReuseAddressPortWildcard, testReuseAddressPortSpecific
    #[test]
    fn sockets_share_an_address_only_if_all_ask_for_it() {
        let v4 = || SocketOptions::udp4().reuse_address(true);
        let v6 = || SocketOptions::udp6().reuse_address(true).ipv6_only(true);
        let in_use = |result: std::io::Result<dgram::Socket>| {
            assert_eq!(result.unwrap_err().told().code(), "EADDRINUSE");
        };
        for (wildcard, specific, options) in [("0.0.0.0", "127.0.0.1", v4()), ("::", "::1", v6())] {
            let plain = || options.clone().reuse_address(false);
            let first = options.bind((wildcard, 0)).unwrap();
            let port = first.address().port();
            let _second = options.bind((wildcard, port)).unwrap();
            let _third = options.bind((specific, port)).unwrap();
            in_use(plain().bind((wildcard, port)));
            let first = plain().bind((wildcard, 0)).unwrap();
            let port = first.address().port();
            in_use(plain().bind((wildcard, port)));
            in_use(plain().bind((specific, port)));
            in_use(options.bind((wildcard, port)));
        }
        // The port of one family is free in the other.
        let first = SocketOptions::udp6().ipv6_only(true).bind(("::", 0)).unwrap();
        SocketOptions::udp4().bind(("0.0.0.0", first.address().port())).unwrap();
        let both = SocketOptions::udp6().bind(("::", 0)).unwrap();
        in_use(SocketOptions::udp4().bind(("0.0.0.0", both.address().port())));
    }

    /// testBroadcast, on the loopback network
    #[test]
    fn a_broadcast_needs_the_option_and_then_arrives() {
        within(|| {
            let echo = Echo::on(dgram::Socket::bind("0.0.0.0:0").unwrap());
            let to = ("127.255.255.255", echo.0.address().port());
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            assert_eq!(client.send_to(b"hello", to).unwrap_err().kind(), ErrorKind::PermissionDenied);
            client.set_broadcast(true).unwrap();
            assert_eq!(client.send_to(b"hello", to).unwrap(), 5);
            assert_eq!(receive(&client), b"hello");
            client.set_broadcast(false).unwrap();
            assert!(client.send_to(b"hello", to).is_err());
        });
    }

    /// testGatherScatterFixed, testGatherScatterVariable (Gather: there is no call that scatters)
    #[test]
    fn several_slices_become_one_datagram() {
        within(|| {
            let echo = Echo::new();
            for parts in [vec!["ten bytes.", "ten more..", "the last.."], vec!["some", "", "of", "any length"], vec![]]
            {
                let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part.as_bytes())).collect();
                let whole = parts.concat();
                let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
                assert_eq!(client.send_vectored_to(&slices, echo.0.address()).unwrap(), whole.len());
                assert_eq!(receive(&client), whole.as_bytes());
                client.connect(echo.0.address()).unwrap();
                assert_eq!(client.send_vectored(&slices).unwrap(), whole.len());
                assert_eq!(receive(&client), whole.as_bytes());
            }
        });
    }

    /// testClosedPortError
    #[test]
    fn a_closed_port_is_reported_once_and_harms_nothing() {
        within(|| {
            let closed = dgram::Socket::bind("127.0.0.1:0").unwrap();
            let to = closed.address();
            closed.close();
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            client.connect(to).unwrap();
            client.send([0; 5]).unwrap();
            let error = client.recv_timeout(&mut [0; 9], LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let error = client.recv_timeout(&mut [0; 9], Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            let echo = Echo::on(dgram::Socket::bind(to).unwrap());
            client.send(b"hello").unwrap();
            assert_eq!(receive(&client), b"hello");
            drop(echo);
        });
    }

    /// UDPServerTest::testServer: ten thousand messages in datagrams, by one handler and by ten; none may be lost or
    /// mixed up
    #[test]
    fn ten_thousand_messages_reach_one_loop_or_ten() {
        within(|| {
            for loops in [1, 10] {
                let server = dgram::Socket::bind("127.0.0.1:0").unwrap();
                let senders: Arc<Mutex<HashMap<SocketAddr, usize>>> = Arc::default();
                let count = Arc::new(AtomicUsize::new(0));
                let running: Vec<_> = (0..loops)
                    .map(|_| {
                        let (senders, count) = (Arc::clone(&senders), Arc::clone(&count));
                        receiving(&server, move |_, bytes, from| {
                            let messages = bytes.split(|byte| *byte == b'\n').filter(|part| *part == b"hello").count();
                            *senders.lock().unwrap().entry(from.address()).or_default() += messages;
                            count.fetch_add(messages, SeqCst);
                            Ok(())
                        })
                    })
                    .collect();
                let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
                let batch = "hello\n".repeat(100);
                for _ in 0..100 {
                    client.send_to(batch.as_bytes(), server.address()).unwrap();
                }
                eventually("all have arrived", || count.load(SeqCst) == 10_000);
                assert_eq!(senders.lock().unwrap()[&client.address()], 10_000);
                server.close();
                running.into_iter().for_each(|running| running.join().unwrap().unwrap());
            }
        });
    }

    /// MulticastSocketTest::testMulticast, on the loopback interface
    #[test]
    fn a_member_of_a_group_is_heard_and_answered_and_may_leave() {
        within(|| {
            let group = Ipv4Addr::new(239, 255, 77, 77);
            let member = SocketOptions::udp4().reuse_address(true).bind(0).unwrap();
            member.join_multicast(group, "127.0.0.1").unwrap();
            let port = member.address().port();
            let echo = Echo::on(member);
            let client = dgram::Socket::bind("127.0.0.1:0").unwrap();
            client.set_multicast_interface("127.0.0.1").unwrap();
            assert_eq!(client.send_to(b"hello", (group, port)).unwrap(), 5);
            assert_eq!(receive(&client), b"hello");
            echo.0.leave_multicast(group, "127.0.0.1").unwrap();
            client.send_to(b"hello", (group, port)).unwrap();
            let error = client.recv_timeout(&mut [0; 9], Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(echo.0.leave_multicast(group, "127.0.0.1").unwrap_err().told().code(), "EADDRNOTAVAIL");
        });
    }

    /// NetworkInterfaceTest::testForName, testForAddress, testForIndex: an interface is named in each way, or does not
    /// exist. (Of the lists of interfaces, testMap and its kin, there is nothing here.)
    #[test]
    fn an_interface_is_known_by_name_address_and_number_and_an_unknown_one_is_an_error() {
        let group = Ipv4Addr::new(239, 255, 77, 78);
        let lo: u32 = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap();
        let socket = SocketOptions::udp4().bind(0).unwrap();
        for interface in [dgram::Interface::from("lo"), dgram::Interface::from([127, 0, 0, 1]), lo.into()] {
            socket.join_multicast(group, interface.clone()).unwrap();
            // It is the same one in every way.
            for other in [dgram::Interface::from("lo"), dgram::Interface::from([127, 0, 0, 1]), lo.into()] {
                assert_eq!(socket.join_multicast(group, other).unwrap_err().told().code(), "EADDRINUSE");
            }
            socket.leave_multicast(group, interface).unwrap();
        }
        for unknown in [dgram::Interface::from("nosuch0"), [198, 51, 100, 1].into(), 999_999.into()] {
            assert_eq!(socket.join_multicast(group, unknown).unwrap_err().told().code(), "ENODEV");
        }
    }
}

mod addresses {
    use super::*;

    /// testSocketAddress
    #[test]
    fn an_address_is_made_of_text_with_a_port_and_bad_ones_are_errors() {
        let address: Address = "192.168.1.100:100".parse().unwrap();
        assert_eq!((address.family(), address.port()), (Family::Ipv4, 100));
        assert_eq!(address.ip().unwrap().to_string(), "192.168.1.100");
        assert_eq!(address.to_string(), "192.168.1.100:100");
        for bad in
            ["192.168.2.260:80", "192.168.2.120:80000", "192.168.1.100:f00bar", "[192.168.2.260]", "[192.168.2.260:88"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
            assert!(Socket::connect(bad).is_err(), "{bad}");
        }
        // Differs: brackets are for IPv6, and ports are numbers.
        for poco_only in ["[192.168.2.120]:88", "192.168.1.100:ftp"] {
            assert!(Socket::connect(Endpoint::from(poco_only)).unwrap_err().told().code().starts_with("ERR_INVALID"));
        }
    }

    /// testSocketRelationals
    #[test]
    fn addresses_are_equal_and_ordered_by_ip_and_port() {
        let at = |text: &str| text.parse::<Address>().unwrap();
        assert_eq!(at("192.168.1.100:100"), Address::from(SocketAddr::from(([192, 168, 1, 100], 100))));
        assert!(at("192.168.1.100:100") < at("192.168.1.101:99"));
        assert!(at("192.168.1.101:99") < at("192.168.1.101:102"));
    }

    /// testSocketAddress6
    #[test]
    fn an_ipv6_address_prints_in_lower_case_and_in_brackets() {
        let address: Address = "[FE80::E6CE:8FFF:FE4A:EDD0]:100".parse().unwrap();
        assert_eq!((address.family(), address.port()), (Family::Ipv6, 100));
        assert_eq!(address.to_string(), "[fe80::e6ce:8fff:fe4a:edd0]:100");
    }

    /// testSocketAddressUnixLocal
    #[test]
    fn addresses_that_are_paths_are_equal_and_ordered_by_it() {
        let at = |path: &str| Address::from(PathBuf::from(path));
        assert_eq!(at("/tmp/sock1").family(), Family::Unix);
        assert_eq!(at("/tmp/sock1").to_string(), "/tmp/sock1");
        assert!(at("/tmp/sock1") == at("/tmp/sock1") && at("/tmp/sock1") < at("/tmp/sock2"));
    }
}
