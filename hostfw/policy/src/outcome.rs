//! What the parts that match one packet come to: rules 21, 25 and 26. It knows
//! parts, and neither peers nor ports.

use hostfw_datapath::{image::NO_RULE, verdict::Answer};

use crate::{
    l7::{L7, Proxy},
    parts::Part,
    policy::{Action, Tier},
};

/// Tiers in the order in which they are asked, and what follows them.
const N_TIERS: usize = 4;

/// What a set of parts comes to; that of two sets follows from those of each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    tiers: [Option<Decisive>; N_TIERS],
}

/// The parts of a tier that decide there: those of the smallest priority, and
/// of these the strongest action.
#[derive(Clone, Copy, Debug)]
struct Decisive {
    priority: u32,
    action: Action,
    /// The first rule of them.
    rule: u32,
    /// The strongest proxy that one of them wants, and the first rule that does.
    proxy: Option<Wanted>,
}

/// A proxy that a rule wants. The first in order has the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    /// The priority of a listener where the policy says it; it comes before
    /// all else.
    rank: u8,
    proxy: Proxy,
    rule: u32,
}

impl Wanted {
    fn of(l7: &L7, rule: u32) -> Self {
        let priority = l7.listener.as_ref().and_then(|listener| listener.priority);
        Self { rank: priority.unwrap_or(u8::MAX), proxy: l7.proxy, rule }
    }
}

impl Outcome {
    /// What a part comes to by itself.
    pub(crate) fn of(part: &Part<'_>) -> Self {
        let mut outcome = Self::default();
        let at = match part.tier {
            Some(Tier::Admin) => 0,
            Some(Tier::Normal) => 1,
            Some(Tier::Baseline) => 2,
            None => 3,
        };
        let Part { priority, action, rule, l7, .. } = *part;
        let proxy = l7.map(|l7| Wanted::of(l7, rule));
        if let Some(tier) = outcome.tiers.get_mut(at) {
            *tier = Some(Decisive { priority, action, rule, proxy });
        }
        outcome
    }

    /// What the parts of both come to.
    pub(crate) fn with(mut self, other: Self) -> Self {
        for (tier, beside) in self.tiers.iter_mut().zip(other.tiers) {
            *tier = match (*tier, beside) {
                (Some(one), Some(other)) => Some(one.with(other)),
                (one, other) => one.or(other),
            };
        }
        self
    }

    /// The answer, the number of the proxy (0 for none) and the deciding rule.
    pub(crate) fn decide(self, default: Answer) -> (Answer, u32, u32) {
        for decisive in self.tiers.into_iter().flatten() {
            match (decisive.action, decisive.proxy) {
                (Action::Deny, _) => return (Answer::Deny, 0, decisive.rule),
                (Action::Allow, Some(wanted)) => {
                    return (Answer::Redirect, number(wanted.proxy), wanted.rule);
                }
                (Action::Allow, None) => return (Answer::Allow, 0, decisive.rule),
                (Action::Pass, _) => {}
            }
        }
        (default, 0, NO_RULE)
    }
}

impl Decisive {
    fn with(self, other: Self) -> Self {
        match (self.priority, self.action).cmp(&(other.priority, other.action)) {
            std::cmp::Ordering::Less => self,
            std::cmp::Ordering::Greater => other,
            std::cmp::Ordering::Equal => Self {
                rule: self.rule.min(other.rule),
                proxy: first(self.proxy, other.proxy),
                ..self
            },
        }
    }
}

/// The smaller of two that may be missing.
fn first<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The number of a proxy in an image; 0 is none.
const fn number(proxy: Proxy) -> u32 {
    match proxy {
        Proxy::Http => 1,
        Proxy::Tls => 2,
        Proxy::Dns => 3,
        Proxy::Generic => 4,
        Proxy::Listener => 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;
    use crate::{l7::L7Rules, text::Position};

    const PROXIES: [Proxy; 5] =
        [Proxy::Http, Proxy::Tls, Proxy::Dns, Proxy::Generic, Proxy::Listener];

    /// What is drawn of a part: tier, priority, action and proxy.
    type Drawn = (Option<Tier>, u32, Action, Option<Proxy>);

    fn drawn() -> impl Strategy<Value = Drawn> {
        (
            option::of(select(&[Tier::Admin, Tier::Normal, Tier::Baseline][..])),
            0..3u32,
            select(&[Action::Deny, Action::Allow, Action::Allow, Action::Pass][..]),
            option::of(select(&PROXIES[..])),
        )
    }

    fn l7(proxy: Proxy) -> L7 {
        L7 {
            at: Position::WHOLE_FILE,
            proxy,
            rules: L7Rules::Nothing,
            server_names: Vec::new(),
            terminates_tls: false,
            listener: None,
        }
    }

    /// Rules 21, 25 and 26 as they are written down: tier by tier, the smallest
    /// priority, of it the strongest action.
    fn expected(parts: &[(u32, Drawn)], default: Answer) -> (Answer, u32, u32) {
        for tier in [Some(Tier::Admin), Some(Tier::Normal), Some(Tier::Baseline), None] {
            let here: Vec<_> = parts.iter().filter(|(_, part)| part.0 == tier).collect();
            let Some(priority) = here.iter().map(|(_, part)| part.1).min() else { continue };
            let asked = |action| {
                let deciding =
                    here.iter().filter(move |(_, it)| (it.1, it.2) == (priority, action));
                deciding.map(|(rule, part)| (*rule, part.3))
            };
            if let Some((rule, _)) = asked(Action::Deny).min_by_key(|(rule, _)| *rule) {
                return (Answer::Deny, 0, rule);
            }
            for (number, proxy) in (1..).zip(PROXIES) {
                let wants = asked(Action::Allow).filter(|(_, wanted)| *wanted == Some(proxy));
                if let Some(rule) = wants.map(|(rule, _)| rule).min() {
                    return (Answer::Redirect, number, rule);
                }
            }
            if let Some((rule, _)) = asked(Action::Allow).min_by_key(|(rule, _)| *rule) {
                return (Answer::Allow, 0, rule);
            }
        }
        (default, 0, NO_RULE)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_come_to_what_the_rules_say_in_whatever_order_they_are_added(
            parts in vec((0..20u32, drawn()), 0..8), cut in 0..8usize, deny: bool,
        ) {
            let default = if deny { Answer::DefaultDeny } else { Answer::DefaultAllow };
            let l7s = PROXIES.map(l7);
            let outcomes: Vec<Outcome> = parts
                .iter()
                .map(|(rule, (tier, priority, action, proxy))| {
                    let l7 = proxy.and_then(|proxy| l7s.iter().find(|l7| l7.proxy == proxy));
                    Outcome::of(&Part { rule: *rule, tier: *tier, priority: *priority, action: *action, l7 })
                })
                .collect();
            let all = |outcomes: &[Outcome]| {
                outcomes.iter().fold(Outcome::default(), |sum, one| sum.with(*one))
            };
            let (left, right) = outcomes.split_at(cut.min(outcomes.len()));
            let expected = expected(&parts, default);
            prop_assert_eq!(all(&outcomes).decide(default), expected);
            prop_assert_eq!(all(left).with(all(right)).decide(default), expected);
            prop_assert_eq!(all(right).with(all(left)).decide(default), expected);
        }
    }
}
