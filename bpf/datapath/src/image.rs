//! The image: all policy of one generation for this node, as one flat array of
//! 32-bit words in host order. The compiler writes it, the kernel maps it, and
//! this module is the only one that reads it. A look-up costs a fixed handful
//! of loads, whatever the number of rules.
//!
//! ```text
//! header            48 words, offsets below; the words of this host among them
//! peers             a trie for each family, as wide as it is full, see
//!                   [`TrieNode`]: address -> peer word
//! protocols         256 words: protocol -> port class, or where to look it up;
//!                   those of TCP and UDP stand in the header, too
//! subjects          8 words for each but this host: per direction flags, rows,
//!                   levels
//! rows              256-way tree over the peer class -> row
//! row               16-way tree over the port class -> verdict index
//! dense rows        instead of both, for this host: verdict index by port class
//!                   and peer class
//! verdicts          2 words each: answer and flags, deciding rule
//! ```
//! Equal nodes of the trees are stored once, so identical rows and identical
//! stretches of different rows cost nothing; memory is linear in the rules.
//!
//! All offsets are word indices from the start. A read outside the image gives
//! 0, and verdict 0 is reserved to mean "broken image".

use crate::{Address, Direction, verdict::Answer};

/// The words of one generation, wherever they are kept.
///
/// The kernel overrides the look-ups that walk a tree, by functions of its own
/// around the same code: its verifier then reads each walk once, and not
/// once on every path that leads there.
pub trait Image: Sized {
    /// The word at an index; 0 when the index is outside.
    fn word(&self, at: u32) -> u32;

    /// A word of the header: `at` is one of the constants of this module. The
    /// kernel knows without looking that it is inside.
    #[inline(always)]
    fn header(&self, at: u32) -> u32 {
        self.word(at)
    }

    /// The word at an index and the one behind it.
    #[inline(always)]
    fn pair(&self, at: u32) -> [u32; 2] {
        [self.word(at), self.word(at.wrapping_add(1))]
    }

    /// What a node of a trie begins with. Where nothing is, the kernel says so, and
    /// does not walk on with zeros.
    #[inline(always)]
    fn head(&self, at: u32) -> Option<NodeHead> {
        let half = |index: u32| {
            let [low, high] = self.pair(at.wrapping_add(index));
            u64::from(high) << 32 | u64::from(low)
        };
        Some(NodeHead {
            high: half(NODE_PREFIX),
            low: half(NODE_PREFIX + 2),
            outside: self.word(at.wrapping_add(NODE_OUTSIDE)),
        })
    }

    /// The peer word of an address, from a pointer of its trie on.
    #[inline(always)]
    fn below<const V6: bool>(&self, word: u32, address: &Address) -> u32 {
        walk_trie::<V6, _>(self, word, address)
    }

    /// The peer word of an address that is seldom asked for: by a call where the walk
    /// would be in the way of others.
    #[inline(always)]
    fn peer_aside(&self, address: &Address) -> u32 {
        peer(self, address)
    }

    /// The verdict index for a question.
    #[inline(always)]
    fn find(&self, question: Question) -> u32 {
        walk(self, question)
    }

    /// The verdict index for what is forwarded, or [`NOT_IN_FORCE`].
    #[inline(always)]
    fn find_forward(&self, passage: &Passage) -> u32 {
        find_forward(self, passage)
    }

    /// What a verdict index says, see [`verdict`].
    #[inline(always)]
    fn verdict(&self, index: u32) -> (Answer, u32) {
        verdict(self, index)
    }

    /// The answer for a packet that is only thought of, such as the one that
    /// this one answers.
    #[inline(always)]
    fn answer(&self, direction: Direction, address: &Address, protocol: u8, port: u16) -> Answer {
        answer(self, direction, address, protocol, port)
    }
}

