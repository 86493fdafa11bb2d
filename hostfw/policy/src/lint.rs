//! What is accepted and still probably not meant: seen only when policies and
//! the world are looked at together. Every warning, and those that are found
//! while a file is read, has a stable code, a section in docs/warnings.md, and
//! can be turned off on the policy it is about. It decides nothing.

mod cut_off;
mod peers;
mod rules;
mod subjects;
mod wide;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    compiled::{Compiled, Rule},
    complaint::{Complaint, Report, Source},
    node::{Options, ThisNode},
    policy::Policy,
    text::Position,
    world::World,
};

/// Turns warnings off: the codes, with commas between them.
pub const IGNORE: &str = "hostfw.io/ignore";

/// Every code of a warning about an accepted policy, or about the world.
pub const WARNINGS: &[&str] = &[
    // Found while a file is read.
    "cidr-host-bits",
    "empty-name",
    "except-outside",
    "mapped-ipv4",
    "no-mask",
    "no-namespace",
    "no-parts",
    "no-rules",
    "range-backwards",
    "range-from-0",
    "unused-kind",
    // Found in policies and world together.
    cut_off::API_SERVER,
    cut_off::ETCD,
    cut_off::KUBELET,
    cut_off::NO_DNS,
    cut_off::SSH,
    cut_off::TUNNEL,
    peers::KNOWN_ADDRESSES,
    peers::KNOWN_ENDPOINTS,
    peers::NAMES_WITHOUT_DNS,
    peers::NO_API_SERVER,
    peers::NO_SUCH_GROUP,
    peers::NO_SUCH_PORT,
    peers::NO_SUCH_SERVICE,
    rules::NEVER_MATCHES,
    rules::REDUNDANT,
    rules::SHADOWED,
    subjects::DENY_ONLY,
    subjects::PODS_ONLY,
    subjects::SELECTS_NOTHING,
    wide::ENTITY_ALL,
    wide::EVERY_ADDRESS,
    wide::SPLIT_RULE,
    UNKNOWN_CODE,
];

const UNKNOWN_CODE: &str = "unknown-code";

/// What warnings are found in.
pub(crate) struct Scene<'a> {
    pub(crate) policies: &'a [Policy],
    pub(crate) world: &'a World,
    /// One that nobody knows, where none is named.
    pub(crate) node: &'a ThisNode,
    pub(crate) is_named: bool,
    pub(crate) options: &'a Options,
}

/// A warning about a policy.
pub(crate) struct Finding {
    /// Which policy.
    policy: usize,
    at: Position,
    code: &'static str,
    what: String,
    instead: String,
}

/// All warnings so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        policy: usize,
        at: Position,
        code: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let (what, instead) = (what.into(), instead.into());
        self.0.push(Finding { policy, at, code, what, instead });
    }

    /// Adds one about a rule of the image; built-in rules are nobody's fault.
    fn add_for(
        &mut self,
        scene: &Scene<'_>,
        rule: &Rule,
        code: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let is_its = |policy: &Policy| *policy.name == *rule.policy && *policy.path == *rule.path;
        if let Some(policy) = scene.policies.iter().position(is_its) {
            let at = Position { line: rule.line, column: rule.column };
            self.add(policy, at, code, what, instead);
        }
    }
}

/// Warnings about policies in this world, in the order of the files. `sources`
/// are the files the policies were read from; what is seen in the image only is
/// left out where there is none, and without a node what is seen on one.
pub fn lint(
    sources: &[Source],
    policies: &[Policy],
    world: &World,
    node: Option<&ThisNode>,
    options: &Options,
    compiled: Option<&Compiled>,
) -> Vec<Complaint> {
    let nobody = ThisNode::default();
    let is_named = node.is_some();
    let scene = Scene { policies, world, node: node.unwrap_or(&nobody), is_named, options };
    let mut findings = Findings::default();
    subjects::find(&scene, &mut findings);
    peers::find(&scene, &mut findings);
    wide::find(&scene, &mut findings);
    if let Some(compiled) = compiled {
        rules::find(&scene, compiled, &mut findings);
        cut_off::find(&scene, compiled, &mut findings);
    }
    let ignored: Vec<BTreeSet<&str>> =
        policies.iter().map(|policy| ignored(&policy.annotations)).collect();
    for (number, codes) in ignored.iter().enumerate() {
        for code in codes.iter().filter(|code| !WARNINGS.contains(code)) {
            let at = policies.get(number).map_or(Position::WHOLE_FILE, |policy| policy.at);
            let what = format!("the annotation {IGNORE} names `{code}`, which is no warning");
            findings.add(number, at, UNKNOWN_CODE, what, "a code as warnings show it");
        }
    }
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for finding in &findings.0 {
            let is_here =
                policies.get(finding.policy).is_some_and(|policy| policy.path == source.path);
            let is_off = ignored.get(finding.policy).is_some_and(|off| off.contains(finding.code));
            if is_here && !is_off {
                let Finding { at, code, what, instead, .. } = finding;
                report.warning(*at, code, what.clone(), instead.clone());
            }
        }
        complaints.extend(report.finish());
    }
    complaints
}

/// The codes that a policy with these annotations turns off.
pub(crate) fn ignored(annotations: &BTreeMap<String, String>) -> BTreeSet<&str> {
    let written = annotations.get(IGNORE).map(String::as_str).unwrap_or_default();
    written.split(',').map(str::trim).filter(|code| !code.is_empty()).collect()
}
