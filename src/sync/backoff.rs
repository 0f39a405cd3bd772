//! Pauses that grow while something keeps failing.

use std::time::{Duration, Instant};

/// How long to pause after an error. A single error causes no pause. After further errors the pauses are 5 ms up to 1
/// s. An error that comes later than its pause would have lasted counts as a single one.
#[derive(Default)]
pub(crate) struct Backoff {
    resumed: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    pub(crate) fn after_error(&mut self, now: Instant) -> Duration {
        let next = (self.pause * 2).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let is_repeated = self.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) < next);
        self.pause = if is_repeated { next } else { Duration::ZERO };
        self.resumed = Some(now + self.pause);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ensures that errors in a row are slowed down, to one a second at the slowest, and that single ones are not.
    #[test]
    fn pauses_grow_from_5_ms_to_1_s_and_start_over() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let pause = backoff.after_error(now);
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000], "each pause is double, up to a second");
        now += Duration::from_millis(1000);
        assert_eq!(backoff.after_error(now), Duration::ZERO, "an error that comes later is a first one");
    }
}