/// The answer for an address and a port.
#[inline(always)]
pub fn answer<I: Image>(
    image: &I,
    direction: Direction,
    address: &Address,
    protocol: u8,
    port: u16,
) -> Answer {
    let peer_class = peer(image, address) & CLASS;
    let subject = HOST;
    verdict(image, image.find(Question { subject, direction, peer_class, protocol, port })).0
}

/// In place of a verdict index: no policy about what is forwarded is in force in
/// that direction.
pub const NOT_IN_FORCE: u32 = u32::MAX;

/// What is forwarded, as a policy about that sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Who sends it; `None` where he was judged at another hook.
    pub sender: Option<Address>,
    /// Whom it is for.
    pub destination: Address,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port; type of an ICMP message.
    pub port: u16,
}

/// Asks ingress about the sender and egress about the destination, as far as
/// they are in force: the verdict index of the first that denies, or of the last
/// that was asked, or [`NOT_IN_FORCE`].
#[inline(always)]
pub fn find_forward<I: Image>(image: &I, passage: &Passage) -> u32 {
    let Passage { sender, destination, .. } = passage;
    let mut index = NOT_IN_FORCE;
    if let Some(sender) = sender {
        index = find_forward_end(image, Direction::Ingress, sender, passage);
        if index != NOT_IN_FORCE && !verdict(image, index).0.allows() {
            return index;
        }
    }
    match find_forward_end(image, Direction::Egress, destination, passage) {
        NOT_IN_FORCE => index,
        index => index,
    }
}

#[inline(always)]
fn find_forward_end<I: Image>(
    image: &I,
    direction: Direction,
    address: &Address,
    passage: &Passage,
) -> u32 {
    let number = image.header(AT_FORWARD);
    if !in_force(image, subject(image, number, direction)) {
        return NOT_IN_FORCE;
    }
    let peer_class = peer(image, address) & CLASS;
    let Passage { protocol, port, .. } = *passage;
    walk(image, Question { subject: number, direction, peer_class, protocol, port })
}

/// The subject that stands first in every image: this host.
pub const HOST: u32 = 0;

/// What the image is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose policy: [`HOST`], or the number of a local pod.
    pub subject: u32,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Class bits of the other end's peer word.
    pub peer_class: u32,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub port: u16,
}

/// First word of every image: "HFW1".
pub const MAGIC: u32 = 0x4846_5731;

/// Words in the header. What most packets ask for stands in its first cache line,
/// what else a packet may ask for in the second.
pub const HEADER_WORDS: u32 = 48;

/// Header: [`MAGIC`].
pub const AT_MAGIC: u32 = 0;
/// Header: number of the generation, counted by the daemon.
pub const AT_GENERATION: u32 = 1;
/// Header: the root of the IPv4 addresses, a peer word or a node pointer.
pub const AT_V4: u32 = 2;
/// Header: the root of the IPv6 addresses, likewise.
pub const AT_V6: u32 = 3;
/// Header: the protocol word of TCP.
pub const AT_TCP: u32 = 4;
/// Header: the protocol word of UDP, behind that of TCP.
pub const AT_UDP: u32 = AT_TCP + 1;
/// Header: offset of the verdicts.
pub const AT_VERDICTS: u32 = 6;
/// Header: number of the subject that stands for what this host forwards, or
/// [`HOST`] where no policy is about that.
pub const AT_FORWARD: u32 = 7;
/// Header: the words of subject [`HOST`].
pub const AT_HOST: u32 = 8;

/// Header: IPv4 addresses that are [`LOCAL`], as far as there is room, so that
/// most packets to this host need no walk; 0 for none.
pub const AT_OWN_V4: u32 = 16;
/// Header: how many there is room for.
pub const MAX_OWN_V4: u32 = 4;
/// Header: the same of IPv6, four words each, most significant first.
pub const AT_OWN_V6: u32 = 20;
/// Header: how many there is room for.
pub const MAX_OWN_V6: u32 = 2;
/// Header: offset of the words of all protocols.
pub const AT_PROTOCOLS: u32 = 28;
/// Header: offset of the subjects from the second on; the first is this host,
/// whose words stand at [`AT_HOST`].
pub const AT_SUBJECTS: u32 = 29;
/// Header: number of rules; rule ids are below it. So many verdicts from 1 on are
/// those of the rules where they allow, by their ids; the one behind them, if there
/// are any, is that of no rule where such is denied. Nobody has to look what they say.
pub const AT_N_RULES: u32 = 30;

