//! One compiled generation: the image and what listings say of it. It is made
//! by `compile` and read by everyone else.

use std::{collections::BTreeMap, sync::Arc};

use hostfw_datapath::Direction;
#[cfg(doc)]
use hostfw_datapath::image;

use crate::{
    entity::Entity,
    existing::ExistingConnections,
    l7::L7,
    rule_set::{RuleSets, SetId},
    select::Profile,
};

/// One compiled generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The image, checksum included.
    pub words: Arc<Vec<u32>>,
    /// Rules of policies that select this node or a pod of it, then the
    /// built-in ones; the id of a rule is its index.
    pub rules: Arc<Vec<Rule>>,
    /// The rules behind every verdict of the image.
    pub verdicts: MatchingRules,
    /// Every policy, in order.
    pub policies: Vec<PolicyStatus>,
    /// Whom the image judges, by their numbers in it; this host first.
    pub subjects: Vec<Subject>,
    /// Classes of the peers that have no address of their own; for the world,
    /// that of addresses that no prefix names.
    pub placeless: Vec<(Entity, u32)>,
}

/// Someone whose traffic an image judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who it is.
    pub name: SubjectName,
    /// Whether ingress is in force.
    pub ingress_in_force: bool,
    /// Whether egress is in force.
    pub egress_in_force: bool,
}

/// Who a subject is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    /// This host.
    Host,
    /// What this host forwards for others; there where a policy is about it.
    Forward,
    /// A pod of this node.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A rule as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in this generation.
    pub id: u32,
    /// The policy it belongs to; `built-in` for those of the node itself.
    pub policy: Arc<str>,
    /// The file, empty for built-in rules.
    pub path: Arc<str>,
    /// The line of its first key, 0 for built-in rules.
    pub line: u32,
    /// The column of its first key, 0 for built-in rules.
    pub column: u32,
    /// The traffic it is about.
    pub direction: Direction,
    /// What it does.
    pub kind: RuleKind,
    /// One line in the words of the policy.
    pub summary: Arc<str>,
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
    /// Leaves the decision to the next tier.
    Pass,
    /// Allows, and was written by nobody.
    BuiltIn,
    /// Allows this node into its own pods, where nothing else decides.
    LocalHost,
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
    /// How many pods of this node a part of it selects, where pods are judged.
    pub n_pods: usize,
    /// What becomes of live connections that it no longer allows.
    pub existing: ExistingConnections,
}

/// The matching rules of every verdict. Verdicts share the rules that they have
/// in common, so a list is made when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingRules {
    /// Sets of parts: what a rule says about services that it treats alike.
    pub(crate) sets: RuleSets,
    pub(crate) of_verdict: Vec<SetId>,
    /// The rule of every part.
    pub(crate) of_part: Vec<u32>,
    /// What a proxy is to look at, of the parts that want one.
    pub(crate) l7: BTreeMap<u32, L7>,
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
        let parts = self.parts(verdict).into_iter();
        let rule = |part: u32| usize::try_from(part).ok().and_then(|at| self.of_part.get(at));
        let mut rules: Vec<u32> = parts.filter_map(rule).copied().collect();
        rules.dedup();
        rules
    }

    /// What a proxy has to look at where a verdict applies, each with the id of
    /// the rule that says so; nothing where no rule wants one.
    pub fn l7(&self, verdict: u32) -> Vec<(u32, &L7)> {
        let with_rule = |part: u32| {
            let rule = usize::try_from(part).ok().and_then(|at| self.of_part.get(at))?;
            Some((*rule, self.l7.get(&part)?))
        };
        self.parts(verdict).into_iter().filter_map(with_rule).collect()
    }

    fn parts(&self, verdict: u32) -> Vec<u32> {
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

    /// Whether a direction of this host is in force.
    pub fn in_force(&self, direction: Direction) -> bool {
        self.subjects.first().is_some_and(|host| host.in_force(direction))
    }

    /// The number of a subject in the image.
    pub fn subject(&self, name: &SubjectName) -> Option<u32> {
        let at = self.subjects.iter().position(|subject| subject.name == *name)?;
        u32::try_from(at).ok()
    }

    /// The class of a role that has no address of its own.
    pub fn class_of(&self, entity: Entity) -> Option<u32> {
        self.placeless.iter().find(|(known, _)| *known == entity).map(|(_, class)| *class)
    }
}

impl Subject {
    pub(crate) fn new(name: SubjectName, profile: &Profile) -> Self {
        let (ingress, egress) = (profile.ingress.in_force, profile.egress.in_force);
        Self { name, ingress_in_force: ingress, egress_in_force: egress }
    }

    /// Whether a direction is in force.
    pub fn in_force(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress_in_force,
            Direction::Egress => self.egress_in_force,
        }
    }
}
