//! Running a case: servers in processes of their own, one load against each in turn, round after round.
//!
//! The program starts itself again for each part: for a case, in a network of its own where that is permitted, since
//! thousands of connections leave as many ports in TIME_WAIT; for the load; and for those servers that are written in Rust.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use super::case::{Case, Pin, Serve};
use super::figures::Figure;
use super::load::{Outcome, Target};

/// A server to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// The program and its first arguments; what it shall do is put behind.
    pub(crate) command: Vec<OsString>,
    pub(crate) serves: fn(&Case) -> bool,
}

impl Server {
    /// This program again, by its arguments.
    pub(crate) fn own(name: &str, args: &[&str], serves: fn(&Case) -> bool) -> Server {
        let mut command = vec![this_program().into_os_string()];
        command.extend(args.iter().map(OsString::from));
        Server { name: name.into(), command, serves }
    }
}

pub(crate) fn this_program() -> PathBuf {
    env::current_exe().expect("this program has a path")
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
}

/// Runs one case in a process of its own, and hands on each figure as it comes.
pub(crate) fn in_own_network(case: &Case, effort: Effort, mut each: impl FnMut(Figure)) -> io::Result<()> {
    let mut command: Vec<OsString> = network_of_its_own().iter().map(OsString::from).collect();
    command.push(this_program().into());
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .args(["case", case.name, &effort.rounds.to_string(), &effort.time.as_millis().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().expect("it is piped");
    for line in BufReader::new(out).lines() {
        if let Some(figure) = Figure::from_line(&line?) {
            each(figure);
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {status}", case.name))) }
}

/// What runs a command with a loopback interface of its own, many ports and as many descriptors as are allowed.
pub(crate) fn network_of_its_own() -> Vec<&'static str> {
    const SCRIPT: &str = "ip link set lo up && { echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range; \
                          ulimit -n $(ulimit -Hn); } 2>/dev/null; exec \"$@\"";
    for flags in ["-n", "-rn"] {
        let way = vec!["unshare", flags, "--", "sh", "-c", SCRIPT, "sh"];
        let tried = Command::new(way[0]).args(&way[1..]).arg("true").stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            return way;
        }
    }
    Vec::new()
}

/// What runs a command on one processor.
pub(crate) fn pinning() -> Option<&'static str> {
    let tried = Command::new("taskset").args(["-c", "0,1", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success()).then_some("taskset")
}

/// The part of a case: runs all its rounds, and prints each figure as a line.
pub(crate) fn case(args: &[String], servers: &[Server]) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "case NAME ROUNDS MILLISECONDS");
    let [name, rounds, time] = args else { return Err(wrong()) };
    let case = Case::by_name(name).ok_or_else(wrong)?;
    let rounds: usize = rounds.parse().map_err(|_| wrong())?;
    let time = Duration::from_millis(time.parse().map_err(|_| wrong())?);
    let mut entries = Vec::new();
    for server in servers.iter().filter(|server| (server.serves)(case)) {
        let running = if case.fresh { Ok(None) } else { Running::start(server, case).map(Some) };
        match running {
            Ok(running) => entries.push(Entry { server, running, slow: 0 }),
            Err(error) => eprintln!("{}: {}: {error}", case.name, server.name),
        }
    }
    for round in 0..rounds {
        for entry in entries.iter_mut().filter(|entry| !entry.is_given_up()) {
            match entry.measure(case, time) {
                Ok(outcome) => {
                    entry.slow += usize::from(outcome.iter().any(|(key, value)| key == "seconds" && *value >= SLOW));
                    for (key, value) in outcome {
                        let (case, server) = (case.name.into(), entry.server.name.clone());
                        println!("{}", Figure { case, server, round, key, value }.to_line());
                    }
                }
                Err(error) => eprintln!("{}: {}: {error}", case.name, entry.server.name),
            }
        }
        entries.reverse();
    }
    Ok(())
}

/// How long one load may take in all.
const LONGEST: Duration = Duration::from_secs(120);

/// A server that needs so many seconds for a burst, more than ten times as long as the best, is asked twice only.
const SLOW: f64 = 5.0;

