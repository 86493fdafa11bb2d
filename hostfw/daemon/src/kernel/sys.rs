//! The few `bpf(2)` calls that the BPF library does not offer: a map of maps
//! whose inner size is chosen at run time, freezing, shared memory of a map,
//! and what a link or a hook really holds. The only unsafe code of the daemon.

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr::NonNull,
    sync::{
        LazyLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

const MAP_CREATE: u32 = 0;
const MAP_UPDATE_ELEM: u32 = 2;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const MAP_FREEZE: u32 = 22;
const LINK_CREATE: u32 = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
const MMAPABLE: u32 = 1 << 10;

/// Bytes of two words.
pub(super) const PAIR_BYTES: usize = 8;

/// Calls `bpf(2)` with the attributes of one command.
pub(super) fn bpf<A>(command: u32, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: every caller passes the attributes of its command, complete up to
    // their size, and keeps what they point to alive over the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>())
    };
    i32::try_from(answer).ok().filter(|answer| *answer >= 0).ok_or_else(io::Error::last_os_error)
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

fn map_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}

fn create(attributes: &mut MapCreate) -> io::Result<OwnedFd> {
    let fd = bpf(MAP_CREATE, attributes)?;
    // SAFETY: the kernel has just handed this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Bytes of the largest element of an array on kernels that want to copy it at
/// once (`KMALLOC_MAX_SIZE` of x86-64 and arm64).
const OLD_WINDOW_BYTES: u32 = 4 << 20;

/// Pairs of words in one element of an array for so many: all of them, where
/// the kernel makes elements that large. A power of two, as `pairs` is.
pub(super) fn window(pairs: u32) -> u32 {
    static MAKES_LARGER: LazyLock<bool> =
        LazyLock::new(|| create_array(OLD_WINDOW_BYTES * 2, 1).is_ok());
    let old = OLD_WINDOW_BYTES / PAIR_BYTES as u32;
    if pairs <= old || *MAKES_LARGER { pairs } else { old }
}

/// An array for `pairs` pairs of words that can be mapped into memory, in
/// elements of [`window`].
pub(super) fn create_words(pairs: u32) -> io::Result<OwnedFd> {
    let window = window(pairs);
    create_array(window * PAIR_BYTES as u32, pairs / window)
}

fn create_array(value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    create(&mut MapCreate {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size,
        max_entries,
        map_flags: MMAPABLE,
        map_name: map_name("hostfw_words"),
        ..MapCreate::default()
    })
}

/// A map of `slots` maps that look like `template`.
pub(super) fn create_slots(slots: u32, template: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    create(&mut MapCreate {
        map_type: MAP_TYPE_ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries: slots,
        inner_map_fd: template.as_raw_fd().unsigned_abs(),
        map_name: map_name("hostfw_images"),
        ..MapCreate::default()
    })
}

/// Puts a map into a slot of a map of maps.
pub(super) fn set_slot(slots: BorrowedFd<'_>, slot: u32, map: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map_fd: u32,
        zero: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let inner = map.as_raw_fd().unsigned_abs();
    let mut attributes = Attributes {
        map_fd: slots.as_raw_fd().unsigned_abs(),
        zero: 0,
        key: (&raw const slot).expose_provenance() as u64,
        value: (&raw const inner).expose_provenance() as u64,
        flags: 0,
    };
    bpf(MAP_UPDATE_ELEM, &mut attributes)?;
    Ok(())
}

/// Makes a map read-only for user space, for good.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = map.as_raw_fd().unsigned_abs();
    bpf(MAP_FREEZE, &mut attributes)?;
    Ok(())
}

