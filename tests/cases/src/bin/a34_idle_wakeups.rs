//! Connections whose idle timeout has fired once still wake up once in each idle time.
use std::thread;
use std::time::Duration;

use landline::net::{ServerOptions, Socket};

fn main() {
    let loads = [0, 100].map(|millis| {
        let options = ServerOptions::new().timeout(Duration::from_millis(millis)).stack_size(64 << 10);
        let server = options.listen("127.0.0.1:0").unwrap();
        let running = server.spawn(|socket| socket.each(|_, _| Ok(()))).unwrap();
        let kept: Vec<_> = (0..1000).map(|_| Socket::connect(server.address()).unwrap()).collect();
        thread::sleep(Duration::from_millis(1500));
        let load = cases::load(Duration::from_secs(3));
        drop(kept);
        server.close();
        running.join().unwrap();
        load
    });
    let text = format!(
        "1000 idle connections: {:.1} % of a core without a timeout, {:.1} % with one of 100 ms that has fired",
        loads[0], loads[1]
    );
    cases::verdict(loads[1] < loads[0] + 1.0, text)
}
