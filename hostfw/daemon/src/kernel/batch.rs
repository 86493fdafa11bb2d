//! Many elements of a map in one call (`BPF_MAP_LOOKUP_BATCH` and
//! `BPF_MAP_UPDATE_BATCH`, for hash maps since Linux 5.6, for per-CPU arrays since
//! 5.13): a hundred thousand rules are a hundred thousand calls otherwise, while a
//! policy waits. A kernel without them says so, and the caller asks one by one.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::sys::bpf;

const LOOKUP_BATCH: u32 = 24;
const UPDATE_BATCH: u32 = 26;

/// Elements of a call.
const AT_ONCE: u32 = 1_024;

/// The part of `union bpf_attr` that both commands share.
#[repr(C)]
struct Attributes {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Reads elements, and hands over the words of each, those of one CPU after
/// those of the other.
///
/// # Errors
/// What the kernel said; some elements were handed over before.
pub(super) fn read(
    map: BorrowedFd<'_>,
    elements: Range<u32>,
    words_each: usize,
    mut take: impl FnMut(&[u64]),
) -> io::Result<()> {
    let mut keys = [0_u32; AT_ONCE as usize];
    let mut values = vec![0_u64; words_each * AT_ONCE as usize];
    let mut at = elements.start;
    while at < elements.end {
        // A call goes on behind the element that it is given.
        let (before, mut last) = (at.wrapping_sub(1), 0_u32);
        let mut attributes = Attributes {
            from: if at == 0 { 0 } else { (&raw const before).expose_provenance() as u64 },
            next: (&raw mut last).expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: (elements.end - at).min(AT_ONCE),
            map: map.as_raw_fd().unsigned_abs(),
            element_flags: 0,
            flags: 0,
        };
        match bpf(LOOKUP_BATCH, &mut attributes) {
            Ok(_) => {}
            // The end of the map.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        let n_read = attributes.count as usize;
        if n_read == 0 || keys[0] != at {
            return Err(io::Error::other("the map does not have these elements"));
        }
        values.chunks_exact(words_each).take(n_read).for_each(&mut take);
        at += attributes.count;
    }
    Ok(())
}

/// Sets elements to zero, for every CPU.
///
/// # Errors
/// What the kernel said; some elements may be zero already.
pub(super) fn clear(
    map: BorrowedFd<'_>,
    elements: Range<u32>,
    words_each: usize,
) -> io::Result<()> {
    let mut keys = [0_u32; AT_ONCE as usize];
    let values = vec![0_u64; words_each * AT_ONCE as usize];
    let mut at = elements.start;
    while at < elements.end {
        let count = (elements.end - at).min(AT_ONCE);
        for (key, element) in keys.iter_mut().zip(at..at + count) {
            *key = element;
        }
        let mut attributes = Attributes {
            from: 0,
            next: 0,
            keys: keys.as_ptr().expose_provenance() as u64,
            values: values.as_ptr().expose_provenance() as u64,
            count,
            map: map.as_raw_fd().unsigned_abs(),
            element_flags: 0,
            flags: 0,
        };
        bpf(UPDATE_BATCH, &mut attributes)?;
        at += count;
    }
    Ok(())
}

/// Counts the entries of a hash map, many a call (`BPF_MAP_LOOKUP_BATCH`, Linux
/// 5.6). What changes meanwhile may be missed or counted twice.
pub(super) fn count_entries(
    map: BorrowedFd<'_>,
    key_bytes: usize,
    value_bytes: usize,
) -> io::Result<u64> {
    // More than a bucket of the map ever holds.
    const AT_ONCE: u32 = 4_096;
    let mut keys = vec![0_u8; key_bytes * AT_ONCE as usize];
    let mut values = vec![0_u8; value_bytes * AT_ONCE as usize];
    // Where a call starts and where it ended, 32 bits each for a hash map.
    let (mut from, mut next) = (0_u64, 0_u64);
    let mut n_entries = 0;
    let mut is_first = true;
    loop {
        let mut attributes = Attributes {
            from: if is_first { 0 } else { (&raw const from).expose_provenance() as u64 },
            next: (&raw mut next).expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: AT_ONCE,
            map: map.as_raw_fd().unsigned_abs(),
            element_flags: 0,
            flags: 0,
        };
        match bpf(LOOKUP_BATCH, &mut attributes) {
            Ok(_) => n_entries += u64::from(attributes.count),
            // The last ones.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(n_entries + u64::from(attributes.count));
            }
            Err(error) => return Err(error),
        }
        from = next;
        is_first = false;
    }
}
