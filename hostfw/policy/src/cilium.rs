//! Reads the `spec` and `specs` of CiliumNetworkPolicy and
//! CiliumClusterwideNetworkPolicy: whom they select and what they put in force.
//! Their rules are read in `rule`.

use hostfw_datapath::Direction;

use crate::{
    complaint::Report,
    fields::{self, Fields},
    node::Dialect,
    policy::{Spec, Stance, Subjects, Tier},
    rule::{self, Context},
    selector,
    text::{Entry, Node, Position, Value},
};

/// Reads the parts of a policy; `namespace` is `None` for a clusterwide one.
pub(crate) fn read_specs(
    mut fields: Fields<'_>,
    namespace: Option<&str>,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Vec<Spec> {
    let spec = fields.take("spec");
    let specs = fields.take_entry("specs");
    fields.ignore(&["status", "metadata"]);
    let at = fields.at();
    fields.finish(report, |unknown| {
        let inner = [
            "ingress",
            "egress",
            "ingressDeny",
            "egressDeny",
            "nodeSelector",
            "endpointSelector",
            "description",
        ];
        inner.contains(&unknown).then(|| format!("spec: {{{unknown}: ...}}, one level deeper"))
    });
    if spec.is_none() && specs.is_none() {
        let what = "the policy has neither `spec` nor `specs`";
        let selector = if namespace.is_some() { "endpointSelector" } else { "nodeSelector" };
        let instead = format!("spec: {{{selector}: {{}}, ingress: [...]}}");
        report.error(at, "missing-field", what, instead);
    }
    if let Some(specs) = specs.filter(|specs| fields::is_empty_list(&specs.value)) {
        let what = "`specs` is empty, and so without effect";
        report.warning(specs.at, "no-parts", what, "specs: [{...}], or remove it");
    }
    let many = specs.and_then(|specs| fields::list(&specs.value, "specs", report));
    let parts = spec.into_iter().chain(many.unwrap_or_default());
    parts.filter_map(|part| read_spec(part, namespace, dialect, report)).collect()
}

fn read_spec(
    node: &Node,
    namespace: Option<&str>,
    dialect: &Dialect,
    report: &mut Report<'_>,
) -> Option<Spec> {
    let mut fields = Fields::new(node, "a spec", report)?;
    let nodes = fields.take_entry("nodeSelector");
    let endpoints = fields.take_entry("endpointSelector");
    let at = fields.at();
    let lists = [
        ("ingress", Direction::Ingress, false),
        ("ingressDeny", Direction::Ingress, true),
        ("egress", Direction::Egress, false),
        ("egressDeny", Direction::Egress, true),
    ]
    .map(|(name, direction, deny)| (fields.take_entry(name), direction, deny));
    let default_deny = fields.take("enableDefaultDeny");
    let description = fields.take("description");
    let log = fields.take("log");
    let labels = fields.take("labels");
    fields.finish(report, |unknown| match unknown {
        "podSelector" => Some("nodeSelector, or endpointSelector in a policy for pods".to_owned()),
        "policyTypes" => Some("remove it: the lists that are written count".to_owned()),
        "toPorts" | "icmps" | "fromCIDR" | "fromEntities" | "fromEndpoints" => {
            Some(format!("ingress: [{{{unknown}: ...}}], one level deeper"))
        }
        "toCIDR" | "toEntities" | "toEndpoints" | "toFQDNs" => {
            Some(format!("egress: [{{{unknown}: ...}}], one level deeper"))
        }
        _ => None,
    });

    if let Some(description) = description {
        fields::text(description, "description", report);
    }
    read_log(log, report);
    check_labels(labels, report);
    let written = lists.iter().filter_map(|(list, _, _)| *list);
    if written.clone().all(|list| fields::is_empty_list(&list.value)) {
        // Nothing would be in force, and nobody writes a policy for that.
        let (at, what) = match written.map(|list| list.at).min() {
            Some(at) => (at, "a spec has no rule, so it would put nothing in force"),
            None => (at, "a spec has no list of rules"),
        };
        report.error(at, "missing-field", what, "ingress: [{}] to deny all that is not allowed");
    }
    let subjects = read_subjects(nodes, endpoints, namespace, at, report);
    let default_deny = read_default_deny(default_deny, report);
    let mut rules = Vec::new();
    for (list, direction, deny) in lists {
        if let Some(list) = list {
            let for_nodes = nodes.is_some();
            let context = Context { direction, deny, for_nodes, namespace, dialect };
            rules.extend(rule::read_list(list, context, report));
        }
    }
    // Ids follow the document, whatever order the lists stand in.
    rules.sort_by_key(|rule| rule.at);
    let stance = |direction, denies| {
        if !rules.iter().any(|rule| rule.direction == direction) {
            Stance::Untouched
        } else if denies {
            Stance::DefaultDeny
        } else {
            Stance::InForce
        }
    };
    Some(Spec {
        at: node.at,
        subjects: subjects?,
        tier: Tier::Normal,
        ingress: stance(Direction::Ingress, default_deny.0),
        egress: stance(Direction::Egress, default_deny.1),
        rules,
    })
}

fn read_subjects(
    nodes: Option<&Entry>,
    endpoints: Option<&Entry>,
    namespace: Option<&str>,
    at: Position,
    report: &mut Report<'_>,
) -> Option<Subjects> {
    match (nodes, endpoints) {
        (Some(nodes), Some(_)) => {
            let what = "a spec selects either nodes or pods, not both";
            report.error(nodes.at, "bad-selector", what, "one of nodeSelector, endpointSelector");
            None
        }
        (None, None) if namespace.is_some() => {
            let what = "a spec has no `endpointSelector`";
            report.error(at, "missing-field", what, "endpointSelector: {} for every pod");
            None
        }
        (None, None) => {
            let what = "a spec has neither `nodeSelector` nor `endpointSelector`";
            report.error(at, "missing-field", what, "nodeSelector: {} for every node");
            None
        }
        (Some(nodes), None) if namespace.is_some() => {
            let what = "a policy of a namespace cannot select nodes";
            let instead = "kind: CiliumClusterwideNetworkPolicy";
            report.error(nodes.at, "bad-selector", what, instead);
            None
        }
        (Some(nodes), None) => {
            selector::read(&nodes.value, "nodeSelector", report).map(Subjects::Nodes)
        }
        (None, Some(pods)) => match namespace {
            Some(own) => selector::read_in_namespace(&pods.value, "endpointSelector", own, report),
            None => selector::read(&pods.value, "endpointSelector", report),
        }
        .map(Subjects::Pods),
    }
}

fn read_default_deny(node: Option<&Node>, report: &mut Report<'_>) -> (bool, bool) {
    let fields = node.and_then(|node| Fields::new(node, "enableDefaultDeny", report));
    let Some(mut fields) = fields else { return (true, true) };
    let ingress = fields.take("ingress");
    let egress = fields.take("egress");
    fields.finish(report, |_| None);
    let mut read = |node: Option<&Node>, name| {
        node.and_then(|node| fields::truth(node, name, report)).unwrap_or(true)
    };
    (read(ingress, "ingress"), read(egress, "egress"))
}

/// `labels` only name the policy in listings: each is a text, or in parts.
fn check_labels(node: Option<&Node>, report: &mut Report<'_>) {
    let items = node.and_then(|node| fields::list(node, "labels", report)).unwrap_or_default();
    for item in items {
        if !matches!(item.value, Value::Map(_)) {
            fields::name(item, "labels", report);
            continue;
        }
        let Some(mut fields) = Fields::new(item, "a label", report) else { continue };
        let key = fields.need("key", report);
        let others = ["value", "source"].map(|name| (name, fields.take(name)));
        fields.finish(report, |_| None);
        if let Some(key) = key {
            fields::name(key, "key", report);
        }
        for (name, node) in others {
            if let Some(node) = node {
                fields::text(node, name, report);
            }
        }
    }
}

/// `log.value` marks events.
fn read_log(node: Option<&Node>, report: &mut Report<'_>) {
    let fields = node.and_then(|node| Fields::new(node, "log", report));
    let Some(mut fields) = fields else { return };
    let value = fields.take("value");
    fields.finish(report, |_| None);
    if let Some(value) = value {
        fields::text(value, "value", report);
    }
}
