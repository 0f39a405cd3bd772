//! An adopted socket that shares its port (systemd's ReusePort=yes, or SO_REUSEADDR), or that is bound to a device, is
//! not reached by its wake-up. `close` gives up after 2 s, and the receiver, the descriptor and the port stay.
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use landline::dgram::SocketOptions;
use socket2::{Domain, Socket, Type};

fn shared(at: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&at.into()).unwrap();
    socket.into()
}

fn main() {
    let (mut left, mut longest) = (0, Duration::ZERO);
    // Each time it depends on the port which of the two is reached.
    for _ in 0..20 {
        let ours = shared(([127, 0, 0, 1], 0).into());
        let _theirs = shared(ours.local_addr().unwrap());
        let socket = SocketOptions::new().adopt(ours).unwrap();
        let running = cases::receiving(&socket, |_, _| {});
        cases::until_others_sleep();
        let begun = Instant::now();
        socket.close();
        longest = longest.max(begun.elapsed());
        if cases::within(Duration::from_secs(1), move || running.join()).is_none() {
            left += 1;
            break;
        }
    }
    cases::verdict(left == 0, format!("receivers that are left blocked: {left}; the longest close took {longest:?}"))
}
