//! Many entries of a hash map in one call (`BPF_MAP_LOOKUP_BATCH`, for such maps
//! since Linux 5.6): a table of connections is a quarter of a million calls
//! otherwise.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::sys::bpf;

const LOOKUP_BATCH: u32 = 24;

/// The part of `union bpf_attr` that the command has.
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

/// Counts the entries of a hash map. What changes meanwhile may be missed or
/// counted twice.
///
/// # Errors
/// What the kernel said.
pub(super) fn count_entries(
    map: BorrowedFd<'_>,
    key_bytes: usize,
    value_bytes: usize,
) -> io::Result<u64> {
    let mut n_entries = 0;
    each(map, (key_bytes, value_bytes), |_, _| n_entries += 1)?;
    Ok(n_entries)
}

/// Shows every entry of a hash map, with the sizes of key and value. What changes
/// meanwhile may be missed or shown twice.
///
/// # Errors
/// What the kernel said.
pub(super) fn each(
    map: BorrowedFd<'_>,
    (key_bytes, value_bytes): (usize, usize),
    mut take: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    // More than a bucket of the map ever holds.
    const AT_ONCE: u32 = 4_096;
    let mut keys = vec![0_u8; key_bytes * AT_ONCE as usize];
    let mut values = vec![0_u8; value_bytes * AT_ONCE as usize];
    // Where a call starts and where it ended, 32 bits each for a hash map.
    let (mut from, mut next) = (0_u64, 0_u64);
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
        let is_last = match bpf(LOOKUP_BATCH, &mut attributes) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let entries = keys.chunks_exact(key_bytes).zip(values.chunks_exact(value_bytes));
        for (key, value) in entries.take(attributes.count as usize) {
            take(key, value);
        }
        if is_last {
            return Ok(());
        }
        from = next;
        is_first = false;
    }
}
