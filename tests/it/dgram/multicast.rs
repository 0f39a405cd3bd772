//! Groups. Every test names an interface, and it is loopback, or else the network is one of the test's own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use landline::dgram::{Interface, Socket, SocketOptions};

use crate::support::dgram::receive;
use crate::support::{Told, differs, differs_on_windows, families, has_proc};

const LOOPBACK: &str = "127.0.0.1";

fn group(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(239, 255, 13, last)
}

/// A socket on every address that shares its port.
fn member(port: u16) -> Socket {
    SocketOptions::udp4().reuse_address(true).bind(port).unwrap()
}

/// A socket that sends to groups by loopback.
fn sender(at: &str) -> Socket {
    let sender = Socket::bind(at).unwrap();
    sender.set_multicast_interface(LOOPBACK).unwrap();
    sender
}

/// Whether nothing has come; what is sent on one machine is there when the send has returned.
fn is_silent(socket: &Socket) -> bool {
    socket.try_recv(&mut [0; 100]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Ensures that every member gets what is sent to the group, until it leaves.
#[test]
fn every_member_gets_what_is_sent_to_the_group_until_it_leaves() {
    let first = member(0);
    let port = first.address().port();
    let members = [first, member(port), member(port)];
    for member in &members {
        member.join_multicast(group(1), LOOPBACK).unwrap();
    }
    let sender = sender("127.0.0.1:0");
    for _ in 0..2 {
        assert_eq!(sender.send_to(b"to all", (group(1), port)).unwrap(), 6);
    }
    for member in &members {
        for _ in 0..2 {
            let (bytes, from) = receive(member);
            assert_eq!((&*bytes, from.address()), (&b"to all"[..], sender.address()));
        }
    }
    for member in &members {
        member.leave_multicast(group(1), LOOPBACK).unwrap();
    }
    sender.send_to(b"to nobody", (group(1), port)).unwrap();
    assert!(members.iter().all(is_silent), "who has left gets nothing");
}

/// Ensures that an interface may be named in every way, with the same effect.
#[cfg(target_os = "linux")]
#[test]
fn interface_is_named_by_address_index_or_name() {
    let member = member(0);
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let loopback = [Interface::address([127, 0, 0, 1]), Interface::index(1), Interface::name("lo"), "::%lo".into()];
    for interface in &loopback {
        member.join_multicast(group(2), interface.clone()).unwrap_or_else(|error| panic!("{interface:?}: {error}"));
        sender.set_multicast_interface(interface.clone()).unwrap_or_else(|error| panic!("{interface:?}: {error}"));
        sender.send_to(b"x", (group(2), member.address().port())).unwrap();
        assert_eq!(receive(&member).0, b"x", "{interface:?}");
        member.leave_multicast(group(2), interface.clone()).unwrap();
    }
    sender.set_multicast_interface(Interface::ANY).unwrap();
    sender.set_multicast_interface("0.0.0.0").expect("the unspecified address is any interface");
    if let Ok(v6) = SocketOptions::udp6().bind(0) {
        let by_address = families().len() == 2
            && has_proc()
            && !differs("an interface of IPv6 cannot be named by an address: there is no list of them");
        for interface in ["::%lo", "lo", "::1", "::"].into_iter().filter(|name| *name != "::1" || by_address) {
            v6.set_multicast_interface(interface).unwrap_or_else(|error| panic!("{interface}: {error}"));
        }
        let both = Socket::bind(0).unwrap();
        for socket in [&v6, &both].into_iter().filter(|socket| socket.address().is_ipv6()) {
            let error = socket.set_multicast_interface("127.0.0.1").unwrap_err();
            assert_eq!(error.told().code(), "EINVAL", "IPv6 has no interface by an address of IPv4");
        }
    }
}

/// Ensures that a group and a source are given as text or as an address, in any of its forms, and that a text which is no IP
/// address is an error that names it.
#[test]
fn groups_and_sources_are_texts_or_addresses() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    socket.join_multicast("224.0.0.114", LOOPBACK).unwrap();
    socket.leave_multicast(Ipv4Addr::new(224, 0, 0, 114), LOOPBACK).unwrap();
    socket.join_multicast(IpAddr::from([224, 0, 0, 114]), LOOPBACK).unwrap();
    socket.leave_multicast(String::from("::ffff:224.0.0.114"), LOOPBACK).unwrap();
    if cfg!(target_os = "linux") {
        socket.join_multicast_source("127.0.0.1", "232.255.13.9", LOOPBACK).unwrap();
        socket.leave_multicast_source(Ipv4Addr::LOCALHOST, "232.255.13.9", LOOPBACK).unwrap();
    }
    for wrong in ["", "localhost", "224.0.0", "224.0.0.114:80", "[ff02::1]", "ff02::1%lo"] {
        for error in [
            socket.join_multicast(wrong, LOOPBACK).unwrap_err(),
            socket.leave_multicast(wrong, LOOPBACK).unwrap_err(),
            socket.join_multicast_source("127.0.0.1", wrong, LOOPBACK).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), format!("Invalid IP address: {wrong} (group)"), "it names the text");
            assert_eq!(
                (error.told().code(), error.kind()),
                ("ERR_INVALID_IP_ADDRESS", std::io::ErrorKind::InvalidInput)
            );
        }
        let error = socket.join_multicast_source(wrong, "232.255.13.9", LOOPBACK).unwrap_err();
        assert_eq!(error.to_string(), format!("Invalid IP address: {wrong} (source)"), "and which one it is");
    }
}

