//! What is accepted and still probably not meant: seen only when policies and
//! the world are looked at together. It decides nothing.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    complaint::{Complaint, Report, Source},
    identity::{Kind, Known},
    node::{Options, ThisNode},
    policy::{Peers, Policy, Spec, Subjects},
    terms::{cidrs, leaves},
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
    let known = Known::of(world, node, options);
    // Nobody means this host itself by a prefix that names others.
    let is_unmatched = |(_, identity): &&(IpAddr, usize)| {
        known.identities.get(*identity).is_some_and(|identity| {
            matches!(identity.kind, Kind::RemoteNode | Kind::Pod) && !identity.has_prefixes(options)
        })
    };
    let unmatched: BTreeSet<IpAddr> =
        known.addresses.iter().filter(is_unmatched).map(|(address, _)| *address).collect();
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for policy in policies.iter().filter(|policy| policy.path == source.path) {
            for spec in &policy.specs {
                lint_subjects(spec, options, &mut report);
            }
            for rule in policy.specs.iter().flat_map(|spec| &spec.rules) {
                for leaf in leaves(&rule.peers) {
                    let Peers::Prefixes(terms) = leaf else { continue };
                    for term in terms {
                        lint_term(term, world, &unmatched, &mut report);
                    }
                }
            }
        }
        complaints.extend(report.finish());
    }
    complaints
}

fn lint_subjects(spec: &Spec, options: &Options, report: &mut Report<'_>) {
    match spec.subjects {
        Subjects::Pods(_) if !options.pods => {
            let what = "this part is for pods; it does not concern this node's own traffic";
            report.warning(spec.at, "pods-only", what, "nodeSelector, if nodes are meant");
        }
        Subjects::Pods(_) | Subjects::Nodes(_) => {}
    }
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
    for cidr in cidrs(term, world) {
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
