//! Connecting to this machine: by a bare port, by the address of a server, without one of the families, and from which end.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use landline::Family;
use landline::net::{Server, ServerOptions, Socket, SocketOptions};

#[cfg(target_os = "linux")]
use crate::support::dgram::in_own_network;
use crate::support::fixtures::{accept, port_of_no_client};
use crate::support::{
    HANG, Told, Whole, blocked, differs, differs_on_windows, each_ip, families, in_surroundings, within,
};

/// Names for both addresses of this machine, whatever the file of hosts says.
const HOSTS: &str = "printf '::1 localhost\\n127.0.0.1 localhost\\n' >/tmp/hosts.$$; mount --bind /tmp/hosts.$$ /etc/hosts; \
    rm /tmp/hosts.$$";

/// Connects to a server on every interface in every way, and to a port without one.
fn reaches_this_machine() {
    within("every connect returns", || {
        for at in ["0", "0.0.0.0:0", "[::]:0", "localhost:0"] {
            let server = Server::listen(at).expect("every interface can be listened on");
            let port = server.address().port();
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                options.connect(server.address()).unwrap_or_else(|error| panic!("{at} by its address: {error}"));
                options.connect(port).unwrap_or_else(|error| panic!("{at} by its port: {error}"));
                options.connect(("localhost", port)).unwrap_or_else(|error| panic!("{at} by the name: {error}"));
            }
            server.close();
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                for to in [landline::Endpoint::from(port), ("::", port).into(), ("0.0.0.0", port).into()] {
                    let error = options.connect(to.clone()).map(drop).expect_err("the server is closed");
                    assert_eq!(error.told().code(), "ECONNREFUSED", "no server listens on {to}: {error}");
                }
            }
        }
    });
}

/// Ensures that where IPv6 can be bound and has no address, as in most containers, a server is reached by its address, its
/// port and the name of this machine.
#[test]
#[cfg(target_os = "linux")]
fn a_machine_without_an_address_of_ipv6_reaches_itself() {
    let script = format!("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; {HOSTS}");
    in_surroundings(this_test!(), &script, reaches_this_machine);
}

/// Ensures the same where the loopback alone has none.
#[test]
#[cfg(target_os = "linux")]
fn a_machine_without_the_loopback_of_ipv6_reaches_itself() {
    in_surroundings(this_test!(), &format!("ip -6 addr del ::1/128 dev lo; {HOSTS}"), reaches_this_machine);
}

/// Ensures that where no interface is up a connect fails at once and says why, and `close` lets go the thread that waits for a
/// client, of a server of our own and of one that was taken over.
#[test]
#[cfg(target_os = "linux")]
fn a_machine_without_any_interface_says_so_and_closes() {
    in_own_network(this_test!(), || {
        within("every call returns", || {
            for at in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
                let given = TcpListener::bind(at).expect("it can be bound");
                let servers = [Server::listen(at), ServerOptions::new().adopt(given)];
                for (server, kind) in servers.into_iter().zip(["its own", "taken over"]) {
                    let server = server.expect("it can be listened on");
                    for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                        for to in [server.address().into(), landline::Endpoint::from(server.address().port())] {
                            let error = options.connect(to).map(drop).expect_err("no interface is up");
                            let codes = ["ENETUNREACH", "EADDRNOTAVAIL"];
                            assert!(codes.contains(&error.told().code()), "it says that there is no way: {error}");
                        }
                    }
                    if differs("accept is woken by a connection alone, and there is no way for one") {
                        continue;
                    }
                    let waiting = server.clone();
                    let waiting = blocked(move || waiting.accept());
                    server.close();
                    let accepted = within(&format!("accept returns, {at}, {kind}"), || waiting.join());
                    assert!(accepted.expect("no panic").expect("no error").is_none(), "it is closed");
                }
            }
        });
    });
}

/// Ensures that a server on one loopback address is reached by a bare port, whichever family it has, and only over that.
#[test]
fn a_bare_port_reaches_a_server_of_either_family() {
    within("every connect returns", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                let client = options.connect(server.address().port()).expect("it is this machine");
                assert_eq!(client.remote_address(), server.address(), "over the family of the server");
            }
        });
    });
}