/// Ensures that what cannot be joined is an error with Node's code.
#[test]
fn wrong_groups_and_interfaces_have_nodes_codes() {
    if differs_on_windows("the codes are others") {
        return;
    }
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let told = |result: std::io::Result<()>| result.unwrap_err().to_string();
    assert_eq!(told(socket.join_multicast("127.0.0.1", LOOPBACK)), "addMembership EINVAL", "it is no group");
    assert_eq!(told(socket.join_multicast(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), "lo")), "addMembership EINVAL");
    assert_eq!(told(socket.join_multicast(group(3), [1, 2, 3, 4])), "addMembership ENODEV", "nobody has it");
    assert_eq!(told(socket.join_multicast(group(3), "no-such-interface")), "addMembership ENODEV");
    assert_eq!(told(socket.join_multicast(group(3), 4_000_000)), "addMembership ENODEV");
    socket.join_multicast(group(3), LOOPBACK).unwrap();
    assert_eq!(told(socket.join_multicast(group(3), LOOPBACK)), "addMembership EADDRINUSE", "it is joined already");
    socket.leave_multicast(group(3), LOOPBACK).unwrap();
    assert_eq!(told(socket.leave_multicast(group(3), LOOPBACK)), "dropMembership EADDRNOTAVAIL", "it is not joined");
    assert_eq!(told(socket.leave_multicast("127.0.0.1", LOOPBACK)), "dropMembership EINVAL");

    let told = |interface: &str| socket.set_multicast_interface(interface).unwrap_err().to_string();
    assert_eq!(told("224.0.0.2"), "setMulticastInterface EADDRNOTAVAIL", "a group is no interface");
    assert_eq!(told("1.2.3.4"), "setMulticastInterface EADDRNOTAVAIL", "nobody has it");
    assert_eq!(told("::1"), "setMulticastInterface EINVAL", "it is of the other family");
    assert_eq!(told("no-such-interface"), "setMulticastInterface ENODEV");
}

/// Ensures that a source-specific member hears that source alone, and further ones by further joins.
#[test]
fn source_specific_member_hears_its_source_alone() {
    let group = Ipv4Addr::new(232, 255, 13, 1);
    let member = member(0);
    let to = (group, member.address().port());
    let Ok(other) = Socket::bind("127.0.0.2:0") else {
        return println!("skipped: 127.0.0.2 cannot be bound here");
    };
    other.set_multicast_interface(LOOPBACK).unwrap();
    let sender = sender("127.0.0.1:0");
    member.join_multicast_source("127.0.0.1", group, LOOPBACK).unwrap();
    other.send_to(b"not for you", to).unwrap();
    sender.send_to(b"for you", to).unwrap();
    assert_eq!(receive(&member).0, b"for you", "only the source is heard");
    member.join_multicast_source("127.0.0.2", group, LOOPBACK).unwrap();
    other.send_to(b"now too", to).unwrap();
    assert_eq!(receive(&member).0, b"now too");
    member.leave_multicast_source("127.0.0.1", group, LOOPBACK).unwrap();
    sender.send_to(b"not any more", to).unwrap();
    other.send_to(b"still", to).unwrap();
    assert_eq!(receive(&member).0, b"still", "the other is still heard");
    let error = member.leave_multicast_source("127.0.0.1", group, LOOPBACK).unwrap_err();
    assert_eq!((error.told().syscall(), error.told().code()), (Some("dropSourceSpecificMembership"), "EADDRNOTAVAIL"));
    member.leave_multicast_source("127.0.0.2", group, LOOPBACK).unwrap();
    let error = member.join_multicast_source("127.0.0.1", "127.0.0.1", LOOPBACK).unwrap_err();
    assert_eq!(error.to_string(), "addSourceSpecificMembership EINVAL");
}

