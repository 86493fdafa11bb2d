//! Netlink in bytes: framing, attributes, and one request with all its answers.
//! What the messages mean is known by those who ask.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// A message without its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'b> {
    /// What it is.
    pub(crate) kind: u16,
    /// Whether more follow, and such.
    pub(crate) flags: u16,
    /// What it says.
    pub(crate) body: &'b [u8],
}

/// The whole messages of a datagram; what is cut short ends them.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let body = bytes.get(MESSAGE_HEADER..length)?;
        let message = Message { kind: half(4)?, flags: half(6)?, body };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The whole attributes of a message or of another attribute, by their kinds.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

/// A message with its header.
pub(crate) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER + body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence number and sender: one request at a time
    bytes.extend(body);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// A connection to one part of the kernel.
pub(crate) struct Kernel(Socket);

impl Kernel {
    /// Opens one; protocols are those of include/uapi/linux/netlink.h.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request and takes every answer.
    ///
    /// # Errors
    /// What the system, or the kernel in its answer, says.
    pub(crate) fn ask(&self, request: &[u8], mut take: impl FnMut(Message<'_>)) -> io::Result<()> {
        self.0.send(request, 0)?;
        loop {
            let (answer, _) = self.0.recv_from_full()?;
            let mut is_answer = false;
            for message in messages(&answer) {
                is_answer = true;
                match message.kind {
                    ERROR | DONE => return outcome(message.body),
                    _ => take(message),
                }
                if message.flags & MULTIPART == 0 {
                    return Ok(());
                }
            }
            if !is_answer {
                // No reason to wait for more of what cannot be read.
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
        }
    }
}

/// What the first word of a last message says.
fn outcome(body: &[u8]) -> io::Result<()> {
    match body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

// include/uapi/linux/netlink.h
const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The bits of a kind that are not flags.
const KIND: u16 = 0x3fff;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const MULTIPART: u16 = 2;
/// Flag: a request.
pub(crate) const REQUEST: u16 = 1;
/// Flag: say whether it worked.
pub(crate) const ACKNOWLEDGE: u16 = 4;
/// Flags: everything there is.
pub(crate) const DUMP: u16 = 0x300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end_and_nothing_is_made_up(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let within = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr())
                || part.is_empty();
            prop_assert!(messages(&bytes).all(|one| within(one.body)));
            prop_assert!(attributes(&bytes).all(|(_, value)| within(value)));
            prop_assert!(messages(&bytes).count() <= bytes.len() / MESSAGE_HEADER + 1);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_HEADER + 1);
        }

        #[test]
        fn messages_that_were_written_are_read_again(
            parts in proptest::collection::vec((any::<u16>(), any::<u16>(),
                proptest::collection::vec(any::<u8>(), 0..40)), 0..6)
        ) {
            let bytes: Vec<u8> =
                parts.iter().flat_map(|(kind, flags, body)| message(*kind, *flags, body)).collect();
            let read: Vec<_> =
                messages(&bytes).map(|one| (one.kind, one.flags, one.body.to_vec())).collect();
            prop_assert_eq!(read, parts);
        }
    }

    #[test]
    fn a_part_of_the_kernel_that_always_exists_answers() {
        // RTM_GETLINK over NETLINK_ROUTE; loopback is there at least.
        let mut n_links = 0;
        let ask = message(18, REQUEST | DUMP, &[0; 16]);
        let kernel = Kernel::open(0).expect("netlink");
        kernel.ask(&ask, |_| n_links += 1).expect("answered");
        assert!(n_links > 0);
        let nonsense = message(9_999, REQUEST | ACKNOWLEDGE, &[0; 16]);
        assert!(kernel.ask(&nonsense, |_| {}).is_err());
    }
}