/// Ensures that an IPv4-mapped address means the IPv4 one, to listen on, to connect to and to connect from.
#[test]
fn a_mapped_address_means_the_ipv4_address() {
    within("the client is accepted", || {
        let server = Server::listen("[::ffff:127.0.0.1]:0").expect("it is this machine's");
        assert_eq!(server.address().family(), Family::Ipv4, "it listens on IPv4");
        let options = SocketOptions::new().local_address("::ffff:127.0.0.1");
        let to = (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), server.address().port());
        let client = options.connect(to).expect("it is the server's");
        assert_eq!(client.remote_address(), server.address(), "it is the server's address");
        assert_eq!(client.local_address().ip(), Some(Ipv4Addr::LOCALHOST.into()), "from the IPv4 address");
        assert_eq!(accept(&server).remote_address(), client.local_address(), "both name it alike");
    });
}

/// Ensures that a wildcard as the local address means any, in both families.
#[test]
fn a_wildcard_to_connect_from_means_any_address() {
    within("every connect returns", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            for wildcard in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
                let options = SocketOptions::new().local_address(wildcard);
                for to in [server.address().into(), landline::Endpoint::from(server.address().port())] {
                    options.connect(to).unwrap_or_else(|error| panic!("{wildcard} to {at}: {error}"));
                }
            }
        });
    });
}

/// Ensures that a zone is part of an address wherever one is given, by number and by name: to listen on, to connect to and
/// from, in the addresses of both ends, and in errors.
#[test]
#[cfg(target_os = "linux")]
fn a_zone_is_kept_wherever_an_address_goes() {
    let script = "ip link add left type veth peer name right; ip link set left up; ip link set right up; \
        ip addr add fe80::1/64 dev left nodad; ip addr add fe80::2/64 dev right nodad";
    in_surroundings(this_test!(), script, || {
        let output = Command::new("ip").args(["-oneline", "link", "show", "dev", "left"]).output().expect("ip starts");
        let line = String::from_utf8_lossy(&output.stdout);
        let (index, _) = line.split_once(':').expect("the line begins with its number");
        for zone in ["left", index] {
            let server = Server::listen((format!("fe80::1%{zone}"), 0)).expect("the interface has the address");
            let port = server.address().port();
            assert_eq!(server.address().to_string(), format!("[fe80::1%{index}]:{port}"), "the server's address");
            let json = format!(r#"{{"address":"fe80::1%{index}","family":"IPv6","port":{port}}}"#);
            assert_eq!(server.address().to_json(), json, "in JSON too");
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                let options = options.local_address(format!("fe80::1%{zone}"));
                let client = options.connect(server.address()).expect("the server listens");
                let client_at = client.local_address().to_string();
                assert!(client_at.starts_with(&format!("[fe80::1%{index}]:")), "the client's end: {client_at}");
                assert_eq!(accept(&server).remote_address(), client.local_address(), "both name it alike");
                options.connect((format!("fe80::1%{zone}"), port)).expect("by its name as well");
                drop(accept(&server));
            }
            server.close();
            let error = Socket::connect((format!("fe80::1%{zone}"), port)).map(drop).expect_err("it is closed");
            assert_eq!(error.to_string(), format!("connect ECONNREFUSED fe80::1%{index}:{port}"), "errors have it");
            let error = Server::listen((format!("fe80::9%{zone}"), 0)).map(drop).expect_err("nothing has the address");
            assert_eq!(
                error.told().address().map(ToString::to_string),
                Some(format!("[fe80::9%{index}]:0")),
                "these too"
            );
        }
        let none =
            SocketOptions::new().local_address("fe80::1%no-interface").connect(1).map(drop).expect_err("no zone");
        assert_eq!(none.to_string(), "Invalid IP address: fe80::1%no-interface (local_address)", "it names the option");
    });
}

/// Ensures that every IPv6 address may have a zone, by name and by number, not only a link-local one.
#[test]
#[cfg(target_os = "linux")]
fn an_address_of_any_scope_may_have_a_zone() {
    if families().len() < 2 {
        return println!("skipped: no IPv6");
    }
    for zone in ["1", "lo"] {
        for (ip, listening) in [("::1", "[::1]:0"), ("::ffff:127.0.0.1", "127.0.0.1:0")] {
            let server = Server::listen(listening).expect("port 0 can be listened on");
            let host = format!("{ip}%{zone}");
            for options in [SocketOptions::new(), SocketOptions::new().local_address(&host)] {
                let client = options.connect((host.as_str(), server.address().port()));
                let client = client.unwrap_or_else(|error| panic!("{host}: {error}"));
                assert_eq!(client.remote_address().ip(), server.address().ip(), "{host} is the address");
                assert_eq!(client.local_address().ip(), server.address().ip(), "{host} to itself");
                drop(accept(&server));
            }
            Server::listen((host.as_str(), 0)).unwrap_or_else(|error| panic!("listening at {host}: {error}"));
        }
        let error = Server::listen((format!("fd07:5eed::1%{zone}"), 0)).map(drop).expect_err("nothing has the address");
        assert_eq!(error.to_string(), "listen EADDRNOTAVAIL: address not available fd07:5eed::1%1", "it is found");
    }
    for host in ["::1%no-interface", "fd07:5eed::1%no-interface"] {
        let error = Socket::connect((host, 1)).map(drop).expect_err("there is no such interface");
        assert_eq!(error.to_string(), format!("getaddrinfo ENOTFOUND {host}"), "it names the zone");
    }
}

