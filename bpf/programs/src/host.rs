//! The host's state, as the data path asks for it: connection tables, opened
//! ports, sockets and routes of the kernel.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::{bpf_fib_lookup as FibQuestion, bpf_sock_tuple as Tuple},
    helpers::{bpf_fib_lookup, bpf_jiffies64, bpf_sk_release, bpf_skc_lookup_tcp},
};
use hostfw_datapath::{
    Address, Direction, Image, Tables,
    flow::{FlowEntry, FlowKey, Table},
    image::{self, Question},
    parse::protocol,
    tables::Opener,
    verdict::Answer,
};

use crate::{
    maps::{self, ADMITTED, IMAGES, MADE, OPENED, OWN, REHEARSE, Words},
    skb::Skb,
};

/// One generation in the kernel's memory.
#[derive(Clone, Copy)]
pub(crate) struct Generation {
    words: NonNull<Words>,
    slot: u32,
}

impl Generation {
    /// The image in a slot.
    #[inline(always)]
    pub(crate) fn of(slot: u32) -> Option<Self> {
        IMAGES.get(slot).map(|words| Self { words: NonNull::from(words), slot })
    }
}

impl Image for Generation {
    #[inline(always)]
    fn word(&self, at: u32) -> u32 {
        // SAFETY: the pointer came from the outer map in this program run.
        match unsafe { self.words.as_ref() }.get(at >> 1) {
            Some(pair) => pair[(at & 1) as usize],
            None => 0,
        }
    }

    #[inline(always)]
    fn peer_v6(&self, address: &Address) -> u32 {
        hostfw_peer_v6(self.slot, address.high, address.low)
    }

    #[inline(always)]
    fn find(&self, question: Question) -> u32 {
        let Question { subject: _, direction, peer_class, protocol, port } = question;
        hostfw_find(self.slot, peer_class, what(direction, protocol, port))
    }

    #[inline(always)]
    fn find_forward(
        &self,
        direction: Direction,
        address: &Address,
        protocol: u8,
        port: u16,
    ) -> u32 {
        let what = what(direction, protocol, port);
        hostfw_find_forward(self.slot, what, address.high, address.low)
    }

    #[inline(always)]
    fn answer(&self, direction: Direction, address: &Address, protocol: u8, port: u16) -> Answer {
        let what = what(direction, protocol, port);
        Answer::from_word(hostfw_answer(self.slot, what, address.high, address.low))
    }
}

/// Direction, protocol and port in one word, from bit 24, 16 and 0.
#[inline(always)]
fn what(direction: Direction, protocol: u8, port: u16) -> u32 {
    ((direction as u32) << 24) | (u32::from(protocol) << 16) | u32::from(port)
}

/// The direction in a word of [`what`].
#[inline(always)]
fn direction(what: u32) -> Direction {
    if what >> 24 == 0 { Direction::Ingress } else { Direction::Egress }
}

/// The IPv6 walk as a global function: the verifier reads it once, with any
/// arguments, and not on every path that calls it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_peer_v6(slot: u32, high: u64, low: u64) -> u32 {
    match Generation::of(slot) {
        Some(generation) => image::walk_v6(&generation, &Address { high, low }),
        None => 0,
    }
}

/// The walk to a verdict, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_find(slot: u32, peer_class: u32, what: u32) -> u32 {
    let Some(generation) = Generation::of(slot) else { return 0 };
    let (protocol, port) = ((what >> 16) as u8, what as u16);
    let direction = direction(what);
    let question = Question { subject: image::HOST, direction, peer_class, protocol, port };
    image::walk(&generation, question)
}

/// The walk for what is forwarded, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_find_forward(slot: u32, what: u32, high: u64, low: u64) -> u32 {
    let Some(generation) = Generation::of(slot) else { return 0 };
    let (protocol, port) = ((what >> 16) as u8, what as u16);
    let address = Address { high, low };
    image::find_forward(&generation, direction(what), &address, protocol, port)
}

