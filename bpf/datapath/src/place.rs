//! Places in front of the table of own flows: an array in which every flow has one
//! place, named by its numbers. A look takes one line of memory, where the kernel's
//! hash takes a call and up to four. Whoever has a place keeps it while he is busy;
//! everybody else is kept in the hash, and so is who loses his place.
//!
//! A TCP connection with a place has no entry in the hash. Every other flow begins
//! there, and has a place once it has lasted: most datagrams ask one thing and are
//! gone. From then on what the hash has of it is old.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use crate::{
    flow::{FlowEntry, FlowKey},
    parse::protocol,
};

/// Places that there are. A power of two.
pub const PLACES: u32 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 18;

/// Seconds after its last sight for which a flow keeps its place. More than
/// entries may be behind (they are rewritten once a second), and no more: a
/// connection that has ended says so to nobody.
const BUSY_S: u32 = 2;

/// A place; one line of a processor's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    /// Who has it; all zero where nobody ever had.
    pub flow: FlowKey,
    /// What is kept of him.
    pub entry: FlowEntry,
    /// Not 0 once the daemon has decided about the flow: then the hash alone has
    /// the word, until the place changes hands. Programs write it at that time only,
    /// so none of them undoes what the daemon says.
    pub closed: u64,
}

const _: () = assert!(size_of::<Place>() == 64, "a place is one line");

impl Place {
    /// The number of a flow's place: the local port, counted from where the upper bits
    /// of two products say (Knuth, volume 3, section 6.4), neither of which waits for
    /// the other. So connections to one service, whose ports follow each other, have
    /// places that do, and share pages. Not keyed: who finds flows of one place sends
    /// them to the hash.
    #[inline(always)]
    pub fn of(flow: &FlowKey) -> u32 {
        let [_, _, high, low, tail] = words(flow);
        let service = tail >> 16;
        let mixed = (low ^ service.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ high.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let number = (mixed >> (64 - PLACE_BITS)) + (tail & 0xffff);
        #[expect(clippy::as_conversions, reason = "less than 32 bits are left")]
        let number = number as u32 & (PLACES - 1);
        number
    }

    /// What is kept of a flow here.
    #[inline(always)]
    pub fn entry_of(&self, flow: &FlowKey) -> Option<FlowEntry> {
        if self.is_of(flow) && self.closed == 0 { Some(self.entry) } else { None }
    }

    /// What becomes of the place when an entry of a flow that is seen now asks for it.
    #[inline(always)]
    pub fn asked_by(&self, flow: &FlowKey, entry: &FlowEntry) -> Claim {
        if self.is_of(flow) {
            return if self.closed == 0 { Claim::Has } else { Claim::Refused };
        }
        let is_idle = entry.last_s.saturating_sub(self.entry.last_s) > BUSY_S;
        let may_have = suffices(flow, entry) || !entry.is_new();
        if is_idle && may_have { Claim::Takes } else { Claim::Refused }
    }

    /// Whose place it is, word by word and without a branch for each: a comparison of
    /// memory would be a call, and it is nearly always the same flow.
    #[inline(always)]
    fn is_of(&self, flow: &FlowKey) -> bool {
        let (has, asked) = (words(&self.flow), words(flow));
        let differs = (has[0] ^ asked[0])
            | (has[1] ^ asked[1])
            | (has[2] ^ asked[2])
            | (has[3] ^ asked[3])
            | (has[4] ^ asked[4]);
        differs == 0
    }

    /// Whether the hash must take in who has the place, before he loses it: nothing
    /// else is known of him.
    #[inline(always)]
    pub fn is_all_there_is(&self, now_s: u32) -> bool {
        self.closed == 0
            && suffices(&self.flow, &self.entry)
            && self.entry.is_live(self.flow.protocol, now_s)
    }
}

/// What a flow gets that asks for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is another's, who is busy, or closed.
    Refused,
    /// It has it already.
    Has,
    /// It was nobody's, or that of somebody who is idle.
    Takes,
}

