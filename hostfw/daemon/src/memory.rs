//! Memory that a compilation has used and nobody needs any more. The allocator
//! keeps it for the next one, which comes when somebody edits a policy: in
//! minutes or in months.

use std::fs;

/// Gives what is not used back to the system.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What was left the last time, in pages.
    rest: usize,
}

impl Memory {
    /// Where more than small changes need has come together since the last time.
    /// What those use again and again stays: a page that is given back and taken
    /// again costs two microseconds.
    pub(crate) fn give_back(&mut self) {
        if resident() > self.rest + SPARE_BYTES / PAGE_BYTES {
            trim();
            self.rest = resident();
        }
    }
}

/// Pages that are in memory; none where nobody says.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it touches no memory that is in use; any number is allowed.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators are not asked.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// More than an image of 10,000 rules.
const SPARE_BYTES: usize = 8 << 20;
/// As small as pages are: where they are larger, more stays.
const PAGE_BYTES: usize = 4 << 10;
