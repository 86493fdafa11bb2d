//! What was denied, or would have been: a bounded table in memory, filled from
//! the kernel's records. A flood fills the table, not the memory; what had to
//! be forgotten is counted.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hostfw_control::Generation;
use hostfw_datapath::{Action, Direction, Reason, report::Record};
use hostfw_policy::Rule;

/// Denied flows by key.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    flows: BTreeMap<Key, Denial>,
    n_forgotten: u64,
    /// The rules of generations that records may still speak of.
    rules: BTreeMap<u32, Arc<Vec<Rule>>>,
    since_summary: Summary,
}

/// What makes two denied packets the same to an operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) direction: Direction,
    pub(crate) peer: IpAddr,
    /// Where a packet goes that is forwarded.
    pub(crate) forwarded_to: Option<IpAddr>,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    pub(crate) reason: Reason,
    /// Hash of the rule: the same over generations.
    rule: Option<u64>,
    pub(crate) dropped: bool,
}

/// How often, and when.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) packets: u64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) origin: Option<Origin>,
}

/// Where the deciding rule stands.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) id: u32,
    pub(crate) policy: Arc<str>,
    pub(crate) path: Arc<str>,
    pub(crate) line: u32,
}

/// Reports since the last summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Packets that were dropped.
    pub(crate) dropped: u64,
    /// Packets that would have been.
    pub(crate) audited: u64,
}

impl Denied {
    /// Learns the names of a generation's rules.
    pub(crate) fn learn(&mut self, generation: &Generation) {
        self.rules.insert(generation.number, Arc::clone(&generation.rules));
        while self.rules.len() > KNOWN_GENERATIONS {
            self.rules.pop_first();
        }
    }

