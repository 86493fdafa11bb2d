//! The host's state, as the data path asks for it: connection tables, opened
//! ports, sockets and routes of the kernel.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST, bpf_fib_lookup as FibQuestion, bpf_sock as Socket},
    helpers::{bpf_fib_lookup, bpf_jiffies64, bpf_sk_release, bpf_skc_lookup_tcp},
};
use hostfw_datapath::{
    Address, Direction, Image, Packet, Tables,
    flow::{FlowEntry, FlowKey, KEPT, Table},
    judge::Case,
    memory::{Ask, Known},
    packet::Layer,
    parse::{self, Network, Upper, protocol},
    place::{self, Claim, Place},
    tables::Opener,
};

use crate::{
    generation::Generation,
    maps::{self, ADMITTED, ADMITTED_TCP, MADE, OPENED, OWN, PLACES, REHEARSE},
    skb::{Skb, opaque},
};

/// The host around one packet, judged by the image in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) skb: Skb,
    pub(crate) slot: u32,
}

/// Kernel ticks since before boot; inlined by the verifier, never a call.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: the helper takes nothing and touches nothing.
    unsafe { bpf_jiffies64() }
}

const CURRENT_NETNS: u64 = u64::MAX;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `TCP_LISTEN`, include/net/tcp_states.h.
const LISTEN: u32 = 10;
/// `TCP_NEW_SYN_RECV`: a handshake that a peer began.
const NEW_SYN_RECV: u32 = 12;
/// `TCP_SYN_SENT`: a handshake that this host began.
const SYN_SENT: u32 = 2;
/// No socket.
const NONE: u32 = 0;
/// `BPF_FIB_LKUP_RET_NOT_FWDED`, `BPF_FIB_LKUP_RET_FWD_DISABLED`.
const NOT_FORWARDED: i64 = 4;
const FORWARDING_OFF: i64 = 5;

impl Host {
    /// The socket of a tuple, or null.
    #[inline(always)]
    unsafe fn find_socket<const WORDS: usize>(&self, tuple: &[u32; WORDS]) -> *mut Socket {
        let length = size_of_val(tuple) as u32;
        let tuple = tuple.as_ptr().cast_mut().cast();
        // SAFETY: context and tuple are valid.
        unsafe { bpf_skc_lookup_tcp(self.skb.raw.cast(), tuple, length, CURRENT_NETNS, 0) }
    }

    /// State of the socket that a TCP packet from `remote` would reach.
    #[inline(always)]
    fn socket_state(&self, key: &FlowKey, remote: &Address, remote_port: u16) -> u32 {
        // As `struct bpf_sock_tuple` has them: addresses, then ports, all in
        // network order. Every word is written, so nothing is cleared by a call.
        let ports = u32::from(remote_port.to_be()) | u32::from(key.local_port.to_be()) << 16;
        // SAFETY: context and tuple are valid; the reference is released below.
        unsafe {
            let socket = if key.local.is_v4() {
                let tuple = [remote.low32().to_be(), key.local.low32().to_be(), ports];
                self.find_socket(&tuple)
            } else {
                let [a, b, c, d] = network_words(remote);
                let [e, f, g, h] = network_words(&key.local);
                self.find_socket(&[a, b, c, d, e, f, g, h, ports])
            };
            if socket.is_null() {
                return NONE;
            }
            let state = (*socket).state;
            bpf_sk_release(socket.cast());
            state
        }
    }
}

/// Who opened a connection, as the number of an [`Opener`]. A function of its
/// own: it is asked in three places and seldom.
#[inline(never)]
fn opener(host: &Host, key: &FlowKey) -> u32 {
    match host.socket_state(key, &key.remote, key.remote_port) {
        NONE | LISTEN => Opener::Nobody as u32,
        NEW_SYN_RECV => Opener::Peer as u32,
        SYN_SENT => Opener::Host as u32,
        _ => {
            // Established, or closing. Whoever did not open it listens.
            let v4 = key.local.is_v4();
            // Zeros that the compiler knows would be written by a call,
            // which needs a frame of its own.
            let zero = opaque(0);
            let anyone =
                if v4 { Address::v4(zero as u32) } else { Address { high: zero, low: zero } };
            match host.socket_state(key, &anyone, 0) {
                LISTEN => Opener::Peer as u32,
                _ => Opener::Host as u32,
            }
        }
    }
}

