//! What the operator wrote, read and checked: policies, their rules, peers and
//! services, each with its place in its file. It does not know what the words
//! mean on this node; that is the compiler's business.

use hostfw_datapath::Direction;

use crate::{
    cidr::PrefixTerm, entity::Entity, ports::Services, selector::Selector, text::Position,
};

/// One document that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `metadata.name`, with the namespace before it where there is one.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    /// Where the document starts.
    pub at: Position,
    /// Its parts that concern nodes; none in a policy for pods.
    pub specs: Vec<Spec>,
}

/// One `spec`, or one item of `specs`, with a `nodeSelector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The nodes concerned.
    pub nodes: Selector,
    /// `enableDefaultDeny.ingress`, true unless written otherwise.
    pub default_deny_ingress: bool,
    /// `enableDefaultDeny.egress`, true unless written otherwise.
    pub default_deny_egress: bool,
    /// Every item of the rule lists, in the order of the document.
    pub rules: Vec<PolicyRule>,
}

impl Spec {
    /// Whether traffic that no rule of this direction matches is denied, as far
    /// as this part is concerned.
    pub fn default_deny(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.default_deny_ingress,
            Direction::Egress => self.default_deny_egress,
        }
    }
}

/// One item of `ingress`, `egress`, `ingressDeny` or `egressDeny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Where the item's first key stands.
    pub at: Position,
    /// Which list it stands in.
    pub direction: Direction,
    /// True for an item of the deny lists.
    pub deny: bool,
    /// Who.
    pub peers: Peers,
    /// What.
    pub services: Services,
    /// The same for the same words in the same list, wherever it stands.
    pub fingerprint: u64,
}

/// The other end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}
