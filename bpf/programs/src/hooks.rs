//! The four programs: each direction for devices with and without an Ethernet
//! header. One path, no tail calls: a missing generation passes everything and
//! says so in the counters.

use aya_ebpf::{
    bindings::__sk_buff, helpers::bpf_ktime_get_ns, macros::classifier, programs::TcContext,
};
use hostfw_datapath::{
    Action, Direction, Image, Reason, Tables, Verdict,
    control_word::{ControlWord, InForce},
    forward,
    image::{AT_GENERATION, NO_RULE},
    judge::{self, Judged},
    packet::{Layer, MAX_OFFSET},
    report::{self, Count, GATE_BUCKETS},
    verdict::{REASON_SLOTS, Report},
};

use crate::{
    host::{Generation, Host, ticks},
    maps::{self, CONTROL, EVENTS, GATES, REASONS, REHEARSE, RULE_HITS, SHOW},
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

/// A program and its two parts: what a packet is to this host, and, where that
/// leaves it to a policy about forwarding, what it is to that. Both are global
/// functions: the verifier reads each by itself, and the stack of one is free
/// again for the other.
macro_rules! program {
    ($name:ident, $own:ident, $forwarded:ident, $direction:ident, $layer:ident) => {
        #[classifier]
        pub(crate) fn $name(context: TcContext) -> i32 {
            let answer = $own(context.skb.skb);
            if answer < FORWARDED { answer } else { $forwarded(context.skb.skb, answer as u32) }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $own(context: *mut __sk_buff) -> i32 {
            own(context, Direction::$direction, Layer::$layer)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $forwarded(context: *mut __sk_buff, how: u32) -> i32 {
            forwarded(context, Direction::$direction, Layer::$layer, how)
        }
    };
}

program!(hostfw_in_eth, hostfw_own_in_eth, hostfw_forwarded_in_eth, Ingress, Ethernet);
program!(hostfw_out_eth, hostfw_own_out_eth, hostfw_forwarded_out_eth, Egress, Ethernet);
program!(hostfw_in_ip, hostfw_own_in_ip, hostfw_forwarded_in_ip, Ingress, Ip);
program!(hostfw_out_ip, hostfw_own_out_ip, hostfw_forwarded_out_ip, Egress, Ip);

/// Returns at once: what a benchmark subtracts. Never attached.
#[classifier]
pub(crate) fn hostfw_floor(_: TcContext) -> i32 {
    NEXT
}

/// Judges a packet as this host's own: the answer to the kernel, or
/// [`FORWARDED`] with the slot and [`AUDIT`].
#[inline(always)]
fn own(context: *mut __sk_buff, direction: Direction, layer: Layer) -> i32 {
    let skb = Skb { raw: context, layer, egress: matches!(direction, Direction::Egress) };
    let applied = in_force(&skb);
    let Some((applied, learning)) = applied else {
        count_reason(direction, Reason::NoPolicy, skb.length());
        return NEXT;
    };
    let Some(image) = Generation::of(applied.slot) else {
        // In force and not there (host-behaviour clause A3.2): never open.
        count_reason(direction, Reason::BrokenImage, skb.length());
        return DROP;
    };
    let host = Host { skb };
    // A long chain of headers may lie outside what can be read directly; then,
    // and only then, all that may be read is made readable.
    let mut readable = PLAIN_BYTES;
    let judged = loop {
        if skb.linear() < readable.min(skb.length()) {
            skb.pull(readable);
        }
        let judged = judge::judge_own(direction, &skb, &image, &host, applied.audit);
        let cut = matches!(judged.verdict.reason, Reason::Malformed);
        if !cut || readable == ALL_BYTES || skb.linear() >= skb.length() {
            break judged;
        }
        readable = ALL_BYTES;
    };
    if learning {
        // Judged only for what it leaves in the tables.
        count_reason(direction, Reason::NoPolicy, skb.length());
        return NEXT;
    }
    if forward::concerns(direction, &judged, &image) {
        let audit = if applied.audit { AUDIT } else { 0 };
        return FORWARDED | (audit | (applied.slot & SLOT)) as i32;
    }
    conclude(direction, false, applied.slot, &judged, &image, &host)
}

/// More than any answer to the kernel: a policy about forwarding is to be asked.
const FORWARDED: i32 = 1 << 16;
/// Beside it: the node audits.
const AUDIT: u32 = 1 << 8;
/// Beside it: the slot in force.
const SLOT: u32 = 0xff;

/// Judges a packet that this host forwards.
#[inline(always)]
fn forwarded(context: *mut __sk_buff, direction: Direction, layer: Layer, how: u32) -> i32 {
    let skb = Skb { raw: context, layer, egress: matches!(direction, Direction::Egress) };
    let slot = how & SLOT;
    let Some(image) = Generation::of(slot) else { return DROP };
    let host = Host { skb };
    let mut readable = PLAIN_BYTES;
    let judged = loop {
        if skb.linear() < readable.min(skb.length()) {
            skb.pull(readable);
        }
        let judged = forward::judge(direction, &skb, &image, &host, how & AUDIT != 0);
        let cut = matches!(judged.verdict.reason, Reason::Malformed);
        if !cut || readable == ALL_BYTES || skb.linear() >= skb.length() {
            break judged;
        }
        readable = ALL_BYTES;
    };
    conclude(direction, true, slot, &judged, &image, &host)
}

/// Counts and reports a judgement, and makes it an answer to the kernel.
#[inline(always)]
fn conclude(
    direction: Direction,
    forwarded: bool,
    slot: u32,
    judged: &Judged,
    image: &Generation,
    host: &Host,
) -> i32 {
    let skb = host.skb;
    if maps::mode() & REHEARSE == 0 {
        count_reason(direction, judged.verdict.reason, skb.length());
        count_rule(slot, judged.verdict.rule, skb.length());
        if !matches!(judged.verdict.report, Report::Nothing) {
            report(direction, forwarded, judged, image, host);
        }
    }
    if maps::mode() & SHOW != 0 {
        show(&skb, &judged.verdict);
    }
    match judged.verdict.action {
        Action::Pass | Action::Audit => NEXT,
        Action::Drop => DROP,
    }
}

/// What applies, and whether it is only learned by.
#[inline(always)]
fn in_force(skb: &Skb) -> Option<(InForce, bool)> {
    if maps::mode() & REHEARSE != 0 {
        let mark = skb.mark();
        return Some((InForce { slot: mark & 0xff, audit: mark & 0x100 != 0 }, false));
    }
    let cell = CONTROL.get_ptr(0)?;
    // SAFETY: a live cell of the map; the daemon replaces it with one store.
    let word = ControlWord(unsafe { core::ptr::read_volatile(cell) });
    if !word.is_loaded() {
        return None;
    }
    let now_ms = if word.has_deadline() {
        // SAFETY: the helper takes nothing and touches nothing.
        unsafe { bpf_ktime_get_ns() / 1_000_000 }
    } else {
        0
    };
    Some((word.in_force(now_ms), word.is_learning()))
}

#[inline(always)]
fn show(skb: &Skb, verdict: &Verdict) {
    let numbers = ((verdict.action as u32) << 16) | ((verdict.reason as u32) << 8) | 1;
    skb.show([numbers, verdict.rule, verdict.verdict, 0, 0]);
}

#[inline(always)]
fn count_reason(direction: Direction, reason: Reason, bytes: u32) {
    add(REASONS.get_ptr_mut(direction as u32 * REASON_SLOTS + reason as u32), bytes);
}

#[inline(always)]
fn count_rule(slot: u32, rule: u32, bytes: u32) {
    let rules = maps::rules();
    if rule != NO_RULE && rule < rules {
        add(RULE_HITS.get_ptr_mut(slot * rules + rule), bytes);
    }
}

#[inline(always)]
fn add(count: Option<*mut Count>, bytes: u32) {
    if let Some(count) = count {
        // SAFETY: this CPU's own slot of the map.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(bytes);
            (*count).last_ticks = ticks();
        }
    }
}

/// Words of [`GATES`] behind the buckets.
const BUDGETS: u32 = GATE_BUCKETS;
const LOST: u32 = GATE_BUCKETS + 3;

#[inline(never)]
fn report(direction: Direction, forwarded: bool, judged: &Judged, image: &Generation, host: &Host) {
    let now_s = host.now_s();
    let tag = report::tag(&judged.flow, &judged.verdict);
    let Some(bucket) = GATES.get_ptr_mut((tag as u32) & (GATE_BUCKETS - 1)) else { return };
    // SAFETY (here and below): this CPU's own slots of the map.
    if !report::is_news(unsafe { *bucket }, tag, judged.verdict.report, now_s) {
        return;
    }
    let Some(budget) = GATES.get_ptr_mut(BUDGETS + judged.verdict.report as u32) else { return };
    // SAFETY: as above.
    let spent = report::spend(unsafe { *budget }, now_s, maps::reports_per_s());
    if spent == 0 {
        return lost();
    }
    let Some(mut entry) = EVENTS.reserve(0) else { return lost() };
    // SAFETY: the helper takes nothing and touches nothing.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let generation = image.word(AT_GENERATION);
    entry.write(report::record(
        judged,
        direction,
        forwarded,
        generation,
        host.skb.ifindex(),
        host.skb.length(),
        time_ns,
    ));
    entry.submit(NO_WAKEUP);
    // SAFETY: as above.
    unsafe {
        *bucket = report::bucket(tag, now_s);
        *budget = spent;
    }
}

/// `BPF_RB_NO_WAKEUP`: the daemon reads on a timer; waking it costs the packet
/// path microseconds.
const NO_WAKEUP: u64 = 1;

#[inline(always)]
fn lost() {
    if let Some(lost) = GATES.get_ptr_mut(LOST) {
        // SAFETY: this CPU's own slot of the map.
        unsafe { *lost += 1 };
    }
}
