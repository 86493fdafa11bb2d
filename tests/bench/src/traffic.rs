//! The kinds of packets that are measured.

use crate::{
    flows::{DENIED_PORT, Flows, OWN_PORT},
    rules::Rules,
};

/// What must become of a packet, and so which targets it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Flows that the policy admits and that have begun.
    Established,
    /// Flows that the policy admits, one packet each.
    New,
    /// Answers to what the host has asked.
    Answer,
    /// What the policy does not admit.
    Denied,
}

/// Packets of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How many processors are given such packets, all at once.
    pub(crate) processors: u16,
    /// Flows; 0 for packets that are all new.
    count: u32,
    /// Whether rules name their sources.
    named: bool,
    /// The port that they go to; 0 for the one of the rule.
    port: u16,
}

impl Traffic {
    pub(crate) const fn established(count: u32) -> Self {
        let kind = Kind::Established;
        Self { name: "established", kind, processors: 1, count, named: true, port: 0 }
    }

    pub(crate) const fn new_flows() -> Self {
        let kind = Kind::New;
        Self { name: "every packet a new flow", kind, ..Self::established(0) }
    }

    /// From where no rule names anybody, as answers from the Internet are.
    pub(crate) const fn answers(count: u32) -> Self {
        let kind = Kind::Answer;
        Self { name: "answers to own", kind, processors: 1, count, named: false, port: OWN_PORT }
    }

    pub(crate) const fn denied_port() -> Self {
        let kind = Kind::Denied;
        Self { name: "denied port", kind, port: DENIED_PORT, ..Self::established(1_000) }
    }

    pub(crate) const fn denied_source() -> Self {
        let kind = Kind::Denied;
        Self { name: "denied source", kind, named: false, ..Self::established(1_000) }
    }

    const fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The flows for a host with these rules.
    pub(crate) fn flows(&self, rules: Rules) -> Flows {
        let Self { named, port, count, .. } = *self;
        let n_rules = if named { rules.count } else { 1_000 };
        Flows { family: rules.family, named, rules: n_rules, port, count }
    }
}

/// The rows of a table.
pub(crate) const ALL: [Traffic; 8] = [
    Traffic::established(1_000).called("established, 1,000 flows"),
    Traffic { processors: 2, ..Traffic::established(1_000) }
        .called("established, two processors at once"),
    Traffic::established(100_000).called("established, 100,000 flows"),
    Traffic::new_flows(),
    Traffic::answers(1_000).called("answers to own, 1,000 flows"),
    Traffic::answers(100_000).called("answers to own, 100,000 flows"),
    Traffic::denied_port(),
    Traffic::denied_source(),
];
