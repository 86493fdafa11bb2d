//! The rules in force with what they did: hit counters per rule, and counters
//! per reason for everything that no rule decided.

use serde::{Deserialize, Serialize};

use crate::Direction;

/// The rules of the generation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// The generation; none before the first one.
    pub generation: Option<u32>,
    /// Rules in the order of their ids.
    pub rules: Vec<RuleReport>,
    /// What happened to incoming packets, by reason.
    pub ingress: DirectionCounters,
    /// What happened to outgoing packets, by reason.
    pub egress: DirectionCounters,
}

/// One rule: an item of a rule list of a policy, or a built-in rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Dense from 0; valid for this generation only.
    pub id: u32,
    /// 16 hexadecimal digits that stay the same over reloads as long as the
    /// text of the rule and the name of its policy do. Equal rules of one
    /// policy are told apart by their order.
    pub hash: String,
    /// Name of the policy.
    pub policy: String,
    /// The file; empty for a built-in rule.
    pub path: String,
    /// Where the rule starts, counted from 1; 0 for a built-in rule.
    pub line: u32,
    /// Which packets it judges.
    pub direction: Direction,
    /// What it does.
    pub kind: RuleKind,
    /// The rule on one line, in the words of the policy.
    pub summary: String,
    /// Packets that this rule decided, in earlier generations too.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
    /// Time since the last of them; none when there was none.
    pub last_hit_ago_s: Option<u64>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// Lets packets pass.
    Allow,
    /// Drops packets, in audit mode too, and beats every allow.
    Deny,
    /// Leaves packets to the next tier of policies.
    Pass,
    /// Lets packets pass that this node needs by itself (own tunnels, DHCP).
    BuiltIn,
}

/// Packets of one direction by the reason of their fate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionCounters {
    /// Reasons with at least one packet, in the order of their numbers.
    pub reasons: Vec<ReasonCounter>,
}

/// Packets of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCounter {
    /// Stable name of the reason, such as `default-deny`.
    pub reason: String,
    /// Whether packets of this reason may not pass. In audit mode those of
    /// `default-deny` pass all the same.
    pub denies: bool,
    /// Packets since the programs were loaded.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// Where a rule that decided something stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOrigin {
    /// Id in the generation that decided.
    pub id: u32,
    /// Name of the policy.
    pub policy: String,
    /// The file; empty for a built-in rule.
    pub path: String,
    /// Where the rule starts, counted from 1; 0 for a built-in rule.
    pub line: u32,
}
