//! What an observer hears: the event record, and the gate that bounds it. The
//! gate needs no table that a flood can fill: a fixed per-CPU array holds one
//! tag for each bucket of flows, and a budget for each second bounds the rest.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Address, Packet,
    flow::FlowKey,
    parse::{self, Carried, Depth, protocol},
    verdict::{REASON_SLOTS, Report, Verdict},
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

/// Packets of a kind that may look at the gate in one tick of each CPU, a few
/// milliseconds. What is busier than that is known: a flow that is missed now
/// has more packets to come, and a look costs as much as the judgement.
pub const LOOKS_PER_TICK: u32 = 256;

/// One more look at the gate. `looks`: upper half the tick, then 16 bits of looks
/// by [`Report`]. Returns the new word, never 0, or 0 when there were enough.
#[inline(always)]
pub const fn look(looks: u64, report: Report, ticks: u64) -> u64 {
    let shift = match report {
        Report::Nothing => return 0,
        Report::First => 0,
        Report::Denied => 16,
    };
    let this = ticks << 32;
    let looks = if looks >> 32 == this >> 32 { looks } else { this };
    #[expect(clippy::as_conversions, reason = "widening")]
    let enough = LOOKS_PER_TICK as u64;
    if (looks >> shift) & 0xffff >= enough { 0 } else { looks + (1 << shift) }
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

/// A packet as an observer is told of it, as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Both ends, from the host's side.
    pub flow: FlowKey,
    /// Flags of a TCP header, otherwise 0.
    pub tcp_flags: u8,
    /// Type of an ICMP message, otherwise 0.
    pub icmp_type: u8,
}

impl Seen {
    const NO_ADDRESS: Address = Address { high: 0, low: 0 };

    /// Neither end is known.
    pub const NOTHING: Self = Self::addresses(Self::NO_ADDRESS, Self::NO_ADDRESS);

    /// Both ends are known, and no more.
    #[inline(always)]
    pub(crate) const fn addresses(local: Address, remote: Address) -> Self {
        let flow =
            FlowKey { local, remote, local_port: 0, remote_port: 0, protocol: 0, zero: [0; 3] };
        Self { flow, tcp_flags: 0, icmp_type: 0 }
    }

    /// Reads a packet once more, for the few that are told; `is_sent` is true
    /// for one that the host itself sends.
    #[inline(always)]
    pub fn of<P: Packet>(packet: &P, is_sent: bool) -> Self {
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp | Carried::Tagged | Carried::Cut => None,
        };
        let Some(network) = network else { return Self::NOTHING };
        let Ok(upper) = packet.upper(network.start(Depth::Packet)) else {
            let (local, remote) = if is_sent {
                (network.source, network.destination)
            } else {
                (network.destination, network.source)
            };
            return Self::addresses(local, remote);
        };
        let flow = if is_sent {
            FlowKey::sent(&network, &upper)
        } else {
            FlowKey::received(&network, &upper)
        };
        let is_icmp = matches!(upper.protocol, protocol::ICMP | protocol::ICMPV6);
        let icmp_type = if is_icmp { upper.port.to_be_bytes()[1] } else { 0 };
        Self { flow, tcp_flags: upper.tcp_flags, icmp_type }
    }
}

/// Where the count of a direction and a reason stands, of all that CPUs have.
#[inline(always)]
pub const fn reason_at(cpu: u32, direction: u32, reason: u32) -> u32 {
    let before = cpu.wrapping_mul(2).wrapping_add(direction).wrapping_mul(REASON_SLOTS);
    before.wrapping_add(reason)
}

/// Where the counts of a slot's rules begin, for one of so many CPUs that have
/// `rules` each. Those of a slot stand together, so they are seen as a whole.
#[inline(always)]
pub const fn rules_at(slot: u32, cpu: u32, cpus: u32, rules: u32) -> u32 {
    slot.wrapping_mul(cpus).wrapping_add(cpu).wrapping_mul(rules)
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

/// The last count of a rule on one CPU, one line of its cache. It is added when the
/// next one comes: a packet whose rule is known last would wait for its counter,
/// which with many rules is in no cache, and the next one need not.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Waiting {
    /// One more than the index of its counter, see [`rules_at`]; 0 when nothing waits,
    /// and [`Waiting::ADDING`] for the moment in which it is added.
    pub counter: u64,
    /// Bytes of the packet, link layer included.
    pub bytes: u64,
    /// Kernel ticks (jiffies64) at the packet.
    pub ticks: u64,
    /// Zero.
    pub zero: [u64; 5],
}

impl Waiting {
    /// See [`Waiting::counter`].
    pub const ADDING: u64 = u64::MAX;

    /// The index of a counter; behind all of them where there is none.
    #[inline(always)]
    pub const fn index(counter: u64) -> u32 {
        #[expect(clippy::as_conversions, reason = "there are fewer counters")]
        let counter = counter as u32;
        counter.wrapping_sub(1)
    }
}
