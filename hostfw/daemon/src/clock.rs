//! The two clocks: milliseconds that never go back, on which everything is
//! decided, and the time of day, in which people and files are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `CLOCK_MONOTONIC` in milliseconds: the clock of the control word's deadline,
/// of the kernel's records, and of every event. It goes on over restarts.
pub(crate) fn now_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable `timespec`; the clock always
    // exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let s = u64::try_from(now.tv_sec).unwrap_or(0);
    let ns = u64::try_from(now.tv_nsec).unwrap_or(0);
    s * 1_000 + ns / 1_000_000
}

/// Seconds since 1970 UTC of a moment on the monotonic clock.
pub(crate) fn unix_s(moment_ms: u64) -> u64 {
    unix_now_s().saturating_sub(now_ms().saturating_sub(moment_ms) / 1_000)
}

/// A moment in the time of day on the monotonic clock; 0 when it was before
/// the system started.
pub(crate) fn from_unix_s(unix_s: u64) -> u64 {
    let ago_s = unix_now_s().saturating_sub(unix_s);
    now_ms().saturating_sub(ago_s.saturating_mul(1_000))
}

/// Seconds since 1970 UTC, now.
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
