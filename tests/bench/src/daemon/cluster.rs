//! The files of a large cluster: nodes with their pods, as an exporter writes
//! them, and rules about them.

use std::net::{IpAddr, Ipv4Addr};

use super::node::PORT;

/// Nodes, and pods of each: 50,000 peers.
pub(crate) const NODES: u32 = 200;
pub(crate) const PODS_EACH: u32 = 250;
const NAMESPACES: u32 = 100;
const APPLICATIONS: u32 = 10;

/// The label by which somebody may knock.
pub(crate) const MAY_KNOCK: &str = "knocker";

/// Every namespace.
pub(crate) fn namespaces() -> String {
    (0..NAMESPACES)
        .map(|number| {
            let team = number % 20;
            format!(
                "---\napiVersion: v1\nkind: Namespace\n\
                 metadata: {{name: ns-{number}, labels: {{team: team-{team}}}}}\n"
            )
        })
        .collect()
}

/// A node without its pods.
pub(crate) fn node(name: &str, address: IpAddr) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{role: worker}}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
    )
}

/// A node by its number, with all of its pods.
pub(crate) fn node_with_pods(number: u32) -> String {
    let address = Ipv4Addr::from(0xac10_0000 + number);
    let mut text = node(&format!("node-{number}"), address.into());
    for place in 0..PODS_EACH {
        let (pod, address) =
            (number * PODS_EACH + place, Ipv4Addr::from(0x0a00_0000 + number * 256 + place + 2));
        let namespace = format!("ns-{}", pod % NAMESPACES);
        let app = format!("app-{}", pod / NAMESPACES % APPLICATIONS);
        let name = format!("pod-{pod}");
        text.push_str(&self::pod(&namespace, &name, &app, &format!("node-{number}"), address));
    }
    text
}

/// One pod.
pub(crate) fn pod(namespace: &str, name: &str, app: &str, node: &str, address: Ipv4Addr) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\n\
         spec: {{nodeName: {node}, serviceAccountName: default, containers: [{{name: main, \
         ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{phase: Running, podIPs: [{{ip: {address}}}]}}\n"
    )
}

/// Rules of this node about pods by their labels, and about prefixes; a fifth
/// of them are about pods. Knocking is allowed by label and to other nodes.
pub(crate) fn policy(number: u32, n_rules: u32) -> String {
    let mut text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: rules-{number}}}\nspec:\n  nodeSelector: {{}}\n  ingress:\n"
    );
    for rule in number * n_rules..(number + 1) * n_rules {
        let port = 1_024 + rule / NAMESPACES % 500;
        let from = if rule % 5 == 0 {
            let (namespace, app) = (rule / 5 % NAMESPACES, rule / 7 % APPLICATIONS);
            format!(
                "fromEndpoints: [{{matchLabels: {{app: app-{app}, \
                 \"k8s:io.kubernetes.pod.namespace\": ns-{namespace}}}}}]"
            )
        } else {
            format!("fromCIDR: [{}/28]", Ipv4Addr::from(0xcb00_0000 + rule * 16))
        };
        text.push_str(&format!(
            "  - {from}\n    toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n"
        ));
    }
    text
}

/// Who may knock: pods with the label, wherever they are, and nodes.
pub(crate) fn knocking() -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: knocking}}\nspec:\n  nodeSelector: {{}}\n  ingress:\n  \
         - fromEndpoints: [{{matchLabels: {{app: {MAY_KNOCK}, \
         \"k8s:io.kubernetes.pod.namespace\": ns-0}}}}]\n    \
         toPorts: [{{ports: [{{port: \"{PORT}\", protocol: UDP}}]}}]\n  \
         - fromEntities: [remote-node]\n    \
         toPorts: [{{ports: [{{port: \"{PORT}\", protocol: UDP}}]}}]\n"
    )
}