/// Ensures that source-specific IPv6, for which there is no safe call, says so. (Node's ssmv6 test cannot be met.)
#[test]
fn source_specific_ipv6_is_enotsup() {
    let Ok(socket) = SocketOptions::udp6().bind(0) else { return println!("skipped: no IPv6") };
    let (source, group): (IpAddr, IpAddr) = ("::1".parse().unwrap(), "ff3e::1234".parse().unwrap());
    let error = socket.join_multicast_source(source, group, 1).unwrap_err();
    assert_eq!(error.to_string(), "addSourceSpecificMembership ENOTSUP");
}

/// Ensures that disconnecting does not take a socket out of its groups, nor forget the interface it sends by.
#[test]
fn groups_and_interface_are_kept_when_disconnecting() {
    let socket = member(0);
    let port = socket.address().port();
    socket.join_multicast(group(4), LOOPBACK).unwrap();
    socket.join_multicast(group(5), LOOPBACK).unwrap();
    socket.leave_multicast(group(5), LOOPBACK).unwrap();
    socket.join_multicast_source("127.0.0.1", "232.255.13.2", LOOPBACK).unwrap();
    socket.set_multicast_interface(LOOPBACK).unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    socket.disconnect().unwrap();

    let other = sender("127.0.0.1:0");
    for to in [group(4), Ipv4Addr::new(232, 255, 13, 2)] {
        other.send_to(b"x", (to, port)).unwrap();
        assert_eq!(receive(&socket).0, b"x", "it is still in {to}");
    }
    assert_eq!(socket.join_multicast(group(4), LOOPBACK).unwrap_err().told().code(), "EADDRINUSE", "it is joined");
    let not_joined = if cfg!(windows) { "EINVAL" } else { "EADDRNOTAVAIL" };
    let error = socket.leave_multicast(group(5), LOOPBACK).unwrap_err();
    assert_eq!(error.told().code(), not_joined, "what it had left it has left");
    let receiver = member(0);
    receiver.join_multicast(group(6), LOOPBACK).unwrap();
    socket.send_to(b"y", (group(6), receiver.address().port())).unwrap();
    assert_eq!(receive(&receiver).0, b"y", "it sends by the same interface");
}

