//! No write raises SIGPIPE, also in a program that has left the signal at its default, as programs in C do.

use std::io::{self, Write};

use landline::net::Socket;

use crate::fixtures::pair;
use crate::support::{SOON, in_child, within};

/// Ensures that each way to write to a peer that is gone gives an error and not the signal that ends the process.
///
/// std's start of every Rust program ignores the signal. Here it is kept from doing that: its call is answered by strace
/// and never made.
#[test]
fn no_write_raises_sigpipe() {
    let wrapper =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rt_sigaction", "-e", "inject=rt_sigaction:retval=0"];
    in_child("sigpipe::no_write_raises_sigpipe", &wrapper, || {
        let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
            u64::from_str_radix(line.trim(), 16).expect("a mask")
        };
        const SIGPIPE: u64 = 1 << 12;
        let masks = [mask("SigIgn:"), mask("SigCgt:"), mask("SigBlk:")];
        assert!(masks.iter().all(|mask| mask & SIGPIPE == 0), "the premise: the signal is at its default: {masks:x?}");

        // `relay` is `pipe` on two threads.
        within(SOON * 2, "every write returns", || {
            type Way = fn(&Socket) -> io::Result<()>;
            let ways: [(&str, Way); 8] = [
                ("write_all", |socket| socket.write_all("x")),
                ("write_fmt", |socket| write!(socket, "{}", 1)),
                ("write_with", |socket| socket.write_with(|out| out.write_all(b"x"))),
                ("write_all_vectored", |socket| socket.write_all_vectored(&[b"x", b"y"])),
                ("write_end", |socket| socket.write_end("x")),
                ("Write::write", |mut socket| socket.write(b"x").map(drop)),
                ("Write::write_vectored", |mut socket| {
                    socket.write_vectored(&[io::IoSlice::new(b"x"), io::IoSlice::new(b"y")]).map(drop)
                }),
                ("pipe", |socket| {
                    let (_server, from, to) = pair("127.0.0.1:0");
                    from.write_end("x")?;
                    to.pipe(socket).map(drop)
                }),
            ];
            for (name, way) in ways {
                let (_server, client, accepted) = pair("127.0.0.1:0");
                // The peer is gone, and the kernel knows: the first write was answered by a reset, the second met it.
                accepted.reset_and_destroy().expect("it is connected");
                let told = client.read(&mut [0; 1]).expect_err("the peer is gone");
                assert_eq!(told.kind(), io::ErrorKind::ConnectionReset, "{name}: the premise");
                let error = way(&client).expect_err("the peer is gone");
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{name}: EPIPE, without its signal: {error}");
            }
        });
    });
}
