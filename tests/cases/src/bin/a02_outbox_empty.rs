//! An outbox limits bytes of messages, not memory: tiny messages take many times the limit, and empty ones are queued
//! without end while the peer does not read.
fn main() {
    let (_client, slow) = cases::pair();
    let outbox = slow.outbox();
    while outbox.pending() == 0 {
        outbox.try_send(vec![0; 10_000]).unwrap();
    }
    let before = cases::memory();
    let mut tiny = 0;
    while outbox.try_send(*b"x").is_ok() {
        tiny += 1;
    }
    let by_tiny = cases::memory() - before;
    let before = cases::memory();
    let mut empty = 0;
    while empty < 5_000_000 && outbox.try_send([]).is_ok() {
        empty += 1;
    }
    let by_empty = cases::memory() - before;
    let text = format!(
        "limit {} bytes; {tiny} messages of one byte take {by_tiny} bytes of memory, {empty} empty ones {by_empty}",
        outbox.limit()
    );
    cases::verdict(by_tiny.max(by_empty) < 8 * outbox.limit(), text)
}