/// Ensures, in a network of its own, that interfaces are told apart, that a TTL and the loopback do what they say, and
/// all this for IPv6 too. There are two ends of a cable: va and vb.
#[cfg(target_os = "linux")]
#[test]
fn interfaces_loopback_and_ipv6_groups_in_an_own_network() {
    if !has_proc() {
        return;
    }
    use crate::support::dgram::{in_own_network, run};
    use crate::support::eventually;
    use std::process::Command;
    in_own_network(this_test!(), || {
        for file in ["ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad"] {
            // New addresses are to be usable at once.
            let _ = std::fs::write(format!("/proc/sys/net/{file}"), "0");
        }
        run("ip link set lo up");
        run("ip link add name va type veth peer name vb");
        for (end, v4, v6) in [("va", "10.7.1.1/24", "fd07:1::1/64"), ("vb", "10.7.2.1/24", "fd07:2::1/64")] {
            run(&format!("ip address add {v4} dev {end}"));
            run(&format!("ip -6 address add {v6} dev {end} nodad"));
            run(&format!("ip link set {end} up"));
        }
        // Both ends are of this machine, which hears itself by its cable only if told to.
        for end in ["all", "va", "vb"] {
            for (setting, value) in [("accept_local", "1"), ("rp_filter", "0")] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{end}/{setting}"), value).unwrap();
            }
        }
        // The cable carries something a while after both its ends were set up.
        for end in ["va", "vb"] {
            let mut shown = String::new();
            eventually("the cable is up, with link-local addresses", || {
                let output = Command::new("ip").args(["address", "show", "dev", end]).output().unwrap();
                shown = String::from_utf8_lossy(&output.stdout).into_owned();
                shown.contains("state UP") && shown.contains("inet6 fe80:") && !shown.contains("tentative")
            });
        }
        let [a, b] = ["va", "vb"].map(Interface::name);

        // By name, by address and by number it is the same interface.
        let links = std::fs::read_to_string("/proc/net/igmp").unwrap();
        let link = links.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|link| link[1] == "va");
        let index: u32 = link.expect("it is listed")[0].parse().unwrap();
        let v4: Vec<Interface> = vec!["va".into(), "10.7.1.1".into(), index.into()];
        let mut v6: Vec<Interface> = vec!["va".into(), "::%va".into(), index.into()];
        if !differs("an interface of IPv6 cannot be named by an address: there is no list of them") {
            v6.push("fd07:1::1".into());
        }

        for (v6_only, group, names) in [
            (false, IpAddr::from(group(7)), v4),
            (true, "ff15::1307".parse().unwrap(), v6.clone()),
            (true, "ff02::1307".parse().unwrap(), v6),
        ] {
            let options = if v6_only { SocketOptions::udp6().ipv6_only(true) } else { SocketOptions::udp4() };
            for name in names {
                let (member, sender) = (options.bind(0).unwrap(), options.bind(0).unwrap());
                let to = (group, member.address().port());
                member.join_multicast(group, name.clone()).unwrap_or_else(|error| panic!("{group} {name:?}: {error}"));
                sender.set_multicast_interface(name.clone()).unwrap();
                sender.send_to(b"by a", to).unwrap();
                assert_eq!(receive(&member).0, b"by a", "{group}: a member on {name:?} gets it");
                assert!(is_silent(&member), "{group}: once");
                sender.set_multicast_loop(false).unwrap();
                sender.send_to(b"by a", to).unwrap();
                assert!(is_silent(&member), "{group}: without loopback not from itself");
                sender.set_multicast_loop(true).unwrap();
                sender.set_multicast_interface("lo").unwrap();
                let _ = sender.send_to(b"by lo", to);
                assert!(is_silent(&member), "{group}: what is sent by another interface does not come");
                member.leave_multicast(group, name).unwrap();
            }

            // Over the cable, to the other end.
            let (member, sender) = (options.bind(0).unwrap(), options.bind(0).unwrap());
            member.join_multicast(group, b.clone()).unwrap();
            sender.set_multicast_interface(a.clone()).unwrap();
            sender.set_multicast_loop(false).unwrap();
            let to = (group, member.address().port());
            sender.send_to(b"over the cable", to).unwrap();
            let (bytes, from) = receive(&member);
            assert_eq!(bytes, b"over the cable", "{group}");
            if group == IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 0x1307]) {
                let zone = from.address().to_string();
                assert!(zone.starts_with("[fe80:") && zone.contains('%'), "a link-local sender has a zone: {zone}");
                member.send_to(b"reply", from).expect("and can be replied to by it");
            }
            if group.is_ipv4() {
                // Linux looks at the TTL of what it sends only where it is a member; for IPv6 only with loopback, too.
                sender.join_multicast(group, a.clone()).unwrap();
                sender.set_multicast_ttl(0).unwrap();
                sender.send_to(b"kept in", to).unwrap();
                assert!(is_silent(&member), "with a TTL of 0 nothing leaves");
            }
        }
    });
}

