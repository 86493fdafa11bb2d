//! What the operator wrote, read and checked: policies, their rules, peers and
//! services, each with its place in its file. It does not know what the words
//! mean on this node; that is the compiler's business.

use std::{collections::BTreeMap, sync::Arc};

use hostfw_datapath::Direction;

use crate::{
    cidr::PrefixTerm, entity::Entity, fqdn::NamePattern, ports::Services, selector::Selector,
    service_ref::ServiceTerm, summary, text::Position,
};

/// One document that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its kind, as documents name it.
    pub kind: &'static str,
    /// `metadata.name`, with the namespace before it where there is one.
    pub name: String,
    /// The namespace of a namespaced policy.
    pub namespace: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The file it stands in.
    pub path: String,
    /// Where the document starts.
    pub at: Position,
    /// Its parts, shared with whoever read the same file before.
    pub specs: Arc<Vec<Spec>>,
}

/// One `spec`, or one item of `specs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where it starts.
    pub at: Position,
    /// Who is concerned.
    pub subjects: Subjects,
    /// When its rules are asked.
    pub tier: Tier,
    /// What becomes of ingress.
    pub ingress: Stance,
    /// What becomes of egress.
    pub egress: Stance,
    /// Every item of the rule lists, in the order of the document.
    pub rules: Vec<PolicyRule>,
}

/// The annotation that says what a policy for nodes is about: [`SCOPE_NODE`], or
/// [`SCOPE_FORWARD`].
pub const SCOPE: &str = "hostfw.io/scope";
/// The node's own traffic, as without the annotation.
pub const SCOPE_NODE: &str = "node";
/// What the node forwards for others.
pub const SCOPE_FORWARD: &str = "forward";

/// Who a part of a policy concerns. Nodes and pods never mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// The nodes with these labels.
    Nodes(Selector),
    /// The pods with these labels, their namespace among them.
    Pods(Selector),
    /// What the nodes with these labels forward for others.
    Forwarded(Selector),
}

impl Subjects {
    /// Whether nodes are selected, and not pods.
    pub fn are_of_nodes(&self) -> bool {
        match self {
            Self::Nodes(_) | Self::Forwarded(_) => true,
            Self::Pods(_) => false,
        }
    }
}

/// When rules are asked: the first tier that decides ends the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Before all others.
    Admin,
    /// Where most policies are.
    Normal,
    /// After all others.
    Baseline,
}

/// What a part of a policy does to a direction of those it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// Nothing.
    Untouched,
    /// Its rules are asked; what none of them matches is allowed.
    InForce,
    /// Its rules are asked; what none of them matches is denied.
    DefaultDeny,
}

impl Spec {
    /// What becomes of a direction.
    pub fn stance(&self, direction: Direction) -> Stance {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// One item of a list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Where the item's first key stands.
    pub at: Position,
    /// Which list it stands in.
    pub direction: Direction,
    /// What it does.
    pub action: Action,
    /// Its place within its tier: of two that match, the smaller decides. The
    /// same for all rules of [`Tier::Normal`].
    pub priority: u32,
    /// Who.
    pub peers: Peers,
    /// What.
    pub services: Services,
    /// Whether the peer has to prove who it is.
    pub authentication: Option<Authentication>,
    /// The same for the same words in the same list, wherever it stands.
    pub fingerprint: u64,
    /// All of this in one line, for people.
    pub summary: Arc<str>,
}

impl PolicyRule {
    /// With the summary of all the rest.
    pub(crate) fn summed_up(self) -> Self {
        let summary = summary::of(&self).into();
        // A copy holds nothing in reserve: rules stay as long as their file.
        Self { summary, ..self.clone() }
    }

    /// The same rule so many lines further down, modulo 2³².
    pub(crate) fn moved(&self, n_lines: u32) -> Self {
        let mut rule = self.clone();
        let mut place = |at: &mut Position| *at = at.moved(n_lines);
        place(&mut rule.at);
        rule.peers.each_place(&mut place);
        if let Services::Only(entries) = &mut rule.services {
            for entry in entries {
                entry.named.iter_mut().for_each(|port| place(&mut port.at));
                entry.l7.iter_mut().for_each(|l7| place(&mut l7.at));
            }
        }
        rule
    }
}

/// What a rule does. The order is that in which equal priorities are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Denies, whatever else of its priority allows.
    Deny,
    /// Allows.
    Allow,
    /// Leaves the decision to the next tier.
    Pass,
}

/// `authentication.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// None is wanted, even where another rule wants one.
    Disabled,
    /// Mutual authentication of the workloads.
    Required,
    /// Never succeeds; for tests of the reference.
    AlwaysFail,
}

/// The other end of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// No peers were named: everyone.
    Every,
    /// An empty list was named: nobody.
    Nobody,
    /// `fromCIDR`, `fromCIDRSet` and their `to` forms.
    Prefixes(Vec<PrefixTerm>),
    /// `fromEntities`, `toEntities`.
    Entities(Vec<Entity>),
    /// `fromEndpoints`, `toEndpoints`: any of the selectors.
    Endpoints(Vec<Selector>),
    /// `fromNodes`, `toNodes`: other nodes by their labels, any of the selectors.
    Nodes(Vec<Selector>),
    /// `toFQDNs`: addresses that were seen in answers for a matching name.
    Names(Vec<NamePattern>),
    /// `toServices`: whoever stands behind them.
    Services(Vec<ServiceTerm>),
    /// A list whose items are of several kinds.
    AnyOf(Vec<Peers>),
}

impl Peers {
    fn each_place(&mut self, place: &mut impl FnMut(&mut Position)) {
        match self {
            Self::Prefixes(terms) => terms.iter_mut().for_each(|term| place(&mut term.at)),
            Self::Services(terms) => terms.iter_mut().for_each(|term| place(&mut term.at)),
            Self::AnyOf(lists) => lists.iter_mut().for_each(|list| list.each_place(place)),
            Self::Every
            | Self::Nobody
            | Self::Entities(_)
            | Self::Endpoints(_)
            | Self::Nodes(_)
            | Self::Names(_) => {}
        }
    }
}
