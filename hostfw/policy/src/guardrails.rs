//! Guardrails: what no policy may allow, or what every policy must carry, said
//! once by whoever answers for the cluster. They speak the language of the
//! policies and are held against what policies mean, however they are written:
//! a prefix in two halves, by way of a group or of an entity is the same prefix.
//!
//! ```yaml
//! guardrails:
//! - name: ssh-only-from-inside
//!   why: use the jump hosts
//!   forbid:
//!     ingress:
//!     - fromCIDRSet: [{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}]
//!       toPorts: [{ports: [{port: "22", protocol: TCP}]}]
//! - name: nothing-wide
//!   widestPrefix: {ipv4: 16, ipv6: 32}
//! - name: names-in-full
//!   exactNames: true
//! - name: somebody-answers
//!   require: {annotations: [example.com/owner]}
//! - name: approved-ways-out
//!   allowOnly:
//!     egress: [{toEntities: [cluster]}, {toFQDNs: [{matchPattern: "*.example.com"}]}]
//! ```

mod cells;
mod check;
mod findings;
mod reach;
mod read;
mod width;

pub use self::{
    check::check,
    read::{among, read_guardrails},
};

use crate::{policy::PolicyRule, text::Position};

/// One thing that policies must keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrail {
    /// What complaints call it.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    /// Where it starts.
    pub at: Position,
    /// What its author says to those who meet it.
    pub why: Option<String>,
    /// What it demands.
    pub demand: Demand,
    /// Policies for these only; for all where it is `None`.
    pub only_for: Option<Subject>,
    /// Names of policies that need not keep to it.
    pub exempt: Vec<String>,
}

/// What a guardrail demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing of what these rules name is allowed.
    Forbid(Vec<PolicyRule>),
    /// Nothing but what these rules name is allowed, in the directions that
    /// they speak of.
    AllowOnly(Vec<PolicyRule>),
    /// No shorter prefixes are allowed, in either direction.
    WidestPrefix {
        /// Bits of an IPv4 prefix, where there is a limit.
        ipv4: Option<u8>,
        /// Bits of an IPv6 prefix, where there is a limit.
        ipv6: Option<u8>,
    },
    /// Names are written out, without patterns.
    ExactNames,
    /// Every policy has these in its metadata, and not empty.
    Require {
        /// Keys of labels.
        labels: Vec<String>,
        /// Keys of annotations.
        annotations: Vec<String>,
    },
}

/// Whose policies a guardrail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Those of nodes.
    Nodes,
    /// Those of pods.
    Pods,
}
