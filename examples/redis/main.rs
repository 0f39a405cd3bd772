//! A small Redis that works with redis-cli, redis-benchmark and the client libraries.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example redis
//! listening on 127.0.0.1:3000
//! then: redis-cli -p 3000, or: nc -C 127.0.0.1 3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc -C 127.0.0.1 3000
//! > SET colour green
//! +OK
//! > GET colour
//! $5
//! green
//! > INCR visits
//! :1
//! > PUBLISH news hello
//! :1
//! ```
//!
//! Terminal 3, which comes first, and in which the last lines come when terminal 2 publishes:
//!
//! ```text
//! $ nc -C 127.0.0.1 3000
//! > SUBSCRIBE news
//! *3
//! $9
//! subscribe
//! $4
//! news
//! :1
//! *3
//! $7
//! message
//! $4
//! news
//! $5
//! hello
//! ```
//!
//! `redis-benchmark -p 3000 -t set,get,incr -P 16 -q` counts how many requests it serves a second.
//!
//! Lesson: a client may send many requests before it reads an answer. A `Buffered` keeps the answers while there are
//! requests to read, and sends them in one write before it waits. So does `News` with the messages that a client
//! publishes: they go to each subscriber together, by its outbox, which never blocks. A client that does not read is
//! dropped and delays no other. No answer is written while the store is locked.

mod news;
mod resp;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use landline::net::{Buffered, Server, Socket};

use crate::news::News;
use crate::resp::{NULL, array, bulk, done, error, number};

type Map<T> = Mutex<HashMap<Vec<u8>, T>>;

fn main() -> io::Result<()> {
    let server = Server::listen(std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    let at = server.address();
    println!("listening on {at}\nthen: redis-cli -p {0}, or: nc -C 127.0.0.1 {0}", at.port());
    let (values, subscribers) = (Map::default(), Map::default());
    server.serve(|socket| {
        let result = talk(socket, &values, &subscribers);
        lock(&subscribers).values_mut().for_each(|all| all.retain(|other| other != socket));
        result
    })
}

fn talk(socket: &Socket, values: &Map<Vec<u8>>, subscribers: &Map<Vec<Socket>>) -> io::Result<()> {
    let (mut client, mut subscribed, mut news) = (socket.buffered()?, 0, News::default());
    while let Some(request) = news.request(&mut client, subscribers)? {
        let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        if let [b"PUBLISH", channel, text] = *words {
            news.publish(channel, text, &mut client, subscribers)?;
            continue;
        }
        news.send(&mut client, subscribers)?; // its answers come first
        let answer = match *words {
            [b"PING"] => b"+PONG\r\n".into(),
            [b"PING" | b"ECHO", text] => bulk(text),
            [b"GET", key] => lock(values).get(key).map_or(NULL.into(), |value| bulk(value)),
            [b"SET", key, value] => done(lock(values).insert(key.into(), value.into())),
            [b"INCR", key] => increment(lock(values).entry(key.into()).or_insert(b"0".into())),
            [b"DEL", ref keys @ ..] => number(keys.iter().filter(|key| lock(values).remove(**key).is_some()).count()),
            [b"SUBSCRIBE", channel] => {
                subscribed += 1;
                client.flush()?; // the answers before
                let mut all = lock(subscribers);
                // Confirmed and subscribed in one step, so no message comes before the confirmation and none after it
                // is missed.
                socket.outbox().try_send(array(&[bulk(b"subscribe"), bulk(channel), number(subscribed)]))?;
                all.entry(channel.into()).or_default().push(socket.clone());
                continue;
            }
            _ => error("unknown command"),
        };
        client.write_all(&answer)?;
    }
    Ok(())
}

fn increment(value: &mut Vec<u8>) -> Vec<u8> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()?.checked_add(1));
    let Some(n) = number else { return error("value is not an integer or out of range") };
    *value = n.to_string().into();
    resp::number(n)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