/// Header: [`crate::ABI_VERSION`].
pub const AT_ABI: u32 = 32;
/// Header: words in the whole image.
pub const AT_WORDS: u32 = 33;
/// Header: checksum over every other word ([`crate::checksum::of`]).
pub const AT_CHECKSUM: u32 = 34;
/// Header: number of subjects.
pub const AT_N_SUBJECTS: u32 = 35;
/// Header: number of verdicts, the reserved one included.
pub const AT_N_VERDICTS: u32 = 36;
/// Header: number of peer classes.
pub const AT_N_PEER_CLASSES: u32 = 37;
/// Header: number of port classes.
pub const AT_N_PORT_CLASSES: u32 = 38;

/// Set in a trie word that is the offset of the next node; clear in a peer word.
pub const POINTER: u32 = 1 << 31;
/// Peer word: an address of this host.
pub const LOCAL: u32 = 1 << 30;
/// Peer word: an address known to belong to another machine or to a pod.
pub const ELSEWHERE: u32 = 1 << 29;
/// Peer word: the bits of the peer class.
pub const CLASS: u32 = (1 << 24) - 1;
/// Offset bits of a [`POINTER`] or [`PORTS`]/[`TYPES`] word.
pub const OFFSET: u32 = (1 << 29) - 1;

/// Words in which pointers to nodes count; each begins with a multiple of them,
/// and wide ones with a cache line.
pub const NODE_UNIT: u32 = 8;
/// Node: the address whose first bits all others below it share, as two numbers of
/// 64 bits, the higher one first, each with its lower word first. Behind the last
/// bit that counts stand zeros.
pub const NODE_PREFIX: u32 = 0;
/// Node: the peer word of addresses that do not share them.
pub const NODE_OUTSIDE: u32 = 4;
/// Node: the word of the first child; the others follow.
pub const NODE_CHILDREN: u32 = 5;

/// What a node begins with, as its words stand one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeHead {
    /// At [`NODE_PREFIX`]: bits 127 to 64.
    pub high: u64,
    /// Behind it: bits 63 to 0.
    pub low: u64,
    /// At [`NODE_OUTSIDE`].
    pub outside: u32,
}

