//! What is accepted and still probably not meant: seen only when policies and
//! the world are looked at together. It decides nothing.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    complaint::{Complaint, Report, Source},
    identity::{self, Kind},
    node::{Options, ThisNode},
    peers,
    policy::{Peers, Policy},
    world::World,
};

/// Addresses that a warning names before it only counts.
const NAMED: usize = 3;

/// Warnings about policies in this world, in the order of the policies.
/// `sources` are the files the policies were read from.
pub fn lint(
    sources: &[Source],
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Vec<Complaint> {
    let known = identity::known_addresses(world, node, options);
    // Nobody means this host itself by a prefix that names others.
    let unmatched: BTreeSet<IpAddr> = known
        .iter()
        .filter(|(_, identity)| matches!(identity.kind, Kind::RemoteNode | Kind::Pod))
        .filter(|(_, identity)| !identity.has_prefixes(options))
        .map(|(address, _)| *address)
        .collect();
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for policy in policies.iter().filter(|policy| policy.path == source.path) {
            for rule in policy.specs.iter().flat_map(|spec| &spec.rules) {
                let Peers::Prefixes(terms) = &rule.peers else { continue };
                for term in terms {
                    lint_term(term, world, &unmatched, &mut report);
                }
            }
        }
        complaints.extend(report.finish());
    }
    complaints
}

fn lint_term(
    term: &PrefixTerm,
    world: &World,
    unmatched: &BTreeSet<IpAddr>,
    report: &mut Report<'_>,
) {
    if let PrefixSource::Group(name) = &term.from
        && !world.cidr_groups.contains_key(name)
    {
        let what = format!("there is no CiliumCIDRGroup `{name}`, so this matches nobody");
        report.warning(term.at, "no-such-group", what, "a group of the cluster directory");
    }
    for cidr in peers::cidrs(term, world) {
        warn_unmatched(cidr, term, unmatched, report);
    }
}

fn warn_unmatched(
    cidr: IpNet,
    term: &PrefixTerm,
    unmatched: &BTreeSet<IpAddr>,
    report: &mut Report<'_>,
) {
    let inside: Vec<&IpAddr> = unmatched
        .range(cidr.network()..=cidr.broadcast())
        .filter(|address| !term.except.iter().any(|left_out| left_out.contains(*address)))
        .collect();
    if inside.is_empty() {
        return;
    }
    let mut named =
        inside.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if inside.len() > NAMED {
        named = format!("{named} and {} more", inside.len() - NAMED);
    }
    let what = format!("{cidr} does not match the nodes and pods inside it: {named}");
    let instead = "fromEntities, fromNodes or fromEndpoints for them, or cidrMatch: [nodes, pods]";
    report.warning(term.at, "cidr-known-addresses", what, instead);
}
