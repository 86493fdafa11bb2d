//! Reads Kubernetes objects into the world. They are whole API objects with
//! many fields, so what is not read here is passed over; what is read must have
//! its right type. It does not know what policies make of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    cidr,
    complaint::{Complaint, Report, Severity, Source},
    document::{POLICY_KINDS, WORLD_KINDS},
    fields, ports,
    text::{self, Node, Position, Value},
    world::{CidrGroup, ClusterNode, ContainerPort, Pod, Workload, World},
};

/// Reads every object of a directory, in the order of the paths. The world is
/// not to be used when a complaint is an [`crate::Severity::Error`].
pub fn read_world(sources: &[Source]) -> (World, Vec<Complaint>) {
    let mut in_order: Vec<&Source> = sources.iter().collect();
    in_order.sort_by(|left, right| left.path.cmp(&right.path));
    let mut reader = Reader::default();
    let mut complaints = Vec::new();
    for source in in_order {
        complaints.extend(reader.file(source).complaints);
    }
    (reader.world, complaints)
}

/// Where the first object of a kind and name stands.
type Places = BTreeMap<ObjectName, (Arc<str>, u32)>;

/// Kind and name of an object, with the namespace before it where its kind has
/// one.
pub(crate) type ObjectName = (&'static str, Arc<str>);

/// Reads file after file into one world.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) world: World,
    pub(crate) places: Places,
    /// Those of the pods so far, for others to share.
    pub(crate) workloads: BTreeSet<Arc<Workload>>,
    file: FileReading,
}

/// What one file has added to a world.
#[derive(Debug, Default)]
pub(crate) struct FileReading {
    path: Arc<str>,
    pub(crate) complaints: Vec<Complaint>,
    /// Its objects.
    pub(crate) names: Vec<ObjectName>,
    /// Whether an object of it adds to what others say of the same name.
    pub(crate) adds_to_others: bool,
}

impl FileReading {
    /// Whether nothing in it is wrong; warnings are no fault.
    pub(crate) fn is_clean(&self) -> bool {
        self.complaints.iter().all(|one| one.severity != Severity::Error)
    }
}

/// What every object has.
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

impl Reader {
    /// Reads one file.
    pub(crate) fn file(&mut self, source: &Source) -> FileReading {
        self.file.path = source.path.as_str().into();
        let mut report = Report::new(source);
        for document in text::documents(&mut report) {
            self.object(&document, None, &mut report);
        }
        let complaints = report.finish();
        FileReading { complaints, ..std::mem::take(&mut self.file) }
    }

    /// `kind_of_list` is the kind of items that need not name it themselves.
    fn object(&mut self, node: &Node, kind_of_list: Option<&str>, report: &mut Report<'_>) {
        let written = match field(node, "kind") {
            Some(kind) => fields::text(kind, "kind", report),
            None => kind_of_list,
        };
        let Some(written) = written else {
            report.error(node.at, "missing-field", "an object has no `kind`", "kind: Node");
            return;
        };
        if let Some(of) = written.strip_suffix("List") {
            let items = field(node, "items");
            let items = items.and_then(|items| fields::list(items, "items", report));
            for item in items.unwrap_or_default() {
                self.object(item, (!of.is_empty()).then_some(of), report);
            }
            return;
        }
        let Some(kind) = WORLD_KINDS.iter().find(|kind| **kind == written) else {
            refuse_kind(field(node, "kind").unwrap_or(node), written, report);
            return;
        };
        let Some(metadata) = metadata(node, report) else { return };
        if !self.is_first(kind, &metadata, node.at, report) {
            return;
        }
        match *kind {
            "Node" => self.node(node, metadata, report),
            "Pod" => self.pod(node, metadata, report),
            "Namespace" => {
                self.world.namespaces.insert(metadata.name, metadata.labels);
            }
            "CiliumCIDRGroup" => self.cidr_group(node, metadata, report),
            "Service" => self.service(node, metadata, report),
            "Endpoints" => self.endpoints(node, &metadata, report),
            _ => self.endpoint_slice(node, &metadata, report),
        }
    }

    fn is_first(
        &mut self,
        kind: &'static str,
        metadata: &Metadata,
        at: Position,
        report: &mut Report<'_>,
    ) -> bool {
        let name = if matches!(kind, "Pod" | "Service" | "Endpoints" | "EndpointSlice") {
            format!("{}/{}", metadata.namespace, metadata.name)
        } else {
            metadata.name.clone()
        };
        let name: ObjectName = (kind, name.into());
        if let Some((path, line)) = self.places.get(&name) {
            let (kind, name) = name;
            let what =
                format!("a second {kind} has the name `{name}`; the first stands at {path}:{line}");
            report.error(at, "duplicate-name", what, "only one of the two");
            return false;
        }
        self.file.names.push(name.clone());
        self.places.insert(name, (Arc::clone(&self.file.path), at.line));
        true
    }