/// An answer for a packet that is only thought of, likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_answer(slot: u32, what: u32, high: u64, low: u64) -> u32 {
    let Some(generation) = Generation::of(slot) else { return 0 };
    let (protocol, port) = ((what >> 16) as u8, what as u16);
    let address = Address { high, low };
    image::answer(&generation, direction(what), &address, protocol, port) as u32
}

/// The host around one packet.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) skb: Skb,
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
    /// State of the socket that a TCP packet from `remote` would reach.
    #[inline(always)]
    fn socket_state(&self, key: &FlowKey, remote: &Address, remote_port: u16) -> u32 {
        // SAFETY: an all-zero tuple is valid.
        let mut tuple: Tuple = unsafe { core::mem::zeroed() };
        let length = if key.local.is_v4() {
            tuple.__bindgen_anon_1.ipv4.saddr = remote.low32().to_be();
            tuple.__bindgen_anon_1.ipv4.daddr = key.local.low32().to_be();
            tuple.__bindgen_anon_1.ipv4.sport = remote_port.to_be();
            tuple.__bindgen_anon_1.ipv4.dport = key.local_port.to_be();
            12
        } else {
            tuple.__bindgen_anon_1.ipv6.saddr = network_words(remote);
            tuple.__bindgen_anon_1.ipv6.daddr = network_words(&key.local);
            tuple.__bindgen_anon_1.ipv6.sport = remote_port.to_be();
            tuple.__bindgen_anon_1.ipv6.dport = key.local_port.to_be();
            36
        };
        // SAFETY: context and tuple are valid; the reference is released below.
        unsafe {
            let socket =
                bpf_skc_lookup_tcp(self.skb.raw.cast(), &raw mut tuple, length, CURRENT_NETNS, 0);
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
            let anyone = if v4 { Address::v4(0) } else { Address { high: 0, low: 0 } };
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
        let entry = match table {
            Table::Own => OWN.get_ptr(key),
            Table::Admitted => ADMITTED.get_ptr(key),
        };
        match entry {
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
        // Before the table grows, so that the count is never behind. Only an
        // entry that begins can be new.
        let is_new = entry.first_s == entry.last_s
            && match table {
                Table::Own => OWN.get_ptr(key),
                Table::Admitted => ADMITTED.get_ptr(key),
            }
            .is_none();
        if is_new && let Some(made) = MADE.get_ptr_mut(table as u32) {
            // SAFETY: this CPU's own slot of the map.
            unsafe { *made += 1 };
        }
        // A full table evicts its oldest entry; an insertion that fails loses
        // the memory of a flow, never the packet.
        let _stored = match table {
            Table::Own => {
                if let Some(byte) = port_byte(key)
                    && let Some(bytes) = OPENED.get_ptr_mut(byte >> 3)
                {
                    // SAFETY: in bounds of the eight bytes; a plain store.
                    unsafe { (*bytes)[(byte & 7) as usize] = 1 };
                }
                OWN.insert(key, entry, 0)
            }
            Table::Admitted => ADMITTED.insert(key, entry, 0),
        };
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
        // SAFETY: an all-zero question is valid.
        let mut question: FibQuestion = unsafe { core::mem::zeroed() };
        question.ifindex = self.skb.ifindex();
        if destination.is_v4() {
            question.family = AF_INET;
            question.__bindgen_anon_3.ipv4_src = source.low32().to_be();
            question.__bindgen_anon_4.ipv4_dst = destination.low32().to_be();
        } else {
            question.family = AF_INET6;
            question.__bindgen_anon_3.ipv6_src = network_words(source);
            question.__bindgen_anon_4.ipv6_dst = network_words(destination);
        }
        // SAFETY: context and question are valid for the call.
        let answer = unsafe {
            bpf_fib_lookup(
                self.skb.raw.cast(),
                &raw mut question,
                size_of::<FibQuestion>() as i32,
                0,
            )
        };
        // Whatever is not plainly forwarded is judged.
        answer == NOT_FORWARDED || answer == FORWARDING_OFF || answer < 0
    }
}