/// Ensures, in a network of its own, that a group is joined on the interface that was named where that has no address of IPv4
/// or the address of another one; that what was left in any form is not joined again by disconnecting, and the rest is; and
/// that the form in which IPv6 writes an address of IPv4 means that address.
#[cfg(target_os = "linux")]
#[test]
fn groups_are_joined_by_the_number_of_the_interface() {
    if !has_proc() {
        return;
    }
    use crate::support::dgram::{in_own_network, run};
    in_own_network(this_test!(), || {
        run("ip link set lo up");
        run("ip link add va type veth peer name vb");
        run("ip link add vc type veth peer name vd");
        ["va", "vb", "vc", "vd"].into_iter().for_each(|name| run(&format!("ip link set {name} up")));
        run("ip address add 10.7.1.1/24 dev va");
        run("ip address add 10.7.1.1/24 dev vb");
        run("ip address add 10.7.3.1/24 dev vc");
        // The interfaces on which a socket of this machine is in the group.
        let members = || {
            let table = std::fs::read_to_string("/proc/net/igmp").unwrap();
            let (mut on, mut found) = ("", Vec::new());
            for line in table.lines().skip(1) {
                match line.starts_with(char::is_whitespace) {
                    false => on = line.split_whitespace().nth(1).unwrap(),
                    true if line.contains("0A0DFFEF") => found.push(on.to_owned()),
                    true => {}
                }
            }
            found.sort();
            found
        };
        let index = |name: &str| {
            let file = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"));
            file.ok().and_then(|text| text.trim().parse::<u32>().ok())
        };
        let group = group(10);
        let nowhere: Vec<String> = Vec::new();
        for name in ["va", "vb", "vd"] {
            let socket = Socket::bind(0).unwrap();
            socket.join_multicast(group, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(members(), [name], "the interface that was named, and no other");
            assert_eq!(socket.join_multicast(group, name).unwrap_err().told().code(), "EADDRINUSE");
            socket.leave_multicast(group, name).unwrap();
            assert_eq!(members(), nowhere, "it is left");
        }
        // Joined in one form, left in another, with a further interface that stays.
        let mapped = IpAddr::V6(group.to_ipv6_mapped());
        let forms = [Interface::name("vc"), Interface::address([10, 7, 3, 1]), "::ffff:10.7.3.1".into()];
        let mut forms: Vec<_> = forms.into_iter().collect();
        // Not to be had where /sys shows another network.
        forms.extend(index("vc").map(Interface::index));
        for join in &forms {
            for leave in &forms {
                let socket = Socket::bind(0).unwrap();
                socket.join_multicast(group, "vd").unwrap();
                socket.join_multicast(mapped, join.clone()).unwrap_or_else(|error| panic!("{join:?}: {error}"));
                assert_eq!(members(), ["vc", "vd"], "{join:?}");
                socket.leave_multicast(group, leave.clone()).unwrap_or_else(|error| panic!("{leave:?}: {error}"));
                socket.connect("127.0.0.1:9").unwrap();
                socket.disconnect().unwrap();
                assert_eq!(members(), ["vd"], "joined as {join:?}, left as {leave:?}");
            }
        }
        // Of two with one address, the system sends by one; the other is not taken for it.
        let sender = Socket::bind(0).unwrap();
        let set = ["va", "vb"]
            .map(|name| sender.set_multicast_interface(name).map_err(|error| error.told().code().to_owned()));
        assert!(set.contains(&Ok(())) && set.contains(&Err("ENODEV".to_owned())), "one of the two: {set:?}");
    });
}

/// Ensures, in a network of its own, that the interface to send by is set for both families of a socket or for none.
#[cfg(target_os = "linux")]
#[test]
fn the_interface_to_send_by_is_set_for_both_families_or_none() {
    use crate::support::dgram::{in_own_network, run};
    in_own_network(this_test!(), || {
        run("ip link set lo up");
        let Ok(socket) = SocketOptions::udp6().bind(0) else { return println!("skipped: no IPv6") };
        run("ip link add va type veth peer name vb");
        run("ip link set va up");
        let to = (group(11), socket.address().port());
        socket.join_multicast(group(11), "lo").unwrap();
        assert!(socket.send_to(b"x", to).is_err(), "the premise: there is no route");
        for interface in ["lo", "::1", "1"].map(|text| text.parse().map_or_else(|_| text.into(), Interface::index)) {
            let by_address = matches!(&interface, named if *named == Interface::from("::1"));
            if by_address && (differs("no list of addresses") || !has_proc()) {
                continue;
            }
            socket.set_multicast_interface(interface.clone()).unwrap();
            socket.send_to(b"by IPv4", to).unwrap();
            assert_eq!(receive(&socket).0, b"by IPv4", "{interface:?} is the interface of IPv4 too");
        }
        let error = socket.set_multicast_interface("va").unwrap_err();
        assert_eq!(error.to_string(), "setMulticastInterface ENODEV", "it has no address of IPv4");
        socket.send_to(b"as before", to).unwrap();
        assert_eq!(receive(&socket).0, b"as before", "nothing has changed");
        let only = SocketOptions::udp6().ipv6_only(true).bind(0).unwrap();
        only.set_multicast_interface("va").expect("a socket of IPv6 alone needs no address of IPv4");
    });
}

/// Ensures that an interface is found by its number, however long its name is.
#[cfg(target_os = "linux")]
#[test]
fn an_interface_with_a_long_name_is_found_by_its_number() {
    if !has_proc() {
        return;
    }
    use crate::support::dgram::{in_own_network, run};
    in_own_network(this_test!(), || {
        run("ip link set lo up");
        for (n, name) in ["nine45678", "ten4567890", "fourteen901234", "fifteen89012345"].into_iter().enumerate() {
            let index = 100 + n as u32;
            run(&format!("ip link add {name} index {index} type veth peer name peer{n}"));
            run(&format!("ip address add 10.7.{n}.1/24 dev {name}"));
            run(&format!("ip link set {name} up"));
            run(&format!("ip link set peer{n} up"));
            let socket = SocketOptions::udp4().bind(0).unwrap();
            let found = |result: std::io::Result<()>| result.unwrap_or_else(|error| panic!("{name}: {error}"));
            found(socket.set_multicast_interface(index));
            let by = socket.with_raw(|fd| socket2::SockRef::from(&fd).multicast_if_v4()).unwrap().unwrap();
            assert_eq!(by, Ipv4Addr::new(10, 7, n as u8, 1), "{name}: its address is used");
            found(socket.join_multicast_source("10.7.0.9", "232.1.1.1", index));
            found(socket.leave_multicast_source("10.7.0.9", "232.1.1.1", index));
        }
    });
}

/// Ensures that no socket joins a group of a family that it does not reach.
#[test]
fn a_group_of_the_other_family_cannot_be_joined() {
    if families().len() < 2 {
        return println!("skipped: no IPv6");
    }
    for at in ["[::]:0", "[::1]:0"] {
        let socket = SocketOptions::udp6().ipv6_only(true).bind(at).unwrap();
        let error = socket.join_multicast(group(7), LOOPBACK).unwrap_err();
        assert_eq!(error.to_string(), "addMembership EINVAL", "{at} never receives from a group of IPv4");
        if cfg!(target_os = "linux") {
            let error = socket.join_multicast_source("127.0.0.1", "232.255.13.7", LOOPBACK).unwrap_err();
            assert_eq!(error.to_string(), "addSourceSpecificMembership EINVAL", "nor from one of its sources");
        }
    }
}

/// Ensures that more groups than the system allows are refused as Node has it, and that the others stay.
#[cfg(target_os = "linux")]
#[test]
fn a_group_too_many_is_enobufs() {
    let socket = member(0);
    let group = |n: usize| Ipv4Addr::new(239, 254, (n / 256) as u8, (n % 256) as u8);
    // Far more than anywhere is allowed.
    let refused = (0..65_536).find_map(|n| socket.join_multicast(group(n), LOOPBACK).err().map(|error| (n, error)));
    let (allowed, error) = refused.expect("there is a limit");
    assert_eq!(error.to_string(), "addMembership ENOBUFS", "after {allowed} groups");
    for n in 0..allowed {
        socket.leave_multicast(group(n), LOOPBACK).unwrap_or_else(|error| panic!("{n} of {allowed}: {error}"));
    }
}

/// Ensures that an interface that cannot be found for want of a descriptor is not called unknown, and that a leave that needs
/// a descriptor to know what it leaves fails before it leaves anything.
#[cfg(target_os = "linux")]
#[test]
fn an_interface_is_not_unknown_for_want_of_a_descriptor() {
    use crate::support::in_child;
    in_child(this_test!(), &["prlimit", "--nofile=64"], || {
        let (socket, of_source) = (member(0), "232.255.13.12");
        socket.join_multicast_source("127.0.0.1", of_source, "lo").unwrap();
        socket.join_multicast_source("127.0.0.2", of_source, "lo").unwrap();
        let mut held = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        let results = [
            ("addMembership", socket.join_multicast(group(12), "lo")),
            ("setMulticastInterface", socket.set_multicast_interface("lo")),
            ("setMulticastInterface", socket.set_multicast_interface(1)),
            ("addSourceSpecificMembership", socket.join_multicast_source("127.0.0.1", "232.255.13.13", 1)),
            ("dropMembership", socket.leave_multicast(of_source, LOOPBACK)),
        ];
        drop(held);
        for (call, result) in results {
            let error = result.expect_err("no descriptor is left");
            assert_eq!(error.to_string(), format!("{call} EMFILE"), "it is not said that there is no such interface");
        }
        socket.join_multicast(group(12), "lo").expect("the interface is found again");
        socket.leave_multicast(of_source, LOOPBACK).expect("the group was not left before");
        socket.connect("127.0.0.1:9").unwrap();
        socket.disconnect().unwrap();
        let error = socket.leave_multicast(of_source, LOOPBACK).unwrap_err();
        assert_eq!(error.told().code(), "EADDRNOTAVAIL", "what it had left it has left");
    });
}

/// Ensures that a group joined for all sources, then for one, and left for that one, is left: on Linux the second join
/// replaces the first. Disconnecting does not join it again.
#[cfg(target_os = "linux")]
#[test]
fn a_group_left_for_its_last_source_is_not_joined_again() {
    for (all, one) in [(Interface::from(LOOPBACK), Interface::from(LOOPBACK)), ("lo".into(), LOOPBACK.into())] {
        let socket = member(0);
        socket.join_multicast(group(14), all).unwrap();
        socket.join_multicast_source("127.0.0.1", group(14), one).unwrap();
        socket.leave_multicast_source("127.0.0.1", group(14), LOOPBACK).unwrap();
        for after in ["by the leave", "after disconnecting too"] {
            let error = socket.leave_multicast(group(14), LOOPBACK).unwrap_err();
            assert_eq!(error.told().code(), "EADDRNOTAVAIL", "the group is left, {after}");
            socket.connect("127.0.0.1:9").unwrap();
            socket.disconnect().unwrap();
        }
    }
}

/// Ensures, in a network of its own, that what belonged to an interface that is gone is reported once by `disconnect` and is
/// then forgotten, and that groups on other interfaces are kept.
#[cfg(target_os = "linux")]
#[test]
fn an_interface_that_is_gone_is_reported_once() {
    use crate::support::dgram::{in_own_network, run};
    use landline::Report;
    use std::sync::mpsc::channel;
    in_own_network(this_test!(), || {
        run("ip link set lo up");
        run("ip link add va type veth peer name vb");
        run("ip address add 10.7.1.1/24 dev va");
        run("ip link set va up");
        let (send, reports) = channel();
        let options = SocketOptions::udp4().report(move |report: &Report| {
            if report.is_failure() {
                send.send(report.to_string()).expect("the test waits");
            }
        });
        let socket = options.bind(0).unwrap();
        let reconnect = || {
            socket.connect("127.0.0.1:9").unwrap();
            socket.disconnect().expect("the socket itself is replaced");
            reports.try_iter().collect::<Vec<_>>()
        };
        // A source on one interface ends no membership on another.
        socket.join_multicast(group(15), "va").unwrap();
        socket.join_multicast_source("127.0.0.1", group(15), "lo").unwrap();
        socket.leave_multicast_source("127.0.0.1", group(15), "lo").unwrap();
        assert_eq!(reconnect(), Vec::<String>::new(), "all interfaces are there");
        socket.leave_multicast(group(15), "va").expect("it was still joined");

        socket.join_multicast(group(16), "va").unwrap();
        socket.join_multicast(group(17), "va").unwrap();
        socket.join_multicast(group(18), LOOPBACK).unwrap();
        socket.set_multicast_interface("va").unwrap();
        run("ip link delete va");
        let error = socket.leave_multicast(group(17), "va").unwrap_err();
        assert_eq!(error.to_string(), "dropMembership ENODEV", "there is no such interface");
        let told = reconnect();
        assert_eq!(told.len(), 3, "the interface to send by, and two groups: {told:?}");
        assert!(told[0].contains("setMulticastInterface ENODEV"), "{told:?}");
        assert!(told[1..].iter().all(|told| told.contains("addMembership ENODEV")), "{told:?}");
        assert_eq!(reconnect(), Vec::<String>::new(), "each is reported once");
        socket.leave_multicast(group(18), LOOPBACK).expect("the other interface is there, and so is its group");
    });
}