/// A server that takes part in a case.
struct Entry<'a> {
    server: &'a Server,
    /// `None` if it is started for each round.
    running: Option<Running>,
    /// How many rounds took long.
    slow: usize,
}

impl Entry<'_> {
    /// Not so std, which is what the others are divided by.
    fn is_given_up(&self) -> bool {
        self.slow >= 2 && !self.server.name.starts_with("std")
    }

    fn measure(&self, case: &Case, time: Duration) -> io::Result<Vec<(String, f64)>> {
        match &self.running {
            Some(running) => running.load(case, time),
            None => Running::start(self.server, case)?.load(case, time),
        }
    }
}

/// A server that listens. It is killed when this is dropped.
struct Running {
    child: Child,
    target: Target,
}

impl Running {
    fn start(server: &Server, case: &Case) -> io::Result<Running> {
        let behind = if case.serve == Serve::Proxy { Some(free_address()?) } else { None };
        let mut command = pinned(case.pin, false);
        command.extend(server.command.iter().cloned());
        command.push(case.serve.name().into());
        command.extend(behind.map(|at| at.to_string().into()));
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("{:?}: {error}", command[0])))?;
        let out = child.stdout.take().expect("it is piped");
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Running { target: Target { at, process: child.id(), behind, keeps_threads: false }, child };
        let mut line = String::new();
        let mut out = BufReader::new(out);
        out.read_line(&mut line)?;
        // The port, or an address with it.
        let port = line.trim_end().strip_prefix("listening on ").and_then(|at| at.rsplit(':').next()?.parse().ok());
        let port = port.ok_or_else(|| io::Error::other(format!("{} does not listen: {line}", server.name)))?;
        running.target.at.set_port(port);
        // Whatever else it prints; ends with it.
        thread::spawn(move || io::copy(&mut out, &mut io::sink()));
        Ok(running)
    }

    fn load(&self, case: &Case, time: Duration) -> io::Result<Vec<(String, f64)>> {
        let mut command = pinned(case.pin, true);
        command.push(this_program().into());
        let Target { at, process, behind, .. } = self.target;
        let mut args = vec!["load".into(), case.name.into(), time.as_millis().to_string(), at.to_string()];
        args.push(process.to_string());
        args.extend(behind.map(|at| at.to_string()));
        let output = Command::new(&command[0])
            .args(&command[1..])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("the load fails: {}", output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails if the server has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is put before a command for it to run where the case says.
fn pinned(pin: Pin, is_load: bool) -> Vec<OsString> {
    let processor = match pin {
        Pin::Free => return Vec::new(),
        Pin::Split if !is_load => "1",
        _ => "0",
    };
    match pinning() {
        Some(taskset) => [taskset, "-c", processor].map(OsString::from).to_vec(),
        None => Vec::new(),
    }
}

/// An address that was free just now.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The part of the load: reads its arguments, prints its figures.
pub(crate) fn load(args: &[String], run: impl Fn(&Case, Target, Duration) -> io::Result<Outcome>) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "load CASE MILLISECONDS ADDRESS PROCESS [ADDRESS]");
    let [name, time, at, process, behind @ ..] = args else { return Err(wrong()) };
    let case = Case::by_name(name).ok_or_else(wrong)?;
    let target = Target {
        at: at.parse().map_err(|_| wrong())?,
        process: process.parse().map_err(|_| wrong())?,
        behind: behind.first().and_then(|at| at.parse().ok()),
        keeps_threads: case.keeps_connections(),
    };
    let time = Duration::from_millis(time.parse().map_err(|_| wrong())?);
    // A server that hangs costs its own figures, not those of the others.
    thread::spawn(|| {
        thread::sleep(LONGEST);
        eprintln!("nothing came out within {LONGEST:?}");
        std::process::exit(1);
    });
    for (key, value) in run(case, target, time)? {
        println!("{key}\t{value}");
    }
    Ok(())
}

/// Ends the process when its input does: no server outlives whoever started it, however that ended.
pub(crate) fn end_with_input() {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
