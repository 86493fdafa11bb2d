//! Netlink in bytes: framing, attributes, and one request with all its answers.
//! What the messages mean is known by those who ask.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// A message without its header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'b> {
    /// What it is.
    pub kind: u16,
    /// Whether more follow, and such.
    pub flags: u16,
    /// What it says.
    pub body: &'b [u8],
}

/// The whole messages of a datagram; what is cut short ends them.
pub struct Messages<'b> {
    /// What was not read yet, or cannot be.
    rest: &'b [u8],
}

/// Reads a datagram.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let bytes = self.rest;
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let body = bytes.get(MESSAGE_HEADER..length)?;
        let message = Message { kind: half(4)?, flags: half(6)?, body };
        self.rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The whole attributes of a message or of another attribute, by their kinds.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

/// A message with its header.
pub fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
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

/// An attribute with its header.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A connection to one part of the kernel.
pub struct Kernel(Socket);

impl Kernel {
    /// Opens one; protocols are those of include/uapi/linux/netlink.h.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request and takes every answer: of a list all of it, or an error.
    ///
    /// # Errors
    /// What the system, or the kernel in its answer, says. `Interrupted` when a
    /// list has changed while it was made, so that entries may be missing.
    pub fn ask(&self, request: &[u8], mut take: impl FnMut(Message<'_>)) -> io::Result<()> {
        self.0.send(request, 0)?;
        let mut answers = Answers::to(request);
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            if answers.end_in(&datagram, &mut take)? {
                return Ok(());
            }
        }
    }
}

/// How far the answers to one request have come.
struct Answers {
    /// A list ends with a message of its own; what stops before that is a part.
    is_list: bool,
    /// Something changed between two parts of the list.
    is_interrupted: bool,
}

impl Answers {
    fn to(request: &[u8]) -> Self {
        let is_list = messages(request).any(|one| one.flags & DUMP == DUMP);
        Self { is_list, is_interrupted: false }
    }

    /// Takes the answers of a datagram; true when they are all.
    fn end_in(&mut self, datagram: &[u8], take: &mut impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut read = messages(datagram);
        for message in read.by_ref() {
            self.is_interrupted |= self.is_list && message.flags & INTERRUPTED != 0;
            match message.kind {
                ERROR => return outcome(message.body).map(|()| true),
                DONE if self.is_interrupted => return Err(io::ErrorKind::Interrupted.into()),
                DONE => return outcome(message.body).map(|()| true),
                _ => take(message),
            }
            if !self.is_list && message.flags & MULTIPART == 0 {
                return Ok(true);
            }
        }
        if datagram.is_empty() || !read.rest.is_empty() {
            // No reason to wait for more of what cannot be read.
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(false)
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
const INTERRUPTED: u16 = 0x10;
/// Flag: a request.
pub const REQUEST: u16 = 1;
/// Flag: say whether it worked.
pub const ACKNOWLEDGE: u16 = 4;
/// Flags: everything there is.
pub const DUMP: u16 = 0x300;

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
    fn a_list_without_its_end_or_with_a_gap_is_no_list() {
        const ENTRY: u16 = 16;
        let entry = |flags: u16| message(ENTRY, MULTIPART | flags, &[0; 16]);
        let done = |code: i32| message(DONE, MULTIPART, &code.to_ne_bytes());
        let read = |datagrams: &[&[u8]]| {
            let mut answers = Answers::to(&message(ENTRY + 2, REQUEST | DUMP, &[0; 16]));
            let mut n_entries = 0;
            let mut is_over = false;
            for datagram in datagrams {
                is_over = answers.end_in(datagram, &mut |_| n_entries += 1)?;
            }
            Ok::<_, io::Error>((n_entries, is_over))
        };
        let whole = [entry(0), entry(0)].concat();
        assert_eq!(read(&[&whole, &entry(0), &done(0)]).expect("whole"), (3, true));
        assert_eq!(read(&[&whole]).expect("so far"), (2, false));
        // A single message does not pass for the list of all.
        assert_eq!(read(&[&message(ENTRY, 0, &[0; 16])]).expect("so far"), (1, false));
        let failed = |datagrams: &[&[u8]]| read(datagrams).expect_err("a part").kind();
        // Wherever the kernel says so, the answers before and behind it count no more.
        for changed in [[entry(INTERRUPTED), entry(0)], [entry(0), entry(INTERRUPTED)]] {
            let [one, other] = changed;
            assert_eq!(failed(&[&one, &other, &done(0)]), io::ErrorKind::Interrupted);
        }
        let changed = message(DONE, MULTIPART | INTERRUPTED, &[0; 4]);
        assert_eq!(failed(&[&whole, &changed]), io::ErrorKind::Interrupted);
        assert_eq!(failed(&[&whole, &done(-libc::ENOMEM)]), io::ErrorKind::OutOfMemory);
        for end in (0..whole.len()).filter(|end| *end != whole.len() / 2) {
            assert_eq!(failed(&[&whole[..end]]), io::ErrorKind::InvalidData, "cut at {end}");
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
