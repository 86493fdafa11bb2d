//! Waiting with a deadline: for something to become true, or to stay untrue.

use std::time::{Duration, Instant};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer, at most for `limit`.
pub fn eventually<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within `limit`; `what` names the condition.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    if eventually(limit, || condition().then_some(())).is_none() {
        panic!("not within {limit:?}: {what}");
    }
}

/// True when the condition stays untrue for the whole time.
pub fn never_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    eventually(time, || condition().then_some(())).is_none()
}
