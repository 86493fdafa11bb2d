//! What a judgement leaves behind: counts, and the events of observers.

use core::hint::cold_path;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use hostfw_datapath::{
    Action, Direction, Image, Reason, Tables, Verdict,
    image::AT_GENERATION,
    judge::Judged,
    plain::Plain,
    report::{self, Count, GATE_BUCKETS, Record, Seen, Waiting},
    verdict::Report,
};

use crate::{
    generation::Generation,
    hooks::{DROPPED, FORWARDED, Fate, REPORT, slot_of},
    host::{Host, ticks},
    maps::{self, EVENTS, GATES, REASONS, REHEARSE, RULE_HITS, WAITING},
    skb::Skb,
};

/// Words of [`GATES`] behind the buckets.
const LOOKS: u32 = GATE_BUCKETS;
const BUDGETS: u32 = GATE_BUCKETS;
const LOST: u32 = GATE_BUCKETS + 3;

/// `BPF_RB_NO_WAKEUP`: the daemon reads on a timer; waking it costs the packet
/// path microseconds.
const NO_WAKEUP: u64 = 1;

/// Counts a judgement, and says what becomes of the packet.
#[inline(always)]
pub(crate) fn of(direction: Direction, slot: u32, judged: &Judged, host: &Host) -> Fate {
    let Judged { verdict, tag } = judged;
    let tag_words = [(*tag >> 32) as u32, *tag as u32];
    show(verdict, tag_words, &host.skb);
    // Through the control block and back: so the verifier forgets which of the
    // many verdicts it was, and walks the rest once.
    let [numbers, rule, _, tag_high, tag_low] = host.skb.shown();
    let (fate, report) = counted(direction, slot, numbers, rule, host);
    let tag = u64::from(tag_high) << 32 | u64::from(tag_low);
    if may_look(report) && is_news(report, tag, host.now_s()) { fate | REPORT } else { fate }
}

/// The same of a plain packet: its flow is looked at only when there is a report.
#[inline(always)]
pub(crate) fn of_plain(direction: Direction, slot: u32, plain: &Plain, host: &Host) -> Fate {
    let verdict = &plain.verdict;
    let [numbers, rule, ..] = show(verdict, [0, 0], &host.skb);
    let (fate, report) = counted(direction, slot, numbers, rule, host);
    if !may_look(report) {
        return fate;
    }
    cold_path();
    if is_news(report, report::tag(&plain.flow(), verdict), host.now_s()) {
        fate | REPORT
    } else {
        fate
    }
}

/// Leaves a verdict in the packet's control block.
#[inline(always)]
fn show(verdict: &Verdict, tag: [u32; 2], skb: &Skb) -> [u32; 5] {
    let numbers = (verdict.report as u32) << 24
        | (verdict.action as u32) << 16
        | (verdict.reason as u32) << 8;
    let words = [numbers, verdict.rule, verdict.verdict, tag[0], tag[1]];
    skb.show(words);
    words
}

/// Counts a verdict; a rehearsal counts nothing and tells nobody.
#[inline(always)]
fn counted(
    direction: Direction,
    slot: u32,
    numbers: u32,
    rule: u32,
    host: &Host,
) -> (Fate, Report) {
    let (action, reason) = ((numbers >> 16) & 0xff, (numbers >> 8) & 0xff);
    let fate = if action == Action::Drop as u32 { DROPPED } else { 0 };
    if maps::mode() & REHEARSE != 0 {
        return (fate, Report::Nothing);
    }
    let (cpu, length, now) = (this_cpu(), host.skb.length(), ticks());
    add(REASONS.get_ptr_mut(report::reason_at(cpu, direction as u32, reason)), length, now);
    let rules = maps::rules();
    if rule < rules {
        let at = report::rules_at(slot, cpu, maps::cpus(), rules) + rule;
        add_later(cpu, at, length, now);
    }
    if maps::reports_per_s() == 0 {
        return (fate, Report::Nothing);
    }
    let report = match numbers >> 24 {
        1 => Report::First,
        2 => Report::Denied,
        _ => Report::Nothing,
    };
    (fate, report)
}

