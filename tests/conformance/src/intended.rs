//! Differences that are meant. Those of the vectors of this repository stand in
//! a list, each by its id with the number of the difference and why; and for
//! every number there is what such a difference looks like, so that in vectors
//! that nobody listed it is told apart from a mistake.

use std::{collections::BTreeSet, path::Path};

use hostfw_policy::{
    Complaint, Policy,
    policy::{Action, Peers, PolicyRule},
    ports::{self, Services},
};
use serde::Deserialize;

use crate::{
    judge,
    vectors::{self, Expect, Flow},
};

/// Which differences are meant.
#[derive(Debug, Default)]
pub(crate) struct Intended {
    /// Ids and numbers; `None` for vectors that nobody listed.
    listed: Option<BTreeSet<(String, String)>>,
}

/// One line of the list.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    id: String,
    v: String,
    /// For people; a line without it is not read.
    #[serde(rename = "why")]
    _why: String,
}

impl Intended {
    /// Those of a list.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let entries: Vec<Entry> = vectors::lines(path)?;
        let listed = entries.into_iter().map(|Entry { id, v, .. }| (id, v));
        Ok(Self { listed: Some(listed.collect()) })
    }

    /// Those that look like one.
    pub(crate) fn by_looks() -> Self {
        Self { listed: None }
    }

    /// True when a vector may differ in this way.
    pub(crate) fn takes(&self, id: &str, v: &str) -> bool {
        let pair = (id.to_owned(), v.to_owned());
        self.listed.as_ref().is_none_or(|listed| listed.contains(&pair))
    }

    /// What is listed and did not differ.
    pub(crate) fn unused(&self, used: &BTreeSet<(String, String)>) -> Vec<&(String, String)> {
        self.listed.iter().flatten().filter(|pair| !used.contains(pair)).collect()
    }
}

/// The number of the difference that explains why we refuse a document that the
/// reference takes; none when nothing does.
pub(crate) fn refusal(text: &str, errors: &[Complaint]) -> Option<&'static str> {
    let each: Option<Vec<&str>> = errors.iter().map(|error| refused_by(text, error)).collect();
    each?.into_iter().next()
}

fn refused_by(text: &str, error: &Complaint) -> Option<&'static str> {
    match error.code {
        // Dropped silently by the reference.
        "unknown-field" | "duplicate-key" | "wrong-version" | "not-supported"
        | "bad-authentication" | "bad-action" => Some("V1"),
        // Octal and other spellings, and ranges that are cut to 16 bits.
        "bad-port" | "bad-icmp" => Some("V4"),
        "empty-names" => Some("V5"),
        // Of rules that it has dropped, nothing is checked.
        "bad-kafka" => Some("V9"),
        "bad-l7" | "two-protocols" if text.contains("kafka:") || text.contains("l7proto:") => {
            Some("V9")
        }
        // Without the misspelt selector or list nothing is left.
        "missing-field" if text.contains("Selector") || text.contains("ngress") => Some("V1"),
        _ => None,
    }
}

/// The number of the difference that explains why a flow of policies that both
/// take fares otherwise; none when nothing does.
pub(crate) fn outcome(
    policies: &[Policy],
    flow: &Flow,
    recorded: &Expect,
    ours: &Expect,
    differs_in: &str,
) -> Option<&'static str> {
    let rules = || policies.iter().flat_map(|policy| policy.specs.iter()).flat_map(|s| &s.rules);
    // The reference takes ICMPv4's type 0 for every type.
    let of_icmp = flow.protocol == "ICMP" && flow.icmp_type != Some(0);
    if of_icmp && rules().any(|rule| concerns(rule, ports::ICMP, 0)) {
        return Some("V3");
    }
    // It drops rules for other protocols, which leaves their ports.
    if differs_in == "redirect"
        && recorded.redirect.is_none()
        && ours.redirect.as_deref() == Some("generic")
    {
        return Some("V9");
    }
    // It takes Services that nobody has translated for everyone.
    let by_whom = |rule: &PolicyRule| match rule.action {
        Action::Allow => "rule",
        Action::Deny => "explicit-deny",
        Action::Pass => "",
    };
    let decides = |rule: &PolicyRule| {
        matches!(rule.peers, Peers::Services(_))
            && judge::protocol(&flow.protocol).is_ok_and(|one| concerns(rule, one, flow.port))
            && recorded.reason.as_deref().is_none_or(|reason| reason == by_whom(rule))
    };
    let may_differ = matches!(differs_in, "verdict" | "reason") && flow.direction == "egress";
    (may_differ && rules().any(decides)).then_some("V5")
}

/// Whether a rule names such a service by its number.
fn concerns(rule: &PolicyRule, protocol: u8, port: u16) -> bool {
    let Services::Only(entries) = &rule.services else { return false };
    entries.iter().flat_map(|entry| &entry.services).any(|service| {
        service.protocol == protocol && (service.first..=service.last).contains(&port)
    })
}