/// Whether a flow with a place needs no other entry.
#[inline(always)]
pub const fn suffices(flow: &FlowKey, entry: &FlowEntry) -> bool {
    // What an entry says besides is never left to a place alone.
    (flow.protocol == protocol::TCP || !entry.is_new()) && entry.flags == 0
}

#[inline(always)]
fn words(flow: &FlowKey) -> [u64; 5] {
    transmute!(*flow)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, vec::Vec};

    use zerocopy::FromZeros;

    use super::*;
    use crate::{
        Address,
        flow::{FORWARDED, KEPT},
    };

    const NOW_S: u32 = 1_000;

    fn flow(remote: u32, local_port: u16, protocol: u8) -> FlowKey {
        let (local, remote) = (Address::v4(0xc000_0201), Address::v4(remote));
        FlowKey { local, remote, local_port, remote_port: 443, protocol, zero: [0; 3] }
    }

    fn entry(first_s: u32, last_s: u32, flags: u32) -> FlowEntry {
        FlowEntry { generation: 7, last_s, first_s, flags }
    }

    fn place(flow: FlowKey, last_s: u32, closed: u64) -> Place {
        Place { flow, entry: entry(1, last_s, 0), closed }
    }

    /// A flow no word of which is zero.
    fn flow_v6() -> FlowKey {
        let address = |last: u64| Address { high: 0x2001_0db8 << 32, low: 0xf0 | last };
        FlowKey { local: address(1), remote: address(2), ..flow(0, 50_000, 6) }
    }

    #[test]
    fn a_place_answers_for_its_flow_and_for_no_other() {
        for own in [flow(9, 50_000, 6), flow_v6()] {
            let place = place(own, NOW_S, 0);
            assert_eq!(place.entry_of(&own), Some(place.entry));
            let words: [u64; 5] = transmute!(own);
            let with = |bits: [u64; 5]| -> FlowKey {
                let changed: [u64; 5] = core::array::from_fn(|word| words[word] ^ bits[word]);
                transmute!(changed)
            };
            for word in 0..words.len() {
                for bit in 0..64 {
                    let mut bits = [0; 5];
                    bits[word] = 1 << bit;
                    assert_eq!(place.entry_of(&with(bits)), None, "bit {bit} of word {word}");
                    // The same difference twice is not none.
                    bits[(word + 1) % words.len()] = 1 << bit;
                    assert_eq!(place.entry_of(&with(bits)), None, "bit {bit} from word {word} on");
                }
            }
        }
    }

    /// The daemon and the programs of its next version look at the same places.
    #[test]
    fn a_flow_has_the_place_that_it_always_had() {
        for (flow, number) in [
            (flow(9, 50_000, 6), 98_476),
            (flow(9, 50_001, 6), 98_477),
            (flow(0xc000_0207, 53, 17), 219_422),
            (flow_v6(), 183_731),
        ] {
            assert_eq!(Place::of(&flow), number, "{flow:?}");
        }
    }

    #[test]
    fn a_place_is_kept_while_its_flow_is_busy_and_then_free_for_the_next() {
        let (own, other) = (flow(9, 50_000, 6), flow(10, 50_001, 6));
        let now = entry(NOW_S, NOW_S, 0);
        for (last_s, expected) in [
            (0, Claim::Takes),
            (NOW_S - BUSY_S - 1, Claim::Takes),
            (NOW_S - BUSY_S, Claim::Refused),
            (NOW_S, Claim::Refused),
            // Seen by a processor whose second has begun already.
            (NOW_S + 1, Claim::Refused),
        ] {
            assert_eq!(place(own, last_s, 0).asked_by(&other, &now), expected, "{last_s}");
            assert_eq!(place(own, last_s, 0).asked_by(&own, &now), Claim::Has);
        }
        let never_used = Place::new_zeroed();
        assert_eq!(never_used.asked_by(&own, &now), Claim::Takes);
        assert_eq!(never_used.entry_of(&own), None);
    }

    #[test]
    fn what_the_daemon_has_decided_stays_until_the_place_changes_hands() {
        let (own, other) = (flow(9, 50_000, 6), flow(10, 50_001, 6));
        let now = entry(NOW_S, NOW_S, 0);
        for (last_s, others) in [(1, Claim::Takes), (NOW_S, Claim::Refused)] {
            let closed = place(own, last_s, 1);
            assert_eq!(closed.entry_of(&own), None);
            assert_eq!(closed.asked_by(&own, &now), Claim::Refused);
            assert_eq!(closed.asked_by(&other, &now), others);
        }
    }

    #[test]
    fn only_a_connection_has_a_place_at_once_and_nothing_else() {
        let free = Place::new_zeroed();
        let (tcp, udp) = (flow(9, 50_000, 6), flow(9, 50_000, 17));
        for (flow, flags, enough) in [
            (tcp, 0, true),
            (tcp, FORWARDED, false),
            (tcp, KEPT, false),
            (udp, 0, false),
            (udp, FORWARDED, false),
        ] {
            let (first, later) = (entry(NOW_S, NOW_S, flags), entry(NOW_S - 1, NOW_S, flags));
            assert_eq!(suffices(&flow, &first), enough, "{flow:?}");
            let at_once = if enough { Claim::Takes } else { Claim::Refused };
            assert_eq!(free.asked_by(&flow, &first), at_once, "{flow:?}");
            assert_eq!(free.asked_by(&flow, &later), Claim::Takes, "{flow:?}");
            assert_eq!(suffices(&flow, &later), flags == 0, "{flow:?}");
            // Where it has the place, the place must not tell of the flow before.
            assert_eq!(place(flow, NOW_S, 0).asked_by(&flow, &first), Claim::Has);
        }
    }

    #[test]
    fn who_has_nothing_but_his_place_is_not_lost_with_it() {
        let (tcp, udp) = (flow(9, 50_000, 6), flow(9, 50_000, 17));
        assert!(place(tcp, 10, 0).is_all_there_is(NOW_S));
        assert!(place(udp, NOW_S, 0).is_all_there_is(NOW_S));
        // He has an entry, was decided about, has been silent for too long, or is nobody.
        let begins = Place { entry: entry(NOW_S, NOW_S, 0), ..place(udp, NOW_S, 0) };
        assert!(!begins.is_all_there_is(NOW_S));
        assert!(!place(tcp, 10, 1).is_all_there_is(NOW_S));
        assert!(!place(tcp, 10, 0).is_all_there_is(NOW_S + 8_000));
        assert!(!place(udp, 10, 0).is_all_there_is(NOW_S));
        assert!(!Place::new_zeroed().is_all_there_is(NOW_S));
        let kept = Place { entry: entry(1, 10, KEPT), ..place(tcp, 10, 0) };
        assert!(!kept.is_all_there_is(NOW_S));
    }

    #[test]
    fn flows_spread_over_the_places() {
        let port = |n: u32| u16::try_from(n).expect("a port");
        let network = |net: u64| Address { high: 0x2001_0db8 << 32 | net, low: 1 };
        let sets: [Vec<FlowKey>; 5] = [
            // Connections to one service, datagrams to many hosts, and to networks.
            (32_768..61_000).map(|port| flow(9, port, 6)).collect(),
            (0..30_000).map(|remote| flow(remote, 53, 17)).collect(),
            (0..30_000).map(|net| FlowKey { remote: network(net), ..flow(0, 443, 17) }).collect(),
            (0..30_000)
                .map(|net| FlowKey { remote: network(net << 8), ..flow(0, 443, 17) })
                .collect(),
            // Connections to some hosts.
            (0..30_000_u32)
                .map(|n| flow(0x0a00_0000 + n / 300 * 7, port(40_000 + n % 300), 6))
                .collect(),
        ];
        for flows in sets {
            let places: BTreeSet<u32> = flows.iter().map(Place::of).collect();
            assert!(places.iter().all(|place| *place < PLACES));
            // Drawn at random, there would be 94 places for a hundred flows.
            assert!(places.len() * 100 >= flows.len() * 90, "{} of {}", places.len(), flows.len());
        }
    }
}
