//! What an observer hears: the event record, and the gate that bounds it. The
//! gate needs no table that a flood can fill: a fixed per-CPU array holds one
//! tag for each bucket of flows, and a budget for each second bounds the rest.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    flow::FlowKey,
    judge::Judged,
    verdict::{Report, Verdict},
};

/// One record of the ring buffer. All numbers are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Both ends, from the host's side.
    pub flow: FlowKey,
    /// Deciding rule, or [`crate::image::NO_RULE`].
    pub rule: u32,
    /// Index of the image's verdict.
    pub verdict: u32,
    /// Generation in force.
    pub generation: u32,
    /// Device the packet was seen on.
    pub ifindex: u32,
    /// Bytes of the packet, link layer included.
    pub length: u32,
    /// [`crate::Direction`] as a number.
    pub direction: u8,
    /// [`crate::Action`] as a number.
    pub action: u8,
    /// [`crate::Reason`] as a number.
    pub reason: u8,
    /// Byte 13 of a TCP header, otherwise 0.
    pub tcp_flags: u8,
    /// Type of an ICMP message, otherwise 0.
    pub icmp_type: u8,
    /// 1 where the packet is forwarded: then the flow's local end is its
    /// destination, and the remote one its sender. 0 for this host's own.
    pub forwarded: u8,
    /// Zero: the record has no padding.
    pub zero: [u8; 6],
}

/// Buckets of flows for each CPU. A power of two.
pub const GATE_BUCKETS: u32 = 1024;

/// Seconds for which one flow causes no second report of its first packet.
const FIRST_QUIET_S: u32 = 60;
/// Seconds for which one denied flow causes no second report.
const DENIED_QUIET_S: u32 = 1;

/// A well-mixed number for a flow and what is reported of it. Not keyed: who
/// finds collisions only hides events of his own from himself.
#[inline(always)]
pub fn tag(flow: &FlowKey, verdict: &Verdict) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let ports = (u64::from(flow.local_port) << 24)
        | (u64::from(flow.remote_port) << 40)
        | (u64::from(flow.protocol) << 16)
        | number_u64(verdict);
    let mut mixed = flow.local.low ^ flow.local.high.rotate_left(17);
    mixed = (mixed ^ ports).wrapping_mul(ODD);
    mixed ^= mixed >> 29;
    mixed = (mixed ^ flow.remote.low ^ flow.remote.high.rotate_left(31)).wrapping_mul(ODD);
    mixed ^ (mixed >> 32)
}

#[expect(clippy::as_conversions, reason = "the numbers of two small enums")]
const fn number_u64(verdict: &Verdict) -> u64 {
    ((verdict.reason as u64) << 4) | verdict.report as u64
}

/// Passes the first report of a flow in its quiet time. `bucket` is the word of
/// the flow's bucket: upper half tag, lower half second.
#[inline(always)]
pub const fn is_news(bucket: u64, tag: u64, report: Report, now_s: u32) -> bool {
    let quiet_s = match report {
        Report::Nothing => return false,
        Report::First => FIRST_QUIET_S,
        Report::Denied => DENIED_QUIET_S,
    };
    let same = bucket >> 32 == tag >> 32;
    #[expect(clippy::as_conversions, reason = "the lower half is the second")]
    let past_s = now_s.wrapping_sub(bucket as u32);
    !same || past_s >= quiet_s
}

/// The word of a bucket after a report.
#[inline(always)]
pub const fn bucket(tag: u64, now_s: u32) -> u64 {
    #[expect(clippy::as_conversions, reason = "widening")]
    let second = now_s as u64;
    (tag & 0xffff_ffff_0000_0000) | second
}

/// One more report within the budget of this second. `budget`: upper half the
/// second, lower half reports so far. Returns the new word, or 0 when the
/// budget is spent.
#[inline(always)]
pub const fn spend(budget: u64, now_s: u32, limit: u32) -> u64 {
    #[expect(clippy::as_conversions, reason = "halves of one word")]
    let (second, used) = ((budget >> 32) as u32, budget as u32);
    let used = if second == now_s { used } else { 0 };
    if used >= limit {
        return 0;
    }
    #[expect(clippy::as_conversions, reason = "halves of one word")]
    {
        ((now_s as u64) << 32) | (used as u64 + 1)
    }
}

/// The record of a judged packet.
#[inline(always)]
#[expect(clippy::as_conversions, reason = "numbers of small enums")]
pub fn record(
    judged: &Judged,
    direction: crate::Direction,
    forwarded: bool,
    generation: u32,
    ifindex: u32,
    length: u32,
    time_ns: u64,
) -> Record {
    Record {
        time_ns,
        flow: judged.flow,
        rule: judged.verdict.rule,
        verdict: judged.verdict.verdict,
        generation,
        ifindex,
        length,
        direction: direction as u8,
        action: judged.verdict.action as u8,
        reason: judged.verdict.reason as u8,
        tcp_flags: judged.tcp_flags,
        icmp_type: judged.icmp_type,
        forwarded: forwarded as u8,
        zero: [0; 6],
    }
}

/// Packets and bytes of one reason or one rule on one CPU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, link layer included.
    pub bytes: u64,
    /// Kernel ticks (jiffies64) at the last packet; 0 when there was none.
    pub last_ticks: u64,
}
