//! A scenario in the compiler's terms: the world as values, the documents that
//! were accepted, and one compiled image for each node that has subjects.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use anyhow::{Context, bail};
use hostfw_policy::{
    Compiled, Complaint, Dialect, Enforcement, Options, Policy, Severity, Source, SubjectName,
    ThisNode, World, compile,
    ports::{SCTP, TCP, UDP},
    read_policies,
    world::{CidrGroup, ClusterNode, ContainerPort, Pod, Workload},
};

use crate::vectors::{self, Scenario, SubjectOf};

/// What we made of one document.
pub(crate) struct Reading {
    pub(crate) policies: Vec<Policy>,
    pub(crate) errors: Vec<Complaint>,
}

/// Reads one document by itself.
pub(crate) fn read(text: &str, path: &str, dialect: &Dialect) -> Reading {
    let source = Source::new(path, text);
    let (policies, complaints) = read_policies(&[source], dialect);
    let errors: Vec<_> =
        complaints.into_iter().filter(|one| one.severity == Severity::Error).collect();
    let policies = if errors.is_empty() { policies } else { Vec::new() };
    Reading { policies, errors }
}

/// What the language allows in a scenario.
pub(crate) fn dialect(options: &vectors::Options) -> Dialect {
    Dialect {
        extended_protocols: options.extended_ip_protocols,
        missing_ports: options.extended_ip_protocols,
        node_selectors: false,
        default_local_cluster: options.policy_default_local_cluster,
    }
}

/// How policies are applied in a scenario, as the reference does it.
pub(crate) fn options(options: &vectors::Options) -> anyhow::Result<Options> {
    Ok(Options {
        cidr_match_nodes: options.policy_cidr_match_mode.iter().any(|mode| mode == "nodes"),
        cidr_match_pods: options.policy_cidr_match_mode.iter().any(|mode| mode == "pods"),
        cilium_labels: true,
        enforcement: match options.policy_enforcement.as_str() {
            "default" => Enforcement::Default,
            "always" => Enforcement::Always,
            "never" => Enforcement::Never,
            other => bail!("there is no enforcement `{other}`"),
        },
        pods: true,
        host_policies: options.host_firewall,
        allow_local_host: options.always_allow_localhost,
        honour_default_deny: options.non_default_deny_policies,
        single_stack: !options.ipv6,
        ..Options::default()
    })
}

/// In the order of the world, each once.
fn addresses(written: &[IpAddr]) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = written.iter().copied().collect();
    all.into_iter().collect()
}

/// The world as the compiler takes it.
pub(crate) fn world(written: &vectors::World) -> anyhow::Result<World> {
    let mut world = World::default();
    for (name, namespace) in &written.namespaces {
        let mut labels = namespace.labels.clone();
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
        world.namespaces.insert(name.clone(), labels);
    }
    for node in &written.nodes {
        let addresses = addresses(&node.ips);
        if node.apiserver {
            world.api_servers.extend(&addresses);
        }
        let read = ClusterNode { labels: node.labels.clone(), addresses, pod_cidrs: Vec::new() };
        world.nodes.insert(node.name.clone(), read);
    }
    for pod in &written.pods {
        let mut ports = Vec::new();
        for port in &pod.ports {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => TCP,
                Some("UDP") => UDP,
                Some("SCTP") => SCTP,
                Some(other) => bail!("a port of {} speaks {other}", pod.name),
            };
            ports.push(ContainerPort { name: port.name.clone(), protocol, port: port.port });
        }
        let read = Pod {
            workload: Arc::new(Workload {
                labels: pod.labels.clone(),
                service_account: pod
                    .service_account
                    .clone()
                    .unwrap_or_else(|| "default".to_owned()),
                ports,
            }),
            addresses: addresses(&pod.ips),
            node: pod.node.clone(),
        };
        world.pods.insert((pod.namespace.clone(), pod.name.clone()), read.into());
    }
    world.api_servers.extend(&written.apiserver_ips);
    for (address, names) in &written.fqdn {
        world.names.insert(*address, names.iter().cloned().collect());
    }
    for group in &written.cidr_groups {
        let cidrs: Result<Vec<_>, _> = group.cidrs.iter().map(|cidr| cidr.parse()).collect();
        let cidrs = cidrs.with_context(|| format!("the group {}", group.name))?;
        world
            .cidr_groups
            .insert(group.name.clone(), CidrGroup { labels: group.labels.clone(), cidrs });
    }
    Ok(world)
}

