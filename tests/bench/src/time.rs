//! Processor time, and what is made of samples of it.

use std::{io, time::Duration};

/// What the calling thread has spent, the kernel's work for it included.
pub(crate) fn thread_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Keeps the calling thread on the last processor: another one has other caches,
/// and other things to do.
pub(crate) fn stay_on_last_processor() -> io::Result<()> {
    stay_on_processor(0)
}

/// The same for the one that is so many places before the last.
pub(crate) fn stay_on_processor(from_last: usize) -> io::Result<()> {
    let count = std::thread::available_parallelism()?.get();
    let last = (count - 1).saturating_sub(from_last);
    // SAFETY: an all-zero set is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below that of the processors, which a set has room for.
    unsafe { libc::CPU_SET(last, &mut set) };
    // SAFETY: the set lives for the call and has the size beside it.
    let answer = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The middle one, and half of the distance between the quarters: how far every
/// second sample is from it.
pub(crate) fn median(samples: &[f64]) -> (f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quarter: usize| sorted.get(sorted.len() * quarter / 4).copied().unwrap_or(f64::NAN);
    (at(2), (at(3) - at(1)) / 2.0)
}
