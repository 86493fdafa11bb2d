//! Reads the rule lists of a Cilium `spec`. It knows the fields of rules and
//! which of them may stand together, and leaves the content of each to its own
//! module.

use std::sync::Arc;

use hostfw_datapath::Direction;

use crate::{
    cidr,
    complaint::Report,
    entity,
    fields::{self, Fields},
    fqdn, icmp,
    node::Dialect,
    policy::{Action, Authentication, Peers, PolicyRule},
    ports::{self, Entry as PortEntry, Place, Services},
    selector::{self, Selector},
    service_ref,
    text::{self, Entry, Node, Value},
};

/// Which list of which policy is read.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) direction: Direction,
    pub(crate) deny: bool,
    /// The policy selects nodes.
    pub(crate) for_nodes: bool,
    /// The namespace of the policy, where it has one.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) dialect: &'a Dialect,
}

/// Reads one of the four lists.
pub(crate) fn read_list(
    list: &Entry,
    context: Context<'_>,
    report: &mut Report<'_>,
) -> Vec<PolicyRule> {
    let items = fields::list(&list.value, &list.key, report).unwrap_or_default();
    items.iter().filter_map(|item| read(item, context, report)).collect()
}

fn read(node: &Node, context: Context<'_>, report: &mut Report<'_>) -> Option<PolicyRule> {
    if node.value == Value::Null {
        let instead = "- {} for a rule that only puts the direction in force";
        report.error(node.at, "wrong-type", "a rule is empty", instead);
        return None;
    }
    let Context { direction, deny, .. } = context;
    let owner = match (direction, deny) {
        (Direction::Ingress, false) => "an ingress rule",
        (Direction::Ingress, true) => "an ingressDeny rule",
        (Direction::Egress, false) => "an egress rule",
        (Direction::Egress, true) => "an egressDeny rule",
    };
    let mut fields = Fields::new(node, owner, report)?;
    let peers = read_peers(&mut fields, context, report);
    let ports = fields.take_entry("toPorts");
    let icmps = fields.take_entry("icmps");
    let authentication = if deny { None } else { fields.take("authentication") };
    refuse_unsupported(&mut fields, direction, report);
    let at = fields.at();
    fields.finish(report, |unknown| misplaced(unknown, context));

    if let (Some(_), Some(icmps)) = (non_empty(ports), non_empty(icmps)) {
        let what = "`icmps` and `toPorts` cannot stand in one rule";
        report.error(icmps.at, "icmps-and-ports", what, "a rule of its own for `icmps`");
    }
    let services = read_services(peers.is_some(), ports, icmps, context, report);
    let rule = PolicyRule {
        at,
        direction,
        action: if deny { Action::Deny } else { Action::Allow },
        priority: 0,
        peers: peers.unwrap_or(Peers::Every),
        services,
        authentication: authentication.and_then(|node| read_authentication(node, report)),
        fingerprint: node.fingerprint(text::FINGERPRINT_SEED),
        summary: Arc::default(),
    };
    Some(rule.summed_up())
}

/// The services of a rule. Peers alone mean every service, empty lists count as
/// missing; entries without content add nothing; nothing at all matches nothing.
fn read_services(
    has_peers: bool,
    ports: Option<&Entry>,
    icmps: Option<&Entry>,
    context: Context<'_>,
    report: &mut Report<'_>,
) -> Services {
    let written = non_empty(ports).is_some() || non_empty(icmps).is_some();
    let mut entries = Vec::new();
    if let Some(entry) = ports {
        let place = Place {
            direction: context.direction,
            deny: context.deny,
            for_nodes: context.for_nodes,
            is_clusterwide: context.namespace.is_none(),
            dialect: context.dialect,
        };
        entries.extend(ports::read_list(&entry.value, &place, report));
    }
    if let Some(entry) = icmps {
        entries.push(PortEntry::from(icmp::read_list(&entry.value, report)));
    }
    if has_peers && !written { Services::Every } else { Services::Only(entries) }
}

fn read_authentication(node: &Node, report: &mut Report<'_>) -> Option<Authentication> {
    let mut fields = Fields::new(node, "authentication", report)?;
    let mode = fields.need("mode", report);
    fields.finish(report, |_| None);
    let mode = mode?;
    match fields::text(mode, "mode", report)? {
        "disabled" => Some(Authentication::Disabled),
        "required" => Some(Authentication::Required),
        "test-always-fail" => Some(Authentication::AlwaysFail),
        written => {
            let what = format!("there is no authentication mode `{written}`");
            report.error(mode.at, "bad-authentication", what, "required or disabled");
            None
        }
    }
}

fn non_empty(entry: Option<&Entry>) -> Option<&Entry> {
    entry.filter(|entry| !matches!(&entry.value.value, Value::List(items) if items.is_empty()))
}

/// Field names of peers by direction.
fn peer_fields(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::Ingress => {
            &["fromCIDR", "fromCIDRSet", "fromEntities", "fromEndpoints", "fromNodes"]
        }
        Direction::Egress => &[
            "toCIDR",
            "toCIDRSet",
            "toEntities",
            "toEndpoints",
            "toNodes",
            "toFQDNs",
            "toServices",
        ],
    }
}

