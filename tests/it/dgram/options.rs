//! Options, before and after binding.

use std::net::UdpSocket;

use landline::dgram::{Socket, SocketOptions};

use crate::support::dgram::receive;
use crate::support::{Told, families, has_proc, within};

/// A socket, and std's handle to the same one, which can be asked what the system has.
fn observed(options: &SocketOptions) -> (Socket, UdpSocket) {
    let std = UdpSocket::bind("127.0.0.1:0").unwrap();
    let observer = std.try_clone().unwrap();
    (options.adopt(std).unwrap(), observer)
}

/// Ensures that broadcast is off, goes on, goes off. Node's `setBroadcast EBADF` needs an unbound socket: there is
/// none.
#[test]
fn broadcast_goes_on_and_off() {
    let (socket, observer) = observed(&SocketOptions::udp4());
    assert!(!observer.broadcast().unwrap(), "it is off at first");
    socket.set_broadcast(true).unwrap();
    assert!(observer.broadcast().unwrap());
    socket.set_broadcast(false).unwrap();
    assert!(!observer.broadcast().unwrap());
    assert!(observed(&SocketOptions::udp4().broadcast(true)).1.broadcast().unwrap(), "an option does it too");
}

/// Ensures that a TTL of 1 to 255 is set and others are refused, with Node's text; in both families.
#[test]
fn ttl_is_set_and_1000_is_einval() {
    let (socket, observer) = observed(&SocketOptions::udp4());
    socket.set_ttl(16).unwrap();
    assert_eq!(observer.ttl().unwrap(), 16);
    assert_eq!(observed(&SocketOptions::udp4().ttl(17)).1.ttl().unwrap(), 17, "an option does it too");
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        for good in [1, 16, 255] {
            socket.set_ttl(good).unwrap();
        }
        for bad in [0, 256, 1000] {
            let error = socket.set_ttl(bad).unwrap_err();
            assert_eq!(error.to_string(), "setTTL EINVAL", "it prints what Node prints");
            assert_eq!((error.told().syscall(), error.told().code()), (Some("setTTL"), "EINVAL"));
        }
    }
    let error = SocketOptions::udp4().ttl(0).bind(0).unwrap_err();
    assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "an option is checked before there is a socket");
    assert!(error.to_string().contains("\"ttl\""), "and named: {error}");
}

/// Ensures that the multicast TTL takes 0 to 255, and the loopback both.
#[test]
fn multicast_ttl_and_loop_are_set_and_256_is_einval() {
    let (socket, observer) = observed(&SocketOptions::udp4());
    assert_eq!((observer.multicast_ttl_v4().unwrap(), observer.multicast_loop_v4().unwrap()), (1, true), "at first");
    socket.set_multicast_ttl(16).unwrap();
    socket.set_multicast_loop(false).unwrap();
    assert_eq!((observer.multicast_ttl_v4().unwrap(), observer.multicast_loop_v4().unwrap()), (16, false));
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        for good in [0, 1, 255] {
            socket.set_multicast_ttl(good).unwrap();
        }
        assert_eq!(socket.set_multicast_ttl(256).unwrap_err().to_string(), "setMulticastTTL EINVAL");
        socket.set_multicast_loop(false).unwrap();
        socket.set_multicast_loop(true).unwrap();
    }
}

/// Ensures that buffer sizes read back as what was asked for or as double (Linux), by option and by call. Node's EBADF
/// needs an unbound socket: there is none.
#[test]
fn buffer_sizes_read_back_as_asked_or_double() {
    for at in families() {
        let options = if at.starts_with('1') { SocketOptions::udp4() } else { SocketOptions::udp6() };
        let socket = options.recv_buffer_size(10_000).send_buffer_size(15_000).bind(at).unwrap();
        assert!([10_000, 20_000].contains(&socket.recv_buffer_size().unwrap()));
        assert!([15_000, 30_000].contains(&socket.send_buffer_size().unwrap()));
        socket.set_recv_buffer_size(12_000).unwrap();
        socket.set_send_buffer_size(13_000).unwrap();
        assert!([12_000, 24_000].contains(&socket.recv_buffer_size().unwrap()));
        assert!([13_000, 26_000].contains(&socket.send_buffer_size().unwrap()));
        let other = Socket::bind(at).unwrap();
        other.send_to([1; 5000], socket.address()).unwrap();
        assert_eq!(receive(&socket).1.size(), 5000, "the socket works with them");
    }
}

