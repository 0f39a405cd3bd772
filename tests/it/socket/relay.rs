//! `Socket::relay`: a connection and what else reads and writes.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use landline::Report;
use landline::net::{ServerOptions, Socket};

use crate::support::Whole;
use crate::support::fixtures::{Served, noise, pair};
use crate::support::{HANG, blocked, each_ip, eventually, within};

/// A line of which only one end is a connection's, as a serial port: what is read of it ticks, and a piece may be empty,
/// which is its end.
struct Port(Receiver<Vec<u8>>, Duration, Vec<u8>);

impl Port {
    fn new(tick: Duration) -> (Sender<Vec<u8>>, Port) {
        let (far, near) = mpsc::channel();
        (far, Port(near, tick, Vec::new()))
    }
}

impl Read for Port {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.2.is_empty() {
            // Not a bound: the pace of the ticks.
            self.2 = match self.0.recv_timeout(self.1) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
        }
        let n = self.2.len().min(buf.len());
        buf[..n].copy_from_slice(&self.2[..n]);
        self.2.drain(..n);
        Ok(n)
    }
}

/// A line whose reads are counted.
struct Counted(Port, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.fetch_add(1, Relaxed);
        self.0.read(buf)
    }
}

/// Takes a few bytes at a time, and ticks between them.
struct Slow(Sender<Vec<u8>>, bool);

impl Write for Slow {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.1 = !self.1;
        let n = data.len().min(1000);
        match self.1 {
            true => Err(ErrorKind::WouldBlock.into()),
            false => self.0.send(data[..n].to_vec()).map(|()| n).map_err(|_| ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TICK: Duration = Duration::from_millis(5);

/// Ensures that both directions are carried whole at the same time, through ticks of the writer, that the peer's end drops
/// the writer, and that the end of the reader ends our direction.
#[test]
fn a_relay_carries_both_directions_and_their_ends() {
    const SIZE: usize = 30_000;
    within("the relay ends", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (to_client, reader) = Port::new(HANG);
            let (writer, from_client) = mpsc::channel();
            let socket = accepted.clone();
            let relaying = thread::spawn(move || socket.relay(reader, Slow(writer, false)));
            let (there, back) = (noise(SIZE, 1), noise(SIZE, 2));
            client.write_end(&there).expect("it is connected");
            let came: Vec<u8> = from_client.iter().flatten().collect();
            assert!(came == there, "all of it arrives, then the writer is dropped");
            to_client.send(back.clone()).expect("it is read still");
            drop(to_client);
            assert!(client.read_all().expect("no reset") == back, "all of it arrives, then our end");
            relaying.join().expect("no panic").expect("both have ended");
            assert!(!accepted.is_destroyed(), "nothing was closed");
            assert_eq!((accepted.bytes_read(), accepted.bytes_written()), (SIZE as u64, SIZE as u64), "counted");
        });
    });
}

/// Ensures that a half that never ends, as a serial port, is at its end by a tick of silence once the peer has ended, and not
/// before.
#[test]
fn silence_ends_a_relay_only_once_the_peer_has_ended() {
    within("the relay ends", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (port, reader) = Port::new(TICK);
            let reads = Arc::new(AtomicUsize::new(0));
            let reader = Counted(reader, Arc::clone(&reads));
            let (writer, from_client) = mpsc::channel();
            let relaying = thread::spawn(move || accepted.relay(reader, Slow(writer, false)));
            eventually("20 ticks pass", || reads.load(Relaxed) > 20);
            port.send(b"ready ".to_vec()).expect("it is read still");
            client.read_exact(&mut [0; 6]).expect("no tick has ended it");
            client.write_end("bye").expect("it is connected");
            assert_eq!(from_client.iter().flatten().collect::<Vec<_>>(), b"bye", "the peer's end is passed on");
            assert_eq!(client.read_text().expect("no reset"), "", "and the port's silence is its end");
            relaying.join().expect("no panic").expect("both have ended");
            drop(port);
        });
    });
}

/// Ensures that an error of either half resets the peer and is what the relay gives, and that a panic of one resets it too.
#[test]
fn a_half_that_fails_resets_the_peer() {
    struct Broken(bool);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            if self.0 { panic!("a half that panics") } else { Err(io::Error::other("unplugged")) }
        }
    }

    impl Write for Broken {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.read(&mut []).map(|_| data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    within("the relays end", || {
        each_ip(|at| {
            for panics in [false, true] {
                for reads in [false, true] {
                    let (_server, client, accepted) = pair(at);
                    let (_port, reader) = Port::new(TICK);
                    client.write_all("x").expect("it is connected");
                    let relaying = thread::spawn(move || match reads {
                        true => accepted.relay(Broken(panics), io::sink()),
                        false => accepted.relay(reader, Broken(panics)),
                    });
                    let seen = client.read(&mut [0; 8]).expect_err("half a conversation is no whole one");
                    assert_eq!(seen.kind(), ErrorKind::ConnectionReset, "the peer sees a reset");
                    match relaying.join() {
                        Ok(result) => {
                            let error = result.expect_err("a half has failed");
                            assert_eq!((panics, error.to_string()), (false, "unplugged".to_owned()), "its own error");
                        }
                        Err(_) => assert!(panics, "the panic goes on"),
                    }
                }
            }
        });
    });
}

/// Ensures that destroying the connection, its deadline and a shutdown of its server end a relay whose other half ticks.
#[test]
fn a_relay_ends_with_its_connection() {
    let ends: [fn(&Socket); 2] = [|socket| socket.destroy(), |socket| socket.set_deadline(std::time::Instant::now())];
    for end in ends {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let (_port, reader) = Port::new(TICK);
        let socket = accepted.clone();
        let relaying = blocked(move || socket.relay(reader, io::sink()));
        end(&accepted);
        let error = within("the relay ends", move || relaying.join()).expect("no panic").expect_err("it was ended");
        assert!(matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::TimedOut), "it says by what: {error}");
        drop(client);
    }
    let (port, reader) = Port::new(TICK);
    let reader = std::sync::Mutex::new(Some(reader));
    let served = Served::start("127.0.0.1:0", &ServerOptions::new(), move |socket| {
        let reader = reader.lock().expect("no panic").take().expect("there is one client");
        socket.relay(reader, io::sink())
    });
    let client = served.connect();
    port.send(b"x".to_vec()).expect("it is read");
    client.read_exact(&mut [0; 1]).expect("the relay runs");
    let report = served.server.shutdown(HANG);
    assert_eq!((report.forced, report.still_running), (0, 0), "an idle relay holds up no shutdown: {report}");
    served.stop();
}