fn read_peers(
    fields: &mut Fields<'_>,
    context: Context<'_>,
    report: &mut Report<'_>,
) -> Option<Peers> {
    // A deny rule cannot name what is only learned later.
    let names = peer_fields(context.direction);
    let names = names.iter().filter(|name| !context.deny || **name != "toFQDNs");
    let mut entries: Vec<&Entry> = names.filter_map(|name| fields.take_entry(name)).collect();
    entries.sort_by_key(|entry| entry.at);
    let mut written = entries.iter().filter(|entry| non_empty(Some(entry)).is_some());
    if let (Some(first), Some(second)) = (written.next(), written.next()) {
        let what = format!("`{}` and `{}` cannot stand in one rule", first.key, second.key);
        let instead = format!("a rule of its own for `{}`", second.key);
        report.error(second.at, "two-peer-kinds", what, instead);
    }
    let mut peers = None;
    let mut any_empty = false;
    for entry in entries {
        any_empty |= non_empty(Some(entry)).is_none();
        peers = read_peer_list(entry, context, report).or(peers);
    }
    if any_empty { Some(Peers::Nobody) } else { peers }
}

fn read_peer_list(entry: &Entry, context: Context<'_>, report: &mut Report<'_>) -> Option<Peers> {
    let (node, key) = (&entry.value, entry.key.as_str());
    Some(match key {
        "fromCIDR" | "toCIDR" => Peers::Prefixes(cidr::read_list(node, key, report)),
        "fromCIDRSet" | "toCIDRSet" => Peers::Prefixes(cidr::read_set(node, key, report)),
        "fromEntities" | "toEntities" => Peers::Entities(entity::read_list(node, key, report)),
        "fromEndpoints" | "toEndpoints" => {
            let selectors = read_selectors(entry, report).into_iter();
            let among = |one: Selector| one.among_pods(context.namespace, context.dialect);
            Peers::Endpoints(selectors.map(among).collect())
        }
        "toFQDNs" => {
            if non_empty(Some(entry)).is_none() {
                let what = "an empty `toFQDNs` would mean everyone where ports are given";
                let instead = "the names, or remove the field to mean everyone";
                report.error(entry.at, "empty-names", what, instead);
            }
            Peers::Names(fqdn::read_list(node, key, report))
        }
        "toServices" => {
            Peers::Services(service_ref::read_list(node, key, context.namespace, report))
        }
        _ => {
            if !context.dialect.node_selectors {
                let what = format!("`{key}` needs node selectors, which are off");
                report.error(entry.at, "not-supported", what, "fromEntities: [remote-node]");
            }
            Peers::Nodes(read_selectors(entry, report))
        }
    })
}

fn read_selectors(entry: &Entry, report: &mut Report<'_>) -> Vec<Selector> {
    let name = if entry.key.ends_with("Nodes") { "fromNodes" } else { "fromEndpoints" };
    let items = fields::list(&entry.value, &entry.key, report).unwrap_or_default();
    items.iter().filter_map(|item| selector::read(item, name, report)).collect()
}

/// Fields of the language that nothing here can give a meaning.
fn refuse_unsupported(fields: &mut Fields<'_>, direction: Direction, report: &mut Report<'_>) {
    const GROUPS: &str = "groups of a cloud provider are not supported; name their prefixes";
    const REQUIRES: &str = "it was removed from the language; put the terms into the selectors";
    let unsupported = match direction {
        Direction::Ingress => [("fromGroups", GROUPS), ("fromRequires", REQUIRES)],
        Direction::Egress => [("toGroups", GROUPS), ("toRequires", REQUIRES)],
    };
    for (name, why) in unsupported {
        if let Some(entry) =
            fields.take_entry(name).filter(|entry| non_empty(Some(entry)).is_some())
        {
            report.error(entry.at, "not-supported", format!("`{name}` has no effect"), why);
        }
    }
}

/// What an unknown field of a rule was probably meant to be.
fn misplaced(unknown: &str, context: Context<'_>) -> Option<String> {
    let turned = match context.direction {
        Direction::Ingress => unknown.strip_prefix("to").map(|rest| format!("from{rest}")),
        Direction::Egress => unknown.strip_prefix("from").map(|rest| format!("to{rest}")),
    };
    let known = peer_fields(context.direction);
    if let Some(turned) = turned.filter(|turned| known.contains(&turned.as_str())) {
        return Some(format!("{turned}:"));
    }
    let instead = match unknown {
        "toFQDNs" if context.direction == Direction::Egress => {
            "toCIDR: addresses of names are learned, so a deny rule cannot rely on them"
        }
        "toFQDNs" | "toServices" => "names and services belong under `egress`",
        "fromPorts" => "toPorts: in both directions it names the port that is connected to",
        "ports" | "port" | "protocol" => "toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]",
        "rules" => "toPorts: [{ports: [...], rules: ...}], one level deeper",
        "authentication" => "remove it: what is denied needs no proof",
        "from" | "to" | "podSelector" | "namespaceSelector" | "ipBlock" => {
            "fromEndpoints, fromCIDR or fromEntities: this is no NetworkPolicy"
        }
        "cidr" | "except" => "fromCIDRSet: [{cidr: ..., except: [...]}]",
        "priority" | "order" | "tier" => "remove it: the order of rules has no meaning, deny wins",
        _ => return None,
    };
    Some(instead.to_owned())
}