/// The attributes of the commands about pins.
#[repr(C)]
struct PinAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes =
        PinAttributes { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    let fd = bpf(OBJ_GET, &mut attributes)?;
    // SAFETY: the kernel has just handed this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Keeps an object of the kernel under a name on a BPF file system.
pub(super) fn pin(object: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes = PinAttributes {
        path: path.as_ptr().expose_provenance() as u64,
        fd: object.as_raw_fd().unsigned_abs(),
        flags: 0,
    };
    bpf(OBJ_PIN, &mut attributes)?;
    Ok(())
}

/// Puts a program first in the chain of a tcx hook, by the index of the device:
/// its name may be any bytes, and may change. The link ends with its last
/// descriptor or pin.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    egress: bool,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        zero: u32,
        revision: u64,
    }
    /// `BPF_F_BEFORE`; before whom is not said, so before all.
    const BEFORE: u32 = 1 << 3;
    let mut attributes = Attributes {
        program: program.as_raw_fd().unsigned_abs(),
        target: ifindex,
        attach_type: tcx_hook(egress),
        flags: BEFORE,
        relative: 0,
        zero: 0,
        revision: 0,
    };
    let fd = bpf(LINK_CREATE, &mut attributes)?;
    // SAFETY: the kernel has just handed this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
const fn tcx_hook(egress: bool) -> u32 {
    if egress { 47 } else { 46 }
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkTarget {
    /// Id of the attached program.
    pub(super) program: u32,
    /// Device, 0 when it has gone.
    pub(super) ifindex: u32,
}

/// Reads what a pinned tcx link is attached to (Linux 6.6, `struct
/// bpf_link_info`).
pub(super) fn link_target(pin: &Path) -> io::Result<LinkTarget> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        length: u32,
        info: u64,
    }
    let link = open_pin(pin)?;
    let mut info = [0u32; 16];
    let mut attributes = Attributes {
        fd: link.as_raw_fd().unsigned_abs(),
        length: 64,
        info: info.as_mut_ptr().expose_provenance() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    // Words: type, id, program id, padding, then the device.
    Ok(LinkTarget { program: info[2], ifindex: info[4] })
}

/// Ids of the programs on a tcx hook, in the order they run.
pub(super) fn hook_programs(ifindex: u32, egress: bool) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attributes {
        target: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        zero: u32,
        unused: [u64; 4],
    }
    let mut ids = [0u32; 64];
    let mut attributes = Attributes {
        target: ifindex,
        attach_type: tcx_hook(egress),
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: 64,
        zero: 0,
        unused: [0; 4],
    };
    bpf(PROG_QUERY, &mut attributes)?;
    Ok(ids.iter().copied().take(attributes.count as usize).collect())
}

/// Memory of a map, shared with the kernel.
#[derive(Debug)]
pub(super) struct Shared {
    start: NonNull<u64>,
    /// Pairs that are mapped before the first that is wanted.
    lead: usize,
    pairs: usize,
}

impl Shared {
    /// Maps the whole of an array, in pieces of eight bytes.
    pub(super) fn map(map: BorrowedFd<'_>, pairs: u32, writable: bool) -> io::Result<Self> {
        Self::map_part(map, 0, pairs as usize, writable)
    }

    /// Maps a part of an array, from a pair on.
    pub(super) fn map_part(
        map: BorrowedFd<'_>,
        first: usize,
        pairs: usize,
        writable: bool,
    ) -> io::Result<Self> {
        let protection =
            if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: the call takes a number and gives one.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let lead = first % (usize::try_from(page).unwrap_or(0).max(PAIR_BYTES) / PAIR_BYTES);
        let from = i64::try_from((first - lead) * PAIR_BYTES).map_err(io::Error::other)?;
        // SAFETY: a new mapping that overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (lead + pairs) * PAIR_BYTES,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                from,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave null"))?;
        Ok(Self { start, lead, pairs })
    }