    /// Takes a record; anything but a denial is left out.
    pub(crate) fn take(&mut self, record: &Record) {
        let dropped = match record.action {
            action if action == Action::Drop as u8 => true,
            action if action == Action::Audit as u8 => false,
            _ => return,
        };
        let Some(reason) = Reason::from_number(record.reason) else { return };
        let direction = if record.direction == Direction::Egress as u8 {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let flow = &record.flow;
        let forwarded = record.forwarded != 0;
        let port = match (flow.protocol, direction) {
            (ICMP | ICMPV6, _) => u16::from(record.icmp_type),
            (_, Direction::Egress) if !forwarded => flow.remote_port,
            (_, Direction::Ingress | Direction::Egress) => flow.local_port,
        };
        let rules = self.rules.get(&record.generation);
        let rule =
            usize::try_from(record.rule).ok().and_then(|id| rules.and_then(|rules| rules.get(id)));
        let key = Key {
            direction,
            peer: IpAddr::from(flow.remote),
            forwarded_to: forwarded.then(|| IpAddr::from(flow.local)),
            protocol: flow.protocol,
            port,
            reason,
            rule: rule.map(|rule| rule.hash),
            dropped,
        };
        let origin = rule.map(|rule| Origin {
            id: rule.id,
            policy: Arc::clone(&rule.policy),
            path: Arc::clone(&rule.path),
            line: rule.line,
        });
        if dropped {
            self.since_summary.dropped += 1;
        } else {
            self.since_summary.audited += 1;
        }
        let now_ms = record.time_ns / 1_000_000;
        if let Some(denial) = self.flows.get_mut(&key) {
            denial.packets += 1;
            denial.last_ms = denial.last_ms.max(now_ms);
            denial.origin = origin;
            return;
        }
        if self.flows.len() >= MAX_FLOWS {
            self.forget_oldest();
        }
        let denial = Denial { packets: 1, first_ms: now_ms, last_ms: now_ms, origin };
        self.flows.insert(key, denial);
    }

    /// Makes room for many at once: looking for the oldest costs a pass.
    fn forget_oldest(&mut self) {
        let mut moments: Vec<u64> = self.flows.values().map(|denial| denial.last_ms).collect();
        moments.sort_unstable();
        let limit = moments.get(MAX_FLOWS / 8).copied().unwrap_or(u64::MAX);
        let before = self.flows.len();
        let mut n_room = MAX_FLOWS / 8;
        self.flows.retain(|_, denial| {
            let forget = denial.last_ms <= limit && n_room > 0;
            n_room -= usize::from(forget);
            !forget
        });
        self.n_forgotten += u64::try_from(before - self.flows.len()).unwrap_or(0);
    }

    /// Denied flows, the most recent first.
    pub(crate) fn flows(&self) -> Vec<(&Key, &Denial)> {
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_by_key(|(_, denial)| std::cmp::Reverse(denial.last_ms));
        flows
    }

    /// Flows that are no longer listed because the table is bounded.
    pub(crate) fn n_forgotten(&self) -> u64 {
        self.n_forgotten
    }

    /// What happened since the last call.
    pub(crate) fn summary(&mut self) -> Summary {
        std::mem::take(&mut self.since_summary)
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const MAX_FLOWS: usize = 4096;
const KNOWN_GENERATIONS: usize = 4;

#[cfg(test)]
mod tests {
    use hostfw_datapath::{Address, flow::FlowKey, image::NO_RULE};

    use super::*;

    #[test]
    fn packets_to_one_port_of_one_peer_are_one_flow() {
        let mut denied = Denied::default();
        for source_port in [40_000, 40_001] {
            denied.take(&record("198.51.100.7", source_port, 22, Action::Drop, 5));
        }
        let flows = denied.flows();
        assert_eq!((flows.len(), flows[0].1.packets, flows[0].0.port), (1, 2, 22));
        assert_eq!(denied.summary(), Summary { dropped: 2, audited: 0 });
        assert_eq!(denied.summary(), Summary::default());
    }

    #[test]
    fn a_forwarded_flow_has_its_sender_and_its_destination() {
        let mut denied = Denied::default();
        let mut forwarded = record("198.51.100.7", 40_000, 443, Action::Drop, 5);
        forwarded.forwarded = 1;
        for direction in [Direction::Ingress, Direction::Egress] {
            forwarded.direction = direction as u8;
            denied.take(&forwarded);
        }
        let flows = denied.flows();
        assert_eq!(flows.len(), 2, "as it arrives and as it leaves");
        for (key, _) in flows {
            assert_eq!(
                (key.port, key.forwarded_to),
                (443, Some(IpAddr::from(forwarded.flow.local)))
            );
        }
    }

    #[test]
    fn what_passes_is_no_denial_and_what_audits_is_told_apart() {
        let mut denied = Denied::default();
        denied.take(&record("198.51.100.7", 1, 22, Action::Pass, 5));
        assert!(denied.flows().is_empty());
        denied.take(&record("198.51.100.7", 1, 22, Action::Audit, 5));
        denied.take(&record("198.51.100.7", 1, 22, Action::Drop, 6));
        assert_eq!(denied.flows().len(), 2);
        assert!(denied.flows()[0].0.dropped, "the most recent first");
    }

    #[test]
    fn a_flood_keeps_the_recent_flows_and_counts_the_others() {
        let mut denied = Denied::default();
        for number in 0..10_000_u32 {
            let peer = std::net::Ipv4Addr::from(0xcb00_7100 + number).to_string();
            denied.take(&record(&peer, 1, 22, Action::Drop, u64::from(number)));
        }
        assert!(denied.flows().len() <= MAX_FLOWS);
        let kept = u64::try_from(denied.flows().len()).expect("few");
        assert_eq!(denied.n_forgotten() + kept, 10_000);
        assert_eq!(denied.flows()[0].1.last_ms, 9_999);
    }

    #[test]
    fn a_record_of_unknown_numbers_is_skipped() {
        let mut denied = Denied::default();
        let mut strange = record("198.51.100.7", 1, 22, Action::Drop, 5);
        strange.reason = 250;
        denied.take(&strange);
        strange.reason = 33;
        strange.action = 9;
        denied.take(&strange);
        assert!(denied.flows().is_empty());
    }

    fn record(peer: &str, source_port: u16, port: u16, action: Action, ms: u64) -> Record {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().expect("literal"));
        Record {
            time_ns: ms * 1_000_000,
            flow: FlowKey {
                local: address("192.0.2.1"),
                remote: address(peer),
                local_port: port,
                remote_port: source_port,
                protocol: 6,
                zero: [0; 3],
            },
            rule: NO_RULE,
            verdict: 1,
            generation: 1,
            ifindex: 2,
            length: 60,
            direction: 0,
            action: action as u8,
            reason: Reason::DefaultDeny as u8,
            tcp_flags: 2,
            icmp_type: 0,
            forwarded: 0,
            zero: [0; 6],
        }
    }
}
