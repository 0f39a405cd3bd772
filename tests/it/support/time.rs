//! Claims about time that hold on a loaded machine.
//!
//! - Not before. `elapsed() >= timer` always holds, since load only delays.
//! - Not after. The wrong behaviour is made to take an hour, so that it reaches [`HANG`](super::HANG).
//! - As fast as. The fastest of several rounds is compared with the fastest of a control's, in the same run.
//! - Nearly always. Batches are repeated until in one of them all rounds but one are shorter than the wrong behaviour
//!   takes.
//! - In time. Rounds are repeated with longer timers until one is not delayed.

use std::time::Duration;

use super::HANG;

/// The fastest of ten rounds of what is measured and of its control, which take turns. A pause of the whole machine
/// lengthens some of the rounds, but not all.
pub(crate) fn fastest(mut measured: impl FnMut() -> Duration, mut control: impl FnMut() -> Duration) -> [Duration; 2] {
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..10 {
        fastest = [fastest[0].min(measured()), fastest[1].min(control())];
    }
    fastest
}

/// Repeats a round, each time with twice the timer, until one counts. In that round the peer was never late, or the
/// call took less time than a wrong one can take. Load only delays, so a round counts once the machine does not pause
/// for as long as the timer. `what` says what makes a round count. Fails if none does.
#[track_caller]
pub(crate) fn some_round<T>(what: &str, first: Duration, mut round: impl FnMut(Duration) -> Option<T>) -> T {
    let mut timer = first;
    loop {
        if let Some(result) = round(timer) {
            return result;
        }
        assert!(timer < HANG / 5, "{what}: in no round, the last one with a timer of {timer:?}");
        timer *= 2;
    }
}

/// Repeats batches of twenty rounds until in one of them all but one were shorter than `limit`, which the wrong
/// behaviour takes. Fails if no batch of twenty is like that. Load lengthens single rounds. The wrong behaviour
/// lengthens nearly all of a batch, or some of each.
#[track_caller]
pub(crate) fn nearly_all_below(what: &str, limit: Duration, mut round: impl FnMut() -> Duration) {
    let mut late = Vec::new();
    for _ in 0..20 {
        late.clear();
        for _ in 0..20 {
            late.extend(Some(round()).filter(|took| *took >= limit));
            if late.len() == 2 {
                break;
            }
        }
        if late.len() < 2 {
            return;
        }
    }
    panic!("{what}: in each of 20 batches two rounds took {limit:?} or longer, in the last {late:?}");
}

/// Repeats a round until one was shorter than `limit`, which the wrong behaviour always takes. Fails if none of ten
/// was.
#[track_caller]
pub(crate) fn once_below(what: &str, limit: Duration, mut round: impl FnMut() -> Duration) {
    let took: Vec<_> = std::iter::repeat_with(&mut round).take(10).take_while(|took| *took >= limit).collect();
    assert!(took.len() < 10, "{what}: each time it took {limit:?} or longer: {took:?}");
}