#[inline(always)]
fn network_words(address: &Address) -> [u32; 4] {
    [
        ((address.high >> 32) as u32).to_be(),
        (address.high as u32).to_be(),
        ((address.low >> 32) as u32).to_be(),
        (address.low as u32).to_be(),
    ]
}

/// Index of a port's byte, where the protocol has one.
#[inline(always)]
fn port_byte(key: &FlowKey) -> Option<u32> {
    match key.protocol {
        protocol::TCP => Some(u32::from(key.local_port)),
        protocol::UDP => Some(65_536 + u32::from(key.local_port)),
        _ => None,
    }
}

/// Where a table keeps a flow.
#[inline(always)]
fn entry_of(table: Table, key: &FlowKey) -> Option<*mut FlowEntry> {
    match table {
        Table::Own => OWN.get_ptr_mut(key),
        Table::Admitted => ADMITTED.get_ptr_mut(key),
        Table::AdmittedTcp => ADMITTED_TCP.get_ptr_mut(key),
    }
}

/// Writes an entry over the one that is there; false where none is. In place: the
/// kernel would exchange the whole entry, and take the lock of the table for it.
#[inline(always)]
fn rewrite(table: Table, key: &FlowKey, entry: &FlowEntry) -> bool {
    let Some(known) = entry_of(table, key) else { return false };
    // SAFETY: a pointer into the map, valid for this program run. Two
    // processors that write at once write what differs in a second at
    // most, and both have judged by the same generation or its successor.
    unsafe { *known = *entry };
    true
}

/// Puts an entry into a table that has none of its flow; false where it has, or is
/// not to be had.
#[inline(always)]
fn insert(table: Table, key: &FlowKey, entry: &FlowEntry) -> bool {
    // Before the table grows, so that the count is never behind.
    let made = MADE.get_ptr_mut(table as u32);
    maps::add(made, 1);
    // A full table evicts its oldest entry; an insertion that fails loses
    // the memory of a flow, never the packet.
    let stored = match table {
        Table::Own => OWN.insert(key, entry, BPF_NOEXIST.into()),
        Table::Admitted => ADMITTED.insert(key, entry, BPF_NOEXIST.into()),
        Table::AdmittedTcp => ADMITTED_TCP.insert(key, entry, BPF_NOEXIST.into()),
    };
    if stored.is_err() {
        maps::add(made, u64::MAX);
    }
    stored.is_ok()
}

/// Puts an entry into a table, or over the one that is there. Of a flow that begins
/// now nothing is looked for: the kernel says if there is something after all.
#[inline(always)]
fn put(table: Table, key: &FlowKey, entry: &FlowEntry) {
    if (entry.is_new() || !rewrite(table, key, entry)) && !insert(table, key, entry) {
        rewrite(table, key, entry);
    }
}

/// Puts who loses his place into the table. He may have an old entry there, from
/// before he had a place; one of the daemon's stays.
#[inline(always)]
fn move_out(place: &Place) {
    let Place { flow, entry, .. } = place;
    if !insert(Table::Own, flow, entry)
        && let Some(known) = OWN.get_ptr_mut(flow)
    {
        // SAFETY: a pointer into the map, valid for this program run.
        unsafe {
            if (*known).flags & KEPT == 0 {
                *known = *entry;
            }
        }
    }
}

/// Keeps an entry in the place of its flow; false where that has another. Two
/// processors that take a place at once may leave a mixture of two flows, whose own
/// place is elsewhere.
#[inline(always)]
fn put_in_place(key: &FlowKey, entry: &FlowEntry) -> bool {
    let Some(place) = PLACES.get_ptr_mut(Place::of(key)) else { return false };
    // SAFETY (here and below): a pointer into the map, valid for this program run.
    let known = unsafe { &*place };
    match known.asked_by(key, entry) {
        Claim::Refused => false,
        Claim::Has => {
            // What the daemon says of it meanwhile stays.
            unsafe { (*place).entry = *entry };
            true
        }
        Claim::Takes => {
            if known.is_all_there_is(entry.last_s) {
                move_out(known);
            }
            unsafe { *place = Place { flow: *key, entry: *entry, closed: 0 } };
            true
        }
    }
}

