//! Warnings about peers and ports that rules name and nobody has.

use std::{collections::BTreeSet, net::IpAddr};

use hostfw_datapath::Direction;
use ipnet::IpNet;

use super::{Findings, Scene};
use crate::{
    cidr::{PrefixSource, PrefixTerm},
    entity::Entity,
    identity::{Kind, Known},
    l7::L7Rules,
    policy::{Peers, PolicyRule, Spec},
    ports::{Entry, Services},
    service_ref::{ServiceTerm, WhichServices},
    terms::{cidrs, leaves, named},
};

pub(super) const KNOWN_ADDRESSES: &str = "cidr-known-addresses";
pub(super) const NO_SUCH_GROUP: &str = "no-such-group";
pub(super) const NO_SUCH_SERVICE: &str = "no-such-service";
pub(super) const KNOWN_ENDPOINTS: &str = "service-known-addresses";
pub(super) const NO_SUCH_PORT: &str = "no-such-port";
pub(super) const NO_API_SERVER: &str = "no-api-server";
pub(super) const NAMES_WITHOUT_DNS: &str = "names-without-dns";

/// Addresses that a warning names before it says that there are more.
const NAMED: usize = 3;

pub(super) fn find(scene: &Scene<'_>, findings: &mut Findings) {
    let known = Known::of(scene.world, scene.node, scene.options);
    // Nobody means this host itself by a prefix that names others.
    let is_unmatched = |(_, identity): &&(IpAddr, usize)| {
        known.identities.get(*identity).is_some_and(|identity| {
            matches!(identity.kind, Kind::RemoteNode | Kind::Pod)
                && !identity.has_prefixes(scene.options)
        })
    };
    let unmatched: BTreeSet<IpAddr> =
        known.addresses.iter().filter(is_unmatched).map(|(address, _)| *address).collect();
    let port_names: BTreeSet<&str> = scene
        .world
        .pods
        .values()
        .flat_map(|pod| &pod.workload.ports)
        .map(|port| port.name.as_str())
        .collect();
    let asks_dns = scene.policies.iter().flat_map(|policy| policy.specs.iter()).any(has_dns_rule);
    for (number, policy) in scene.policies.iter().enumerate() {
        for spec in policy.specs.iter() {
            for rule in &spec.rules {
                for leaf in leaves(&rule.peers) {
                    peer(number, rule, leaf, &unmatched, asks_dns, scene, findings);
                }
                ports(number, spec, rule, &port_names, findings);
            }
        }
    }
}

fn peer(
    number: usize,
    rule: &PolicyRule,
    leaf: &Peers,
    unmatched: &BTreeSet<IpAddr>,
    asks_dns: bool,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    match leaf {
        Peers::Prefixes(terms) => {
            for term in terms {
                prefix(number, term, unmatched, scene, findings);
            }
        }
        Peers::Entities(entities)
            if *entities == [Entity::KubeApiserver] && scene.world.api_servers.is_empty() =>
        {
            let what = "no address of the API server is known, so this matches nobody";
            let instead = "the Endpoints object default/kubernetes in the cluster directory";
            findings.add(number, rule.at, NO_API_SERVER, what, instead);
        }
        Peers::Services(terms) => {
            for term in terms.iter().filter(|term| named(term, scene.world).is_empty()) {
                let what = format!("there is no service {}, so this matches nobody", shown(term));
                let instead = "a Service (and its EndpointSlices) of the cluster directory";
                findings.add(number, term.at, NO_SUCH_SERVICE, what, instead);
            }
            for term in terms {
                known_endpoints(number, term, unmatched, scene, findings);
            }
        }
        Peers::Names(_) if !asks_dns => {
            let what = "addresses of names are learned from answers that a DNS rule lets through, \
                        and there is none";
            let instead =
                "an egress rule to the DNS servers with rules: {dns: [{matchPattern: \"*\"}]}";
            findings.add(number, rule.at, NAMES_WITHOUT_DNS, what, instead);
        }
        Peers::Every
        | Peers::Nobody
        | Peers::Entities(_)
        | Peers::Endpoints(_)
        | Peers::Nodes(_)
        | Peers::Names(_)
        | Peers::AnyOf(_) => {}
    }
}

fn shown(term: &ServiceTerm) -> String {
    match &term.which {
        WhichServices::Named(namespace, name) => format!("{namespace}/{name}"),
        WhichServices::Selected(..) => "with these labels".to_owned(),
    }
}