/// Ensures that sizes that cannot be are refused, with Node's codes. Its -1, Infinity and texts have no such type here.
#[test]
fn impossible_buffer_sizes_are_refused() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    for error in [
        socket.set_recv_buffer_size(0).unwrap_err(),
        socket.set_send_buffer_size(0).unwrap_err(),
        SocketOptions::udp4().recv_buffer_size(0).bind(0).unwrap_err(),
        SocketOptions::udp4().send_buffer_size(0).bind(0).unwrap_err(),
    ] {
        assert_eq!(error.told().code(), "ERR_SOCKET_BAD_BUFFER_SIZE");
        assert_eq!(error.to_string(), "Buffer size must be a positive integer", "it prints what Node prints");
    }
    for error in [
        socket.set_recv_buffer_size(1 << 31).unwrap_err(),
        SocketOptions::udp4().recv_buffer_size(1 << 31).bind(0).unwrap_err(),
    ] {
        assert_eq!(error.told().code(), "ERR_SOCKET_BUFFER_SIZE");
    }
    let error = socket.set_recv_buffer_size(1 << 31).unwrap_err();
    let text = "Could not get or set buffer size: uv_recv_buffer_size returned EINVAL (invalid argument)";
    assert_eq!(error.to_string(), text, "it prints what Node prints");
    assert!(socket.set_send_buffer_size(1 << 31).unwrap_err().to_string().contains("uv_send_buffer_size"));
}

/// Ensures that by default a receive buffer of 4 MiB is asked for, and that one is told what there is.
#[cfg(target_os = "linux")]
#[test]
fn receive_buffer_is_4_mib_where_the_system_grants_it() {
    if !has_proc() {
        return;
    }
    let max = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let granted = max.trim().parse::<usize>().unwrap().min(4 << 20);
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    assert_eq!(socket.recv_buffer_size().unwrap(), granted * 2, "Linux reports double of what it grants");
}

/// Ensures that the hook runs before the socket is bound, that its error is that of `bind`, and that a disconnect, which makes
/// the socket anew, runs it again, at a moment when it may use the socket itself.
#[cfg(unix)]
#[test]
fn the_hook_runs_before_the_socket_is_bound_and_at_a_disconnect() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, OnceLock};

    use socket2::SockRef;
    for at in families() {
        let (calls, itself) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::<Socket>::new()));
        let (counted, used) = (Arc::clone(&calls), Arc::clone(&itself));
        let options = if at.starts_with('[') { SocketOptions::udp6() } else { SocketOptions::udp4() };
        let socket = options.clone().before_bind(move |fd| {
            let socket = SockRef::from(&fd);
            assert_eq!(socket.local_addr()?.as_socket().map(|at| at.port()), Some(0), "it is not bound yet");
            counted.fetch_add(1, SeqCst);
            if let Some(itself) = used.get() {
                itself.set_broadcast(true)?;
            }
            socket.set_keepalive(true)
        });
        let socket = socket.bind(at).expect("port 0 is free");
        let keep_alive = |socket: &Socket| socket.with_raw(|fd| SockRef::from(&fd).keepalive()).expect("it is open");
        assert!(keep_alive(&socket).expect("it can be asked"), "what it has set holds");
        let peer = Socket::bind(at).expect("port 0 is free");
        socket.connect(peer.address()).expect("it is on this machine");
        itself.set(socket.clone()).expect("it is set once");
        within("disconnect returns", {
            let socket = socket.clone();
            move || socket.disconnect()
        })
        .expect("it is connected");
        assert_eq!(calls.load(SeqCst), 2, "it runs again for the socket that takes the place");
        assert!(keep_alive(&socket).expect("it can be asked"), "what it has set holds again");
        socket.close();
        let error = options.before_bind(|_| Err(std::io::ErrorKind::PermissionDenied.into())).bind(at);
        let error = error.expect_err("the hook fails");
        assert_eq!((error.told().syscall(), error.told().code()), (Some("before_bind"), "EACCES"), "{error}");
    }
}
