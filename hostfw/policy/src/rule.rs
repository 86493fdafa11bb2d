//! Reads the rule lists of a `spec`. It knows the fields of rules and which of
//! them may stand together, and leaves the content of each to its own module.

use hostfw_datapath::Direction;

use crate::{
    cidr,
    complaint::Report,
    entity,
    fields::{self, Fields},
    icmp,
    policy::{Peers, PolicyRule},
    ports::{self, Services},
    selector::{self, Selector},
    text::{self, Entry, Node, Value},
};

/// Reads one of the four lists.
pub(crate) fn read_list(
    list: &Entry,
    direction: Direction,
    deny: bool,
    report: &mut Report<'_>,
) -> Vec<PolicyRule> {
    let items = fields::list(&list.value, &list.key, report).unwrap_or_default();
    items.iter().filter_map(|item| read(item, direction, deny, report)).collect()
}

fn read(
    node: &Node,
    direction: Direction,
    deny: bool,
    report: &mut Report<'_>,
) -> Option<PolicyRule> {
    if node.value == Value::Null {
        let instead = "- {} for a rule that only puts the direction in force";
        report.error(node.at, "wrong-type", "a rule is empty", instead);
        return None;
    }
    let owner = match (direction, deny) {
        (Direction::Ingress, false) => "an ingress rule",
        (Direction::Ingress, true) => "an ingressDeny rule",
        (Direction::Egress, false) => "an egress rule",
        (Direction::Egress, true) => "an egressDeny rule",
    };
    let mut fields = Fields::new(node, owner, report)?;
    let peers = read_peers(&mut fields, direction, report);
    let ports = fields.take_entry("toPorts");
    let icmps = fields.take_entry("icmps");
    refuse_unsupported(&mut fields, direction, deny, report);
    let at = fields.at();
    fields.finish(report, |unknown| misplaced(unknown, direction));

    if let (Some(_), Some(icmps)) = (non_empty(ports), non_empty(icmps)) {
        let what = "`icmps` and `toPorts` cannot stand in one rule";
        report.error(icmps.at, "icmps-and-ports", what, "a rule of its own for `icmps`");
    }
    let services = read_services(peers.is_some(), ports, icmps, deny, report);
    Some(PolicyRule {
        at,
        direction,
        deny,
        peers: peers.unwrap_or(Peers::Every),
        services,
        fingerprint: node.fingerprint(text::FINGERPRINT_SEED),
    })
}

/// The services of a rule. Peers alone mean every service, empty lists count as
/// missing; entries without content add nothing; nothing at all matches nothing.
fn read_services(
    has_peers: bool,
    ports: Option<&Entry>,
    icmps: Option<&Entry>,
    deny: bool,
    report: &mut Report<'_>,
) -> Services {
    let written = non_empty(ports).is_some() || non_empty(icmps).is_some();
    let mut services = Vec::new();
    if let Some(entry) = ports {
        services.extend(ports::read_list(&entry.value, deny, report));
    }
    if let Some(entry) = icmps {
        services.extend(icmp::read_list(&entry.value, report));
    }
    if has_peers && !written { Services::Every } else { Services::Only(services) }
}

fn non_empty(entry: Option<&Entry>) -> Option<&Entry> {
    entry.filter(|entry| !matches!(&entry.value.value, Value::List(items) if items.is_empty()))
}

/// Field names of peers by direction, in the order of [`Peers`].
fn peer_fields(direction: Direction) -> [&'static str; 5] {
    match direction {
        Direction::Ingress => {
            ["fromCIDR", "fromCIDRSet", "fromEntities", "fromEndpoints", "fromNodes"]
        }
        Direction::Egress => ["toCIDR", "toCIDRSet", "toEntities", "toEndpoints", "toNodes"],
    }
}

