//! Counts of rules over generations. The kernel counts for one image; when that
//! is replaced, what it counted is added here under the stable hash of each
//! rule. It knows neither the kernel nor files.

use std::collections::{BTreeMap, BTreeSet};

use hostfw_daemon::kernel::Counts;
use hostfw_policy::Rule;
use serde::{Deserialize, Serialize};

/// Counts of earlier generations, by rule hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally(BTreeMap<u64, Total>);

/// What a rule counted in earlier generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    packets: u64,
    bytes: u64,
    /// Seconds since 1970 UTC of the last packet; 0 for none.
    last_unix_s: u64,
}

impl Tally {
    /// Adds what the generation of these rules has counted, by rule id. Rules
    /// that it did not have any more are forgotten.
    pub(crate) fn add(&mut self, rules: &[Rule], counts: &[Counts], now_unix_s: u64) {
        let present: BTreeSet<u64> = rules.iter().map(|rule| rule.hash).collect();
        self.0.retain(|hash, _| present.contains(hash));
        for (rule, counts) in rules.iter().zip(counts) {
            if counts.packets > 0 {
                let total = self.0.entry(rule.hash).or_default();
                total.packets = total.packets.saturating_add(counts.packets);
                total.bytes = total.bytes.saturating_add(counts.bytes);
                let ago_s = counts.idle_s.unwrap_or(0);
                total.last_unix_s = total.last_unix_s.max(now_unix_s.saturating_sub(ago_s));
            }
        }
    }

    /// What a rule has counted in all, with what the kernel counts now.
    pub(crate) fn with(&self, hash: u64, live: Counts, now_unix_s: u64) -> Counts {
        let Some(total) = self.0.get(&hash) else { return live };
        Counts {
            packets: total.packets.saturating_add(live.packets),
            bytes: total.bytes.saturating_add(live.bytes),
            idle_s: live.idle_s.or(Some(now_unix_s.saturating_sub(total.last_unix_s))),
        }
    }
}

/// True when the kernel has begun to count anew, so that the counts before
/// would be lost: a counter went back.
pub(crate) fn began_anew(before: &[Counts], after: &[Counts]) -> bool {
    before.iter().zip(after).any(|(before, after)| after.packets < before.packets)
}

#[cfg(test)]
mod tests {
    use hostfw_policy::{Direction, RuleKind};

    use super::*;

    #[test]
    fn a_rule_keeps_its_counts_when_its_number_changes() {
        let mut tally = Tally::default();
        tally.add(&[rule(0, 7), rule(1, 8)], &[counts(5, Some(3)), counts(0, None)], 1_000);
        tally.add(&[rule(0, 8), rule(1, 7)], &[counts(2, Some(1)), counts(1, Some(50))], 1_100);
        assert_eq!(tally.with(7, counts(10, Some(0)), 1_200), counts(16, Some(0)));
        assert_eq!(tally.with(7, counts(0, None), 1_200), counts(6, Some(150)));
        assert_eq!(tally.with(8, counts(0, None), 1_200), counts(2, Some(101)));
    }

    #[test]
    fn a_rule_that_is_gone_is_forgotten() {
        let mut tally = Tally::default();
        tally.add(&[rule(0, 7)], &[counts(5, Some(3))], 1_000);
        tally.add(&[rule(0, 8)], &[counts(1, Some(0))], 1_010);
        assert_eq!(tally.with(7, counts(0, None), 1_020), counts(0, None));
    }

    #[test]
    fn counts_that_went_back_are_noticed() {
        let before = [counts(3, Some(1)), counts(0, None), counts(5, Some(0))];
        assert!(!began_anew(&before, &before));
        assert!(!began_anew(
            &before,
            &[counts(3, Some(2)), counts(1, Some(0)), counts(6, Some(0))]
        ));
        assert!(began_anew(&before, &[counts(3, Some(2)), counts(0, None), counts(1, Some(0))]));
        assert!(!began_anew(&[], &before));
    }

    fn rule(id: u32, hash: u64) -> Rule {
        Rule {
            id,
            policy: "p".into(),
            path: "p.yaml".into(),
            line: 1,
            column: 1,
            direction: Direction::Ingress,
            kind: RuleKind::Allow,
            summary: "a rule".into(),
            hash,
        }
    }

    fn counts(packets: u64, idle_s: Option<u64>) -> Counts {
        Counts { packets, bytes: packets * 100, idle_s }
    }
}
