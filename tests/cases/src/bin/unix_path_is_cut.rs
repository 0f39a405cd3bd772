//! A NUL inside the path of a Unix socket: the kernel cuts the path there, so another file is made, connected to, and
//! left by `close`. std rejects such a path.
use std::path::PathBuf;

use landline::net::Server;

fn main() {
    let folder = std::env::temp_dir().join(format!("landline-cut-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let asked = PathBuf::from(format!("{}/socket\0.suffix", folder.display()));
    let result = Server::listen(asked.clone()).map(|server| server.close());
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    let std = std::os::unix::net::UnixListener::bind(&asked).map(drop);
    std::fs::remove_dir_all(&folder).unwrap();
    cases::verdict(result.is_err(), format!("listen {result:?}, after close there is {left:?}; std: {std:?}"))
}
