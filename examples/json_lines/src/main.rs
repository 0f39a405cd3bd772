//! Requests and answers in JSON, one a line.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --manifest-path examples/json_lines/Cargo.toml
//! listening on 127.0.0.1:3000
//! then: cargo run --example echo_client 127.0.0.1:3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ cargo run --example echo_client 127.0.0.1:3000
//! > {"add":[1,2,3.5]}
//! {"number":6.5}
//! > {"upper":"hello"}
//! {"text":"HELLO"}
//! > {"sing":"hello"}
//! {"error":"unknown variant `sing`, expected `add` or `upper` at line 1 column 7"}
//! ```
//!
//! Lesson: an enum is the protocol, and serde checks each message against it. `next_line` cuts the stream into messages
//! of at most 64 KiB. Answers are kept and leave before the next read waits. An invalid request is answered and ends
//! nothing. Only an error of the socket ends the connection. This is a crate of its own, so that the library's
//! dependencies stay as they are.

use std::env;
use std::io::{self, Write};

use landline::net::Server;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Add(Vec<f64>),
    Upper(String),
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Number(f64),
    Text(String),
    Error(String),
}

fn main() -> io::Result<()> {
    let server = Server::listen(env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {0}\nthen: cargo run --example echo_client {0}", server.address());
    server.serve(|socket| {
        let mut client = socket.buffered()?;
        while let Some(line) = client.next_line()? {
            let answer = match serde_json::from_str(&line) {
                Ok(Request::Add(numbers)) => Answer::Number(numbers.iter().sum()),
                Ok(Request::Upper(text)) => Answer::Text(text.to_uppercase()),
                Err(error) => Answer::Error(error.to_string()),
            };
            serde_json::to_writer(&mut client, &answer)?;
            client.write_all(b"\n")?;
        }
        Ok(())
    })
}
