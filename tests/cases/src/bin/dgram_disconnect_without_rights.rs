//! `disconnect` binds anew. A server on a reserved port that has given up the rights of root cannot: EACCES, for ever.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use landline::dgram::Socket;

const FIRST_FREE: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

fn main() {
    if std::env::args().nth(1).is_some() {
        let socket = Socket::bind("127.0.0.1:53").unwrap();
        println!("bound");
        let _ = std::io::stdin().read_line(&mut String::new());
        socket.connect("127.0.0.1:9").unwrap();
        println!("{:?}", socket.disconnect());
        return;
    }
    cases::inside("ip link set lo up");
    std::fs::write(FIRST_FREE, "0").unwrap();
    // Any user may run a copy in the folder of temporary files.
    let copy = std::env::temp_dir().join(format!("rights-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let child = Command::new(&copy).arg("child").uid(65_534).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        let _ = std::fs::remove_file(copy);
        cases::skip("it needs root")
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "bound");
    std::fs::write(FIRST_FREE, "1024").unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let said = lines.next().unwrap().unwrap();
    child.wait().unwrap();
    let _ = std::fs::remove_file(copy);
    cases::verdict(
        said == "Ok(())",
        format!("disconnect() of a socket on port 53, without the right to bind it: {said}"),
    )
}
