//! One compiled generation: the image and what listings say of it. It is made
//! by `compile` and read by everyone else.

use hostfw_datapath::Direction;
#[cfg(doc)]
use hostfw_datapath::image;

use crate::rule_set::{RuleSets, SetId};

/// One compiled generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The image, checksum included.
    pub words: Vec<u32>,
    /// Rules of policies that select this node, then the built-in ones; the id
    /// of a rule is its index.
    pub rules: Vec<Rule>,
    /// The rules behind every verdict of the image.
    pub verdicts: MatchingRules,
    /// Every policy, in order.
    pub policies: Vec<PolicyStatus>,
    /// Whether ingress is in force.
    pub ingress_in_force: bool,
    /// Whether egress is in force.
    pub egress_in_force: bool,
}

/// A rule as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in this generation.
    pub id: u32,
    /// The policy it belongs to; `built-in` for those of the node itself.
    pub policy: String,
    /// The file, empty for built-in rules.
    pub path: String,
    /// The line of its first key, 0 for built-in rules.
    pub line: u32,
    /// The column of its first key, 0 for built-in rules.
    pub column: u32,
    /// The traffic it is about.
    pub direction: Direction,
    /// What it does.
    pub kind: RuleKind,
    /// One line in the words of the policy.
    pub summary: String,
    /// The same for the same words in the same policy, over reloads; equal rules
    /// of one policy are told apart by their order.
    pub hash: u64,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Allows.
    Allow,
    /// Denies, whatever else allows.
    Deny,
    /// Allows, and was written by nobody.
    BuiltIn,
}

/// What became of a policy on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: String,
    /// The line its document starts at.
    pub line: u32,
    /// Whether a part of it selects this node.
    pub selects_this_node: bool,
}

/// The matching rules of every verdict. Verdicts share the rules that they have
/// in common, so a list is made when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingRules {
    pub(crate) sets: RuleSets,
    pub(crate) of_verdict: Vec<SetId>,
}

impl MatchingRules {
    /// Number of verdicts, the reserved one included.
    pub fn len(&self) -> usize {
        self.of_verdict.len()
    }

    /// Never true: verdict 0 is always there.
    pub fn is_empty(&self) -> bool {
        self.of_verdict.is_empty()
    }

    /// The ids of all rules that match where a verdict applies, ascending;
    /// nothing for a default.
    pub fn of(&self, verdict: u32) -> Vec<u32> {
        let set = usize::try_from(verdict).ok().and_then(|at| self.of_verdict.get(at));
        set.map(|set| self.sets.ids(*set)).unwrap_or_default()
    }
}

impl Compiled {
    /// A rule by its id, as it stands in a verdict; `None` for
    /// [`image::NO_RULE`].
    pub fn rule(&self, id: u32) -> Option<&Rule> {
        usize::try_from(id).ok().and_then(|at| self.rules.get(at))
    }

    /// All rules that match where a verdict applies.
    pub fn matching_rules(&self, verdict: u32) -> Vec<&Rule> {
        self.verdicts.of(verdict).into_iter().filter_map(|id| self.rule(id)).collect()
    }

    /// Whether a direction is in force.
    pub fn in_force(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress_in_force,
            Direction::Egress => self.egress_in_force,
        }
    }
}
