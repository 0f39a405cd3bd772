//! A thousand rejected clients that do not close: the thread that says goodbye to them looks at all of them every 10
//! ms.
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use landline::net::{ServerOptions, WhenFull};

fn main() {
    let server = ServerOptions::new()
        .max_connections(0)
        .when_full(WhenFull::RefuseWith("busy\n".into()))
        .lingering_close(Duration::from_secs(20))
        .listen("127.0.0.1:0")
        .unwrap();
    let _running = server.spawn(|_| Ok(())).unwrap();
    let at = server.address().socket_addr().unwrap();
    let loads = [0, 1000].map(|count| {
        let kept: Vec<_> = (0..count).map(|_| TcpStream::connect(at).unwrap()).collect();
        thread::sleep(Duration::from_millis(500));
        let load = cases::load(Duration::from_secs(3));
        drop(kept);
        load
    });
    let text = format!("processor time: {:.1} % of a core without clients, {:.1} % with 1000", loads[0], loads[1]);
    cases::verdict(loads[1] < loads[0] + 1.0, text)
}
