//! Reads the files of the policy directory: which documents they hold, which of
//! them concern nodes, and whether two bear one name. It knows the frame of a
//! policy; its rules are read in `rule`.

use std::collections::BTreeMap;

use hostfw_datapath::Direction;

use crate::{
    complaint::{Complaint, Report, Source},
    fields::{self, Fields},
    policy::{Policy, Spec},
    rule, selector,
    text::{self, Node, Value},
};

/// Reads every policy of a directory, in the order of the paths. Nothing of it
/// may be put in force when a complaint is an [`crate::Severity::Error`].
pub fn read_policies(sources: &[Source]) -> (Vec<Policy>, Vec<Complaint>) {
    let mut in_order: Vec<&Source> = sources.iter().collect();
    in_order.sort_by(|left, right| left.path.cmp(&right.path));
    let mut policies = Vec::new();
    let mut complaints = Vec::new();
    let mut names: BTreeMap<(&'static str, String), (&str, u32)> = BTreeMap::new();
    for source in in_order {
        let mut report = Report::new(source);
        for document in text::documents(&mut report) {
            read_document(&document, &mut report, &mut |kind, policy, report| {
                let place = (source.path.as_str(), policy.at.line);
                if let Some((path, line)) = names.get(&(kind, policy.name.clone())) {
                    let what = format!(
                        "a second {kind} has the name `{}`; the first stands at {path}:{line}",
                        policy.name
                    );
                    let instead = "another name, or only one of the two";
                    report.error(policy.at, "duplicate-name", what, instead);
                } else {
                    names.insert((kind, policy.name.clone()), place);
                }
                policies.push(policy);
            });
        }
        complaints.extend(report.finish());
    }
    (policies, complaints)
}

/// Kinds that describe the world instead of a policy.
pub(crate) const WORLD_KINDS: [&str; 6] =
    ["Node", "Pod", "Namespace", "CiliumCIDRGroup", "Endpoints", "EndpointSlice"];

/// Kinds of policies, with the version that is read.
pub(crate) const POLICY_KINDS: [(&str, &str); 4] = [
    (CLUSTERWIDE, "cilium.io/v2"),
    ("CiliumNetworkPolicy", "cilium.io/v2"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
];

const CLUSTERWIDE: &str = "CiliumClusterwideNetworkPolicy";

type Found<'f> = &'f mut dyn FnMut(&'static str, Policy, &mut Report<'_>);

fn read_document(node: &Node, report: &mut Report<'_>, found: Found<'_>) {
    let Some(mut fields) = Fields::new(node, "a document", report) else { return };
    let version = fields.need("apiVersion", report);
    let kind = fields.need("kind", report);
    let (Some(version), Some(kind_node)) = (version, kind) else { return };
    let version_text = fields::text(version, "apiVersion", report);
    let Some(written) = fields::text(kind_node, "kind", report) else { return };

    if is_list(written) {
        let items = fields.need("items", report);
        fields.ignore(&["metadata"]);
        fields.finish(report, |_| None);
        let items = items.and_then(|items| fields::list(items, "items", report));
        for item in items.unwrap_or_default() {
            // A list in a list is nowhere produced; depth stays bounded anyway.
            read_document(item, report, found);
        }
        return;
    }
    let Some((kind, expected)) = POLICY_KINDS.iter().find(|(kind, _)| *kind == written) else {
        refuse_kind(kind_node, written, report);
        return;
    };
    if let Some(text) = version_text.filter(|text| text != expected) {
        let what = format!("`{text}` is not the version of {kind} that is understood");
        report.error(version.at, "wrong-version", what, format!("apiVersion: {expected}"));
    }
    let policy = if *kind == CLUSTERWIDE {
        read_clusterwide(node, fields, report)
    } else {
        read_for_pods(node, kind, fields, report)
    };
    if let Some(policy) = policy {
        found(kind, policy, report);
    }
}

fn is_list(kind: &str) -> bool {
    kind == "List"
        || kind.strip_suffix("List").is_some_and(|kind| {
            POLICY_KINDS.iter().any(|(known, _)| *known == kind) || WORLD_KINDS.contains(&kind)
        })
}

fn refuse_kind(node: &Node, written: &str, report: &mut Report<'_>) {
    let instead = if WORLD_KINDS.contains(&written) {
        "move the document to the cluster directory".to_owned()
    } else {
        let known: Vec<_> = POLICY_KINDS.iter().map(|(kind, _)| *kind).collect();
        let nearest = fields::nearest(written, &known).unwrap_or(CLUSTERWIDE);
        format!("kind: {nearest}, or remove the document from this directory")
    };
    report.error(node.at, "wrong-kind", format!("`{written}` is no kind of policy"), instead);
}

/// `metadata.name`, and the namespace where there is one.
fn read_metadata<'n>(
    node: Option<&'n Node>,
    report: &mut Report<'_>,
) -> Option<(&'n str, Option<&'n Node>)> {
    let mut fields = Fields::new(node?, "metadata", report)?;
    let name_node = fields.need("name", report);
    let namespace = fields.take("namespace");
    let labels = fields.take("labels");
    let annotations = fields.take("annotations");
    // What the API server adds to every object it hands out.
    fields.ignore(&[
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "generateName",
        "selfLink",
    ]);
    fields.finish(report, |_| None);
    for (node, name) in [(labels, "labels"), (annotations, "annotations")] {
        if let Some(node) = node {
            fields::text_map(node, name, report);
        }
    }
    let name_node = name_node?;
    let name = fields::text(name_node, "name", report)?;
    if name.is_empty() {
        report.error(name_node.at, "missing-field", "the name is empty", "name: my-policy");
        return None;
    }
    Some((name, namespace))
}

fn read_clusterwide(
    node: &Node,
    mut fields: Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Policy> {
    let metadata = fields.need("metadata", report);
    let spec = fields.take("spec");
    let specs = fields.take("specs");
    fields.ignore(&["status"]);
    let at = fields.at();
    fields.finish(report, |unknown| {
        let inner =
            ["ingress", "egress", "ingressDeny", "egressDeny", "nodeSelector", "description"];
        inner.contains(&unknown).then(|| format!("spec: {{{unknown}: ...}}, one level deeper"))
    });
    let name = read_metadata(metadata, report);
    if let Some((_, Some(namespace))) = name {
        let what = "a clusterwide policy has no namespace";
        report.warning(namespace.at, "no-namespace", what, "remove `namespace`");
    }
    if spec.is_none() && specs.is_none() {
        let what = "the policy has neither `spec` nor `specs`";
        report.error(at, "missing-field", what, "spec: {nodeSelector: {}, ingress: [...]}");
    }
    let many = specs.and_then(|specs| fields::list(specs, "specs", report)).unwrap_or_default();
    let mut read = Vec::new();
    for part in spec.into_iter().chain(many) {
        read.extend(read_spec(part, report));
    }
    let (name, _) = name?;
    let path = report.source().path.clone();
    Some(Policy { name: name.to_owned(), path, at: node.at, specs: read })
}

fn read_spec(node: &Node, report: &mut Report<'_>) -> Option<Spec> {
    let mut fields = Fields::new(node, "a spec", report)?;
    let nodes = fields.take_entry("nodeSelector");
    let endpoints = fields.take_entry("endpointSelector");
    let at = fields.at();
    match (nodes, endpoints) {
        (Some(nodes), Some(_)) => {
            let what = "a spec selects either nodes or pods, not both";
            report.error(nodes.at, "bad-selector", what, "one of nodeSelector, endpointSelector");
            return None;
        }
        (None, Some(endpoints)) => {
            let what = "this part is for pods; it does not concern this node's own traffic";
            report.warning(endpoints.at, "pods-only", what, "nodeSelector, if nodes are meant");
            return None;
        }
        (None, None) => {
            let what = "a spec has no `nodeSelector`";
            report.error(at, "missing-field", what, "nodeSelector: {} for every node");
        }
        (Some(_), None) => {}
    }
    let lists = [
        ("ingress", Direction::Ingress, false),
        ("ingressDeny", Direction::Ingress, true),
        ("egress", Direction::Egress, false),
        ("egressDeny", Direction::Egress, true),
    ]
    .map(|(name, direction, deny)| (fields.take_entry(name), direction, deny));
    let default_deny = fields.take("enableDefaultDeny");
    let description = fields.take("description");
    // Both only annotate: labels name the policy in listings, log marks events.
    fields.ignore(&["labels", "log"]);
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
    if lists.iter().all(|(list, _, _)| list.is_none()) {
        let what = "a spec has no list of rules";
        report.error(at, "missing-field", what, "ingress: [{}] to deny all that is not allowed");
    }
    let (default_deny_ingress, default_deny_egress) = read_default_deny(default_deny, report);
    let mut rules = Vec::new();
    for (list, direction, deny) in lists {
        if let Some(list) = list {
            rules.extend(rule::read_list(list, direction, deny, report));
        }
    }
    // Ids follow the document, whatever order the lists stand in.
    rules.sort_by_key(|rule| rule.at);
    let nodes = selector::read(&nodes?.value, "nodeSelector", report)?;
    Some(Spec { nodes, default_deny_ingress, default_deny_egress, rules })
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

/// Policies for pods are part of the directory, but say nothing to a node.
fn read_for_pods(
    node: &Node,
    kind: &'static str,
    mut fields: Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Policy> {
    let metadata = fields.need("metadata", report);
    let spec = fields.take("spec");
    let specs = fields.take("specs");
    let (name, namespace) = read_metadata(metadata, report)?;
    let many = specs.and_then(|specs| fields::list(specs, "specs", report)).unwrap_or_default();
    for part in spec.into_iter().chain(many) {
        if let Value::Map(entries) = &part.value
            && let Some(entry) = entries.iter().find(|entry| entry.key == "nodeSelector")
        {
            let what = format!("{kind} cannot select nodes");
            report.error(entry.at, "bad-selector", what, format!("kind: {CLUSTERWIDE}"));
        }
    }
    let what = format!("{kind} is for pods; it does not concern this node's own traffic");
    report.warning(node.at, "pods-only", what, "nothing, or move it out of this directory");
    let namespace = match namespace {
        Some(namespace) => Some(fields::text(namespace, "namespace", report)?),
        None if kind == "ClusterNetworkPolicy" => None,
        None => Some("default"),
    };
    let name = namespace.map_or_else(|| name.to_owned(), |space| format!("{space}/{name}"));
    Some(Policy { name, path: report.source().path.clone(), at: node.at, specs: Vec::new() })
}