    fn node(&mut self, node: &Node, metadata: Metadata, report: &mut Report<'_>) {
        let mut addresses = BTreeSet::new();
        let mut pod_cidrs = Vec::new();
        for item in list_at(node, &["status", "addresses"], report) {
            let kind = field(item, "type").and_then(|kind| fields::text(kind, "type", report));
            if matches!(kind, Some("InternalIP" | "ExternalIP")) {
                addresses.extend(address(field(item, "address"), item.at, report));
            }
        }
        let many = list_at(node, &["spec", "podCIDRs"], report);
        let one = at(node, &["spec", "podCIDR"], report);
        for item in if many.is_empty() { one.map_or(&[][..], std::slice::from_ref) } else { many } {
            pod_cidrs.extend(cidr::read(item, "podCIDR", report));
        }
        let addresses = addresses.into_iter().collect();
        let read = ClusterNode { labels: metadata.labels, addresses, pod_cidrs };
        self.world.nodes.insert(metadata.name, read);
    }

    fn pod(&mut self, node: &Node, metadata: Metadata, report: &mut Report<'_>) {
        let on_host = at(node, &["spec", "hostNetwork"], report)
            .and_then(|flag| fields::truth(flag, "hostNetwork", report));
        let phase = at(node, &["status", "phase"], report)
            .and_then(|phase| fields::text(phase, "phase", report));
        // A pod on the host's network has the node's address, and the address
        // of a pod that has ended may belong to another one by now.
        if on_host == Some(true) || matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        let mut addresses = BTreeSet::new();
        for item in list_at(node, &["status", "podIPs"], report) {
            addresses.extend(address(field(item, "ip"), item.at, report));
        }
        if let Some(one) = at(node, &["status", "podIP"], report) {
            addresses.extend(address(Some(one), one.at, report));
        }
        let name_of_node = at(node, &["spec", "nodeName"], report)
            .and_then(|name| fields::text(name, "nodeName", report))
            .map(str::to_owned);
        let service_account = at(node, &["spec", "serviceAccountName"], report)
            .and_then(|name| fields::text(name, "serviceAccountName", report))
            .unwrap_or("default")
            .to_owned();
        let mut ports = Vec::new();
        for container in list_at(node, &["spec", "containers"], report) {
            ports.extend(container_ports(container, report));
        }
        // An init container that restarts always runs beside the others.
        for container in list_at(node, &["spec", "initContainers"], report) {
            if field(container, "restartPolicy").is_some_and(|policy| is_text(policy, "Always")) {
                ports.extend(container_ports(container, report));
            }
        }
        let workload = self.shared(Workload { labels: metadata.labels, service_account, ports });
        let addresses = addresses.into_iter().collect();
        let read = Pod { workload, addresses, node: name_of_node };
        self.world.pods.insert((metadata.namespace, metadata.name), Arc::new(read));
    }

    /// The one that was read before, if it is equal.
    fn shared(&mut self, workload: Workload) -> Arc<Workload> {
        if let Some(known) = self.workloads.get(&workload) {
            return Arc::clone(known);
        }
        let workload = Arc::new(workload);
        self.workloads.insert(Arc::clone(&workload));
        workload
    }

    fn cidr_group(&mut self, node: &Node, metadata: Metadata, report: &mut Report<'_>) {
        let items = list_at(node, &["spec", "externalCIDRs"], report);
        let cidrs = items.iter().filter_map(|item| cidr::read(item, "externalCIDRs", report));
        let group = CidrGroup { cidrs: cidrs.collect(), labels: metadata.labels };
        self.world.cidr_groups.insert(metadata.name, group);
    }

    fn service(&mut self, node: &Node, metadata: Metadata, report: &mut Report<'_>) {
        self.file.adds_to_others = true;
        let selector = at(node, &["spec", "selector"], report)
            .map(|selector| fields::text_map(selector, "selector", report))
            .unwrap_or_default();
        let selector =
            selector.iter().map(|(entry, value)| (entry.key.clone(), (*value).to_owned()));
        // Its endpoints may have come before it.
        let service = self.world.services.entry((metadata.namespace, metadata.name)).or_default();
        service.labels = metadata.labels;
        service.selector = selector.collect();
    }

    fn endpoints(&mut self, node: &Node, metadata: &Metadata, report: &mut Report<'_>) {
        let mut found = Vec::new();
        for subset in list_at(node, &["subsets"], report) {
            for item in list_at(subset, &["addresses"], report) {
                found.extend(address(field(item, "ip"), item.at, report));
            }
        }
        self.behind(metadata, &metadata.name, &found);
    }

    fn endpoint_slice(&mut self, node: &Node, metadata: &Metadata, report: &mut Report<'_>) {
        let service = metadata.labels.get("kubernetes.io/service-name").unwrap_or(&metadata.name);
        let mut found = Vec::new();
        for endpoint in list_at(node, &["endpoints"], report) {
            for item in list_at(endpoint, &["addresses"], report) {
                // A slice may hold domain names, which are nobody's address.
                let written = fields::text(item, "address", report);
                if written.is_some_and(|written| written.parse::<IpAddr>().is_ok())
                    || field(node, "addressType").is_none_or(|kind| !is_text(kind, "FQDN"))
                {
                    found.extend(address(Some(item), item.at, report));
                }
            }
        }
        self.behind(metadata, service, &found);
    }

