//! Memory that a compilation has used and nobody needs any more. The allocator
//! keeps it for the next one, which comes when somebody edits a policy: in
//! minutes or in months.

/// Gives what is not used back to the system, where it is worth the while.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    // SAFETY: it only reads the allocator's own numbers.
    let numbers = unsafe { libc::mallinfo2() };
    if numbers.fordblks > SPARE_BYTES {
        // SAFETY: it touches no memory that is in use; any number is allowed.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Other allocators are not asked.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}

/// What small changes use again and again stays.
#[cfg(target_env = "gnu")]
const SPARE_BYTES: usize = 4 << 20;
