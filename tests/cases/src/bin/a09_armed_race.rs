//! Several threads read one socket while its idle timeout is switched on and off. What the kernel was told and what the
//! socket remembers of it can differ (`armed` is swapped, then the system is called), and then reads ignore the
//! timeout.
//!
//! The window is between two instructions. So this program delays the setsockopt(2) that switches the timeout off, as a
//! loaded machine may.
use std::array;
use std::ffi::{c_int, c_long, c_void};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const READERS: usize = 6;
const TIME: Duration = Duration::from_secs(15);

/// In place of the C library's.
#[unsafe(no_mangle)]
extern "C" fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: libc::socklen_t) -> c_int {
    let is_time = level == libc::SOL_SOCKET && name == libc::SO_RCVTIMEO;
    if is_time
        && unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length as usize) }.iter().all(|byte| *byte == 0)
    {
        thread::sleep(Duration::from_millis(3));
    }
    let numbers = [fd, level, name].map(c_long::from);
    let result = unsafe { libc::syscall(libc::SYS_setsockopt, numbers[0], numbers[1], numbers[2], value, length) };
    result as c_int
}

fn main() {
    let (client, socket) = cases::pair();
    let begun = Instant::now();
    let now = || begun.elapsed().as_micros() as u64;
    let quiet = AtomicBool::new(false);
    let reading_since: [AtomicU64; READERS] = array::from_fn(|_| AtomicU64::new(0));
    thread::scope(|scope| {
        for since in &reading_since {
            let socket = &socket;
            scope.spawn(move || {
                loop {
                    since.store(now(), SeqCst);
                    if socket.read(&mut [0; 4096]).is_err_and(|error| error.kind() != ErrorKind::TimedOut) {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            loop {
                if quiet.load(SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                } else if client.write_all([0; 64]).is_err() {
                    return;
                }
            }
        });
        let mut rounds = 0;
        while begun.elapsed() < TIME {
            rounds += 1;
            quiet.store(false, SeqCst);
            for _ in 0..20 {
                socket.set_timeout(None);
                thread::sleep(Duration::from_micros(150));
                socket.set_timeout(Duration::from_millis(20));
                thread::sleep(Duration::from_micros(150));
            }
            // It is on from here. Each thread begins a new read after this moment.
            let on = now();
            thread::sleep(Duration::from_millis(1));
            let wait = Instant::now();
            while reading_since.iter().any(|since| since.load(SeqCst) <= on + 500)
                && wait.elapsed() < Duration::from_secs(3)
            {
                thread::yield_now();
            }
            quiet.store(true, SeqCst);
            thread::sleep(Duration::from_millis(150));
            for since in &reading_since {
                let began = since.load(SeqCst);
                if began <= on + 500 || now().saturating_sub(began) < 120_000 {
                    continue;
                }
                let kernel = socket.with_raw(|fd| socket2::SockRef::from(&fd).read_timeout()).unwrap();
                thread::sleep(Duration::from_secs(3));
                if since.load(SeqCst) == began {
                    let text = format!(
                        "round {rounds}: a read with a timeout of {:?} has taken {} ms; the kernel had {kernel:?}",
                        socket.timeout(),
                        (now() - began) / 1000
                    );
                    cases::verdict(false, text)
                }
            }
        }
        cases::verdict(true, format!("{rounds} rounds"))
    });
}
