//! Warnings about rules that change nothing, seen in the image: every verdict
//! knows all rules that match where it applies.

use std::collections::BTreeMap;

use hostfw_datapath::{
    image::{self, NO_RULE},
    verdict::Answer,
};

use super::{Findings, Scene};
use crate::compiled::{Compiled, Rule, RuleKind};

pub(super) const NEVER_MATCHES: &str = "never-matches";
pub(super) const SHADOWED: &str = "shadowed";
pub(super) const REDUNDANT: &str = "redundant";

/// Where all verdicts together have more rules than this, the question is left
/// out: it would take longer than compiling.
const MAX_MATCHES: usize = 2_000_000;

/// What is known of a rule.
#[derive(Default)]
struct Seen {
    /// Some verdict has it.
    matches: bool,
    /// Some verdict would be another one without it.
    decides: bool,
    /// A rule that decides in its place.
    other: Option<u32>,
    /// That rule does the same.
    alike: bool,
}

pub(super) fn find(scene: &Scene<'_>, compiled: &Compiled, findings: &mut Findings) {
    let Some(seen) = look(compiled) else { return };
    for rule in compiled.rules.iter() {
        if matches!(rule.kind, RuleKind::BuiltIn | RuleKind::LocalHost) {
            continue;
        }
        let place = |id: u32| {
            compiled.rule(id).map_or_else(String::new, |rule| match rule.line {
                0 => format!("a built-in rule ({})", rule.summary),
                line => format!("`{}` ({}:{line})", rule.policy, rule.path),
            })
        };
        match seen.get(&rule.id) {
            None => {
                let what = "this rule can match nothing: it names nobody, or no service";
                let instead = "peers and ports, or {} to only put the direction in force";
                if !is_empty(rule) {
                    findings.add_for(scene, rule, NEVER_MATCHES, what, instead);
                }
            }
            Some(Seen { decides: false, other: Some(other), alike: false, .. }) => {
                let what = format!("this rule never decides: {} comes first", place(*other));
                findings.add_for(scene, rule, SHADOWED, what, "remove it, or narrow the other");
            }
            Some(Seen { decides: false, other: Some(other), alike: true, .. }) => {
                let what = format!("this rule changes nothing: {} says the same", place(*other));
                findings.add_for(scene, rule, REDUNDANT, what, "remove one of the two");
            }
            Some(_) => {}
        }
    }
}

/// `- {}` is written on purpose.
fn is_empty(rule: &Rule) -> bool {
    rule.summary.ends_with("everyone: no service")
}

fn look(compiled: &Compiled) -> Option<BTreeMap<u32, Seen>> {
    let image = &compiled.words.as_slice();
    let mut seen: BTreeMap<u32, Seen> = BTreeMap::new();
    let mut n_matches = 0;
    for verdict in 1..u32::try_from(compiled.verdicts.len()).unwrap_or(u32::MAX) {
        let (answer, decider) = image::verdict(image, verdict);
        let matching = compiled.verdicts.of(verdict);
        n_matches += matching.len();
        if n_matches > MAX_MATCHES {
            return None;
        }
        let kind = compiled.rule(decider).map(|rule| rule.kind);
        // Rules of the deciding kind: without all others the answer stays.
        let of_kind =
            matching.iter().filter(|id| compiled.rule(**id).map(|rule| rule.kind) == kind).count();
        for id in &matching {
            let rule = seen.entry(*id).or_default();
            rule.matches = true;
            let is_alike = compiled.rule(*id).map(|rule| rule.kind) == kind;
            let is_alone = is_alike && of_kind == 1;
            // Which of several proxies has a connection depends on all of them,
            // and what passes on does too.
            if is_alone
                || answer == Answer::Redirect
                || decider == NO_RULE
                || is_pass(compiled, *id)
            {
                rule.decides = true;
            } else {
                let other = if decider == *id {
                    matching.iter().copied().find(|other| {
                        other != id && compiled.rule(*other).map(|rule| rule.kind) == kind
                    })
                } else {
                    Some(decider)
                };
                // Where one of several places has a deny before it and another
                // an equal rule, both have to go before this one matters.
                rule.alike |= is_alike;
                rule.other = rule.other.or(other);
            }
        }
    }
    Some(seen)
}

fn is_pass(compiled: &Compiled, id: u32) -> bool {
    compiled.rule(id).is_some_and(|rule| rule.kind == RuleKind::Pass)
}