/// A scenario, compiled.
pub(crate) struct Scene<'s> {
    pub(crate) written: &'s vectors::World,
    /// What we made of every document.
    pub(crate) readings: Vec<Reading>,
    /// The image of every node that flows or subjects name; the error where
    /// there is none.
    images: BTreeMap<String, Result<Compiled, String>>,
}

impl<'s> Scene<'s> {
    /// Reads and compiles everything that the flows of a scenario need.
    pub(crate) fn of(
        scenario: &Scenario,
        written: &'s vectors::World,
        world: &World,
    ) -> anyhow::Result<Self> {
        let dialect = dialect(&scenario.options);
        let readings: Vec<Reading> = scenario
            .policies
            .iter()
            .enumerate()
            .map(|(number, text)| read(text, &format!("{}-{number}.yaml", scenario.id), &dialect))
            .collect();
        let policies: Vec<Policy> =
            readings.iter().flat_map(|reading| reading.policies.iter().cloned()).collect();
        let options = options(&scenario.options)?;
        let mut scene = Self { written, readings, images: BTreeMap::new() };
        let named = scenario.subjects.keys().filter_map(|name| subject_of(name));
        let subjects: BTreeSet<SubjectOf> =
            scenario.flows.iter().map(|flow| flow.subject.clone()).chain(named).collect();
        for subject in &subjects {
            let Some(node) = scene.node_of(subject) else { continue };
            let this = ThisNode { name: node.clone(), ..ThisNode::default() };
            scene.images.entry(node).or_insert_with(|| {
                let compiled = compile(&policies, world, &this, &options, 1);
                compiled.map_err(|error| error.to_string())
            });
        }
        Ok(scene)
    }

    /// The node whose image judges a subject.
    pub(crate) fn node_of(&self, subject: &SubjectOf) -> Option<String> {
        match subject {
            SubjectOf::Node(name) => Some(name.clone()),
            SubjectOf::Pod(name) => self.pod(name).and_then(|pod| pod.node.clone()),
        }
    }

    /// The image that judges a subject, and the subject's number in it.
    pub(crate) fn image_of(&self, subject: &SubjectOf) -> anyhow::Result<(&Compiled, u32)> {
        let node = self.node_of(subject).context("the subject is on no node")?;
        let compiled = match self.images.get(&node) {
            Some(Ok(compiled)) => compiled,
            Some(Err(error)) => bail!("not compiled: {error}"),
            None => bail!("there is no image of {node}"),
        };
        let name = match subject {
            SubjectOf::Node(_) => SubjectName::Host,
            SubjectOf::Pod(name) => {
                let (namespace, name) = name.split_once('/').context("ns/name")?;
                SubjectName::Pod { namespace: namespace.to_owned(), name: name.to_owned() }
            }
        };
        let number = compiled.subject(&name).context("the image does not know the subject")?;
        Ok((compiled, number))
    }

    pub(crate) fn pod(&self, name: &str) -> Option<&vectors::Pod> {
        let (namespace, name) = name.split_once('/')?;
        self.written.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)
    }
}

/// A subject by its name in the table of subjects.
pub(crate) fn subject_of(name: &str) -> Option<SubjectOf> {
    match name.split_once(':')? {
        ("node", name) => Some(SubjectOf::Node(name.to_owned())),
        ("pod", name) => Some(SubjectOf::Pod(name.to_owned())),
        _ => None,
    }
}
