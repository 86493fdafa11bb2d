//! The few system calls that the standard library does not offer, each behind a
//! safe function. What they are used for is not known here.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::Duration,
};

use crate::foreign::Place;

/// Moves the calling thread into a network namespace.
pub(crate) fn enter_network(namespace: &File) -> io::Result<()> {
    // SAFETY: setns takes a descriptor, which the borrow keeps open, and a flag.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Gives the calling thread mounts of its own, invisible to everybody else.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: unshare takes flags only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the target is a C string; the other pointers may be null for this
    // combination of flags (mount(2)).
    check(unsafe {
        libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
    })
}

/// Mounts a fresh file system that needs no device.
pub(crate) fn mount(kind: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: all three strings are C strings; no data is passed.
    check(unsafe {
        libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null())
    })
}

/// Makes a folder; usable between fork and exec, where nothing is allocated.
pub(crate) fn make_folder(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a C string.
    check(unsafe { libc::mkdir(path.as_ptr(), 0o755) })
}

/// Takes a mount away, even when something in it is still open.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: the target is a C string.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// Makes the calling process die with the thread that started it.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl with this option takes a signal number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Lets this process open as many files as it may.
pub(crate) fn allow_files() -> io::Result<()> {
    // SAFETY: a limit is two numbers, for which zero is a value.
    let mut limit: libc::rlimit = unsafe { zeroed() };
    // SAFETY: the kernel writes into a live limit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads a live limit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, signal: i32) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: kill takes numbers only.
    check(unsafe { libc::kill(process, signal) })
}

/// Opens a socket of any kind.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes numbers only.
    let descriptor = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    check(descriptor)?;
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Binds a packet socket to one device and one protocol.
pub(crate) fn bind_to_device(socket: &OwnedFd, ifindex: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of a live structure of the
    // family that the socket has.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
}

/// Gives a socket room for a receiver that is not scheduled for a while.
pub(crate) fn enlarge_receive_buffer(socket: BorrowedFd<'_>) -> io::Result<()> {
    let size: libc::c_int = 8 << 20;
    // SAFETY: pointer and length are those of a live number.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            std::ptr::from_ref(&size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

/// Lets so many connections wait to be accepted as the kernel allows.
pub(crate) fn enlarge_backlog(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a number of an open descriptor.
    check(unsafe { libc::listen(listener.as_raw_fd(), i32::MAX) })
}

/// Opens a TCP connection from an address of the host's choice.
pub(crate) fn connect_from(
    source: Ipv4Addr,
    destination: SocketAddrV4,
    limit: Duration,
) -> io::Result<TcpStream> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let name = |address: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let (here, there) = (name(source, 0), name(*destination.ip(), destination.port()));
    // SAFETY: pointer and length are those of a live structure of the family
    // that the socket has.
    check(unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&here).cast(), length) })?;
    let stream = TcpStream::from(socket);
    // Linux bounds the handshake by the time limit for sending.
    stream.set_write_timeout(Some(limit))?;
    // SAFETY: as above.
    check(unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&there).cast(), length) })?;
    Ok(stream)
}

/// Sends on a bound or connected socket.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let n = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    usize::try_from(n).map_err(|_negative| io::Error::last_os_error())
}

/// Sends frames on a bound socket, many a call; returns how many were taken.
pub(crate) fn send_many(socket: &OwnedFd, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all-zero is a valid value of this plain structure.
            let mut message: libc::mmsghdr = unsafe { zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let count = u32::try_from(messages.len()).map_err(io::Error::other)?;
    // SAFETY: as many live messages as the count says; what they point to lives
    // until the call returns, and is only read.
    let n = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(n).map_err(|_negative| io::Error::last_os_error())
}

/// Sends to an IP address from a raw socket.
pub(crate) fn send_to(socket: &OwnedFd, bytes: &[u8], destination: IpAddr) -> io::Result<usize> {
    // SAFETY: all-zero is a valid value of these plain structures.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { (zeroed(), zeroed()) };
    let (address, length): (*const libc::sockaddr, usize) = match destination {
        IpAddr::V4(ip) => {
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            (std::ptr::from_ref(&v4).cast(), size_of::<libc::sockaddr_in>())
        }
        IpAddr::V6(ip) => {
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_addr.s6_addr = ip.octets();
            (std::ptr::from_ref(&v6).cast(), size_of::<libc::sockaddr_in6>())
        }
    };
    // SAFETY: the slice is live, and the address points to one of the two
    // structures above with its own length.
    let n = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            address,
            length as libc::socklen_t,
        )
    };
    usize::try_from(n).map_err(|_negative| io::Error::last_os_error())
}

