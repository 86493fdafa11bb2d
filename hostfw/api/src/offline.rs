//! What the command finds out without a daemon: whether a directory of
//! policies is accepted, and what would happen to one packet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Complaint, Direction, IgnoredFile, RuleKind};

/// What there is to say about a directory of policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Whether the daemon would take these files.
    pub accepted: bool,
    /// Errors and warnings in the order of the files.
    pub complaints: Vec<Complaint>,
    /// Files that are not read; those of editors are not worth a word.
    pub ignored: Vec<IgnoredFile>,
    /// The policies that could be read.
    pub policies: Vec<CheckedPolicy>,
    /// Nodes that are known, so that "selects none" can be told from "there is
    /// none".
    pub n_nodes: u32,
    /// Pods that are known.
    #[serde(default)]
    pub n_pods: u32,
    /// What became of the cases beside the policies; those that fail are
    /// complaints.
    #[serde(default)]
    pub cases: CheckedCases,
    /// What they come to on one node; none when no node was named or the files
    /// are refused.
    pub node: Option<CheckedNode>,
}

/// A policy and the nodes and pods it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedPolicy {
    /// `metadata.name`.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    /// Where the document starts, counted from 1.
    pub line: u32,
    /// Names of the known nodes that it selects; the named node only, where
    /// one was named.
    pub selects: Vec<String>,
    /// How many of the known pods it selects; of those on the named node only,
    /// where one was named.
    #[serde(default)]
    pub n_pods: u32,
    /// Their names, NAMESPACE/POD, where they are few; empty where they are not.
    #[serde(default)]
    pub pods: Vec<String>,
}

/// What became of the cases beside the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedCases {
    /// Number of cases that passed.
    pub passed: u64,
    /// Number of cases that failed.
    pub failed: u64,
    /// Cases that could not be asked, in the order of the files. They may pass
    /// or fail on a node.
    pub not_run: Vec<CaseNotRun>,
}

/// A case that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseNotRun {
    /// What it is called.
    pub name: String,
    /// The file.
    pub path: String,
    /// Where it starts, counted from 1.
    pub line: u32,
    /// What is not known.
    pub why: String,
}

/// What the policies come to on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedNode {
    /// Name of the node.
    pub name: String,
    /// Whether a rule selects it for incoming packets.
    pub ingress_in_force: bool,
    /// Whether a rule selects it for outgoing packets.
    pub egress_in_force: bool,
    /// Whether a policy of scope `forward` selects it.
    pub forward_in_force: bool,
    /// Whether `enforcement: never` keeps everything out of force, whatever
    /// rules select it.
    #[serde(default)]
    pub never_enforced: bool,
    /// Rules that would be loaded, built-in ones included.
    pub n_rules: u32,
    /// Size of the image that would be loaded.
    pub n_bytes: u64,
}

/// What would happen to one packet on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// Name of the node.
    pub node: String,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Address of the other end.
    pub peer: IpAddr,
    /// Address of the node that was used.
    pub local: IpAddr,
    /// Number of the IP protocol.
    pub protocol: u8,
    /// Destination port or ICMP type; none for protocols without either.
    pub port: Option<u16>,
    /// What happens.
    pub action: TraceAction,
    /// Stable name of the reason, such as `default-deny`.
    pub reason: String,
    /// The rule that decides; none when no rule did.
    pub rule: Option<TracedRule>,
    /// Other rules that match the packet, in the order of the files.
    pub also_matching: Vec<TracedRule>,
    /// How the verdict came about, in the order of the questions.
    pub steps: Vec<TraceStep>,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceAction {
    /// It passes.
    Pass,
    /// It is dropped.
    Drop,
}

/// A rule that matches the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRule {
    /// Id in the compiled set.
    pub id: u32,
    /// Name of the policy.
    pub policy: String,
    /// The file; empty for a built-in rule.
    pub path: String,
    /// Where the rule starts, counted from 1; 0 for a built-in rule.
    pub line: u32,
    /// What it does.
    pub kind: RuleKind,
    /// The rule on one line, in the words of the policy.
    pub summary: String,
}

