//! Policies as text, from a seed, compiled by the real compiler: what is tested
//! is what an operator would load.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use anyhow::{Context, ensure};
use hostfw_policy::{
    Compiled, Dialect, Options, Source, ThisNode, Tunnel, TunnelKind, compile, read_policies,
    read_world,
};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::packets;

/// The peers of a rule.
const PEERS: [&str; 13] = [
    "",
    "CIDR: [198.51.100.0/24]",
    "CIDR: [\"2001:db8::/32\", 198.51.101.7/32]",
    "CIDR: [0.0.0.0/0]",
    "CIDRSet: [{cidr: 198.51.100.0/22, except: [198.51.101.0/24]}]",
    "CIDRSet: [{cidr: \"2001:db8:1::/48\"}, {cidr: 198.51.102.128/25}]",
    "Entities: [all]",
    "Entities: [world]",
    "Entities: [remote-node]",
    "Entities: [cluster]",
    "Endpoints: [{matchLabels: {app: web}}]",
    "Nodes: [{matchLabels: {role: worker}}]",
    "Entities: [world-ipv4, host]",
];

/// The ports of a rule.
const SERVICES: [&str; 10] = [
    "",
    "toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]",
    "toPorts: [{ports: [{port: \"53\"}]}]",
    "toPorts: [{ports: [{port: \"80\", endPort: 443, protocol: TCP}]}]",
    "toPorts: [{ports: [{port: \"0\", protocol: UDP}]}]",
    "toPorts: [{ports: [{port: \"2379\", protocol: TCP}, {port: \"40000\", endPort: 40002, protocol: UDP}]}]",
    "toPorts: [{ports: [{port: \"30000\", protocol: SCTP}]}]",
    "toPorts: [{ports: [{protocol: VRRP, port: \"0\"}]}]",
    "icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]",
    "icmps: [{fields: [{type: 3, family: IPv4}]}]",
];

/// One rule: list, peers, services.
type RuleShape = (usize, usize, usize);

/// A set of policies, one document each.
#[derive(Clone, Debug)]
pub struct PolicySet {
    documents: Vec<(Vec<RuleShape>, u8)>,
}

/// Any set of one to four policies.
pub fn policy_set() -> impl Strategy<Value = PolicySet> {
    let rule = (0..12usize, select(&PEERS[..]), select(&SERVICES[..])).prop_map(
        |(list, peers, services)| {
            let peers = PEERS.iter().position(|known| *known == peers).unwrap_or(0);
            let services = SERVICES.iter().position(|known| *known == services).unwrap_or(0);
            (list, peers, services)
        },
    );
    vec((vec(rule, 1..8), any::<u8>()), 1..5).prop_map(|documents| PolicySet { documents })
}

impl PolicySet {
    /// The policies as YAML.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, (rules, flags)) in self.documents.iter().enumerate() {
            let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (list, peers, services) in rules {
                // Allow lists more often than deny lists.
                let list = [
                    "ingress",
                    "egress",
                    "ingress",
                    "egress",
                    "ingress",
                    "ingressDeny",
                    "egressDeny",
                ][list % 7];
                let side = if list.starts_with("in") { "from" } else { "to" };
                let mut fields: Vec<String> = Vec::new();
                if let Some(peers) = PEERS.get(*peers).filter(|peers| !peers.is_empty()) {
                    fields.push(format!("{side}{peers}"));
                }
                if let Some(services) = SERVICES.get(*services).filter(|text| !text.is_empty()) {
                    fields.push((*services).to_owned());
                }
                lists.entry(list).or_default().push(format!("{{{}}}", fields.join(", ")));
            }
            let scope = if flags % 3 == 1 { "forward" } else { "node" };
            let _infallible = write!(
                text,
                "---\napiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
                 metadata: {{name: p{number}, annotations: {{hostfw.io/scope: {scope}}}}}\n\
                 spec:\n  nodeSelector: {{}}\n"
            );
            if flags % 5 == 0 {
                text.push_str("  enableDefaultDeny: {ingress: false, egress: false}\n");
            }
            for (list, rules) in lists {
                let _infallible = writeln!(text, "  {list}:");
                for rule in rules {
                    let _infallible = writeln!(text, "  - {rule}");
                }
            }
        }
        text
    }

    /// Compiles the policies for the node of [`packets::own`].
    ///
    /// # Errors
    /// A policy that is refused: the generator writes only valid ones.
    pub fn compile(&self, generation: u32) -> anyhow::Result<Compiled> {
        compile_text(&self.text(), generation)
    }
}

/// The world of every generated set.
const WORLD: &str = "
apiVersion: v1
kind: Node
metadata: {name: two, labels: {role: worker}}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}, {type: InternalIP, address: \"fd00::2\"}]}
---
apiVersion: v1
kind: Node
metadata: {name: three, labels: {role: infra}}
status: {addresses: [{type: InternalIP, address: 10.0.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {nodeName: two}
status: {podIPs: [{ip: 10.244.1.7}, {ip: \"fd00:0:0:1::7\"}]}
";

/// Compiles policy text for the node of [`packets::own`].
///
/// # Errors
/// A policy that is refused.
pub fn compile_text(text: &str, generation: u32) -> anyhow::Result<Compiled> {
    compile_for(text, &packets::own(), generation)
}

/// Compiles policy text for a node with these addresses.
///
/// # Errors
/// A policy that is refused.
pub fn compile_for(text: &str, own: &[IpAddr], generation: u32) -> anyhow::Result<Compiled> {
    let source = |path: &str, text: &str| Source::new(path, text);
    let (policies, complaints) = read_policies(&[source("p.yaml", text)], &Dialect::default());
    ensure!(complaints.is_empty(), "{complaints:?}\n{text}");
    let (world, complaints) = read_world(&[source("world.yaml", WORLD)]);
    ensure!(complaints.is_empty(), "{complaints:?}");
    let node = ThisNode {
        name: "one".to_owned(),
        addresses: own.to_vec(),
        tunnels: vec![Tunnel { kind: TunnelKind::Vxlan, port: 8472, device: "vxlan0".to_owned() }],
        ..ThisNode::default()
    };
    let options =
        Options { allow_own_tunnels: true, allow_dhcp_client: true, ..Options::default() };
    compile(&policies, &world, &node, &options, generation).context("compile")
}

/// Ports of [`many_rules`].
pub const MANY_PORTS: [u16; 10] = [22, 53, 80, 179, 443, 2379, 2380, 6443, 8080, 10250];

/// The peer of rule `number` in [`many_rules`].
pub const fn many_peer(number: u32) -> std::net::Ipv4Addr {
    // 100,000 prefixes of 26 bits fill 11.0.0.0 to 11.97.x.
    std::net::Ipv4Addr::from_bits(0x0b00_0000 + (number << 6) + 9)
}

/// A policy of `n` rules, each a prefix of its own and one of ten TCP ports,
/// with egress open.
pub fn many_rules(n: u32) -> String {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {name: many}\nspec:\n  nodeSelector: {}\n  ingress:\n",
    );
    for (number, port) in (0..n).zip(MANY_PORTS.iter().cycle()) {
        let prefix = std::net::Ipv4Addr::from_bits(many_peer(number).to_bits() & !63);
        let _infallible = writeln!(
            text,
            "  - {{fromCIDR: [{prefix}/26], toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]}}"
        );
    }
    text
}
