//! The four programs: each direction for devices with and without an Ethernet
//! header. One path, no tail calls: a missing generation passes everything and
//! says so in the counters.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::__sk_buff, helpers::bpf_ktime_get_ns, macros::classifier, programs::TcContext,
};
use hostfw_datapath::{
    Direction, Reason,
    control_word::{ControlWord, InForce},
    forward,
    judge::{self, Judged},
    packet::{Layer, MAX_OFFSET},
    plain,
};

use crate::{
    generation::{Flat, Generation},
    host::Host,
    maps::{self, CONTROL, REHEARSE},
    outcome,
    skb::Skb,
};

/// On to the next program, in a tcx chain and on a clsact hook alike: a CNI
/// behind us still runs (host-behaviour clause A2.6).
const NEXT: i32 = -1;
/// `TCX_DROP` and `TC_ACT_SHOT`.
const DROP: i32 = 2;

/// No header is read beyond.
const ALL_BYTES: u32 = MAX_OFFSET + 64;

/// Headers of a packet without extension headers lie within this many bytes,
/// and so do those of one that it quotes.
const PLAIN_BYTES: u32 = 192;

/// What becomes of a packet, as the functions of a program hand it on: the bits
/// below, and the slot in force from bit 8.
pub(crate) type Fate = u32;
/// It is dropped.
pub(crate) const DROPPED: Fate = 1;
/// A policy about forwarding is to be asked.
pub(crate) const FORWARDED: Fate = 2;
/// An observer is to be told.
pub(crate) const REPORT: Fate = 4;
/// The node audits.
const AUDIT: Fate = 8;
/// Nobody has judged it yet.
const UNSETTLED: Fate = u32::MAX;
/// See [`Fate`].
const SLOT_SHIFT: u32 = 8;

/// `ETH_P_IPV6` in network byte order, as the kernel keeps it.
const PROTOCOL_V6: u32 = 0x86dd_u16.to_be() as u32;

/// The slot in a fate.
#[inline(always)]
pub(crate) const fn slot_of(fate: Fate) -> u32 {
    (fate >> SLOT_SHIFT) & 0xff
}