/// What would become of a connection at both of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// Where it leaves.
    pub from: String,
    /// Where it arrives.
    pub to: String,
    /// Protocol and port.
    pub what: String,
    /// Whether every end whose policy is known lets it pass.
    pub passes: bool,
    /// The ends whose policy is known.
    pub ends: Vec<TracedEnd>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedEnd {
    /// Whose policy it is.
    pub subject: String,
    /// The node that the subject is on.
    pub node: String,
    /// As the subject sees the connection.
    pub direction: Direction,
    /// Whether it passes.
    pub passes: bool,
    /// The answer in a few words.
    pub answer: String,
    /// The rule that decides, where one does.
    pub rule: Option<TracedRule>,
    /// Other rules that match.
    pub also_matching: Vec<TracedRule>,
    /// What a proxy would look at.
    pub l7: Vec<String>,
}

/// What a change of policies lets in and shuts out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// Directions that come into force, and those that are so no longer.
    pub enforcement: Vec<DiffEnforcement>,
    /// Every difference, by node and subject.
    pub changes: Vec<DiffChange>,
}

impl DiffReport {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.enforcement.is_empty() && self.changes.is_empty()
    }
}

/// A direction of one subject that comes into force, or is so no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEnforcement {
    /// The node that the subject is on.
    pub node: String,
    /// Whose policy: the node itself, or NAMESPACE/POD.
    pub subject: String,
    /// The direction.
    pub direction: Direction,
    /// Whether it is in force now; where it is not, everything passes.
    pub in_force: bool,
}

/// A difference for some peers and services of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffChange {
    /// The node that the subject is on.
    pub node: String,
    /// Whose policy: the node itself, or NAMESPACE/POD.
    pub subject: String,
    /// As the subject sees the connection.
    pub direction: Direction,
    /// What becomes of it now.
    pub change: DiffKind,
    /// The other ends: prefixes, ranges, names of nodes and pods, entities.
    pub peers: Vec<String>,
    /// What is concerned, such as `TCP 443`.
    pub services: Vec<String>,
    /// What is not concerned, where that is the shorter list.
    pub services_but: Option<Vec<String>>,
    /// The rule that decided before, where one did.
    pub before: Option<TracedRule>,
    /// The answer before, by a rule or without one.
    pub before_answer: DiffAnswer,
    /// The rule that decides now, where one does.
    pub after: Option<TracedRule>,
    /// The answer now.
    pub after_answer: DiffAnswer,
}

/// What policy says, by a rule or where no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffAnswer {
    /// A rule allows it.
    Allow,
    /// It passes through a proxy.
    Proxy,
    /// A rule denies it.
    Deny,
    /// No rule allows it.
    DefaultDeny,
    /// No rule denies it.
    DefaultAllow,
    /// The direction is not in force, so everything passes.
    NotInForce,
}

/// What becomes of what was otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffKind {
    /// It passes and did not.
    Opened,
    /// It does not pass and did.
    Closed,
    /// It passes through a proxy now, or no more.
    Proxied,
}

/// What policies say, in sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// Every policy, in the order of the files.
    pub policies: Vec<ExplainedPolicy>,
}

/// A policy in sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPolicy {
    /// Its kind.
    pub kind: String,
    /// `metadata.name`, with the namespace before it where there is one.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    /// Where the document starts, counted from 1.
    pub line: u32,
    /// Its parts: one for `spec`, one for each item of `specs`.
    pub parts: Vec<ExplainedPart>,
}

/// One part of a policy in sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPart {
    /// Whom it concerns, and what becomes of each direction.
    pub sentences: Vec<String>,
    /// Its rules, in the order of the file.
    pub rules: Vec<ExplainedRule>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// Where it starts, counted from 1.
    pub line: u32,
    /// What it says.
    pub sentence: String,
}

/// What became of the cases beside policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CasesReport {
    /// Number of cases that passed.
    pub passed: u64,
    /// Number of cases that failed.
    pub failed: u64,
    /// Every case that was asked, in the order of the files.
    pub cases: Vec<CaseReport>,
    /// Cases that could not be asked, in the order of the files. They may pass
    /// or fail on a node.
    #[serde(default)]
    pub not_run: Vec<CaseNotRun>,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// What it is called.
    pub name: String,
    /// The file.
    pub path: String,
    /// Where it starts, counted from 1.
    pub line: u32,
    /// Whether it passed.
    pub passed: bool,
    /// Why not; empty where it did.
    pub why: String,
}

/// One question that is asked about a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The question, a few words.
    pub question: String,
    /// The answer, one sentence.
    pub answer: String,
}
