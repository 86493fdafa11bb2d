//! What guardrails found, and what a rule stands for within its own policy.

use std::collections::BTreeMap;

use super::{
    Demand, Guardrail, Subject,
    cells::{Cells, Ports},
};
use crate::{
    fqdn::NamePattern,
    policy::{Action, Peers, Policy, PolicyRule, Spec},
    terms::leaves,
    text::Position,
};

/// Everything that a guardrail does not let pass.
pub(super) struct Findings<'a> {
    pub(super) guardrails: &'a [Guardrail],
    pub(super) policies: &'a [Policy],
    /// One for each rule and guardrail.
    all: BTreeMap<Place, String>,
}

/// The policy, the place in its file, and the guardrail.
type Place = (usize, Position, usize);

impl<'a> Findings<'a> {
    pub(super) fn new(guardrails: &'a [Guardrail], policies: &'a [Policy]) -> Self {
        Self { guardrails, policies, all: BTreeMap::new() }
    }

    /// Adds one, unless there is one about the same rule.
    pub(super) fn add(&mut self, guardrail: usize, policy: usize, at: Position, what: String) {
        self.all.entry((policy, at, guardrail)).or_insert(what);
    }

    pub(super) fn demand(&self, guardrail: usize) -> Option<&'a Demand> {
        self.guardrails.get(guardrail).map(|guardrail| &guardrail.demand)
    }

    /// Whether a guardrail is about a part of a policy.
    pub(super) fn concerns(&self, guardrail: usize, policy: usize, spec: &Spec) -> bool {
        let (Some(guardrail), Some(policy)) =
            (self.guardrails.get(guardrail), self.policies.get(policy))
        else {
            return false;
        };
        let own = if spec.subjects.are_of_nodes() { Subject::Nodes } else { Subject::Pods };
        guardrail.only_for.is_none_or(|only| only == own)
            && !guardrail.exempt.contains(&policy.name)
    }

    /// Each with its policy, its place and its guardrail.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'a Policy, Position, &'a Guardrail, &str)> {
        self.all.iter().filter_map(|((policy, at, guardrail), what)| {
            let policy = self.policies.get(*policy)?;
            Some((policy, *at, self.guardrails.get(*guardrail)?, what.as_str()))
        })
    }
}

/// A rule of a policy or of a guardrail.
#[derive(Clone, Copy)]
pub(super) struct Statement<'p> {
    pub(super) rule: &'p PolicyRule,
    pub(super) owner: Owner<'p>,
}

/// Whose rule it is.
#[derive(Clone, Copy)]
pub(super) enum Owner<'p> {
    Policy(usize, &'p Spec),
    Guardrail(usize),
}

impl Owner<'_> {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Policy(_, own), Self::Policy(_, other)) => std::ptr::eq(*own, *other),
            (Self::Guardrail(own), Self::Guardrail(other)) => own == other,
            (Self::Policy(..), Self::Guardrail(_)) | (Self::Guardrail(_), Self::Policy(..)) => {
                false
            }
        }
    }
}

/// What a rule allows of a peer: what it names, less what its own policy says
/// before it comes to be asked.
pub(super) fn allowed(
    cells: &Cells,
    (at, one): (usize, Statement<'_>),
    present: &[(usize, Statement<'_>)],
) -> Ports {
    if one.rule.action != Action::Allow {
        return Ports::default();
    }
    let mut ports = cells.ports_of.get(at).cloned().unwrap_or_default();
    for (other, beside) in present {
        let is_before = beside.rule.direction == one.rule.direction
            && beside.rule.action != Action::Allow
            && (beside.rule.priority, beside.rule.action) < (one.rule.priority, one.rule.action);
        if is_before
            && beside.owner.is_same(&one.owner)
            && let Some(before) = cells.ports_of.get(*other)
        {
            ports.remove(before);
        }
    }
    ports
}

/// The patterns that a rule names.
pub(super) fn names_of(rule: &PolicyRule) -> impl Iterator<Item = &NamePattern> {
    leaves(&rule.peers).into_iter().flat_map(|leaf| match leaf {
        Peers::Names(names) => names.as_slice(),
        Peers::Every
        | Peers::Nobody
        | Peers::Prefixes(_)
        | Peers::Entities(_)
        | Peers::Endpoints(_)
        | Peers::Nodes(_)
        | Peers::Services(_)
        | Peers::AnyOf(_) => &[],
    })
}

/// Every part of every policy.
pub(super) fn specs(policies: &[Policy]) -> impl Iterator<Item = (usize, &Spec)> {
    policies
        .iter()
        .enumerate()
        .flat_map(|(number, policy)| policy.specs.iter().map(move |spec| (number, spec)))
}
