//! What the language knows and nobody here can enforce yet, or what it allows
//! and can only be a mistake. It is refused where a policy is to be put in
//! force, and nowhere else: a rule that is silently weaker than it reads is
//! worse than none.

use hostfw_datapath::Direction;

use crate::{
    complaint::{Complaint, Report, Source},
    document::read_policies,
    l7::Proxy,
    node::Dialect,
    policy::{Authentication, Peers, Policy, PolicyRule},
    ports::Services,
    terms::leaves,
};

/// Well-known names with the number to write instead.
const NAMES: &[(&str, u16)] = &[
    ("bgp", 179),
    ("dns", 53),
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
    ("nfs", 2049),
    ("ntp", 123),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("rdp", 3389),
    ("redis", 6379),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
];

/// Reads the policies of a directory that is to be put in force: as
/// [`read_policies`] with everything the language has, less what cannot be
/// enforced.
pub fn read_enforceable(sources: &[Source]) -> (Vec<Policy>, Vec<Complaint>) {
    let (policies, mut complaints) = read_policies(sources, &Dialect::default());
    complaints.extend(sources.iter().flat_map(|source| unenforceable(source, &policies)));
    (policies, complaints)
}

/// What of the policies in a file cannot be enforced.
pub(crate) fn unenforceable(source: &Source, policies: &[Policy]) -> Vec<Complaint> {
    let mut report = Report::new(source);
    for policy in policies.iter().filter(|policy| policy.path == source.path) {
        for spec in policy.specs.iter() {
            let for_nodes = spec.subjects.are_of_nodes();
            for rule in &spec.rules {
                refuse(rule, for_nodes, &mut report);
            }
        }
    }
    report.finish()
}

fn refuse(rule: &PolicyRule, for_nodes: bool, report: &mut Report<'_>) {
    if matches!(rule.authentication, Some(Authentication::Required | Authentication::AlwaysFail)) {
        let what = "the peer is to prove who it is, and hostfw cannot ask it to yet";
        report.error(rule.at, "authentication", what, "remove `authentication`");
    }
    if for_nodes && leaves(&rule.peers).iter().any(|leaf| matches!(leaf, Peers::Names(_))) {
        let what = "the addresses of names are not learned yet, so `toFQDNs` would match nobody";
        report.error(rule.at, "names-on-host", what, "toCIDR with the addresses");
    }
    let Services::Only(entries) = &rule.services else { return };
    for port in entries.iter().filter(|_| for_nodes).flat_map(|entry| &entry.named) {
        let known = NAMES.iter().find(|(name, _)| *name == port.name);
        let instead = known.map_or_else(
            || "the number of the port".to_owned(),
            |(_, number)| format!("port: \"{number}\""),
        );
        let what =
            format!("`{}` is a port name; nodes have none, it would match nothing", port.name);
        report.error(port.at, "named-port", what, instead);
    }
    // What the language itself refuses for nodes was said already.
    let for_egress = for_nodes && rule.direction == Direction::Egress;
    let l7 = entries.iter().filter(|_| for_egress).filter_map(|entry| entry.l7.as_ref());
    for l7 in l7.filter(|l7| l7.proxy != Proxy::Http) {
        let what = format!("{} needs a proxy; a policy for nodes ends at ports", l7.shown());
        report.error(l7.at, "l7-on-host", what, "remove it");
    }
}
