//! A client that a call of `try_accept` kept, because its PROXY header was incomplete, was forgotten when the server began
//! to be served at that moment.
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket};
use landline::{BlockList, Error};

fn main() {
    let trusted = BlockList::new();
    trusted.add_cidr("127.0.0.0/8").unwrap();
    let end = Instant::now() + Duration::from_secs(25);
    let (mut servers, mut is_forgotten) = (0_u64, false);
    while Instant::now() < end && !is_forgotten {
        servers += 1;
        let options = ServerOptions::new().proxy_protocol(&trusted).proxy_timeout(Duration::from_secs(60));
        let server = options.listen("127.0.0.1:0").unwrap();
        let client = Socket::connect(server.address()).unwrap();
        let (trying, serving) = cases::try_accept_and_serve(&server, servers % 60 * 40);
        client.write_all("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").unwrap();
        client.set_read_timeout(Duration::from_secs(30)).unwrap();
        // The caller may have got the client and dropped it, which ends it.
        is_forgotten = client.read(&mut [0; 5]).is_err_and(|error| Error::is_tick(&error));
        drop(client);
        server.close();
        trying.join().unwrap();
        serving.join().unwrap();
    }
    cases::verdict(!is_forgotten, format!("{servers} servers; the last one's client waited 30 s: {is_forgotten}"))
}