impl NodeHead {
    /// The address whose first bits count.
    pub fn prefix(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// Bits of an address before those of its family: an IPv4 address is a mapped
/// one, whose first 96 say no more than that.
pub const V4_BITS: u32 = 96;

/// What a pointer to a node of a trie says of it. `width` bits of an address, which
/// lie within one half of it, select the node's child, and all bits before them are
/// compared. Both are read at once, so that a step of the walk waits for memory
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieNode {
    /// How many bits (0..=127) stand behind those that select.
    pub behind: u32,
    /// How many bits select: an odd number to [`MAX_WIDTH`].
    pub width: u32,
    /// Offset of the node.
    pub at: u32,
}

/// The most bits that select a child.
pub const MAX_WIDTH: u32 = 15;

impl TrieNode {
    const UNITS: u32 = (1 << 21) - 1;

    /// The node that a word with [`POINTER`] leads to.
    #[inline(always)]
    pub const fn of(word: u32) -> Self {
        Self {
            behind: (word >> 21) & 127,
            width: (word >> 27) & 14 | 1,
            at: (word & Self::UNITS) * NODE_UNIT,
        }
    }

    /// The word that leads to it.
    pub const fn pointer(self) -> u32 {
        let Self { behind, width, at } = self;
        POINTER | ((width / 2) & 7) << 28 | (behind & 127) << 21 | (at / NODE_UNIT)
    }

    /// The first bit that selects, counted from the most significant one.
    pub const fn bit(self) -> u32 {
        128u32.saturating_sub(self.behind + self.width)
    }

    /// Where the child of an address stands. It does not wait for the node's head.
    #[inline(always)]
    pub fn child<const V6: bool>(self, address: &Address) -> u32 {
        let is_low = self.is_low::<V6>();
        let half = (address.high & !is_low) | (address.low & is_low);
        #[expect(clippy::as_conversions, reason = "at most fifteen bits remain")]
        let number = (half >> (self.behind & 63)) as u32 & ((1 << self.width) - 1);
        self.at.wrapping_add(NODE_CHILDREN).wrapping_add(number)
    }

    /// Whether an address has the bits of the node, as far as they count.
    #[inline(always)]
    fn holds<const V6: bool>(self, head: &NodeHead, address: &Address) -> bool {
        let (high, low) = (address.high ^ head.high, address.low ^ head.low);
        let is_low = self.is_low::<V6>();
        let half = (high & !is_low) | (low & is_low);
        let before = if V6 { high & is_low } else { 0 };
        // In two steps, as it may be all 64 bits.
        (half >> (self.behind & 63) >> self.width) | before == 0
    }

    /// All bits are set where it selects in the lower half of an address, as every
    /// node of IPv4 does: a mask, as a branch would be one for the verifier, too.
    #[inline(always)]
    fn is_low<const V6: bool>(self) -> u64 {
        if V6 { u64::from(self.behind >> 6).wrapping_sub(1) } else { u64::MAX }
    }
}

/// Protocol word: offset of 256 page offsets, each page 256 port classes.
pub const PORTS: u32 = 1 << 31;
/// Protocol word: offset of 256 port classes, one for each ICMP type.
pub const TYPES: u32 = 1 << 30;

/// Words of a subject: 4 for ingress, then 4 for egress.
pub const SUBJECT_WORDS: u32 = 8;
/// Subject, per direction: flags.
pub const SUBJECT_FLAGS: u32 = 0;
/// Subject, per direction: offset of the root of the rows.
pub const SUBJECT_ROWS: u32 = 1;
/// Subject, per direction: levels of the rows tree, 1 to [`MAX_ROWS_LEVELS`], or
/// [`DENSE`].
pub const SUBJECT_ROWS_LEVELS: u32 = 2;
/// Subject, per direction: levels of each row, 1 to [`MAX_ROW_LEVELS`]; where they
/// are [`DENSE`], how many there is room for.
pub const SUBJECT_ROW_LEVELS: u32 = 3;

/// In the place of the levels: no trees, but a verdict index for each cell, those of
/// one port class, by peer class, behind those of the other. Few ports have most of
/// the traffic, so what is read stands together; and of what says where a cell is,
/// the peer class, which is known last, is only added.
pub const DENSE: u32 = 0;

/// Subject flag: a rule selects this subject here; without it all is allowed.
pub const IN_FORCE: u32 = 1;

/// 256 ways a level reach 2^24 peer classes.
pub const MAX_ROWS_LEVELS: u32 = 3;
/// 16 ways a level reach 65,536 port classes.
pub const MAX_ROW_LEVELS: u32 = 4;

/// Words of a verdict: answer (low byte, see [`Answer`]) and the kind of proxy
/// of a redirect (next byte), then rule.
pub const VERDICT_WORDS: u32 = 2;
/// First word of a verdict: how far left the kind of proxy stands.
pub const PROXY_SHIFT: u32 = 8;
/// Second word of a verdict that no rule decided.
pub const NO_RULE: u32 = u32::MAX;

/// The peer word of an address.
#[inline(always)]
pub fn peer<I: Image>(image: &I, address: &Address) -> u32 {
    if address.is_v4() {
        let root = image.header(AT_V4);
        return if root & POINTER == 0 { root } else { image.below::<false>(root, address) };
    }
    let root = image.header(AT_V6);
    if root & POINTER == 0 { root } else { image.below::<true>(root, address) }
}

/// True for an address in the header's lists of [`LOCAL`] ones: most packets
/// come to one of them. False says nothing.
#[inline(always)]
pub fn is_listed_own<I: Image>(image: &I, address: &Address) -> bool {
    if address.is_v4() {
        let address = address.low32();
        address != 0
            && (image.header(AT_OWN_V4) == address
                || image.header(AT_OWN_V4 + 1) == address
                || image.header(AT_OWN_V4 + 2) == address
                || image.header(AT_OWN_V4 + 3) == address)
    } else {
        address.high != 0
            && (own_v6(image, AT_OWN_V6) == *address || own_v6(image, AT_OWN_V6 + 4) == *address)
    }
}

#[inline(always)]
fn own_v6<I: Image>(image: &I, at: u32) -> Address {
    Address::v6([
        image.header(at),
        image.header(at + 1),
        image.header(at + 2),
        image.header(at + 3),
    ])
}

/// Walks the trie of a family, from a word of it on.
#[inline(always)]
pub fn walk_trie<const V6: bool, I: Image>(image: &I, mut word: u32, address: &Address) -> u32 {
    // Every node on the way takes one bit, at least.
    let mut left = if V6 { 128 } else { 128 - V4_BITS };
    while left > 0 && word & POINTER != 0 {
        word = step::<V6, I>(image, word, address);
        left -= 1;
    }
    word
}

/// One step of that: what a pointer's node has for an address.
#[inline(always)]
pub fn step<const V6: bool, I: Image>(image: &I, pointer: u32, address: &Address) -> u32 {
    let node = TrieNode::of(pointer);
    let Some(head) = image.head(node.at) else { return 0 };
    if node.holds::<V6>(&head, address) {
        image.word(node.child::<V6>(address))
    } else {
        head.outside
    }
}

/// The port class of a protocol and, where it has them, a port or an ICMP type.
#[inline(always)]
pub fn port_class<I: Image>(image: &I, protocol: u8, port_or_type: u16) -> u32 {
    let word = image.word(image.header(AT_PROTOCOLS).wrapping_add(u32::from(protocol)));
    class_behind(image, word, port_or_type)
}

/// The port class that a protocol word leads to.
#[inline(always)]
fn class_behind<I: Image>(image: &I, word: u32, port_or_type: u16) -> u32 {
    let selector = u32::from(port_or_type);
    if word & PORTS != 0 {
        let page = image.word((word & OFFSET).wrapping_add(selector >> 8));
        return image.word(page.wrapping_add(selector & 0xff));
    }
    if word & TYPES != 0 {
        return image.word((word & OFFSET).wrapping_add(selector & 0xff));
    }
    word
}

/// Where a subject's words of one direction start.
#[inline(always)]
pub fn subject<I: Image>(image: &I, subject: u32, direction: Direction) -> u32 {
    let base = if subject == HOST {
        AT_HOST
    } else {
        let before = (subject - 1).wrapping_mul(SUBJECT_WORDS);
        image.header(AT_SUBJECTS).wrapping_add(before)
    };
    match direction {
        Direction::Ingress => base,
        Direction::Egress => base.wrapping_add(SUBJECT_WORDS / 2),
    }
}

/// True when a rule selects the subject in this direction (`subject` as given
/// by [`subject`]).
#[inline(always)]
pub fn in_force<I: Image>(image: &I, subject: u32) -> bool {
    subject_word(image, subject, SUBJECT_FLAGS) & IN_FORCE != 0
}

/// A word of a subject, whose words begin at `subject`.
#[inline(always)]
fn subject_word<I: Image>(image: &I, subject: u32, word: u32) -> u32 {
    let at = subject.wrapping_add(word);
    if at < HEADER_WORDS { image.header(at) } else { image.word(at) }
}

/// The verdict index for TCP or UDP where the rows of the subject are [`DENSE`].
#[inline(always)]
pub fn find_dense<I: Image>(image: &I, question: Question) -> Option<u32> {
    let subject = subject(image, question.subject, question.direction);
    if subject_word(image, subject, SUBJECT_ROWS_LEVELS) != DENSE {
        return None;
    }
    // 6 and 17 differ in this bit.
    let word = image.header(AT_TCP + u32::from(question.protocol >> 4 & 1));
    let class = class_behind(image, word, question.port);
    Some(cell(image, subject, question.peer_class, class))
}

/// A cell of [`DENSE`] rows.
#[inline(always)]
fn cell<I: Image>(image: &I, subject: u32, peer_class: u32, class: u32) -> u32 {
    let column = class.wrapping_mul(subject_word(image, subject, SUBJECT_ROW_LEVELS));
    let first = subject_word(image, subject, SUBJECT_ROWS);
    image.word(first.wrapping_add(column).wrapping_add(peer_class))
}

/// Walks from a peer class and a port to the verdict index.
#[inline(always)]
pub fn walk<I: Image>(image: &I, question: Question) -> u32 {
    let subject = subject(image, question.subject, question.direction);
    let class = port_class(image, question.protocol, question.port);
    let rows_levels = subject_word(image, subject, SUBJECT_ROWS_LEVELS);
    let row_levels = subject_word(image, subject, SUBJECT_ROW_LEVELS);
    if rows_levels == DENSE {
        return cell(image, subject, question.peer_class, class);
    }
    let mut node = subject_word(image, subject, SUBJECT_ROWS);
    let mut level = 0;
    while level < MAX_ROWS_LEVELS {
        let shift = MAX_ROWS_LEVELS - 1 - level;
        if shift < rows_levels {
            node = image.word(node.wrapping_add((question.peer_class >> (shift * 8)) & 0xff));
        }
        level += 1;
    }
    level = 0;
    while level < MAX_ROW_LEVELS {
        let shift = MAX_ROW_LEVELS - 1 - level;
        if shift < row_levels {
            node = image.word(node.wrapping_add((class >> (shift * 4)) & 0xf));
        }
        level += 1;
    }
    node
}

/// The answer and the deciding rule (or [`NO_RULE`]) of a verdict index.
#[inline(always)]
pub fn verdict<I: Image>(image: &I, index: u32) -> (Answer, u32) {
    let at = image.header(AT_VERDICTS).wrapping_add(index.wrapping_mul(VERDICT_WORDS));
    let [answer, rule] = image.pair(at);
    (Answer::from_word(answer), rule)
}

/// The same where the index itself says it, as [`AT_N_RULES`] has it; `None` leaves
/// it to a look.
#[inline(always)]
pub fn plain_verdict<I: Image>(image: &I, index: u32) -> Option<(Answer, u32)> {
    let (n_rules, rule) = (image.header(AT_N_RULES), index.wrapping_sub(1));
    if rule < n_rules {
        Some((Answer::Allow, rule))
    } else if rule == n_rules && n_rules != 0 {
        Some((Answer::DefaultDeny, NO_RULE))
    } else {
        None
    }
}

/// The kind of proxy that a redirect goes to, by the compiler's numbers.
#[inline(always)]
pub fn proxy<I: Image>(image: &I, index: u32) -> u32 {
    let at = image.header(AT_VERDICTS).wrapping_add(index.wrapping_mul(VERDICT_WORDS));
    (image.word(at) >> PROXY_SHIFT) & 0xff
}

impl Image for &[u32] {
    #[inline(always)]
    fn word(&self, at: u32) -> u32 {
        usize::try_from(at).ok().and_then(|at| self.get(at)).copied().unwrap_or(0)
    }
}