    fn behind(&mut self, metadata: &Metadata, service: &str, addresses: &[IpAddr]) {
        self.file.adds_to_others = true;
        if (metadata.namespace.as_str(), service) == ("default", "kubernetes") {
            self.world.api_servers.extend(addresses);
        }
        let name = (metadata.namespace.clone(), service.to_owned());
        self.world.services.entry(name).or_default().addresses.extend(addresses);
    }
}

fn is_text(node: &Node, text: &str) -> bool {
    matches!(&node.value, Value::Text(written) if written == text)
}

/// The ports of a container that have a name.
fn container_ports(node: &Node, report: &mut Report<'_>) -> Vec<ContainerPort> {
    let mut ports = Vec::new();
    for item in list_at(node, &["ports"], report) {
        let Some(name) = field(item, "name").and_then(|name| fields::text(name, "name", report))
        else {
            continue;
        };
        let protocol = match field(item, "protocol") {
            None => Some("TCP"),
            Some(protocol) => fields::text(protocol, "protocol", report),
        };
        let protocol = match protocol {
            Some("TCP") => ports::TCP,
            Some("UDP") => ports::UDP,
            Some("SCTP") => ports::SCTP,
            Some(written) => {
                let what = format!("a container has no protocol `{written}`");
                report.error(item.at, "bad-protocol", what, "TCP, UDP or SCTP");
                continue;
            }
            None => continue,
        };
        let port = field(item, "containerPort").and_then(|port| match &port.value {
            Value::Number(written) => written.parse::<u16>().ok().filter(|port| *port > 0),
            Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => None,
        });
        match port {
            Some(port) => {
                ports.push(ContainerPort { name: name.to_ascii_lowercase(), protocol, port });
            }
            None => {
                let what = format!("the port `{name}` has no `containerPort` from 1 to 65535");
                report.error(item.at, "bad-port", what, "containerPort: 8080");
            }
        }
    }
    ports
}

fn refuse_kind(node: &Node, written: &str, report: &mut Report<'_>) {
    if POLICY_KINDS.iter().any(|(kind, _)| *kind == written) {
        let what = format!("{written} is a policy, and this directory describes the cluster");
        report.error(node.at, "wrong-kind", what, "move the document to the policy directory");
    } else {
        let what = format!("objects of kind `{written}` are not used");
        let instead = format!("remove it; used are {}", WORLD_KINDS.join(", "));
        report.warning(node.at, "unused-kind", what, instead);
    }
}

fn metadata(node: &Node, report: &mut Report<'_>) -> Option<Metadata> {
    let name =
        at(node, &["metadata", "name"], report).and_then(|name| fields::text(name, "name", report));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let what = "an object has no `metadata.name`";
        report.error(node.at, "missing-field", what, "metadata: {name: ...}");
        return None;
    };
    let namespace = at(node, &["metadata", "namespace"], report)
        .and_then(|space| fields::text(space, "namespace", report))
        .unwrap_or("default");
    let labels = at(node, &["metadata", "labels"], report)
        .map(|labels| fields::text_map(labels, "labels", report))
        .unwrap_or_default();
    let labels = labels.iter().map(|(entry, value)| (entry.key.clone(), (*value).to_owned()));
    Some(Metadata {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: labels.collect(),
    })
}

/// A field of a mapping that is there and not `null`.
fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    let entry = entries.iter().find(|entry| entry.key == name)?;
    (entry.value.value != Value::Null).then_some(&entry.value)
}

/// Follows a path of fields; a step that is no mapping is complained about.
fn at<'n>(node: &'n Node, path: &[&str], report: &mut Report<'_>) -> Option<&'n Node> {
    let mut here = node;
    for name in path {
        if !matches!(here.value, Value::Map(_)) {
            let what = format!("`{name}` must stand in a mapping, but here is {}", here.kind());
            report.error(here.at, "wrong-type", what, "fields of the form `name: value`");
            return None;
        }
        here = field(here, name)?;
    }
    Some(here)
}

fn list_at<'n>(node: &'n Node, path: &[&str], report: &mut Report<'_>) -> &'n [Node] {
    let name = path.last().copied().unwrap_or_default();
    at(node, path, report).and_then(|list| fields::list(list, name, report)).unwrap_or_default()
}

fn address(node: Option<&Node>, holder: Position, report: &mut Report<'_>) -> Option<IpAddr> {
    let Some(node) = node else {
        report.error(holder, "missing-field", "an address is missing", "the IP address");
        return None;
    };
    let written = fields::text(node, "address", report)?;
    let read = written.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if read.is_none() {
        let what = format!("`{written}` is no IP address");
        report.error(node.at, "bad-address", what, "an address such as 192.0.2.10");
    }
    read
}
