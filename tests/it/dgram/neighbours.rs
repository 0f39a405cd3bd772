//! Sockets that others have too, and ports and machines that are shared.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use landline::dgram::{Interface, Socket, SocketEvent, SocketOptions};

use crate::support::time::{nearly_all_below, once_below};
use crate::support::{Told, blocked, has_proc, in_child, within};

/// Less than the time after which a receiver of our own looks around by itself.
const WOKEN: Duration = Duration::from_millis(500);

/// Receives on a thread that is blocked then, and counts into `strays` what comes.
fn counting(socket: &Socket, strays: &Arc<AtomicUsize>) -> std::thread::JoinHandle<std::io::Result<()>> {
    let (socket, strays) = (socket.clone(), Arc::clone(strays));
    blocked(move || {
        socket.each(|_, event| {
            if let SocketEvent::Message(..) = event {
                strays.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        })
    })
}

/// Ensures that closing sockets that share a port, plain ones, members of a group, or a pool of eight, wakes their receivers
/// and sends no other socket on the port anything, be its program this one or another.
#[cfg(unix)]
#[test]
fn closing_one_of_many_on_a_port_sends_the_others_nothing() {
    in_child(this_test!(), &[], || {
        let pool = SocketOptions::udp4().reuse_port(true);
        let sharing = SocketOptions::udp4().reuse_address(true);
        let kinds = [
            ("plain", &sharing, "127.0.0.1:0", false, 1),
            ("multicast", &sharing, "0.0.0.0:0", true, 1),
            ("pool", &pool, "127.0.0.1:0", false, 7),
        ];
        for (kind, options, at, is_member, others) in kinds {
            let strays = Arc::new(AtomicUsize::new(0));
            let first = options.bind(at).unwrap();
            let mut stay = vec![first.clone()];
            stay.extend((1..others).map(|_| options.bind(first.address()).unwrap()));
            // One more that is not of this library.
            let foreign = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
            foreign.set_reuse_address(kind != "pool").unwrap();
            foreign.set_reuse_port(kind == "pool").unwrap();
            foreign.bind(&first.address().into()).unwrap();
            let foreign = UdpSocket::from(foreign);
            foreign.set_nonblocking(true).unwrap();
            let loops: Vec<_> = stay.iter().map(|socket| counting(socket, &strays)).collect();
            nearly_all_below(kind, WOKEN, || {
                let socket = options.bind(first.address()).unwrap();
                if is_member {
                    socket.join_multicast("239.255.13.30", Interface::address([127, 0, 0, 1])).unwrap();
                }
                let running = counting(&socket, &strays);
                let begun = Instant::now();
                socket.close();
                let took = begun.elapsed();
                within("the receiver of the closed one returns", || running.join().unwrap()).unwrap();
                took
            });
            assert!(foreign.recv_from(&mut [0; 10]).is_err(), "{kind}: a neighbour of another program gets nothing");
            for (socket, running) in stay.iter().zip(loops) {
                socket.close();
                within("each loop ends", || running.join().unwrap()).unwrap();
            }
            assert_eq!(strays.load(Ordering::SeqCst), 0, "{kind}: no neighbour gets a wake-up");
        }
    });
}

/// Ensures that a dropped handle of an adopted socket leaves the giver's as it is: no peer, no datagram, no timeout, and
/// that a peer given to it is seen to without the giver's getting it.
#[test]
fn the_giver_of_a_socket_sees_nothing_of_its_peer_and_of_its_end() {
    if !has_proc() {
        return;
    }
    let giver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = giver.local_addr().unwrap();
    let [peer, other] = [(); 2].map(|()| Socket::bind("127.0.0.1:0").unwrap());
    let socket = SocketOptions::new().adopt(giver.try_clone().unwrap()).unwrap();
    for _ in 0..2 {
        socket.connect(peer.address()).unwrap();
        assert!(giver.peer_addr().is_err(), "the giver's socket has no peer");
        other.send_to(b"not from the peer", at).unwrap();
        peer.send_to(b"from the peer", at).unwrap();
        let (bytes, _) = crate::support::dgram::receive(&socket);
        assert_eq!(bytes, b"from the peer", "the peer alone is heard");
        socket.send(b"to the peer").unwrap();
        assert_eq!(crate::support::dgram::receive(&peer).0, b"to the peer");
        assert_eq!(socket.send_to(b"x", other.address()).unwrap_err().told().code(), "ERR_SOCKET_DGRAM_IS_CONNECTED");
        socket.disconnect().unwrap();
        other.send_to(b"from anywhere", at).unwrap();
        assert_eq!(crate::support::dgram::receive(&socket).0, b"from anywhere", "without a peer all are heard");
    }
    // Not a bound: it sets a timeout that is to be taken off again.
    assert!(socket.recv_timeout(&mut [0; 10], Duration::from_millis(1)).is_err(), "nothing is left");
    assert_eq!(giver.read_timeout().unwrap(), None, "a timeout is the giver's again once the receive has returned");
    drop(socket);
    assert!(giver.peer_addr().is_err(), "the giver's socket has no peer");
    giver.set_nonblocking(true).unwrap();
    assert!(giver.recv_from(&mut [0; 10]).is_err(), "the giver gets nothing");
}

/// Ensures that a loop on a socket that its giver makes non-blocking neither ends nor spins, and hears what comes.
#[cfg(target_os = "linux")]
#[test]
fn a_loop_neither_ends_nor_spins_when_the_giver_makes_the_socket_non_blocking() {
    use crate::support::proc::sleeps;
    use crate::support::{HANG, numbered};
    use std::sync::mpsc;
    let giver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = SocketOptions::new().adopt(giver.try_clone().unwrap()).unwrap();
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let (got, inbox) = mpsc::channel();
    let in_loop = socket.clone();
    let (running, id) = numbered(move || {
        let mut buffer = [0; 65_535];
        while let Some((bytes, _)) = in_loop.recv(&mut buffer).unwrap() {
            got.send(bytes.to_vec()).unwrap();
        }
    });
    giver.set_nonblocking(true).unwrap();
    for text in [&b"one"[..], b"two"] {
        sender.send_to(text, socket.address()).unwrap();
        assert_eq!(inbox.recv_timeout(HANG).unwrap(), text, "it is heard");
    }
    // How often the thread has gone to sleep in a time: a thread that spins never does.
    let Some(id) = id else { return };
    let before = sleeps(id);
    crate::support::eventually("the loop sleeps between its looks", || sleeps(id) > before + 3);
    socket.close();
    within("the loop ends", || running.join()).unwrap();
}

#[cfg(target_os = "linux")]
mod networks {
    use super::*;
    use crate::support::dgram::{in_own_network, receive, run};
    use crate::support::{differs, eventually};
    use landline::Report;
    use std::net::SocketAddr;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    /// A socket as others give it: `prepare` makes its settings before it is bound.
    fn given(at: &str, prepare: impl FnOnce(&socket2::Socket)) -> UdpSocket {
        let at: SocketAddr = at.parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::DGRAM, None).unwrap();
        prepare(&socket);
        socket.bind(&at.into()).unwrap();
        socket.into()
    }

    /// Connects two devices of this network, of which `va` has an address.
    fn cable() {
        run("ip link set lo up");
        run("ip link add va type veth peer name vb");
        run("ip address add 10.7.1.1/24 dev va");
        run("ip link set va up");
        run("ip link set vb up");
    }

    /// What [`in_another_network`] tells the test.
    const INNER: &str = "LANDLINE_TEST_INNER";

    /// Runs the test again in one more network, with the socket on its standard input and `told` in [`INNER`].
    fn in_another_network(test: &str, socket: OwnedFd, told: &str) {
        let mut command = Command::new("unshare");
        command.arg("-n").arg(crate::support::this_program());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INNER, told);
        let inner = command.stdin(Stdio::from(socket)).output().unwrap();
        let said = String::from_utf8_lossy(&inner.stdout);
        assert!(inner.status.success() && said.contains("1 passed"), "in another network: {said}");
    }

    /// Closes an adopted socket, which cannot be reached from here: its loop ends, and its giver gets nothing.
    fn closes(what: &str, giver: &UdpSocket) {
        let socket = SocketOptions::new().adopt(giver.try_clone().unwrap()).unwrap();
        let running = socket.clone();
        let running = blocked(move || running.each(|_, _| Ok(())));
        let begun = Instant::now();
        socket.close();
        println!("measured: closing a socket {what} takes {:?}", begun.elapsed());
        within("the loop ends", || running.join().unwrap()).unwrap();
        giver.set_nonblocking(true).unwrap();
        assert!(giver.recv_from(&mut [0; 10]).is_err(), "{what}: nothing was sent to wake it");
    }

    /// Ensures that an adopted socket closes where no datagram of ours reaches it: behind a device, at an address that this
    /// machine does not have, on a port that it shares, with a peer, and in another network.
    #[test]
    fn an_adopted_socket_closes_where_it_cannot_be_reached() {
        if !has_proc() {
            return;
        }
        in_own_network(this_test!(), || {
            if std::env::var_os(INNER).is_some() {
                // In a network of its own again; the socket on the standard input is of the one outside.
                let given: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
                return closes("of another network", &UdpSocket::from(given));
            }
            cable();
            run("ip route add default via 10.7.1.2");
            closes("behind a device", &given("0.0.0.0:0", |socket| socket.bind_device(Some(b"va")).unwrap()));
            closes("of a foreign address", &given("192.0.2.1:0", |socket| socket.set_freebind_v4(true).unwrap()));
            std::fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
            closes("of a foreign address that can be bound", &given("192.0.2.1:0", |_| {}));
            let shared = given("127.0.0.1:0", |socket| socket.set_reuse_port(true).unwrap());
            let neighbour = given(&shared.local_addr().unwrap().to_string(), |socket| {
                socket.set_reuse_port(true).unwrap();
            });
            closes("that shares its port", &shared);
            neighbour.set_nonblocking(true).unwrap();
            assert!(neighbour.recv_from(&mut [0; 10]).is_err(), "the neighbour gets nothing");
            let connected = given("127.0.0.1:0", |_| {});
            connected.connect("127.0.0.1:9").unwrap();
            closes("with a peer", &connected);

            if differs("there are no network namespaces") {
                return;
            }
            let socket: OwnedFd = given("127.0.0.1:0", |_| {}).into();
            in_another_network(this_test!(), socket, "1");
        });
    }

    /// Ensures that closing a socket that is bound to the broadcast address of one network ends its receiver, and sends
    /// nothing to a neighbour on the same port.
    #[test]
    fn close_sends_nothing_to_a_broadcast_address() {
        in_own_network(this_test!(), || {
            cable();
            for at in ["10.7.1.255:0", "127.255.255.255:0", "255.255.255.255:0"] {
                let socket = SocketOptions::new().reuse_address(true).bind(at).unwrap();
                let everywhere = format!("0.0.0.0:{}", socket.address().port());
                let neighbour = given(&everywhere, |socket| socket.set_reuse_address(true).unwrap());
                let running = socket.clone();
                let running = blocked(move || running.recv(&mut [0; 10]).unwrap().is_none());
                let begun = Instant::now();
                socket.close();
                println!("measured: closing a socket bound to {at} takes {:?}", begun.elapsed());
                assert!(within("the receiver returns", || running.join().unwrap()), "it is closed");
                neighbour.set_nonblocking(true).unwrap();
                assert!(neighbour.recv_from(&mut [0; 10]).is_err(), "{at}: a neighbour gets nothing");
            }
        });
    }

    /// Ensures that closing a socket of another network sends nothing to the socket that has its address in this one, be its
    /// port shared or not.
    #[test]
    fn close_in_another_network_sends_nothing_to_a_stranger() {
        in_own_network(this_test!(), || {
            // Without /proc the network of a socket is not known.
            if differs("there are no network namespaces") || !has_proc() {
                return;
            }
            run("ip link set lo up");
            if let Ok(shares) = std::env::var(INNER) {
                // In a network of its own again; the socket on the standard input is of the one outside.
                let theirs: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
                let socket = SocketOptions::new().own(theirs).unwrap();
                let at = socket.address().to_string();
                let stranger = given(&at, |stranger| stranger.set_reuse_port(shares == "true").unwrap());
                let running = socket.clone();
                let running = blocked(move || running.recv(&mut [0; 10]).unwrap().is_none());
                let begun = Instant::now();
                socket.close();
                println!("measured: closing a socket of another network takes {:?}", begun.elapsed());
                assert!(within("the receiver returns", || running.join().unwrap()), "it is closed");
                stranger.set_nonblocking(true).unwrap();
                assert!(stranger.recv_from(&mut [0; 10]).is_err(), "{at}: a stranger gets nothing");
                return;
            }
            for at in crate::support::families() {
                for shares in [false, true] {
                    let socket: OwnedFd = given(at, |socket| socket.set_reuse_port(shares).unwrap()).into();
                    in_another_network(this_test!(), socket, &shares.to_string());
                }
            }
        });
    }

    /// Ensures that a socket that landline has bound to a device is closed soon, though no datagram of ours reaches it.
    #[test]
    fn a_socket_behind_a_device_closes_soon() {
        in_own_network(this_test!(), || {
            cable();
            let options = SocketOptions::udp4().before_bind(|fd| socket2::SockRef::from(&fd).bind_device(Some(b"va")));
            nearly_all_below("closing", WOKEN, || {
                let socket = options.bind(0).unwrap();
                let running = socket.clone();
                let running = blocked(move || running.each(|_, _| Ok(())));
                let begun = Instant::now();
                socket.close();
                let took = begun.elapsed();
                within("the loop ends", || running.join().unwrap()).unwrap();
                took
            });
        });
    }

    /// Ensures that a send that waits for room in the send buffer, because its neighbour does not answer, fails when the
    /// socket is closed, and that the port is then free.
    #[test]
    fn close_ends_a_send_that_waits_for_room() {
        in_own_network(this_test!(), || {
            if !has_proc() || differs("no call ends a send of another thread") {
                return;
            }
            cable();
            let mut ends = vec![("10.7.1.1:0", "10.7.1.60:9")];
            if crate::support::families().len() > 1 {
                run("ip address add fd00:7::1/64 dev va nodad");
                ends.push(("[fd00:7::1]:0", "[fd00:7::60]:9"));
            }
            for (at, to) in ends {
                // The number of questions, one a second, after which the system drops the datagrams. It is 3 where this
                // process may not set it. The send then blocks again.
                let version = if at.starts_with('[') { "ipv6" } else { "ipv4" };
                let _ = std::fs::write(format!("/proc/sys/net/{version}/neigh/va/mcast_solicit"), "1000");
                once_below("closing beside a send", WOKEN, || {
                    let socket = SocketOptions::new().send_buffer_size(1).bind(at).unwrap();
                    let [sending, receiving] = [(); 2].map(|()| socket.clone());
                    let sending = blocked(move || {
                        loop {
                            if let Err(error) = sending.send_to([0; 1000], to) {
                                return error;
                            }
                        }
                    });
                    let receiving = blocked(move || receiving.recv(&mut [0; 10]).unwrap().is_none());
                    let begun = Instant::now();
                    socket.close();
                    let took = begun.elapsed();
                    let error = within("the send returns", || sending.join().unwrap());
                    assert_eq!(error.told().code(), "ERR_SOCKET_DGRAM_NOT_RUNNING", "the send says why it failed");
                    assert!(within("the receive returns", || receiving.join().unwrap()), "a receiver is woken as ever");
                    Socket::bind(socket.address()).expect("the port is free");
                    took
                });
            }
        });
    }

    /// Ensures that a close that cannot wake its receiver says so, does not say that the socket is closed, and that nothing is
    /// received after it.
    #[test]
    fn a_close_that_leaves_a_receiver_behind_says_so() {
        if !has_proc() {
            return;
        }
        in_own_network(this_test!(), || {
            run("ip link set lo up");
            let giver = UdpSocket::bind("127.0.0.1:0").unwrap();
            let (tell, told) = mpsc::channel();
            let hook = move |report: &Report| tell.send(report.to_string()).unwrap();
            let socket = SocketOptions::new().report(hook).adopt(giver.try_clone().unwrap()).unwrap();
            let running = socket.clone();
            let running = blocked(move || running.recv(&mut [0; 10]).unwrap().is_none());
            run("ip link set lo down");
            socket.close();
            let at = socket.address();
            let reports: Vec<_> = told.try_iter().collect();
            assert_eq!(
                reports,
                [format!("udp {at} closing"), format!("udp failed: close ETIMEDOUT {at}")],
                "it says so"
            );
            assert!(!running.is_finished(), "the premise: the receiver is left");
            run("ip link set lo up");
            giver.send_to(b"late", giver.local_addr().unwrap()).unwrap();
            assert!(within("the receiver returns", || running.join().unwrap()), "nothing is received after a close");
        });
    }

    /// Ensures that a socket of both families closes at once and sends to this machine where IPv6 has no address, as in
    /// containers: by a bare port, by a wildcard, and by a name that has an address of each family.
    #[test]
    fn a_socket_of_both_families_works_where_ipv6_has_no_address() {
        in_own_network(this_test!(), || {
            if std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").is_err() {
                return println!("skipped: there is no IPv6 here");
            }
            run("ip link set lo up");
            assert!(UdpSocket::bind("[::1]:0").is_err(), "the premise: IPv6 has no address");
            nearly_all_below("closing", WOKEN, || {
                let socket = SocketOptions::udp6().bind(0).unwrap();
                let running = socket.clone();
                let running = blocked(move || running.each(|_, _| Ok(())));
                let begun = Instant::now();
                socket.close();
                let took = begun.elapsed();
                within("the loop ends", || running.join().unwrap()).unwrap();
                took
            });
            let adopted = SocketOptions::new().adopt(UdpSocket::bind("[::]:0").unwrap()).unwrap();
            let running = adopted.clone();
            let running = blocked(move || running.each(|_, _| Ok(())));
            adopted.close();
            within("the loop of an adopted one ends", || running.join().unwrap()).unwrap();

            for socket in [SocketOptions::udp6().bind(0).unwrap(), Socket::bind(0).unwrap()] {
                let port = socket.address().port();
                socket.send_to(b"port", port).unwrap();
                socket.send_to(b"wildcard", socket.address()).unwrap();
                socket.send_to(b"name", ("localhost", port)).unwrap();
                for text in [&b"port"[..], b"wildcard", b"name"] {
                    assert_eq!(receive(&socket).0, text, "it is sent by IPv4");
                }
                socket.connect(port).unwrap();
                socket.send(b"peer").unwrap();
                assert_eq!(receive(&socket).0, b"peer", "and so it is connected");
            }
        });
    }

    /// Ensures that a socket on a reserved port hears its peer alone, and all again after `disconnect`, when this process
    /// may not bind the port any more; and that `disconnect` says so where the right was given up in between.
    #[test]
    fn disconnect_works_after_the_right_to_the_port_was_given_up() {
        if !has_proc() {
            return;
        }
        const FIRST_FREE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        in_own_network(this_test!(), || {
            if std::env::var_os("LANDLINE_TEST_ANOTHER").is_none() {
                run("ip link set lo up");
                std::fs::write(FIRST_FREE, "0").unwrap();
                // Any user may run a copy in the folder of temporary files.
                let folder = crate::support::Folder::new();
                let copy = folder.file("copy");
                std::fs::copy(crate::support::this_program(), &copy).unwrap();
                let mut command = Command::new(&copy);
                command.args([this_test!(), "--exact", "--nocapture", "--test-threads=1"]).uid(65_534);
                command.env("LANDLINE_TEST_ANOTHER", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
                let Ok(mut child) = command.spawn() else {
                    return println!("skipped: no program can be started as another user here");
                };
                let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
                let bound = lines.by_ref().map_while(Result::ok).find(|line| line.ends_with("bound"));
                std::fs::write(FIRST_FREE, "1024").unwrap();
                drop(child.stdin.take());
                let rest: Vec<_> = lines.map_while(Result::ok).collect();
                let ended = child.wait().unwrap();
                assert!(bound.is_some() && ended.success(), "without the right to the port: {rest:?}");
                return;
            }
            let [socket, connected] = [53, 54].map(|port| Socket::bind(("127.0.0.1", port)).unwrap());
            let [peer, other] = [(); 2].map(|()| Socket::bind("127.0.0.1:0").unwrap());
            connected.connect(peer.address()).unwrap();
            println!("\nbound");
            let _ = std::io::stdin().read_line(&mut String::new());
            assert!(Socket::bind("127.0.0.1:55").is_err(), "the premise: the right is gone");
            let error = connected.disconnect().unwrap_err();
            assert_eq!(error.told().code(), "EACCES", "it says why it cannot");
            assert_eq!(connected.remote_address().unwrap(), peer.address(), "and nothing has changed");
            for _ in 0..2 {
                socket.connect(peer.address()).unwrap();
                other.send_to(b"not from the peer", socket.address()).unwrap();
                peer.send_to(b"from the peer", socket.address()).unwrap();
                assert_eq!(receive(&socket).0, b"from the peer", "the peer alone is heard");
                socket.disconnect().unwrap();
                other.send_to(b"from anywhere", socket.address()).unwrap();
                assert_eq!(receive(&socket).0, b"from anywhere", "all are heard again");
            }
        });
    }

    /// Ensures that a datagram socket of another protocol than UDP cannot be adopted.
    #[test]
    fn another_protocol_than_udp_cannot_be_adopted() {
        if !has_proc() {
            return;
        }
        in_own_network(this_test!(), || {
            run("ip link set lo up");
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            let any = Some(socket2::Protocol::ICMPV4);
            let ping = match socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, any) {
                Ok(ping) => ping,
                Err(error) => return println!("skipped: no ICMP socket can be made here: {error}"),
            };
            ping.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            let error = SocketOptions::new().adopt(OwnedFd::from(ping)).unwrap_err();
            assert_eq!(error.to_string(), "Unsupported fd type: UNKNOWN", "ICMP is not UDP");
            eventually("UDP can be", || SocketOptions::new().adopt(given("127.0.0.1:0", |_| {})).is_ok());
        });
    }
}
