//! Reads the files of the policy directory: which documents they hold, of which
//! kind, and whether two bear one name. It knows the frame that all kinds share;
//! each kind is read in its own module.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    annotations, cilium, cluster_network_policy,
    complaint::{Complaint, Report, Source},
    fields::{self, Fields},
    file_name::FileName,
    lint, network_policy,
    node::Dialect,
    policy::{Policy, SCOPE, SCOPE_FORWARD, SCOPE_NODE, Spec, Subjects},
    text::{self, Node, Position},
};

/// Reads every policy of a directory, in the order of the paths. Nothing of it
/// may be put in force when a complaint is an [`crate::Severity::Error`].
pub fn read_policies(sources: &[Source], dialect: &Dialect) -> (Vec<Policy>, Vec<Complaint>) {
    let mut in_order: Vec<&Source> = sources.iter().collect();
    in_order.sort_by(|left, right| left.path.cmp(&right.path));
    let mut names = Names::new();
    let mut policies = Vec::new();
    let mut complaints = Vec::new();
    for source in in_order {
        let file = read_file(source, dialect, &mut names);
        policies.extend(file.policies);
        complaints.extend(file.complaints);
    }
    (policies, complaints)
}

/// Where each name was seen first, by the kind of its policy.
pub(crate) type Names<'s> = BTreeMap<(&'static str, String), (&'s str, u32)>;

/// What one file holds.
#[derive(Debug, Default)]
pub(crate) struct PolicyFile {
    pub(crate) policies: Vec<Policy>,
    pub(crate) complaints: Vec<Complaint>,
    /// Whether there were warnings that it turns off.
    pub(crate) has_taken_back: bool,
    /// The nodes of its YAML.
    pub(crate) n_nodes: usize,
}

/// Reads one file, after those that have taken `names`.
pub(crate) fn read_file<'s>(
    source: &'s Source,
    dialect: &Dialect,
    names: &mut Names<'s>,
) -> PolicyFile {
    if FileName::is_cases(&source.path) || FileName::is_guardrails(&source.path) {
        return PolicyFile::default();
    }
    let mut report = Report::new(source);
    let mut policies = Vec::new();
    let (documents, n_nodes) = text::counted_documents(&mut report);
    for document in documents {
        read_document(&document, dialect, &mut report, &mut |policy, report| {
            let kind = policy.kind;
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
    let has_taken_back = report.has_taken_back();
    PolicyFile { policies, complaints: report.finish(), has_taken_back, n_nodes }
}

/// Kinds that describe the world instead of a policy.
pub(crate) const WORLD_KINDS: [&str; 7] =
    ["Node", "Pod", "Namespace", "CiliumCIDRGroup", "Service", "Endpoints", "EndpointSlice"];

/// Kinds of policies, with the version that is read.
pub(crate) const POLICY_KINDS: [(&str, &str); 4] = [
    (CLUSTERWIDE, "cilium.io/v2"),
    (NAMESPACED, "cilium.io/v2"),
    (NETWORK, "networking.k8s.io/v1"),
    (CLUSTER_NETWORK, "policy.networking.k8s.io/v1alpha2"),
];

/// Policies for nodes, and for pods of every namespace.
pub(crate) const CLUSTERWIDE: &str = "CiliumClusterwideNetworkPolicy";
/// Policies for the pods of one namespace.
pub(crate) const NAMESPACED: &str = "CiliumNetworkPolicy";
const NETWORK: &str = "NetworkPolicy";
const CLUSTER_NETWORK: &str = "ClusterNetworkPolicy";

type Found<'f> = &'f mut dyn FnMut(Policy, &mut Report<'_>);

fn read_document(node: &Node, dialect: &Dialect, report: &mut Report<'_>, found: Found<'_>) {
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
            read_document(item, dialect, report, found);
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
    let n_before = report.len();
    let metadata = fields.need("metadata", report);
    let metadata = read_metadata(metadata, report);
    let namespace = match (*kind, &metadata) {
        (CLUSTERWIDE | CLUSTER_NETWORK, Some(metadata)) => {
            if let Some((_, at)) = &metadata.namespace {
                let what = format!("a {kind} has no namespace");
                report.warning(*at, "no-namespace", what, "remove `namespace`");
            }
            None
        }
        // What kubectl does where no namespace is written.
        (_, Some(Metadata { namespace: Some((namespace, _)), .. })) => Some(namespace.clone()),
        _ => Some("default".to_owned()),
    };
    let read = match *kind {
        CLUSTERWIDE => cilium::read_specs(fields, None, dialect, report),
        NAMESPACED => cilium::read_specs(fields, namespace.as_deref(), dialect, report),
        NETWORK => {
            let namespace = namespace.as_deref().unwrap_or_default();
            network_policy::read_spec(fields, namespace, dialect, report).into_iter().collect()
        }
        _ => cluster_network_policy::read_spec(fields, dialect, report).into_iter().collect(),
    };
    let Some(Metadata { name, labels, annotations, .. }) = metadata else { return };
    report.take_back(n_before, &lint::ignored(&annotations));
    let name = match &namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    };
    let path = report.source().path.clone();
    let at = node.at;
    let specs = Arc::new(scoped(read, &annotations, at, report));
    found(Policy { kind, name, namespace, labels, annotations, path, at, specs }, report);
}

/// Gives the parts of a policy the scope that its annotation names.
fn scoped(
    mut specs: Vec<Spec>,
    annotations: &BTreeMap<String, String>,
    at: Position,
    report: &mut Report<'_>,
) -> Vec<Spec> {
    let instead = format!("{SCOPE_FORWARD}, or no annotation for the node's own traffic");
    match annotations.get(SCOPE).map(String::as_str) {
        None | Some(SCOPE_NODE) => {}
        Some(SCOPE_FORWARD) => {
            for spec in &mut specs {
                match &spec.subjects {
                    Subjects::Nodes(selector) | Subjects::Forwarded(selector) => {
                        spec.subjects = Subjects::Forwarded(selector.clone());
                    }
                    Subjects::Pods(_) => {
                        let what = format!("pods forward nothing: {SCOPE} is for nodes");
                        report.error(spec.at, "bad-scope", what, "nodeSelector");
                    }
                }
            }
        }
        Some(written) => {
            let what = format!("the annotation {SCOPE} names no scope: `{written}`");
            report.error(at, "bad-scope", what, instead);
        }
    }
    specs
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

/// What `metadata` says.
struct Metadata {
    name: String,
    namespace: Option<(String, Position)>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn read_metadata(node: Option<&Node>, report: &mut Report<'_>) -> Option<Metadata> {
    let mut fields = Fields::new(node?, "metadata", report)?;
    let name_node = fields.need("name", report);
    let namespace_node = fields.take("namespace");
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
    annotations::check(labels, annotations, report);
    let mut read = |node: Option<&Node>, name: &str| -> BTreeMap<String, String> {
        let entries = node.map(|node| fields::text_map(node, name, report)).unwrap_or_default();
        entries.into_iter().map(|(entry, text)| (entry.key.clone(), text.to_owned())).collect()
    };
    let (labels, annotations) = (read(labels, "labels"), read(annotations, "annotations"));
    let name_node = name_node?;
    let name = fields::text(name_node, "name", report)?;
    if name.is_empty() {
        report.error(name_node.at, "missing-field", "the name is empty", "name: my-policy");
        return None;
    }
    let namespace = match namespace_node {
        None => None,
        Some(node) => Some((fields::text(node, "namespace", report)?.to_owned(), node.at)),
    };
    // The API server takes an empty one for none.
    let namespace = namespace.filter(|(namespace, _)| !namespace.is_empty());
    Some(Metadata { name: name.to_owned(), namespace, labels, annotations })
}