fn has_dns_rule(spec: &Spec) -> bool {
    let is_dns =
        |entry: &Entry| entry.l7.as_ref().is_some_and(|l7| matches!(l7.rules, L7Rules::Dns(_)));
    spec.rules.iter().any(|rule| match &rule.services {
        Services::Every => false,
        Services::Only(entries) => entries.iter().any(is_dns),
    })
}

/// Names of ports that no pod has; a node's policy is refused for them.
fn ports(
    number: usize,
    spec: &Spec,
    rule: &PolicyRule,
    names: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let Services::Only(entries) = &rule.services else { return };
    if names.is_empty() || (spec.subjects.are_of_nodes() && rule.direction == Direction::Ingress) {
        return;
    }
    for port in entries.iter().flat_map(|entry| &entry.named) {
        if !names.contains(port.name.as_str()) {
            let what = format!("no known pod has a port named `{}`: it matches nothing", port.name);
            let known: Vec<&str> = names.iter().copied().collect();
            let nearest = crate::fields::nearest(&port.name, &known);
            let instead = nearest.map_or_else(
                || "the name as the container declares it, or the number".to_owned(),
                |name| format!("port: {name}"),
            );
            findings.add(number, port.at, NO_SUCH_PORT, what, instead);
        }
    }
}

fn prefix(
    number: usize,
    term: &PrefixTerm,
    unmatched: &BTreeSet<IpAddr>,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let cidrs = cidrs(term, scene.world);
    match &term.from {
        PrefixSource::Group(name) if !scene.world.cidr_groups.contains_key(name) => {
            let what = format!("there is no CiliumCIDRGroup `{name}`, so this matches nobody");
            let instead = "a group of the cluster directory";
            findings.add(number, term.at, NO_SUCH_GROUP, what, instead);
        }
        PrefixSource::Groups(_) if cidrs.is_empty() => {
            let what = "no CiliumCIDRGroup has these labels, so this matches nobody";
            let instead = "a group of the cluster directory";
            findings.add(number, term.at, NO_SUCH_GROUP, what, instead);
        }
        PrefixSource::Cidr(_) | PrefixSource::Group(_) | PrefixSource::Groups(_) => {}
    }
    for cidr in cidrs {
        known_addresses(number, cidr, term, unmatched, findings);
    }
}

fn known_addresses(
    number: usize,
    cidr: IpNet,
    term: &PrefixTerm,
    unmatched: &BTreeSet<IpAddr>,
    findings: &mut Findings,
) {
    let inside: Vec<&IpAddr> = unmatched
        .range(cidr.network()..=cidr.broadcast())
        .filter(|address| !term.except.iter().any(|left_out| left_out.contains(*address)))
        .take(NAMED + 1)
        .collect();
    if inside.is_empty() {
        return;
    }
    let what = format!("{cidr} does not match the nodes and pods inside it: {}", few(&inside));
    let instead = "fromEntities, fromNodes or fromEndpoints for them, or cidrMatch: [nodes, pods]";
    findings.add(number, term.at, KNOWN_ADDRESSES, what, instead);
}

/// Endpoints of Services without a selector match as prefixes do.
fn known_endpoints(
    number: usize,
    term: &ServiceTerm,
    unmatched: &BTreeSet<IpAddr>,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let fixed = named(term, scene.world).into_iter();
    let fixed = fixed.filter(|(_, service)| service.selector.is_empty());
    let addresses: BTreeSet<IpAddr> =
        fixed.flat_map(|(_, service)| service.addresses.iter().map(IpAddr::to_canonical)).collect();
    let known: Vec<&IpAddr> = addresses.intersection(unmatched).take(NAMED + 1).collect();
    if known.is_empty() {
        return;
    }
    let what = format!(
        "the service {} has no selector, and does not match the nodes and pods among its \
         endpoints: {}",
        shown(term),
        few(&known)
    );
    let instead = "toEntities, toNodes or toEndpoints for them, or cidrMatch: [nodes, pods]";
    findings.add(number, term.at, KNOWN_ENDPOINTS, what, instead);
}

/// The first addresses, and whether there are more.
fn few(addresses: &[&IpAddr]) -> String {
    let names: Vec<String> = addresses.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if addresses.len() > NAMED { " and more" } else { "" };
    names.join(", ") + more
}
