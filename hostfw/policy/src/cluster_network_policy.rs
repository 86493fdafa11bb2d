//! Reads policy.networking.k8s.io ClusterNetworkPolicy into the same form as
//! all other policies (rule 25): tiers, priorities, and actions that may leave
//! the decision to the next tier. It knows the fields of this kind only.

use std::sync::Arc;

use hostfw_datapath::Direction;

use crate::{
    cidr,
    complaint::Report,
    fields::{self, Fields},
    network_policy::read_pods,
    node::Dialect,
    policy::{Action, Peers, PolicyRule, Spec, Stance, Subjects, Tier},
    ports::{self, Entry as PortEntry, NamedPort, Service, Services},
    selector::Selector,
    text::{self, Entry, Node, Value},
};

/// Rules of one list; their numbers are the hundredths of a priority.
const MAX_RULES: usize = 100;

/// The largest `spec.priority`.
const MAX_PRIORITY: u32 = 1000;

/// Reads the `spec`.
pub(crate) fn read_spec(
    mut fields: Fields<'_>,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<Spec> {
    let spec = fields.need("spec", report);
    fields.ignore(&["status", "metadata"]);
    fields.finish(report, |unknown| {
        ["tier", "priority", "subject", "ingress", "egress"]
            .contains(&unknown)
            .then(|| format!("spec: {{{unknown}: ...}}, one level deeper"))
    });
    let spec = spec?;
    let mut fields = Fields::new(spec, "a spec", report)?;
    let tier = fields.need("tier", report);
    let priority = fields.need("priority", report);
    let subject = fields.need("subject", report);
    let lists = [
        (fields.take_entry("ingress"), Direction::Ingress),
        (fields.take_entry("egress"), Direction::Egress),
    ];
    fields.finish(report, |_| None);

    let tier = tier.and_then(|node| read_tier(node, report));
    let priority = priority.and_then(|node| read_priority(node, report));
    let subjects = subject.and_then(|node| read_subject(node, dialect, report));
    let mut rules = Vec::new();
    for (list, direction) in lists {
        let Some(list) = list else { continue };
        let items = fields::list(&list.value, &list.key, report).unwrap_or_default();
        if items.len() > MAX_RULES {
            let what = format!("{} rules in one list; {MAX_RULES} are possible", items.len());
            report.error(list.at, "too-many", what, "a second policy of the next priority");
        }
        for (number, item) in (0u32..).zip(items) {
            let priority = priority.unwrap_or(0) * 100 + number;
            rules.extend(read_rule(item, direction, priority, dialect, report));
        }
    }
    let mut written = lists.iter().filter_map(|(list, _)| *list);
    if written.all(|list| fields::is_empty_list(&list.value)) {
        let what = "this policy has no rule and puts nothing in force";
        report.warning(spec.at, "no-rules", what, "rules in `ingress` or `egress`");
    }
    rules.sort_by_key(|rule: &PolicyRule| rule.at);
    let stance = |direction| {
        let any = rules.iter().any(|rule| rule.direction == direction);
        if any { Stance::InForce } else { Stance::Untouched }
    };
    Some(Spec {
        at: spec.at,
        subjects: Subjects::Pods(subjects?),
        tier: tier?,
        ingress: stance(Direction::Ingress),
        egress: stance(Direction::Egress),
        rules,
    })
}

fn read_tier(node: &Node, report: &mut Report<'_>) -> Option<Tier> {
    match fields::text(node, "tier", report)? {
        "Admin" => Some(Tier::Admin),
        "Baseline" => Some(Tier::Baseline),
        written => {
            let what = format!("there is no tier `{written}`");
            report.error(node.at, "bad-tier", what, "Admin or Baseline");
            None
        }
    }
}

fn read_priority(node: &Node, report: &mut Report<'_>) -> Option<u32> {
    let number = match &node.value {
        Value::Number(written) => written.parse::<u32>().ok(),
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            let what = format!("`priority` must be a number, but is {}", node.kind());
            report.error(node.at, "wrong-type", what, "priority: 10");
            return None;
        }
    };
    let number = number.filter(|number| *number <= MAX_PRIORITY);
    if number.is_none() {
        let instead = format!("a number from 0 to {MAX_PRIORITY}");
        report.error(node.at, "bad-priority", "there is no such priority", instead);
    }
    number
}

