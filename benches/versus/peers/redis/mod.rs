//! The commands that redis-benchmark sends, by hand: over std and over tokio, with the parser of examples/redis. It
//! speaks to a type of that name, so each has its own.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use self::over_std::resp::{NULL, bulk, done, error, number};

pub(crate) mod over_std;
pub(crate) mod over_tokio;

type Values = Mutex<HashMap<Vec<u8>, Vec<u8>>>;

fn answer(request: &[Vec<u8>], values: &Values) -> Vec<u8> {
    let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
    let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
    match *words {
        [b"PING"] => b"+PONG\r\n".into(),
        [b"GET", key] => values.get(key).map_or(NULL.into(), |value| bulk(value)),
        [b"SET", key, value] => done(values.insert(key.into(), value.into())),
        [b"INCR", key] => increment(values.entry(key.into()).or_insert(b"0".into())),
        _ => error("unknown command"),
    }
}

fn increment(value: &mut Vec<u8>) -> Vec<u8> {
    let number_of = |text: &str| text.parse::<i64>().ok()?.checked_add(1);
    let Some(n) = std::str::from_utf8(value).ok().and_then(number_of) else { return error("value is not an integer") };
    *value = n.to_string().into();
    number(n)
}

pub(crate) fn serve(over: &str, how: &str) -> io::Result<()> {
    if over == "std" { over_std::serve() } else { over_tokio::serve(how) }
}
