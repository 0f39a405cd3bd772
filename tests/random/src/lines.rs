//! The lines of a connection.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use landline::net::Socket;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{cut, inputs};

/// Only a line that never comes takes as long.
const SOON: Duration = Duration::from_secs(60);

/// Both ends of a connection.
fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it is listened on");
    let ends = (Socket::from(client), Socket::from(listener.accept().expect("a client waits").0));
    ends.0.set_timeout(SOON);
    ends.1.set_timeout(SOON);
    ends
}

proptest! {
    #![proptest_config(inputs(60))]

    /// Ensures that the lines of a connection are those of the whole of its bytes, in whatever pieces they come, and
    /// whatever the limit.
    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut(
        words in vec(prop::sample::select(vec!["\n", "\r\n", "\r", "a", "grün", "12345678"]), 0..40),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        max in 0..40_usize,
    ) {
        let sent = words.concat();
        let mut expected = Vec::new();
        for line in sent.split_inclusive('\n') {
            let line = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line);
            expected.push(if line.len() > max { None } else { Some(line) });
            if line.len() > max {
                break;
            }
        }
        let (client, accepted) = pair();
        let lines: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| {
                for piece in cut(sent.as_bytes(), &cuts) {
                    // A reader that has met a line that is too long may be gone.
                    let _ = client.write_all(piece);
                }
                let _ = client.end();
            });
            accepted.lines_max(max).map(Result::ok).collect()
        });
        prop_assert_eq!(lines.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "of {:?}", sent);
    }
}