/// A program and its parts: what a packet is to this host; where that leaves it
/// to a policy about forwarding, what it is to that; and what an observer is
/// told. All are global functions: the verifier reads each by itself, and the
/// stack of one is free again for the next.
macro_rules! program {
    ($name:ident, $plain:ident, $plain_v6:ident, $own:ident, $forwarded:ident, $told:ident, $direction:ident, $layer:ident) => {
        #[classifier]
        pub(crate) fn $name(context: TcContext) -> i32 {
            let raw = context.skb.skb;
            // SAFETY: the kernel hands every program run one valid context.
            let mut fate = match unsafe { (*raw).protocol } {
                PROTOCOL_V6 => $plain_v6(raw),
                _ => $plain(raw),
            };
            if fate == UNSETTLED {
                cold_path();
                fate = $own(raw);
            }
            if fate & FORWARDED != 0 {
                cold_path();
                fate = $forwarded(raw, fate);
            }
            if fate & REPORT != 0 {
                cold_path();
                $told(raw, fate);
            }
            if fate & DROPPED == 0 { NEXT } else { DROP }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $plain(raw: *mut __sk_buff) -> Fate {
            let skb = Skb::new(raw, Layer::$layer, Direction::$direction);
            plain::<false>(skb, Direction::$direction)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $plain_v6(raw: *mut __sk_buff) -> Fate {
            let skb = Skb::new(raw, Layer::$layer, Direction::$direction);
            plain::<true>(skb, Direction::$direction)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $own(raw: *mut __sk_buff) -> Fate {
            own(Skb::new(raw, Layer::$layer, Direction::$direction), Direction::$direction)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $forwarded(raw: *mut __sk_buff, fate: Fate) -> Fate {
            let skb = Skb::new(raw, Layer::$layer, Direction::$direction);
            forwarded(skb, Direction::$direction, fate)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $told(raw: *mut __sk_buff, fate: Fate) -> u32 {
            let skb = Skb::new(raw, Layer::$layer, Direction::$direction);
            outcome::tell(&skb, Direction::$direction, fate)
        }
    };
}

program!(
    hostfw_in_eth,
    hostfw_plain_v4_in_eth,
    hostfw_plain_v6_in_eth,
    hostfw_own_in_eth,
    hostfw_through_in_eth,
    hostfw_tell_in_eth,
    Ingress,
    Ethernet
);
program!(
    hostfw_out_eth,
    hostfw_plain_v4_out_eth,
    hostfw_plain_v6_out_eth,
    hostfw_own_out_eth,
    hostfw_through_out_eth,
    hostfw_tell_out_eth,
    Egress,
    Ethernet
);
program!(
    hostfw_in_ip,
    hostfw_plain_v4_in_ip,
    hostfw_plain_v6_in_ip,
    hostfw_own_in_ip,
    hostfw_through_in_ip,
    hostfw_tell_in_ip,
    Ingress,
    Ip
);
program!(
    hostfw_out_ip,
    hostfw_plain_v4_out_ip,
    hostfw_plain_v6_out_ip,
    hostfw_own_out_ip,
    hostfw_through_out_ip,
    hostfw_tell_out_ip,
    Egress,
    Ip
);

/// Returns at once: what a benchmark subtracts. Never attached.
#[classifier]
pub(crate) fn hostfw_floor(_: TcContext) -> i32 {
    NEXT
}

/// Judges a packet if it is a plain one.
#[inline(always)]
fn plain<const V6: bool>(skb: Skb, direction: Direction) -> Fate {
    let Some(applied) = plainly_in_force(&skb) else { return UNSETTLED };
    let Some(image) = Flat::of(applied.slot) else { return UNSETTLED };
    let host = Host { skb, slot: applied.slot };
    match plain::judge::<V6, _, _, _>(direction, &skb, &image, &host, applied.audit) {
        Some(plain) => {
            applied.slot << SLOT_SHIFT | outcome::of_plain(direction, applied.slot, &plain, &host)
        }
        None => UNSETTLED,
    }
}

/// Judges a packet as this host's own.
#[inline(always)]
fn own(skb: Skb, direction: Direction) -> Fate {
    let Some((applied, learning)) = in_force(&skb) else {
        outcome::count(direction, Reason::NoPolicy, skb.length());
        return 0;
    };
    let Some(image) = Generation::of(applied.slot) else {
        // In force and not there (host-behaviour clause A3.2): never open.
        outcome::count(direction, Reason::BrokenImage, skb.length());
        return DROPPED;
    };
    let host = Host { skb, slot: applied.slot };
    let mut readable = PLAIN_BYTES;
    let judged = loop {
        make_readable(&skb, readable);
        let judged = judge::judge_own(direction, &skb, &image, &host, applied.audit);
        if !may_be_whole(&skb, &judged, readable) {
            break judged;
        }
        readable = ALL_BYTES;
    };
    if learning {
        // Judged only for what it leaves in the tables.
        outcome::count(direction, Reason::NoPolicy, skb.length());
        return 0;
    }
    let slot = applied.slot << SLOT_SHIFT;
    if forward::concerns(direction, &judged, &image) {
        return slot | FORWARDED | if applied.audit { AUDIT } else { 0 };
    }
    slot | outcome::of(direction, applied.slot, &judged, &host)
}

/// Judges a packet that this host forwards.
#[inline(always)]
fn forwarded(skb: Skb, direction: Direction, fate: Fate) -> Fate {
    let slot = slot_of(fate);
    let Some(image) = Generation::of(slot) else { return DROPPED };
    let host = Host { skb, slot };
    let mut readable = PLAIN_BYTES;
    let judged = loop {
        make_readable(&skb, readable);
        let judged = forward::judge(direction, &skb, &image, &host, fate & AUDIT != 0);
        if !may_be_whole(&skb, &judged, readable) {
            break judged;
        }
        readable = ALL_BYTES;
    };
    (slot << SLOT_SHIFT) | FORWARDED | outcome::of(direction, slot, &judged, &host)
}

/// Makes a packet readable to a depth, where it is that long.
#[inline(always)]
fn make_readable(skb: &Skb, bytes: u32) {
    if skb.linear() < bytes.min(skb.length()) {
        skb.pull(bytes);
    }
}

/// True where a packet that was found cut may be whole: a long chain of headers
/// may lie outside what can be read directly. Then, and only then, it is judged
/// again with all that may be read.
#[inline(always)]
fn may_be_whole(skb: &Skb, judged: &Judged, readable: u32) -> bool {
    matches!(judged.verdict.reason, Reason::Malformed)
        && readable != ALL_BYTES
        && skb.linear() < skb.length()
}

/// What a rehearsal asks for, by the packet's mark.
#[inline(always)]
fn rehearsed(skb: &Skb) -> Option<InForce> {
    if maps::mode() & REHEARSE == 0 {
        return None;
    }
    let mark = skb.mark();
    Some(InForce { slot: mark & 0xff, audit: mark & 0x100 != 0 })
}

/// The control word, where a generation is loaded.
#[inline(always)]
fn loaded_word() -> Option<ControlWord> {
    // SAFETY: a live cell of the map; the daemon replaces it with one store.
    let word = ControlWord(unsafe { core::ptr::read_volatile(CONTROL.get_ptr(0)?) });
    if word.is_loaded() { Some(word) } else { None }
}

/// What applies without a deadline.
#[inline(always)]
fn plainly_in_force(skb: &Skb) -> Option<InForce> {
    if let Some(applied) = rehearsed(skb) {
        return Some(applied);
    }
    let word = loaded_word()?;
    if word.is_learning() || word.has_deadline() {
        return None;
    }
    Some(word.in_force(0))
}

/// What applies, and whether it is only learned by.
#[inline(always)]
fn in_force(skb: &Skb) -> Option<(InForce, bool)> {
    if let Some(applied) = rehearsed(skb) {
        return Some((applied, false));
    }
    let word = loaded_word()?;
    let now_ms = if word.has_deadline() {
        // SAFETY: the helper takes nothing and touches nothing.
        unsafe { bpf_ktime_get_ns() / 1_000_000 }
    } else {
        0
    };
    Some((word.in_force(now_ms), word.is_learning()))
}
