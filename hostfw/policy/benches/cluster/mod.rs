//! A cluster by its size: policies as text and a world as values, the same at
//! every run. Policies name peers as people do: by labels of pods in their own
//! and in other namespaces, by prefixes, entities and nodes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use hostfw_policy::{
    Options, Source, ThisNode, World,
    ports::TCP,
    world::{ClusterNode, ContainerPort, Pod, Workload},
};

/// Rules of one document.
const RULES_EACH: u32 = 5;
/// Pods of one node.
pub(crate) const PODS_EACH: u32 = 250;

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Rules of all policies.
    pub(crate) rules: u32,
    /// Pods of all nodes.
    pub(crate) pods: u32,
    /// Nodes.
    pub(crate) nodes: u32,
    /// Namespaces; each has ten applications.
    pub(crate) namespaces: u32,
}

/// Options of a node with the watcher on.
pub(crate) fn options() -> Options {
    Options { pods: true, allow_own_tunnels: true, allow_dhcp_client: true, ..Options::default() }
}

/// The node that images are made for.
pub(crate) fn this_node() -> ThisNode {
    ThisNode { name: "node-0".to_owned(), ..ThisNode::default() }
}

/// Labels of a pod by its number.
fn application(number: u32, size: Size) -> (String, String) {
    let namespace = number % size.namespaces;
    (format!("ns-{namespace}"), format!("app-{}", (number / size.namespaces) % 10))
}

/// A pod by its number; numbers go round the nodes in blocks.
pub(crate) fn pod(number: u32, size: Size) -> ((String, String), Pod) {
    let (namespace, app) = application(number, size);
    let v4 = Ipv4Addr::from(0x0a00_0000 + (number / PODS_EACH) * 256 + number % PODS_EACH + 2);
    let v6 = Ipv6Addr::from(
        (0xfd00_u128 << 112)
            + (u128::from(number / PODS_EACH) << 64)
            + u128::from(number % PODS_EACH)
            + 2,
    );
    let pod = Pod {
        workload: Arc::new(Workload {
            labels: BTreeMap::from([
                ("app".to_owned(), app),
                ("tier".to_owned(), ["front", "back", "db"][number as usize % 3].to_owned()),
            ]),
            service_account: "default".to_owned(),
            ports: vec![ContainerPort { name: "http".to_owned(), protocol: TCP, port: 8080 }],
        }),
        addresses: vec![IpAddr::V4(v4), IpAddr::V6(v6)],
        node: Some(format!("node-{}", (number / PODS_EACH) % size.nodes)),
    };
    ((namespace, format!("pod-{number}")), pod)
}

/// Everybody in the cluster.
pub(crate) fn world(size: Size) -> World {
    let mut world = World::default();
    for number in 0..size.namespaces {
        let labels = BTreeMap::from([("team".to_owned(), format!("team-{}", number % 20))]);
        world.namespaces.insert(format!("ns-{number}"), labels);
    }
    for number in 0..size.nodes {
        let address = Ipv4Addr::from(0xc0a8_0000_u32.wrapping_sub(0x0010_0000) + number);
        let labels = BTreeMap::from([("role".to_owned(), "worker".to_owned())]);
        let node =
            ClusterNode { labels, addresses: vec![IpAddr::V4(address)], ..ClusterNode::default() };
        world.nodes.insert(format!("node-{number}"), node);
    }
    let pods = (0..size.pods).map(|number| pod(number, size));
    world.pods = pods.map(|(key, pod)| (key, pod.into())).collect();
    world.api_servers.insert(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)));
    world
}

/// The policies of a cluster, a hundred documents a file.
pub(crate) fn sources(size: Size) -> Vec<Source> {
    let n_documents = size.rules / RULES_EACH;
    let mut sources = Vec::new();
    for first in (0..n_documents).step_by(100) {
        let mut text = String::new();
        for number in first..n_documents.min(first + 100) {
            document(&mut text, number, size);
        }
        sources.push(Source::new(format!("{first:06}.yaml"), text));
    }
    sources
}

fn document(text: &mut String, number: u32, size: Size) {
    let namespace = number % size.namespaces;
    let app = (number / size.namespaces) % 10;
    // One document of twenty is for nodes.
    let (kind, place, selector) = if number.is_multiple_of(20) {
        ("CiliumClusterwideNetworkPolicy", String::new(), "nodeSelector: {}".to_owned())
    } else {
        let selector = format!("endpointSelector: {{matchLabels: {{app: app-{app}}}}}");
        ("CiliumNetworkPolicy", format!(", namespace: ns-{namespace}"), selector)
    };
    writeln!(
        text,
        "---\napiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: p-{number}{place}}}\nspec:\n  {selector}\n  ingress:"
    )
    .expect("a string");
    let port = 1024 + number % 500;
    let (high, low) = ((number / 250) % 250, number % 250);
    let other = (namespace + 1) % size.namespaces;
    for rule in [
        format!("- fromEndpoints: [{{matchLabels: {{app: app-{}}}}}]\n    toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]", (app + 1) % 10),
        format!("- fromEndpoints: [{{matchLabels: {{\"k8s:io.kubernetes.pod.namespace\": ns-{other}, tier: front}}}}]\n    toPorts: [{{ports: [{{port: \"8080\", protocol: TCP}}]}}]"),
        format!("- fromCIDR: [203.{high}.{low}.0/24]\n    toPorts: [{{ports: [{{port: \"443\", protocol: TCP}}, {{port: \"{port}\", protocol: UDP}}]}}]"),
        "- fromEntities: [remote-node, kube-apiserver]\n    toPorts: [{ports: [{port: \"9000\", endPort: 9100, protocol: TCP}]}]".to_owned(),
        format!("- fromCIDRSet: [{{cidr: 198.{high}.0.0/16, except: [198.{high}.{low}.0/24]}}]"),
    ] {
        writeln!(text, "  {rule}").expect("a string");
    }
}
