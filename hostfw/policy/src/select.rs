//! Which rules concern this node, what they put in force, and how listings name
//! them. It looks at node selectors only; peers and services come later.

use std::{borrow::Cow, collections::BTreeMap};

use hostfw_datapath::{Direction, verdict::Answer};

use crate::{
    builtin,
    compiled::{PolicyStatus, Rule, RuleKind},
    identity,
    node::{Enforcement, Options, ThisNode},
    policy::{Policy, PolicyRule},
    summary,
    text::fingerprint,
    world::World,
};

/// The name of the policy that built-in rules belong to.
const BUILT_IN: &str = "built-in";

/// What is in force in one direction.
#[derive(Clone, Copy)]
pub(crate) struct Force {
    pub(crate) in_force: bool,
    /// The answer where no rule matches.
    pub(crate) default: Answer,
}

/// The rules that concern this node, and what follows from them.
pub(crate) struct Selected<'p> {
    pub(crate) rules: Vec<(Rule, Cow<'p, PolicyRule>)>,
    pub(crate) policies: Vec<PolicyStatus>,
    pub(crate) ingress: Force,
    pub(crate) egress: Force,
}

pub(crate) fn select<'p>(
    policies: &'p [Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Selected<'p> {
    let labels = identity::own_labels(world, node, options);
    let mut rules: Vec<(Rule, Cow<'p, PolicyRule>)> = Vec::new();
    let mut statuses = Vec::new();
    // Per direction: a rule stands here; one of them denies by default.
    let mut found = [(false, false); 2];
    for policy in policies {
        let mut selects_this_node = false;
        for spec in policy.specs.iter().filter(|spec| spec.nodes.selects(&labels)) {
            selects_this_node = true;
            for rule in &spec.rules {
                let found = &mut found[usize::from(rule.direction == Direction::Egress)];
                found.0 = true;
                found.1 |= spec.default_deny(rule.direction);
                rules.push((listed(rules.len(), policy, rule), Cow::Borrowed(rule)));
            }
        }
        statuses.push(PolicyStatus {
            name: policy.name.clone(),
            path: policy.path.clone(),
            line: policy.at.line,
            selects_this_node,
        });
    }
    for (summary, rule) in builtin::rules(node, options) {
        let listed = Rule {
            id: id(rules.len()),
            policy: BUILT_IN.to_owned(),
            path: String::new(),
            line: 0,
            column: 0,
            direction: rule.direction,
            kind: RuleKind::BuiltIn,
            summary,
            hash: hash(BUILT_IN, &rule),
        };
        rules.push((listed, Cow::Owned(rule)));
    }
    tell_apart(rules.iter_mut().map(|(rule, _)| &mut rule.hash));
    let force = |(any, denies): (bool, bool)| match options.enforcement {
        Enforcement::Default => Force {
            in_force: any,
            default: if any && denies { Answer::DefaultDeny } else { Answer::DefaultAllow },
        },
        Enforcement::Always => Force { in_force: true, default: Answer::DefaultDeny },
        Enforcement::Never => Force { in_force: false, default: Answer::DefaultAllow },
    };
    let [ingress, egress] = found.map(force);
    Selected { rules, policies: statuses, ingress, egress }
}

fn listed(index: usize, policy: &Policy, rule: &PolicyRule) -> Rule {
    Rule {
        id: id(index),
        policy: policy.name.clone(),
        path: policy.path.clone(),
        line: rule.at.line,
        column: rule.at.column,
        direction: rule.direction,
        kind: if rule.deny { RuleKind::Deny } else { RuleKind::Allow },
        summary: summary::of(rule),
        hash: hash(&policy.name, rule),
    }
}

fn hash(policy: &str, rule: &PolicyRule) -> u64 {
    let list = [u8::from(rule.direction == Direction::Egress), u8::from(rule.deny)];
    fingerprint(fingerprint(rule.fingerprint, policy.as_bytes()), &list)
}

/// Gives the second and later of equal hashes one of their own, in order.
fn tell_apart<'r>(hashes: impl Iterator<Item = &'r mut u64>) {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for hash in hashes {
        let before = seen.entry(*hash).or_default();
        *before += 1;
        if *before > 1 {
            *hash = fingerprint(*hash, &before.to_le_bytes());
        }
    }
}

fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rules_are_told_apart_the_same_way_each_time() {
        let apart = |mut hashes: [u64; 5]| {
            tell_apart(hashes.iter_mut());
            hashes
        };
        let [first, other, second, third, last] = apart([7, 8, 7, 7, 9]);
        assert_eq!((first, other, last), (7, 8, 9));
        assert!(second != third && ![first, other, last].contains(&second));
        assert_eq!(apart([7, 7, 7, 1, 2])[..3], [first, second, third]);
    }
}
