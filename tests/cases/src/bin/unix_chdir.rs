//! A daemon binds a relative path and then changes its directory. `close` has to wake the accept, to remove its own
//! file, and to leave another program's file of the same name alone.
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use landline::net::{Server, ServerOptions};

fn main() {
    let base = env::temp_dir().join(format!("landline-chdir-{}", std::process::id()));
    for folder in ["a", "b"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    env::set_current_dir(base.join("a")).unwrap();
    let own = Server::listen(Path::new("own.sock")).unwrap();
    let adopted = ServerOptions::new().adopt(UnixListener::bind("adopted.sock").unwrap()).unwrap();
    let [own_served, adopted_served] = [&own, &adopted].map(|server| server.spawn(|_| Ok(())).unwrap());
    thread::sleep(Duration::from_millis(100));
    env::set_current_dir(base.join("b")).unwrap();
    let _other = UnixListener::bind("own.sock").unwrap();
    let begun = Instant::now();
    own.close();
    adopted.close();
    let took = begun.elapsed();
    let [own_ended, adopted_ended] = [own_served, adopted_served]
        .map(|running| cases::within(Duration::from_secs(2), move || running.join()).is_some());
    let [ours, theirs] = ["a", "b"].map(|folder| base.join(folder).join("own.sock").exists());
    fs::remove_dir_all(&base).unwrap();
    let text = format!(
        "both closes took {took:?}; serve has returned: {own_ended}, of the adopted one {adopted_ended}; our file is \
         left: {ours}, the other program's: {theirs}"
    );
    cases::verdict(own_ended && adopted_ended && !ours && theirs, text)
}