    /// One element, read and written as a whole: a reader sees the old or the
    /// new one, never a mixture.
    pub(super) fn cell(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.pairs, "an index inside the map");
        // SAFETY: in bounds, aligned to eight bytes by the kernel, and every
        // other writer stores whole elements too.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(self.lead + index)) }
    }

    /// Sets one byte. A store of its own: marks that the programs set beside it
    /// are never lost.
    pub(super) fn mark(&self, byte: usize) {
        assert!(byte < self.pairs * PAIR_BYTES, "a byte inside the map");
        // SAFETY: in bounds; the programs write single bytes here too.
        let first = unsafe { self.start.as_ptr().add(self.lead) };
        // SAFETY: as above.
        unsafe { AtomicU8::from_ptr(first.cast::<u8>().add(byte)) }.store(1, Ordering::Relaxed);
    }

    /// Copies words in from an even word on, if there is room, and reads them back:
    /// true when they stand there now. The mapping must be writable.
    #[must_use]
    pub(super) fn takes(&self, first: usize, words: &[u32]) -> bool {
        if (first + words.len()).div_ceil(2) > self.pairs || !first.is_multiple_of(2) {
            return false;
        }
        let cells = || (first / 2..).zip(pairs(words));
        for (index, value) in cells() {
            self.cell(index).store(value, Ordering::Relaxed);
        }
        cells().all(|(index, value)| self.cell(index).load(Ordering::Relaxed) == value)
    }

    /// Copies `count` words out.
    pub(super) fn read(&self, count: usize) -> Vec<u32> {
        let mut words = Vec::with_capacity(count + 1);
        for index in 0..count.div_ceil(2).min(self.pairs) {
            let value = self.cell(index).load(Ordering::Relaxed);
            words.push((value & 0xffff_ffff) as u32);
            words.push((value >> 32) as u32);
        }
        words.truncate(count);
        words
    }
}

/// Words two by two, as they stand in the memory of a map.
fn pairs(words: &[u32]) -> impl Iterator<Item = u64> {
    let (pairs, rest) = words.as_chunks::<2>();
    let last = rest.first().map(|low| u64::from(*low));
    pairs.iter().map(|[low, high]| u64::from(*high) << 32 | u64::from(*low)).chain(last)
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), (self.lead + self.pairs) * PAIR_BYTES) };
    }
}

/// Lifts the limit on locked memory, which counts maps before Linux 5.11. Where
/// that is not allowed the limit that was given may still be enough.
pub(super) fn lift_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a live limit; the call changes nothing else.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } != 0;
    if failed {
        tracing::debug!("the limit on locked memory stays as it was given");
    }
}

/// Kernel ticks a second: the coarse clock steps once a tick.
pub(super) fn ticks_per_s() -> u32 {
    let mut step = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec.
    let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut step) } != 0;
    let step_ns = u32::try_from(step.tv_nsec).unwrap_or(0);
    if failed || step_ns == 0 { 250 } else { (1_000_000_000 + step_ns / 2) / step_ns }
}

/// CPUs that there can be: one more than the highest number of one.
pub(super) fn cpus() -> io::Result<u32> {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let highest = possible.trim().rsplit([',', '-']).next().and_then(|last| last.parse().ok());
    let highest: u32 = highest.ok_or_else(|| io::Error::other("no number of a CPU"))?;
    Ok(highest + 1)
}

/// Milliseconds of `CLOCK_MONOTONIC`, the clock of the control word.
pub(super) fn monotonic_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The release that the kernel names, or nothing.
pub(super) fn release() -> String {
    // SAFETY: all-zero is a valid value, and the kernel fills it with strings.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: a live structure of the type that the call fills.
    let failed = unsafe { libc::uname(&raw mut name) } != 0;
    if failed {
        return String::new();
    }
    // SAFETY: the kernel ends each string inside its field.
    let release = unsafe { CStr::from_ptr(name.release.as_ptr()) };
    release.to_string_lossy().into_owned()
}

/// The device index of a name in this network namespace.
pub(super) fn ifindex(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: a valid string with its end.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The name of a device index in this network namespace, whatever bytes it is.
pub(super) fn device_name(ifindex: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call asks for.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the call has written a string with its end.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Some(name.to_string_lossy().into_owned())
}