/// Counts a packet by its rule when the next one comes, see [`Waiting`]. Whoever finds
/// that another counter is waited for finds the last one added, on processors that
/// store in order.
#[inline(always)]
fn add_later(cpu: u32, at: u32, length: u32, now: u64) {
    let Some(waiting) = WAITING.get_ptr_mut(cpu) else { return };
    // SAFETY: this CPU's own element of the map.
    // JUSTIFICATION: the daemon reads it meanwhile, in this order.
    unsafe {
        let Waiting { counter, bytes, ticks, .. } = *waiting;
        (&raw mut (*waiting).counter).write_volatile(Waiting::ADDING);
        add(RULE_HITS.get_ptr_mut(Waiting::index(counter)), bytes as u32, ticks);
        (&raw mut (*waiting).bytes).write_volatile(u64::from(length));
        (&raw mut (*waiting).ticks).write_volatile(now);
        (&raw mut (*waiting).counter).write_volatile(u64::from(at) + 1);
    }
}

/// Counts a packet by its reason.
#[inline(always)]
pub(crate) fn count(direction: Direction, reason: Reason, bytes: u32) {
    let at = report::reason_at(this_cpu(), direction as u32, reason as u32);
    add(REASONS.get_ptr_mut(at), bytes, ticks());
}

/// The processor that runs this, until it has ended.
#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: the helper takes nothing and touches nothing.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn add(count: Option<*mut Count>, bytes: u32, now: u64) {
    if let Some(count) = count {
        // SAFETY: this CPU's own slot of the map.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(bytes);
            (*count).last_ticks = now;
        }
    }
}

/// True when there is something to report, and this tick has not seen many of
/// the kind: under load, a look at the gate is taken for some packets only.
#[inline(always)]
fn may_look(report: Report) -> bool {
    if matches!(report, Report::Nothing) {
        return false;
    }
    let Some(looks) = GATES.get_ptr_mut(LOOKS) else { return false };
    // SAFETY (here and below): this CPU's own slot of the map.
    let after = report::look(unsafe { *looks }, report, ticks());
    if after == 0 {
        return false;
    }
    unsafe { *looks = after };
    true
}

/// Passes the gate when the flow is not in its quiet time and the second has
/// something left.
#[inline(always)]
fn is_news(report: Report, tag: u64, now_s: u32) -> bool {
    let Some(bucket) = GATES.get_ptr_mut((tag as u32) & (GATE_BUCKETS - 1)) else { return false };
    // SAFETY (here and below): this CPU's own slots of the map.
    if !report::is_news(unsafe { *bucket }, tag, report, now_s) {
        return false;
    }
    let Some(budget) = GATES.get_ptr_mut(BUDGETS + report as u32) else { return false };
    // SAFETY: as above.
    let spent = report::spend(unsafe { *budget }, now_s, maps::reports_per_s());
    if spent == 0 {
        lost();
        return false;
    }
    // SAFETY: as above.
    unsafe {
        *bucket = report::bucket(tag, now_s);
        *budget = spent;
    }
    true
}

#[inline(always)]
fn lost() {
    maps::add(GATES.get_ptr_mut(LOST), 1);
}

/// Writes the event of a packet whose verdict stands in its control block.
#[inline(always)]
pub(crate) fn tell(skb: &Skb, direction: Direction, fate: Fate) -> u32 {
    let [numbers, rule, verdict, ..] = skb.shown();
    let forwarded = fate & FORWARDED != 0;
    let generation = Generation::of(slot_of(fate)).map_or(0, |image| image.header(AT_GENERATION));
    let seen = Seen::of(skb, matches!(direction, Direction::Egress) && !forwarded);
    // SAFETY: the helper takes nothing and touches nothing.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let Some(mut entry) = EVENTS.reserve(0) else {
        lost();
        return 0;
    };
    entry.write(Record {
        time_ns,
        flow: seen.flow,
        rule,
        verdict,
        generation,
        ifindex: skb.ifindex(),
        length: skb.length(),
        direction: direction as u8,
        action: (numbers >> 16) as u8,
        reason: (numbers >> 8) as u8,
        tcp_flags: seen.tcp_flags,
        icmp_type: seen.icmp_type,
        forwarded: u8::from(forwarded),
        zero: [0; 6],
    });
    entry.submit(NO_WAKEUP);
    0
}
