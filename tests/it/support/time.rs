//! Claims about time that hold on a loaded machine.
//!
//! - Not before: `elapsed() >= timer` holds always, since load only delays.
//! - Not after: the wrong behaviour is made to take an hour, so that [`HANG`](super::HANG) tells it apart.
//! - As fast as: the fastest of several rounds is compared with the fastest of a control's, in the same run.

use std::time::Duration;

/// The fastest of ten rounds of each, which take turns: what is measured, and its control. A pause of the whole machine, which
/// lengthens some of the rounds, does not lengthen all.
pub(crate) fn fastest(mut measured: impl FnMut() -> Duration, mut control: impl FnMut() -> Duration) -> [Duration; 2] {
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..10 {
        fastest = [fastest[0].min(measured()), fastest[1].min(control())];
    }
    fastest
}