/// Ensures that what ends a relay is told: by the report of each connection, before its end, and by the counts of the server.
#[test]
fn what_ends_a_relay_is_told() {
    let broken = |relay: fn(&Socket) -> io::Result<()>| {
        let (tell, told) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let options = ServerOptions::new().report(move |report| {
            let line = match report {
                Report::Failed { error, .. } => error.to_string(),
                Report::Ended { outcome, .. } => outcome.to_string(),
                _ => return,
            };
            tell.lock().expect("no panic").send(line).expect("the other end is there");
        });
        let served = Served::start("127.0.0.1:0", &options, relay);
        let client = served.connect();
        let seen = client.read(&mut [0]).expect_err("the relay resets the client");
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset, "the client sees no whole conversation");
        let told: Vec<_> = (0..2).map(|_| told.recv_timeout(HANG).expect("it is told")).collect();
        assert_eq!(told[1], "failed", "the end is told after what has ended it, and as its consequence");
        eventually("an error is what has ended it, by the counts too", || served.server.stats().failed == 1);
        served.stop();
        told[0].clone()
    };
    let by_reader = broken(|socket| {
        struct Unplugged;
        impl Read for Unplugged {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the cable is unplugged"))
            }
        }
        socket.relay(Unplugged, io::sink())
    });
    assert_eq!(by_reader, "the cable is unplugged", "the error is the reader's");
    let by_other_connection = broken(|socket| {
        let (_server, one, two) = pair("127.0.0.1:0");
        one.reset_and_destroy()?;
        landline::net::relay(socket, &two)
    });
    assert!(by_other_connection.contains("ECONNRESET"), "the error is the other connection's: {by_other_connection}");
}

/// Ensures that a peer that is still sent what is read elsewhere when the shutdown of the server has run out of time is reset,
/// whether it has ended or not: it is not to take a half for the whole.
#[test]
fn a_shutdown_that_cuts_a_relay_resets_the_peer() {
    struct Endless;

    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            // Not a bound: the pace.
            thread::sleep(TICK);
            buf[0] = b'x';
            Ok(1)
        }
    }

    each_ip(|at| {
        for has_ended in [false, true] {
            let (tell, told) = mpsc::channel();
            let served =
                Served::start(at, &ServerOptions::new(), move |socket| socket.relay(Endless, Ended(tell.clone())));
            let client = served.connect();
            client.read_exact(&mut [0; 1]).expect("the relay runs");
            if has_ended {
                client.end().expect("it is connected");
                told.recv_timeout(HANG).expect("the peer's end drops the writer");
            }
            let _ = served.server.shutdown(20 * TICK);
            let error = within("the peer hears of it", move || client.read_all()).expect_err("it is no whole");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the peer is reset; it had ended: {has_ended}");
            served.stop();
        }
    });
}

/// Ensures that a shutdown waits, within its time, for a peer that is slow to take what is read elsewhere, as it does for one
/// that another connection sends to.
#[test]
fn a_shutdown_waits_for_a_slow_peer_of_a_relay() {
    // More than the system's buffers hold, so that the relay is blocked in a write.
    const SIZE: usize = 16 << 20;
    each_ip(|at| {
        eventually("the relay's thread is never kept from writing", || {
            let served = Served::start(at, &ServerOptions::new(), |socket| socket.relay(io::repeat(1), io::sink()));
            let client = served.connect();
            client.read_exact(&mut [0; 1]).expect("the relay runs");
            served.server.begin_shutdown(HANG).expect("a thread is to be had");
            // Not a bound: the shutdown looks several times in that time.
            thread::sleep(60 * TICK);
            let reader = client.clone();
            let read = within("the peer reads", move || reader.read_exact(&mut vec![0; SIZE]));
            client.destroy();
            served.stop();
            read.is_ok()
        });
    });
}

/// Takes everything, and tells when it is dropped.
struct Ended(Sender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Write for Ended {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ensures that a half whose peer the system has given up, which it says once and then an end, is an error and no tick: the
/// peer sees no orderly end.
#[test]
#[cfg(target_os = "linux")]
fn a_half_that_the_system_gives_up_is_no_tick() {
    struct Given(bool);

    impl Read for Given {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            const ETIMEDOUT: i32 = 110;
            self.0 = !self.0;
            if self.0 { Err(io::Error::from_raw_os_error(ETIMEDOUT)) } else { Ok(0) }
        }
    }

    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let relaying = thread::spawn(move || accepted.relay(Given(false), io::sink()));
        let error = client.read(&mut [0; 1]).expect_err("half a conversation is no whole one");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the peer is reset");
        let error =
            within("the relay ends", move || relaying.join()).expect("no panic").expect_err("a half has failed");
        assert!(error.to_string().contains("os error 110"), "it is the half's own error: {error}");
    });
}
