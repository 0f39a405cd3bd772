//! The example `proxy`, and `relay` against a copy by std.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server as LandlineServer, Socket, relay};

use crate::support::Whole;
use crate::support::fixtures::{Refusing, noise};
use crate::support::process::Server;
use crate::support::within;

/// Sends `count` times the block, a little different each time, then ends.
fn send(mut to: &TcpStream, block: &[u8], count: u64) -> io::Result<()> {
    let mut block = block.to_vec();
    for number in 0..count {
        block[..8].copy_from_slice(&number.to_be_bytes());
        to.write_all(&block)?;
    }
    to.shutdown(Shutdown::Write)
}

/// Reads until the end; whether just that came which `send` sends.
fn is_same(mut from: &TcpStream, block: &[u8], count: u64) -> io::Result<bool> {
    let (mut expected, mut came) = (block.to_vec(), vec![0; block.len()]);
    for number in 0..count {
        expected[..8].copy_from_slice(&number.to_be_bytes());
        from.read_exact(&mut came)?;
        if came != expected {
            return Ok(false);
        }
    }
    Ok(from.read(&mut [0])? == 0)
}

/// Carries `count` blocks each way through what listens at `via` and connects to `target`; the target says nothing before the
/// client's end if `in_turn`. Gives the time.
fn carry(via: SocketAddr, target: &TcpListener, count: u64, in_turn: bool) -> Duration {
    let (there, back) = (noise(65_536, 11), noise(65_536, 12));
    let start = Instant::now();
    let client = TcpStream::connect(via).expect("the proxy listens");
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let (peer, _) = target.accept()?;
            let heard = scope.spawn({
                let (peer, there) = (peer.try_clone()?, &there);
                move || is_same(&peer, there, count)
            });
            if in_turn {
                assert!(heard.join().expect("nothing panicked")?, "every byte arrives there, and the end");
                send(&peer, &back, count)
            } else {
                send(&peer, &back, count)?;
                assert!(heard.join().expect("nothing panicked")?, "every byte arrives there, and the end");
                Ok(())
            }
        });
        let saying = scope.spawn(|| send(&client, &there, count));
        assert!(is_same(&client, &back, count).expect("no error"), "every byte comes back, and the end");
        saying.join().expect("nothing panicked").expect("everything is taken");
        serving.join().expect("nothing panicked").expect("everything is taken");
    });
    start.elapsed()
}

/// Ensures that `proxy` carries every byte both ways, at the same time and in turn: the answer to a client that has ended.
#[test]
fn proxy_carries_both_ways_and_keeps_half_closes() {
    let target = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let to = target.local_addr().expect("it is bound").to_string();
    let server = Server::start("proxy", &["127.0.0.1:0", &to]);
    for in_turn in [false, true] {
        let (via, target) = (server.address, target.try_clone().expect("a handle can be had"));
        within("both directions end", move || carry(via, &target, 256, in_turn));
        let bytes = 256 * 65_536;
        let told = server.program.line();
        assert!(told.ends_with(&format!(": {bytes} bytes there, {bytes} back")), "it counts them: {told}");
    }
}

/// Ensures that a proxy whose target is not there turns its client away and goes on.
#[test]
fn proxy_survives_a_target_that_is_not_there() {
    let target = Refusing::at("127.0.0.1:0");
    let server = Server::start("proxy", &["127.0.0.1:0", &target.address.to_string()]);
    for _ in 0..3 {
        let client = Socket::connect(server.address).expect("the proxy listens");
        match within("it is turned away", move || client.read_all()) {
            Ok(came) => assert_eq!(came, b"", "it is told nothing"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

/// A proxy as one would write it with std alone.
fn std_proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let at = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (a, _) = listener.accept()?;
        let b = TcpStream::connect(target)?;
        let carry = |mut from: &TcpStream, mut to: &TcpStream| {
            io::copy(&mut from, &mut to)?;
            to.shutdown(Shutdown::Write)
        };
        thread::scope(|scope| {
            let back = scope.spawn(|| carry(&b, &a));
            carry(&a, &b).and(back.join().expect("nothing panicked"))
        })
    });
    at
}

/// Ensures that `relay` carries 1 GiB each way byte for byte and is no slower than a copy by std: the better of three rounds of
/// each, in turn.
#[test]
#[ignore = "carries 12 GiB: for a release build"]
fn relay_is_no_slower_than_a_copy_by_std() {
    let target = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let to = target.local_addr().expect("it is bound");
    let server = LandlineServer::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let running = server.spawn(move |client| relay(client, &Socket::connect(to)?)).expect("a thread can be started");
    let at = server.address().socket_addr().expect("it is TCP");
    let (mut ours, mut stds) = (Duration::MAX, Duration::MAX);
    for round in 0..3 {
        let our = carry(at, &target, 16_384, false);
        let std = carry(std_proxy(to), &target, 16_384, false);
        println!("measured: round {round}: 1 GiB each way in {our:?} by relay, {std:?} by std's copy");
        (ours, stds) = (ours.min(our), stds.min(std));
    }
    server.close();
    running.join().expect("all went well");
    assert!(ours <= stds.mul_f64(1.05), "no slower: {ours:?} against {stds:?}");
}
