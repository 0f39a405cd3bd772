//! "Printed, each is one line". A report is not if the text of an error or a panic has line ends in it, and those of
//! assert_eq! always do. A peer whose input is quoted in an error then writes lines of the log.
use std::io;
use std::sync::{Arc, Mutex};

use landline::Report;
use landline::net::{ServerOptions, Socket};

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    let hook = move |report: &Report| kept.lock().unwrap().push(report.to_string());
    let server = ServerOptions::new().report(hook).listen("127.0.0.1:0").unwrap();
    let serving = server.spawn(|socket| {
        let text = io::read_to_string(socket)?;
        assert_ne!(text, "panic");
        Err(std::io::Error::other(format!("no such command: {text}")))
    });
    for text in ["x\n#99 10.0.0.1:4 -> 10.0.0.2:5 accepted, 1 open", "panic"] {
        let client = Socket::connect(server.address()).unwrap();
        client.write_end(text).unwrap();
        let _ = cases::all(&client);
    }
    server.close();
    serving.unwrap().join().unwrap();
    let log = log.lock().unwrap();
    let longer: Vec<_> = log.iter().filter(|text| text.contains('\n')).collect();
    cases::verdict(
        longer.is_empty(),
        format!("{} of {} reports are several lines: {longer:?}", longer.len(), log.len()),
    )
}