/// Marks the port that a flow was opened from.
#[inline(always)]
fn mark_opened(key: &FlowKey) {
    if let Some(byte) = port_byte(key)
        && let Some(bytes) = OPENED.get_ptr_mut(byte >> 3)
    {
        // SAFETY: in bounds of the eight bytes; plain loads and stores.
        // Written once: other CPUs read the line for every answer.
        unsafe {
            let mark = &raw mut (*bytes)[(byte & 7) as usize];
            if *mark == 0 {
                *mark = 1;
            }
        }
    }
}

/// Keeps a flow that this host has opened. A function of its own: who calls it also
/// asks policy, and the kernel bounds what frames take together.
#[inline(never)]
fn keep_own(key: &FlowKey, entry: &FlowEntry) {
    mark_opened(key);
    if !(put_in_place(key, entry) && place::suffices(key, entry)) {
        put(Table::Own, key, entry);
    }
}

/// A rehearsal asks the image alone: the host has no past, and gets none.
#[inline(always)]
fn is_rehearsal() -> bool {
    maps::mode() & REHEARSE != 0
}

impl Tables for Host {
    #[inline(always)]
    fn now_s(&self) -> u32 {
        // Never 0, neither the divisor nor the answer: the second would mean
        // "no entry".
        ((ticks() / u64::from(maps::ticks_per_s().max(1))) as u32).max(1)
    }

    #[inline(always)]
    fn has_opened(&self, key: &FlowKey) -> bool {
        if is_rehearsal() {
            return false;
        }
        let Some(byte) = port_byte(key) else { return true };
        match OPENED.get(byte >> 3) {
            Some(bytes) => bytes[(byte & 7) as usize] != 0,
            None => true,
        }
    }

    #[inline(always)]
    fn recall(&self, table: Table, key: &FlowKey) -> FlowEntry {
        if is_rehearsal() {
            return FlowEntry::NONE;
        }
        if matches!(table, Table::Own)
            && let Some(place) = PLACES.get(Place::of(key))
            && let Some(entry) = place.entry_of(key)
        {
            return entry;
        }
        match entry_of(table, key) {
            // SAFETY: a pointer into the map, valid for this program run; the
            // entry may be reused meanwhile, which costs at most one judgement
            // by a neighbour's age.
            Some(entry) => unsafe { *entry },
            None => FlowEntry::NONE,
        }
    }

    #[inline(always)]
    fn remember(&self, table: Table, key: &FlowKey, entry: FlowEntry) {
        if is_rehearsal() {
            return;
        }
        match table {
            Table::Own => keep_own(key, &entry),
            Table::Admitted | Table::AdmittedTcp => put(table, key, &entry),
        }
    }

    #[inline(always)]
    fn opener(&self, key: &FlowKey) -> Opener {
        if is_rehearsal() {
            return Opener::Nobody;
        }
        match opener(self, key) {
            1 => Opener::Host,
            2 => Opener::Peer,
            _ => Opener::Nobody,
        }
    }

    #[inline(always)]
    fn is_delivered(&self, source: &Address, destination: &Address) -> bool {
        let Address { high, low } = *destination;
        hostfw_is_delivered(self.skb.raw, source.high, source.low, high, low) != 0
    }

    #[inline(always)]
    fn consult<P: Packet, I: Image>(
        &self,
        ask: Ask,
        _: &P,
        network: &Network,
        upper: &Upper,
        _: &I,
        audit: bool,
    ) -> Known {
        let about = About { audit, slot: self.slot, v6: network.v6, offset: network.offset() };
        let (about, upper) = (about.to_word(), Upper::to_word(Ok(*upper)));
        let ask = match ask {
            Ask::Reply => hostfw_reply,
            Ask::Related => hostfw_related,
            Ask::Admit => hostfw_admit,
            Ask::AdmitForwarded => hostfw_admit_forwarded,
            Ask::Answer => hostfw_answer_admitted,
            Ask::Open => hostfw_open,
            Ask::OpenForwarded => hostfw_open_forwarded,
            Ask::AnswerForwarded => hostfw_answer_forwarded,
        };
        Known::from_number(ask(self.skb.raw, about, upper))
    }
}