fn read_peers(
    fields: &mut Fields<'_>,
    direction: Direction,
    report: &mut Report<'_>,
) -> Option<Peers> {
    let names = peer_fields(direction);
    let entries = names.map(|name| fields.take_entry(name));
    let mut written = entries.iter().flatten().filter(|entry| non_empty(Some(entry)).is_some());
    if let (Some(first), Some(second)) = (written.next(), written.next()) {
        let what = format!("`{}` and `{}` cannot stand in one rule", first.key, second.key);
        let instead = format!("a rule of its own for `{}`", second.key);
        report.error(second.at, "two-peer-kinds", what, instead);
    }
    let any_empty = entries.iter().flatten().any(|entry| non_empty(Some(entry)).is_none());

    let [cidr, cidr_set, entities, endpoints, nodes] = entries;
    let mut peers = None;
    if let Some(entry) = cidr {
        peers = Some(Peers::Prefixes(cidr::read_list(&entry.value, &entry.key, report)));
    }
    if let Some(entry) = cidr_set {
        peers = Some(Peers::Prefixes(cidr::read_set(&entry.value, &entry.key, report)));
    }
    if let Some(entry) = entities {
        peers = Some(Peers::Entities(entity::read_list(&entry.value, &entry.key, report)));
    }
    if let Some(entry) = endpoints {
        let selectors = read_selectors(entry, names[3], report);
        let among_pods = selectors.into_iter().map(Selector::among_pods).collect();
        peers = Some(Peers::Endpoints(among_pods));
    }
    if let Some(entry) = nodes {
        peers = Some(Peers::Nodes(read_selectors(entry, names[4], report)));
    }
    if any_empty { Some(Peers::Nobody) } else { peers }
}

fn read_selectors(entry: &Entry, name: &'static str, report: &mut Report<'_>) -> Vec<Selector> {
    let items = fields::list(&entry.value, &entry.key, report).unwrap_or_default();
    items.iter().filter_map(|item| selector::read(item, name, report)).collect()
}

/// Fields of the language that hostfw does not enforce on nodes.
fn refuse_unsupported(
    fields: &mut Fields<'_>,
    direction: Direction,
    deny: bool,
    report: &mut Report<'_>,
) {
    let by_direction: &[(&'static str, &str)] = match direction {
        Direction::Ingress => &[
            ("fromGroups", "groups of a cloud provider are not supported; name their prefixes"),
            ("fromRequires", "it was removed from the language; put the terms into the selectors"),
        ],
        Direction::Egress if deny => &[
            ("toServices", "services are not supported on nodes yet; name the addresses in toCIDR"),
            ("toGroups", "groups of a cloud provider are not supported; name their prefixes"),
            ("toRequires", "it was removed from the language; put the terms into the selectors"),
        ],
        Direction::Egress => &[
            ("toFQDNs", "names are not supported on nodes yet; name the addresses in toCIDR"),
            ("toServices", "services are not supported on nodes yet; name the addresses in toCIDR"),
            ("toGroups", "groups of a cloud provider are not supported; name their prefixes"),
            ("toRequires", "it was removed from the language; put the terms into the selectors"),
        ],
    };
    let authentication = ("authentication", "mutual authentication is not supported; remove it");
    let both = by_direction.iter().chain((!deny).then_some(&authentication));
    for (name, why) in both {
        if let Some(entry) = fields.take_entry(name) {
            let what = format!("`{name}` has no effect on a node");
            report.error(entry.at, "not-supported", what, *why);
        }
    }
}

/// What an unknown field of a rule was probably meant to be.
fn misplaced(unknown: &str, direction: Direction) -> Option<String> {
    let turned = match direction {
        Direction::Ingress => unknown.strip_prefix("to").map(|rest| format!("from{rest}")),
        Direction::Egress => unknown.strip_prefix("from").map(|rest| format!("to{rest}")),
    };
    if let Some(turned) = turned.filter(|turned| peer_fields(direction).contains(&turned.as_str()))
    {
        return Some(format!("{turned}:"));
    }
    let instead = match unknown {
        "toFQDNs" | "toServices" => "names and services belong under `egress`",
        "fromPorts" => "toPorts: in both directions it names the port that is connected to",
        "ports" | "port" | "protocol" => "toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]",
        "rules" => "remove it: it belongs into an entry of toPorts, and never in a node's policy",
        "from" | "to" | "podSelector" | "namespaceSelector" | "ipBlock" => {
            "fromEndpoints, fromCIDR or fromEntities: this is no NetworkPolicy"
        }
        "cidr" | "except" => "fromCIDRSet: [{cidr: ..., except: [...]}]",
        "priority" | "order" | "tier" => "remove it: the order of rules has no meaning, deny wins",
        _ => return None,
    };
    Some(instead.to_owned())
}
