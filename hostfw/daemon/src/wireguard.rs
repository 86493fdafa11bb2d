//! The port on which a WireGuard device listens. The link list does not carry
//! it, so the device's own generic netlink family is asked. Bytes out, bytes
//! in; nothing else of WireGuard is known here.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// The listening port of a device; `None` when it has none.
///
/// # Errors
/// The kernel does not tell, for want of the family, the device or privilege.
pub(crate) fn listen_port(device: &str) -> io::Result<Option<u16>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = [b"wireguard".as_slice(), b"\0"].concat();
    let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, &name);
    let family = exchange(&socket, &ask, FAMILY_ID)?;
    let family = family.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let name = [device.as_bytes(), b"\0"].concat();
    let ask = request(family, REQUEST | DUMP, GET_DEVICE, DEVICE_NAME, &name);
    let port = exchange(&socket, &ask, LISTEN_PORT)?;
    Ok(port.filter(|port| *port != 0))
}

/// Sends a request and looks for one attribute of 16 bits in the answers.
fn exchange(socket: &Socket, ask: &[u8], wanted: u16) -> io::Result<Option<u16>> {
    socket.send(ask, 0)?;
    let mut found = None;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        match read(&answer, wanted)? {
            Step::More(value) => found = found.or(value),
            Step::End(value) => return Ok(found.or(value)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    More(Option<u16>),
    End(Option<u16>),
}

/// Reads one datagram of netlink messages.
fn read(mut bytes: &[u8], wanted: u16) -> io::Result<Step> {
    let mut found = None;
    let mut is_answer = false;
    while let Some(message) = Message::first(bytes) {
        match message.kind {
            ERROR => {
                let code =
                    message.body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
                return match code {
                    0 => Ok(Step::End(found)),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            DONE => return Ok(Step::End(found)),
            _ => {}
        }
        is_answer = true;
        let attributes = message.body.get(GENERIC_HEADER..).unwrap_or_default();
        found = found.or_else(|| attribute(attributes, wanted));
        if message.flags & MULTIPART == 0 {
            return Ok(Step::End(found));
        }
        bytes = bytes.get(aligned(message.length)..).unwrap_or_default();
    }
    // Nothing that could be read: no reason to wait for more of it.
    Ok(if is_answer { Step::More(found) } else { Step::End(None) })
}

struct Message<'b> {
    length: usize,
    kind: u16,
    flags: u16,
    body: &'b [u8],
}

impl<'b> Message<'b> {
    fn first(bytes: &'b [u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let body = bytes.get(MESSAGE_HEADER..length)?;
        Some(Self { length, kind: half(4)?, flags: half(6)?, body })
    }
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<u16> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(u16::from_ne_bytes(*value.first_chunk()?));
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

fn request(kind: u16, flags: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_length = ATTRIBUTE_HEADER + value.len();
    let length = MESSAGE_HEADER + GENERIC_HEADER + aligned(attribute_length);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and sender: one request at a time
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(u16::try_from(attribute_length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(length, 0);
    bytes
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

// include/uapi/linux/{netlink,genetlink,wireguard}.h
const NETLINK_GENERIC: isize = 16;
const MESSAGE_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const MULTIPART: u16 = 2;
const DUMP: u16 = 0x300;
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GET_DEVICE: u8 = 0;
const DEVICE_NAME: u16 = 2;
const LISTEN_PORT: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others() {
        let mut answer = request(30, MULTIPART, 0, 2, b"wg0\0");
        answer.extend(6_u16.to_ne_bytes());
        answer.extend(LISTEN_PORT.to_ne_bytes());
        answer.extend(51_820_u16.to_ne_bytes());
        answer.extend([0; 2]);
        let length = u32::try_from(answer.len()).expect("short");
        answer[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(read(&answer, LISTEN_PORT).expect("sound"), Step::More(Some(51_820)));
    }

    #[test]
    fn an_error_is_the_systems_own() {
        let mut answer = request(ERROR, 0, 0, 0, &[]);
        answer[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        let error = read(&answer, LISTEN_PORT).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn bytes_that_are_no_answer_end_the_exchange() {
        let whole = request(30, MULTIPART, 0, 9, b"x");
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], LISTEN_PORT).expect("no error"), Step::End(None));
        }
        assert_eq!(read(&[0; 64], LISTEN_PORT).expect("no error"), Step::End(None));
    }

    #[test]
    fn a_family_that_always_exists_can_be_asked() {
        let mut socket = Socket::new(NETLINK_GENERIC).expect("netlink");
        socket.bind_auto().expect("bound");
        socket.connect(&SocketAddr::new(0, 0)).expect("connected");
        let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, b"nlctrl\0");
        assert_eq!(exchange(&socket, &ask, FAMILY_ID).expect("told"), Some(CONTROL));
    }
}