/// True when there is something to read before the time is over.
pub(crate) fn readable(descriptor: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let mut wait = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit_ms = i32::try_from(limit.as_millis()).map_err(io::Error::other)?;
    // SAFETY: one live structure is passed with the count 1.
    let ready = unsafe { libc::poll(&raw mut wait, 1, limit_ms) };
    check(ready)?;
    Ok(ready > 0)
}

/// Receives what is there, or nothing when nothing comes within the time.
pub(crate) fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    limit: Duration,
) -> io::Result<Option<usize>> {
    if !readable(socket.as_fd(), limit)? {
        return Ok(None);
    }
    // SAFETY: pointer and length are those of a live slice.
    let n = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(n).map(Some).map_err(|_negative| io::Error::last_os_error())
}

/// Turns an open `/dev/net/tun` into the named device without Ethernet headers.
pub(crate) fn name_tun(device: &File, name: &str) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is live.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Loads a program for the traffic control hooks that says "next".
pub(crate) fn load_next_program() -> io::Result<OwnedFd> {
    // r0 = -1; exit
    load_program(&[[0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]])
}

/// Loads a program for the traffic control hooks.
pub(crate) fn load_program(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that BPF_PROG_LOAD needs.
    #[repr(C)]
    struct Load {
        kind: u32,
        n_instructions: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 12],
    }
    const SCHED_CLS: u32 = 3;
    const PROG_LOAD: libc::c_int = 5;
    let attributes = Load {
        kind: SCHED_CLS,
        n_instructions: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        rest: [0; 12],
    };
    // SAFETY: the structure and what it points to live until the call returns.
    unsafe { bpf_descriptor(PROG_LOAD, &attributes) }
}

/// Attaches a program to a tcx hook of a device of the calling thread's
/// namespace.
pub(crate) fn attach_tcx(
    program: &OwnedFd,
    ifindex: u32,
    egress: bool,
    place: Place,
) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that BPF_LINK_CREATE needs.
    #[repr(C)]
    struct Create {
        program: u32,
        ifindex: u32,
        hook: u32,
        flags: u32,
        rest: [u64; 4],
    }
    const TCX_INGRESS: u32 = 46;
    const LINK_CREATE: libc::c_int = 28;
    const BEFORE: u32 = 1 << 3;
    let attributes = Create {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        ifindex,
        hook: TCX_INGRESS + u32::from(egress),
        flags: if place == Place::First { BEFORE } else { 0 },
        rest: [0; 4],
    };
    // SAFETY: the structure lives until the call returns and points to nothing.
    unsafe { bpf_descriptor(LINK_CREATE, &attributes) }
}

/// A program that is loaded, by its id.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    /// The part of `union bpf_attr` that BPF_PROG_GET_FD_BY_ID needs.
    #[repr(C)]
    struct ById {
        id: u32,
        next: u32,
        flags: u32,
    }
    const PROG_GET_FD_BY_ID: libc::c_int = 13;
    // SAFETY: the structure lives until the call returns and points to nothing.
    unsafe { bpf_descriptor(PROG_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 }) }
}

/// Gives a program a name on a BPF file system.
pub(crate) fn pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    /// The part of `union bpf_attr` that BPF_OBJ_PIN needs.
    #[repr(C)]
    struct Pin {
        path: u64,
        program: u32,
        flags: u32,
    }
    const OBJ_PIN: libc::c_int = 6;
    let path = c_path(path)?;
    let attributes = Pin {
        path: path.as_ptr() as u64,
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        flags: 0,
    };
    // SAFETY: the structure and the path live until the call returns.
    unsafe { bpf(OBJ_PIN, &attributes) }.map(|_zero| ())
}

/// # Safety
/// As of [`bpf`]; the command must answer with a new descriptor.
unsafe fn bpf_descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the contents.
    let descriptor = unsafe { bpf(command, attributes) }?;
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// `attributes` must be what the command reads, and what it points to must live.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: the caller vouches for the contents; pointer and size belong
    // together.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    let answer = i32::try_from(answer).map_err(io::Error::other)?;
    check(answer)?;
    Ok(answer)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A path as the kernel wants it.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
