//! Reads networking.k8s.io/v1 NetworkPolicy into the same form as all other
//! policies (rule 25). It knows the fields of this kind only.

use std::sync::Arc;

use hostfw_datapath::Direction;

use crate::{
    cidr,
    complaint::Report,
    fields::{self, Fields},
    node::Dialect,
    policy::{Action, Peers, PolicyRule, Spec, Stance, Subjects, Tier},
    ports::{self, Entry as PortEntry, NamedPort, Service, Services},
    selector::{self, Selector},
    text::{self, Entry, Node, Value},
};

/// Reads the `spec` of a policy of a namespace.
pub(crate) fn read_spec(
    mut fields: Fields<'_>,
    namespace: &str,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<Spec> {
    let spec = fields.need("spec", report);
    fields.ignore(&["status", "metadata"]);
    fields.finish(report, |unknown| {
        ["podSelector", "ingress", "egress", "policyTypes"]
            .contains(&unknown)
            .then(|| format!("spec: {{{unknown}: ...}}, one level deeper"))
    });
    let spec = spec?;
    let mut fields = Fields::new(spec, "a spec", report)?;
    let pods = fields.take("podSelector");
    let ingress = fields.take_entry("ingress");
    let egress = fields.take_entry("egress");
    let types = fields.take("policyTypes");
    fields.finish(report, |unknown| match unknown {
        "endpointSelector" | "nodeSelector" => Some("podSelector:".to_owned()),
        "ingressDeny" | "egressDeny" => {
            Some("remove it: a NetworkPolicy only allows; deny in a CiliumNetworkPolicy".to_owned())
        }
        _ => None,
    });

    let subjects = read_pods_in(pods, namespace, report)?;
    let (names_ingress, names_egress) = read_types(types, report);
    let mut rules = Vec::new();
    for (list, direction) in [(ingress, Direction::Ingress), (egress, Direction::Egress)] {
        let Some(list) = list else { continue };
        for item in fields::list(&list.value, &list.key, report).unwrap_or_default() {
            rules.extend(read_rule(item, direction, namespace, dialect, report));
        }
    }
    rules.sort_by_key(|rule| rule.at);
    let any = |direction| rules.iter().any(|rule: &PolicyRule| rule.direction == direction);
    let stance = |in_force| if in_force { Stance::DefaultDeny } else { Stance::Untouched };
    Some(Spec {
        at: spec.at,
        subjects: Subjects::Pods(subjects),
        tier: Tier::Normal,
        ingress: stance(any(Direction::Ingress) || names_ingress || !names_egress),
        egress: stance(any(Direction::Egress) || names_egress),
        rules,
    })
}

/// Which directions `policyTypes` names.
fn read_types(node: Option<&Node>, report: &mut Report<'_>) -> (bool, bool) {
    let mut named = (false, false);
    let items = node.and_then(|node| fields::list(node, "policyTypes", report));
    for item in items.unwrap_or_default() {
        match fields::text(item, "policyTypes", report) {
            Some("Ingress") => named.0 = true,
            Some("Egress") => named.1 = true,
            Some(written) => {
                let what = format!("there is no policy type `{written}`");
                report.error(item.at, "bad-policy-type", what, "Ingress or Egress");
            }
            None => {}
        }
    }
    named
}

fn read_rule(
    node: &Node,
    direction: Direction,
    namespace: &str,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<PolicyRule> {
    let (owner, peers_name) = match direction {
        Direction::Ingress => ("an ingress rule", "from"),
        Direction::Egress => ("an egress rule", "to"),
    };
    let mut fields = Fields::new(node, owner, report)?;
    let peers = fields.take_entry(peers_name);
    let ports = fields.take("ports");
    let at = fields.at();
    fields.finish(report, |unknown| match (unknown, direction) {
        ("to", Direction::Ingress) => Some("from:".to_owned()),
        ("from", Direction::Egress) => Some("to:".to_owned()),
        ("podSelector" | "namespaceSelector" | "ipBlock", _) => {
            Some(format!("{peers_name}: [{{{unknown}: ...}}], one level deeper"))
        }
        ("fromEndpoints" | "toEndpoints", _) => {
            Some(format!("{peers_name}: [{{podSelector: ...}}]"))
        }
        ("toPorts", _) => Some("ports: [{port: 443, protocol: TCP}]".to_owned()),
        _ => None,
    });
    let peers = peers.map(|entry| read_peers(entry, namespace, dialect, report));
    let ports = ports.and_then(|node| fields::list(node, "ports", report)).unwrap_or_default();
    let services = if ports.is_empty() {
        Services::Every
    } else {
        let mut entry = PortEntry::default();
        for item in ports {
            read_port(item, &mut entry, report);
        }
        Services::Only(vec![entry])
    };
    let rule = PolicyRule {
        at,
        direction,
        action: Action::Allow,
        priority: 0,
        peers: peers.unwrap_or(Peers::Every),
        services,
        authentication: None,
        fingerprint: node.fingerprint(text::FINGERPRINT_SEED),
        summary: Arc::default(),
    };
    Some(rule.summed_up())
}

/// Missing and empty lists mean everyone.
fn read_peers(entry: &Entry, namespace: &str, dialect: &Dialect, report: &mut Report<'_>) -> Peers {
    let items = fields::list(&entry.value, &entry.key, report).unwrap_or_default();
    let mut endpoints = Vec::new();
    let mut prefixes = Vec::new();
    for item in items {
        let Some(mut fields) = Fields::new(item, "a peer", report) else { continue };
        let pods = fields.take("podSelector");
        let namespaces = fields.take("namespaceSelector");
        let block = fields.take_entry("ipBlock");
        fields.finish(report, |unknown| match unknown {
            "cidr" | "except" => Some(format!("ipBlock: {{{unknown}: ...}}, one level deeper")),
            "matchLabels" | "matchExpressions" => {
                Some(format!("podSelector: {{{unknown}: ...}}, one level deeper"))
            }
            _ => None,
        });
        match block {
            Some(block) => {
                if pods.is_some() || namespaces.is_some() {
                    let what = "`ipBlock` cannot stand beside selectors";
                    report.error(block.at, "two-peer-kinds", what, "a peer of its own");
                }
                prefixes.extend(cidr::read_block(&block.value, report));
            }
            None if pods.is_none() && namespaces.is_none() => {
                let what = "a peer names nobody";
                let instead = "podSelector: {} for the pods of this namespace";
                report.error(item.at, "missing-field", what, instead);
            }
            None => endpoints.extend(read_pods(pods, namespaces, Some(namespace), dialect, report)),
        }
    }
    match (endpoints.is_empty(), prefixes.is_empty()) {
        _ if items.is_empty() => Peers::Every,
        (true, _) => Peers::Prefixes(prefixes),
        (false, true) => Peers::Endpoints(endpoints),
        (false, false) => {
            Peers::AnyOf(vec![Peers::Endpoints(endpoints), Peers::Prefixes(prefixes)])
        }
    }
}

/// Pods by their own labels and those of their namespaces; without the latter
/// those of `own_namespace`, or of every one.
pub(crate) fn read_pods(
    pods: Option<&Node>,
    namespaces: Option<&Node>,
    own_namespace: Option<&str>,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<Selector> {
    let mut selector = match (namespaces, own_namespace) {
        (None, Some(own)) => read_pods_in(pods, own, report)?,
        (Some(_), _) | (None, None) => {
            let mut selector = match pods {
                Some(pods) => selector::read(pods, "podSelector", report)?,
                None => Selector::default(),
            };
            selector.of_objects();
            selector.in_namespaces(match namespaces {
                Some(namespaces) => selector::read(namespaces, "namespaceSelector", report)?,
                None => Selector::default(),
            });
            selector
        }
    };
    if dialect.default_local_cluster {
        selector.in_local_cluster();
    }
    Some(selector)
}

/// Pods of one namespace by their own labels. The namespace is a label too, and
/// as in rule 4 this one stands in place of what `matchLabels` says of it.
fn read_pods_in(pods: Option<&Node>, namespace: &str, report: &mut Report<'_>) -> Option<Selector> {
    let mut selector = match pods {
        Some(pods) => selector::read_without_namespace(pods, "podSelector", report)?,
        None => Selector::default(),
    };
    selector.of_objects();
    selector.in_namespace(namespace);
    Some(selector)
}

fn read_port(node: &Node, entry: &mut PortEntry, report: &mut Report<'_>) -> Option<()> {
    let mut fields = Fields::new(node, "a port", report)?;
    let port_node = fields.take("port");
    let end_node = fields.take("endPort");
    let protocol_node = fields.take("protocol");
    fields.finish(report, |_| None);
    let written = match protocol_node {
        None => "TCP",
        Some(node) => fields::text(node, "protocol", report)?,
    };
    let protocols: &'static [u8] = match written.to_ascii_uppercase().as_str() {
        "TCP" => &[ports::TCP],
        "UDP" => &[ports::UDP],
        "SCTP" => &[ports::SCTP],
        _ => {
            let at = protocol_node.unwrap_or(node).at;
            let what = format!("a NetworkPolicy knows no protocol `{written}`");
            report.error(at, "bad-protocol", what, "TCP, UDP or SCTP");
            return None;
        }
    };
    let (first, last) = match port_node {
        None => {
            if let Some(end) = end_node {
                let what = "a range has an `endPort` and no `port`";
                report.error(end.at, "bad-port", what, "port: 8000, beside it");
                return None;
            }
            (0, u16::MAX)
        }
        Some(port) => match port_number(port, report)? {
            ports::Number::Is(first) => ports::range(first, end_node, report)?,
            ports::Number::Named(name) => {
                let end = end_node.and_then(|node| ports::end(node, 0, report));
                let end = end.filter(|end| *end != 0);
                entry.named.push(NamedPort { at: port.at, name, protocols, end });
                return Some(());
            }
        },
    };
    let services = protocols.iter().map(|protocol| Service { protocol: *protocol, first, last });
    entry.services.extend(services);
    Some(())
}

/// Here a number needs no quotes; with them it is the same number.
fn port_number(node: &Node, report: &mut Report<'_>) -> Option<ports::Number> {
    match &node.value {
        Value::Number(written) => {
            let text = Node { at: node.at, value: Value::Text(written.clone()) };
            let number = ports::number(&text, report);
            if let Some(ports::Number::Named(_)) = number {
                // As `8e1` is one by its syntax.
                let what = format!("`{written}` is no port");
                report.error(node.at, "bad-port", what, "a plain decimal number");
                return None;
            }
            number
        }
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            ports::number(node, report)
        }
    }
}