fn read_subject(node: &Node, dialect: &Dialect, report: &mut Report<'_>) -> Option<Selector> {
    let mut fields = Fields::new(node, "a subject", report)?;
    let namespaces = fields.take("namespaces");
    let pods = fields.take("pods");
    fields.finish(report, |_| None);
    // A subject is on this node, so the cluster goes without saying.
    let anywhere = Dialect { default_local_cluster: false, ..*dialect };
    match (namespaces, pods) {
        (Some(namespaces), None) => read_pods(None, Some(namespaces), None, &anywhere, report),
        (None, Some(pods)) => read_namespaced_pods(pods, &anywhere, report),
        (None, None) | (Some(_), Some(_)) => {
            let what = "a subject names exactly one of namespaces and pods";
            report.error(node.at, "bad-selector", what, "subject: {namespaces: {}}");
            None
        }
    }
}

/// `pods: {namespaceSelector, podSelector}`.
fn read_namespaced_pods(
    node: &Node,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<Selector> {
    let mut fields = Fields::new(node, "pods", report)?;
    let namespaces = fields.take("namespaceSelector");
    let pods = fields.take("podSelector");
    fields.finish(report, |unknown| {
        unknown.starts_with("match").then(|| format!("podSelector: {{{unknown}: ...}}"))
    });
    read_pods(pods, namespaces, None, dialect, report)
}

fn read_rule(
    node: &Node,
    direction: Direction,
    priority: u32,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<PolicyRule> {
    let (owner, peers_name) = match direction {
        Direction::Ingress => ("an ingress rule", "from"),
        Direction::Egress => ("an egress rule", "to"),
    };
    let mut fields = Fields::new(node, owner, report)?;
    let action = fields.need("action", report);
    let peers = fields.take_entry(peers_name);
    let protocols = fields.take_entry("protocols");
    if let Some(name) = fields.take("name") {
        fields::text(name, "name", report);
    }
    let at = fields.at();
    fields.finish(report, |unknown| match (unknown, direction) {
        ("to", Direction::Ingress) => Some("from:".to_owned()),
        ("from", Direction::Egress) => Some("to:".to_owned()),
        ("ports" | "toPorts", _) => {
            Some("protocols: [{tcp: {destinationPort: {number: 443}}}]".to_owned())
        }
        _ => None,
    });
    let action = read_action(action?, report);
    let peers = match peers {
        Some(peers) => read_peers(peers, direction, dialect, report),
        None => {
            let what = format!("{owner} has no `{peers_name}`");
            report.error(
                at,
                "missing-field",
                what,
                format!("{peers_name}: [{{namespaces: {{}}}}]"),
            );
            Peers::Nobody
        }
    };
    let services = match protocols {
        None => Services::Every,
        Some(protocols) => read_protocols(protocols, report),
    };
    let rule = PolicyRule {
        at,
        direction,
        action: action?,
        priority,
        peers,
        services,
        authentication: None,
        fingerprint: node.fingerprint(text::FINGERPRINT_SEED),
        summary: Arc::default(),
    };
    Some(rule.summed_up())
}

fn read_action(node: &Node, report: &mut Report<'_>) -> Option<Action> {
    match fields::text(node, "action", report)? {
        "Accept" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" => Some(Action::Pass),
        written => {
            let what = format!("there is no action `{written}`");
            report.error(node.at, "bad-action", what, "Accept, Deny or Pass");
            None
        }
    }
}

fn read_peers(
    entry: &Entry,
    direction: Direction,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Peers {
    let mut endpoints = Vec::new();
    let mut prefixes = Vec::new();
    for item in items(entry, "- namespaces: {}", report) {
        let Some(mut fields) = Fields::new(item, "a peer", report) else { continue };
        let namespaces = fields.take("namespaces");
        let pods = fields.take("pods");
        let networks = match direction {
            Direction::Ingress => None,
            Direction::Egress => fields.take_entry("networks"),
        };
        let unsupported = match direction {
            Direction::Ingress => Vec::new(),
            Direction::Egress => ["nodes", "domainNames"]
                .into_iter()
                .filter_map(|name| fields.take_entry(name))
                .collect(),
        };
        fields.finish(report, |unknown| {
            (unknown == "ipBlock").then(|| "networks: [10.0.0.0/8]".to_owned())
        });
        for entry in &unsupported {
            let what = format!("`{}` is not supported here", entry.key);
            let instead = "networks, or a rule of a CiliumClusterwideNetworkPolicy";
            report.error(entry.at, "not-supported", what, instead);
        }
        let named = [namespaces, pods].iter().flatten().count()
            + usize::from(networks.is_some())
            + unsupported.len();
        if named != 1 {
            let what = "a peer names exactly one of namespaces, pods and networks";
            report.error(item.at, "two-peer-kinds", what, "a peer of its own for each");
        }
        if let Some(namespaces) = namespaces {
            endpoints.extend(read_pods(None, Some(namespaces), None, dialect, report));
        }
        if let Some(pods) = pods {
            endpoints.extend(read_namespaced_pods(pods, dialect, report));
        }
        if let Some(networks) = networks {
            for item in items(networks, "networks: [10.0.0.0/8]", report) {
                prefixes.extend(cidr::read_item(item, report));
            }
        }
    }
    match (endpoints.is_empty(), prefixes.is_empty()) {
        (true, true) => Peers::Nobody,
        (true, false) => Peers::Prefixes(prefixes),
        (false, true) => Peers::Endpoints(endpoints),
        (false, false) => {
            Peers::AnyOf(vec![Peers::Endpoints(endpoints), Peers::Prefixes(prefixes)])
        }
    }
}

/// The items of a list that needs one: an empty one would match nothing, and a
/// rule that denies would vanish.
fn items<'n>(list: &'n Entry, instead: &str, report: &mut Report<'_>) -> &'n [Node] {
    let items = fields::list(&list.value, &list.key, report);
    if items.is_some_and(<[Node]>::is_empty) {
        report.error(list.at, "missing-field", format!("`{}` is empty", list.key), instead);
    }
    items.unwrap_or_default()
}

/// `protocols`: each item is one of tcp, udp, sctp and destinationNamedPort.
fn read_protocols(list: &Entry, report: &mut Report<'_>) -> Services {
    let mut entry = PortEntry::default();
    for item in items(list, "protocols: [{tcp: {}}], or remove it for every service", report) {
        let Some(mut fields) = Fields::new(item, "a protocol", report) else { continue };
        let of = [("tcp", ports::TCP), ("udp", ports::UDP), ("sctp", ports::SCTP)]
            .map(|(name, protocol)| (fields.take(name), protocol));
        let named = fields.take("destinationNamedPort");
        fields.finish(report, |unknown| {
            let lower = unknown.to_ascii_lowercase();
            ["tcp", "udp", "sctp"].contains(&lower.as_str()).then(|| format!("{lower}:"))
        });
        if of.iter().filter(|(node, _)| node.is_some()).count() + usize::from(named.is_some()) != 1
        {
            let what = "a protocol is exactly one of tcp, udp, sctp and destinationNamedPort";
            report.error(item.at, "bad-protocol", what, "- tcp: {destinationPort: {number: 443}}");
        }
        for (node, protocol) in of {
            let range = node.and_then(|node| read_ports(node, report));
            entry.services.extend(range.map(|(first, last)| Service { protocol, first, last }));
        }
        if let Some(node) = named
            && let Some(name) = ports::name(node, "destinationNamedPort", report)
        {
            let protocols = &[ports::TCP, ports::UDP, ports::SCTP];
            entry.named.push(NamedPort { at: node.at, name, protocols, end: None });
        }
    }
    Services::Only(vec![entry])
}

/// `{destinationPort: {number} or {range: {start, end}}}`; without it every port.
fn read_ports(node: &Node, report: &mut Report<'_>) -> Option<(u16, u16)> {
    let mut fields = Fields::new(node, "a protocol", report)?;
    let port = fields.take("destinationPort");
    fields.finish(report, |_| None);
    let Some(port) = port else { return Some((0, u16::MAX)) };
    let mut fields = Fields::new(port, "destinationPort", report)?;
    let number = fields.take("number");
    let range = fields.take("range");
    fields.finish(report, |_| None);
    match (number, range) {
        (Some(number), None) => {
            let number = read_port(number, "number", report)?;
            Some((number, number))
        }
        (None, Some(range)) => {
            let mut fields = Fields::new(range, "range", report)?;
            let start = fields.need("start", report);
            let end = fields.need("end", report);
            fields.finish(report, |_| None);
            let start = read_port(start?, "start", report)?;
            let last = read_port(end?, "end", report)?;
            if last < start {
                let what = format!("the range ends at {last}, before {start}");
                report.error(range.at, "bad-port", what, "the smaller number as start");
            }
            Some((start, last))
        }
        (None, None) | (Some(_), Some(_)) => {
            let what = "destinationPort is exactly one of number and range";
            report.error(port.at, "bad-port", what, "destinationPort: {number: 443}");
            None
        }
    }
}

fn read_port(node: &Node, name: &str, report: &mut Report<'_>) -> Option<u16> {
    let number = match &node.value {
        Value::Number(written) => written.parse::<u16>().ok().filter(|number| *number > 0),
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            let what = format!("`{name}` must be a number, but is {}", node.kind());
            report.error(node.at, "wrong-type", what, format!("{name}: 443"));
            return None;
        }
    };
    if number.is_none() {
        report.error(node.at, "bad-port", "there is no such port", "a number from 1 to 65535");
    }
    number
}
