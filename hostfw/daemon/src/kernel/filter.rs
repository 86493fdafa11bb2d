//! What the kernel says of the filters on a clsact hook: a dump over route
//! netlink, read without trust in its lengths.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

const REQUEST_BYTES: usize = 36;
/// `RTM_NEWTFILTER`, `RTM_GETTFILTER`, `NLMSG_ERROR`, `NLMSG_DONE`.
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `TC_H_CLSACT` with the minor number of each hook (linux/pkt_sched.h).
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// `TCA_OPTIONS`, and `TCA_BPF_ID` inside it.
const OPTIONS: u16 = 2;
const PROGRAM_ID: u16 = 11;

/// A filter of a clsact hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Id of the program behind it.
    pub(super) program: u32,
    /// How many filters of this hook are asked before.
    pub(super) position: usize,
}

/// One filter of a device's clsact hook; `None` when there is no such filter.
///
/// # Errors
/// What the kernel said, for example that the device has gone.
pub(super) fn program(
    ifindex: u32,
    egress: bool,
    priority: u16,
    handle: u32,
) -> io::Result<Option<Filter>> {
    // SAFETY: a plain call; the descriptor is checked below.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let request = request(ifindex, if egress { EGRESS } else { INGRESS });
    // SAFETY: a live buffer of that length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut dump = Dump::default();
    let mut buffer = vec![0u8; 65_536];
    loop {
        // SAFETY: a live buffer of that length. The answer to a dump is there
        // before the request returns, so the call does not wait.
        let got = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let got = usize::try_from(got).map_err(|_negative| io::Error::last_os_error())?;
        match read(buffer.get(..got).unwrap_or_default(), priority, handle, &mut dump)? {
            Progress::More => {}
            Progress::Done => return Ok(dump.found),
        }
    }
}

fn request(ifindex: u32, parent: u32) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0u8; REQUEST_BYTES];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    put(0, &36u32.to_ne_bytes());
    put(4, &GET_FILTER.to_ne_bytes());
    put(6, &DUMP.to_ne_bytes());
    put(20, &ifindex.to_ne_bytes());
    put(28, &parent.to_ne_bytes());
    bytes
}

/// What a dump has shown so far. The kernel lists filters in the order in which
/// it asks them.
#[derive(Debug, Default)]
struct Dump {
    n_others: usize,
    found: Option<Filter>,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Reads one datagram of the dump.
fn read(mut bytes: &[u8], priority: u16, handle: u32, dump: &mut Dump) -> io::Result<Progress> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= 16) else {
            break;
        };
        match kind {
            DONE => return Ok(Progress::Done),
            ERROR => {
                let code = u32_at(message, 16).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            NEW_FILTER => {
                let ours = u32_at(message, 24) == Some(handle)
                    && u32_at(message, 32).is_some_and(|info| info >> 16 == u32::from(priority));
                let attributes = message.get(36..).unwrap_or_default();
                let id = attribute(attributes, OPTIONS)
                    .and_then(|options| attribute(options, PROGRAM_ID))
                    .and_then(|id| u32_at(id, 0));
                match id {
                    Some(program) if ours => {
                        dump.found = Some(Filter { program, position: dump.n_others });
                    }
                    // Each priority is introduced by a message without a handle.
                    Some(_) | None => {
                        dump.n_others += usize::from(u32_at(message, 24).unwrap_or(0) != 0);
                    }
                }
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The payload of the first attribute of a kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let payload = bytes.get(4..length)?;
        // The upper two bits are flags.
        if u16_at(bytes, 2)? & 0x3fff == kind {
            return Some(payload);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
