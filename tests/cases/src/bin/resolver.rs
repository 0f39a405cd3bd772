//! What a program can tell of a failed look-up: not now, or never?
//!
//! resolver again | locale | files

use cases::verdict;
use landline::net::SocketOptions;
use std::io;

fn told(error: &landline::Error) -> String {
    format!("code {} kind {:?} text {error}", error.code(), error.kind())
}

fn error_of(to: impl Into<landline::Endpoint>) -> landline::Error {
    SocketOptions::new().connect(to).unwrap_err().into()
}

fn main() {
    let what = cases::mode();
    match what.as_str() {
        // Name servers that cannot be reached: try again later.
        "again" | "locale" => {
            cases::inside(
                "ip link set lo up; printf 'nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n' > /tmp/resolv.$$; \
                mount --bind /tmp/resolv.$$ /etc/resolv.conf; rm /tmp/resolv.$$",
            );
            if what == "locale" {
                // Translated where the texts of German are installed. No locale has to be.
                unsafe { std::env::set_var("LC_ALL", "C.UTF-8") };
                unsafe { std::env::set_var("LANGUAGE", "de") };
                let set = unsafe { libc::setlocale(libc::LC_ALL, c"".as_ptr()) };
                println!("locale {:?}", unsafe { (!set.is_null()).then(|| std::ffi::CStr::from_ptr(set)) });
            }
            let std_error = std::net::TcpStream::connect(("example.com", 80)).unwrap_err();
            let error = error_of(("example.com", 80));
            println!("std: {std_error} ({:?})\nlandline: {}", std_error.kind(), told(&error));
            let unknown = error_of("[fe80::1%no-interface]:80");
            println!("an interface that does not exist: {}", told(&unknown));
            if (unknown.code(), unknown.kind()) != ("ENOTFOUND", io::ErrorKind::NotFound) {
                verdict(false, "a name that cannot exist is not found");
            }
            verdict(
                error.code() == "EAI_AGAIN" && error.kind() != io::ErrorKind::NotFound,
                "a look-up that failed for now",
            );
        }
        // No descriptor for the resolver.
        "files" => {
            cases::limit_descriptors(64);
            let held = cases::all_descriptors();
            let error = error_of(("localhost", 80));
            let std_error = std::net::TcpStream::connect(("localhost", 80)).unwrap_err();
            drop(held);
            println!("std: {std_error} ({:?})", std_error.kind());
            println!("{}", told(&error));
            // glibc itself says that there is no such name.
            let same = error.code() == "ENOTFOUND" && std_error.to_string().contains("not known");
            verdict(same, "a look-up without a descriptor is what the resolver says");
        }
        other => panic!("{other}?"),
    }
}