/// One function for each question: the verifier reads it once, and apart from
/// the others.
macro_rules! ask {
    ($($name:ident: $ask:ident;)+) => {
        $(
            #[inline(never)]
            #[unsafe(no_mangle)]
            extern "C" fn $name(raw: *mut __sk_buff, about: u32, upper: u64) -> u32 {
                About::from_word(about).recollect(Ask::$ask, raw, upper) as u32
            }
        )+
    };
}

ask! {
    hostfw_reply: Reply;
    hostfw_related: Related;
    hostfw_admit: Admit;
    hostfw_admit_forwarded: AdmitForwarded;
    hostfw_answer_admitted: Answer;
    hostfw_open: Open;
    hostfw_open_forwarded: OpenForwarded;
    hostfw_answer_forwarded: AnswerForwarded;
}

/// What such a function must know beside the packet's upper layer.
struct About {
    audit: bool,
    slot: u32,
    v6: bool,
    /// Of the IP header.
    offset: u32,
}

impl About {
    /// Offset 10 bits, IPv6 1, audit 1, slot from bit 16.
    #[inline(always)]
    const fn to_word(&self) -> u32 {
        let Self { audit, slot, v6, offset } = self;
        (*offset & 0x3ff) | (*v6 as u32) << 10 | (*audit as u32) << 11 | (*slot & 0xff) << 16
    }

    #[inline(always)]
    const fn from_word(word: u32) -> Self {
        Self {
            offset: word & 0x3ff,
            v6: word & (1 << 10) != 0,
            audit: word & (1 << 11) != 0,
            slot: (word >> 16) & 0xff,
        }
    }

    #[inline(always)]
    fn recollect(&self, ask: Ask, raw: *mut __sk_buff, upper: u64) -> Known {
        // The layer and the direction do not matter above the Ethernet header.
        let skb = Skb::new(raw, Layer::Ethernet, Direction::Ingress);
        let (Some(image), Ok(upper)) = (Generation::of(self.slot), Upper::from_word(upper)) else {
            return Known::Nothing;
        };
        let Some(network) = parse::network(&skb, self.offset, self.v6) else {
            return Known::Nothing;
        };
        let tables = Host { skb, slot: self.slot };
        Case { image: &image, tables: &tables, audit: self.audit }
            .recollect(ask, &skb, &network, &upper)
    }
}

/// Whether the host itself receives a packet between two addresses, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_is_delivered(
    raw: *mut __sk_buff,
    source_high: u64,
    source_low: u64,
    high: u64,
    low: u64,
) -> u32 {
    let skb = Skb::new(raw, Layer::Ethernet, Direction::Ingress);
    let source = Address { high: source_high, low: source_low };
    let destination = Address { high, low };
    // SAFETY: an all-zero question is valid.
    let mut question: FibQuestion = unsafe { core::mem::zeroed() };
    question.ifindex = skb.ifindex();
    if destination.is_v4() {
        question.family = AF_INET;
        question.__bindgen_anon_3.ipv4_src = source.low32().to_be();
        question.__bindgen_anon_4.ipv4_dst = destination.low32().to_be();
    } else {
        question.family = AF_INET6;
        question.__bindgen_anon_3.ipv6_src = network_words(&source);
        question.__bindgen_anon_4.ipv6_dst = network_words(&destination);
    }
    let size = size_of::<FibQuestion>() as i32;
    // SAFETY: context and question are valid for the call.
    let answer = unsafe { bpf_fib_lookup(raw.cast(), &raw mut question, size, 0) };
    // Whatever is not plainly forwarded is judged.
    u32::from(answer == NOT_FORWARDED || answer == FORWARDING_OFF || answer < 0)
}
