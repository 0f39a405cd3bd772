//! Datagrams of a sender on the receive block list (or with its address forged) keep `recv_timeout` and `try_recv` from
//! returning: while blocked datagrams are dropped, the time is not looked at.
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use landline::BlockList;
use landline::dgram::SocketOptions;

fn main() {
    let list = BlockList::new();
    list.add_address([127, 0, 0, 2]);
    let socket = SocketOptions::udp4().receive_block_list(&list).bind("127.0.0.1:0").unwrap();
    let to = socket.address();
    let end = Instant::now() + Duration::from_secs(5);
    for _ in 0..4 {
        thread::spawn(move || {
            let blocked = UdpSocket::bind("127.0.0.2:0").unwrap();
            while Instant::now() < end {
                let _ = blocked.send_to(b"x", to);
            }
        });
    }
    thread::sleep(Duration::from_millis(200));
    let mut buffer = vec![0; 65_535];
    let mut longest = [Duration::ZERO; 2];
    while Instant::now() < end {
        let begun = Instant::now();
        assert!(socket.recv_timeout(&mut buffer, Duration::from_millis(10)).is_err());
        longest[0] = longest[0].max(begun.elapsed());
        let begun = Instant::now();
        assert!(socket.try_recv(&mut buffer).is_err());
        longest[1] = longest[1].max(begun.elapsed());
    }
    let text = format!("recv_timeout(10 ms) took up to {:?}, try_recv up to {:?}", longest[0], longest[1]);
    cases::verdict(longest.iter().max() < Some(&Duration::from_secs(1)), text)
}
