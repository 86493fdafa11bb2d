//! The few things that are asked of the kernel's bpf(2), each behind a safe
//! function: a map of one number, a program, its run on frames that go on into
//! the network stack as if a device had received them.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Commands, types and flags of include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const LIVE_FRAMES: u32 = 1 << 1;

/// Frames that are made before they go on together, as a driver's poll does.
const BATCH: u32 = 64;

/// One number that programs share with us.
pub(crate) struct Cell(OwnedFd);

impl Cell {
    pub(crate) fn new() -> io::Result<Self> {
        #[repr(C)]
        struct Attributes {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            flags: u32,
        }
        let attributes = Attributes {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        };
        // SAFETY: no pointer is among the attributes.
        Ok(Self(owned(unsafe { bpf(MAP_CREATE, &attributes) }?)))
    }

    /// As an instruction that loads the map names it.
    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A loaded XDP program.
pub(crate) struct Xdp(OwnedFd);

impl Xdp {
    /// Loads instructions, eight bytes each.
    pub(crate) fn load(instructions: &[[u8; 8]]) -> io::Result<Self> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            count: u32,
            instructions: u64,
            licence: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
        }
        let licence = c"GPL";
        let mut log = vec![0_u8; 1 << 16];
        let attributes = Attributes {
            kind: PROG_TYPE_XDP,
            count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
            instructions: address(instructions.as_ptr()),
            licence: address(licence.as_ptr()),
            log_level: 1,
            log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
            log: address(log.as_mut_ptr()),
        };
        // SAFETY: all pointers are to live memory of the sizes beside them.
        let loaded = unsafe { bpf(PROG_LOAD, &attributes) };
        loaded.map(|descriptor| Self(owned(descriptor))).map_err(|error| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            let text = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
            io::Error::other(format!("{error}\n{text}"))
        })
    }

    /// Puts it on a device of the calling thread's namespace until the link is
    /// dropped.
    pub(crate) fn attach(&self, ifindex: u32) -> io::Result<OwnedFd> {
        #[repr(C)]
        struct Attributes {
            program: i32,
            ifindex: u32,
            attach: u32,
            flags: u32,
        }
        let attributes =
            Attributes { program: self.0.as_raw_fd(), ifindex, attach: ATTACH_XDP, flags: 0 };
        // SAFETY: no pointer is among the attributes.
        Ok(owned(unsafe { bpf(LINK_CREATE, &attributes) }?))
    }

    /// Runs it on so many copies of a frame that a device of the calling thread's
    /// namespace has received; what passes goes on into the stack, before this
    /// returns.
    pub(crate) fn send(&self, frame: &[u8], ifindex: u32, count: u32) -> io::Result<()> {
        /// `struct xdp_md`.
        #[repr(C)]
        struct Context {
            data: u32,
            data_end: u32,
            data_meta: u32,
            ingress_ifindex: u32,
            queue: u32,
            egress_ifindex: u32,
        }
        #[repr(C)]
        struct Attributes {
            program: i32,
            result: u32,
            data_size_in: u32,
            data_size_out: u32,
            data_in: u64,
            data_out: u64,
            repeat: u32,
            duration: u32,
            context_size_in: u32,
            context_size_out: u32,
            context_in: u64,
            context_out: u64,
            flags: u32,
            cpu: u32,
            batch_size: u32,
            padding: u32,
        }
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let context = Context {
            data: 0,
            data_end: length,
            data_meta: 0,
            ingress_ifindex: ifindex,
            queue: 0,
            egress_ifindex: 0,
        };
        let attributes = Attributes {
            program: self.0.as_raw_fd(),
            result: 0,
            data_size_in: length,
            data_size_out: 0,
            data_in: address(frame.as_ptr()),
            data_out: 0,
            repeat: count,
            duration: 0,
            context_size_in: u32::try_from(size_of::<Context>()).map_err(io::Error::other)?,
            context_size_out: 0,
            context_in: address(&raw const context),
            context_out: 0,
            flags: LIVE_FRAMES,
            cpu: 0,
            batch_size: BATCH,
            padding: 0,
        };
        // SAFETY: frame and context live for the call, with the sizes beside them.
        unsafe { bpf(PROG_TEST_RUN, &attributes) }?;
        Ok(())
    }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// # Safety
/// Pointers among the attributes are to live memory, as the command wants it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: attributes and their size belong together; the rest is up to the
    // caller.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(answer).map_err(io::Error::other)
    }
}