// ---- local ports

/// Ensures that a client that ends first connects from its port again at once, and from one port to several servers.
#[test]
fn a_local_port_is_used_again_and_for_several_servers() {
    if differs_on_windows("a local port has one connection, since sharing it would let others take it") {
        return;
    }
    within("every connect returns", || {
        each_ip(|at| {
            let servers = [0, 1].map(|_| Server::listen(at).expect("port 0 can be listened on"));
            let options = SocketOptions::new().local_port(port_of_no_client());
            let first = options.connect(servers[0].address()).expect("the port is free");
            let accepted = accept(&servers[0]);
            let second = options.connect(servers[1].address()).expect("one port has connections to several servers");
            drop((second, accept(&servers[1])));
            // The client ends first, so its port is in TIME_WAIT.
            first.end().expect("it is connected");
            accepted.read_all().expect("an orderly end");
            accepted.end().expect("it is connected");
            first.read_all().expect("an orderly end");
            drop((first, accepted));
            let third = Server::listen(at).expect("port 0 can be listened on");
            options.connect(third.address()).expect("a port in TIME_WAIT can be connected from");
        });
    });
}

/// Ensures that a local address costs no ports: there can be as many connections from it as without.
#[test]
#[cfg(target_os = "linux")]
fn a_local_address_alone_leaves_as_many_ports() {
    let script = "echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range; \
        echo 40003,40005-40006 >/proc/sys/net/ipv4/ip_local_reserved_ports";
    in_surroundings(this_test!(), script, || {
        if crate::support::differs("the ports of the system are not known: each bound connection has one of its own") {
            return;
        }
        let servers: Vec<_> = (20_000..20_003)
            .map(|port| Server::listen(("127.0.0.1", port)).expect("the network is this test's own"))
            .collect();
        let count = |options: SocketOptions| {
            let connect = |server: &Server| options.connect(server.address()).ok();
            let held: Vec<_> = servers.iter().cycle().take(60).filter_map(connect).collect();
            let ports = held.iter().map(|socket| socket.local_address().port());
            assert!(ports.into_iter().all(|port| ![40_003, 40_005, 40_006].contains(&port)), "reserved ports are left");
            let count = held.len();
            for socket in held {
                socket.reset_and_destroy().expect("it is connected");
            }
            count
        };
        let free = count(SocketOptions::new());
        assert_eq!(free, 21, "seven ports, each for three servers: the premise");
        let bound = SocketOptions::new().local_address("127.0.0.1");
        assert_eq!(count(bound.clone()), free, "as many with a local address");
        assert_eq!(count(bound.connect_timeout(HANG)), free, "and with a limit on the time");
    });
}

// ---- to itself

/// Ensures that no connect meets itself, whatever the address is called and whether the local port was chosen, and that the
/// port is free afterwards.
#[test]
#[cfg(target_os = "linux")]
fn a_connect_never_meets_itself() {
    let script = "echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range";
    in_surroundings(this_test!(), script, || {
        let mut hosts = vec!["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"];
        if families().len() == 2 {
            hosts.extend(["::", "::1", "::1%1"]);
        }
        for host in hosts {
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                for options in [options.clone(), options.local_port(40_004)] {
                    for _ in 0..200 {
                        match options.connect((host, 40_004)) {
                            Ok(socket) => panic!("{host} is connected to itself: {socket:?}"),
                            Err(error) => {
                                assert_eq!(error.told().code(), "ECONNREFUSED", "no server listens there: {error}")
                            }
                        }
                    }
                }
            }
            let plain = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            let at = std::net::SocketAddr::from(([127, 0, 0, 1], 40_004));
            plain.bind(&at.into()).unwrap_or_else(|error| panic!("after {host} the port is free: {error}"));
        }
    });
}
