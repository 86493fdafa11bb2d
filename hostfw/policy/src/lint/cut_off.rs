//! Warnings about what a node needs and its policy does not let through, asked
//! of the image: a way in for its operator, and what a known cluster lives on.

use std::net::IpAddr;

use hostfw_datapath::{
    Address, Direction, Image as _,
    image::{self, AT_N_PEER_CLASSES, CLASS, HOST, Question},
    verdict::Answer,
};

use super::{Findings, Scene};
use crate::{
    compiled::Compiled,
    identity,
    policy::{Spec, Stance, Subjects},
    ports::{TCP, UDP},
};

pub(super) const SSH: &str = "cuts-ssh";
pub(super) const API_SERVER: &str = "cuts-api-server";
pub(super) const ETCD: &str = "cuts-etcd";
pub(super) const KUBELET: &str = "cuts-kubelet";
pub(super) const TUNNEL: &str = "cuts-tunnel";
pub(super) const NO_DNS: &str = "egress-without-dns";

/// The label of nodes that run the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

pub(super) fn find(scene: &Scene<'_>, compiled: &Compiled, findings: &mut Findings) {
    let host = Host { words: compiled.words.as_slice() };
    let others: Vec<(&str, IpAddr)> = scene
        .world
        .nodes
        .iter()
        .filter(|(name, _)| **name != scene.node.name)
        .filter_map(|(name, node)| Some((name.as_str(), *node.addresses.first()?)))
        .collect();
    if compiled.in_force(Direction::Ingress) {
        ingress(scene, &host, &others, findings);
    }
    if compiled.in_force(Direction::Egress) {
        egress(scene, &host, &others, findings);
    }
}

fn ingress(scene: &Scene<'_>, host: &Host<'_>, others: &[(&str, IpAddr)], findings: &mut Findings) {
    let Some((policy, at)) = first_in_force(scene, Direction::Ingress) else { return };
    let mut warn =
        |code, what: String, instead: &str| findings.add(policy, at, code, what, instead);
    if !host.anybody(Direction::Ingress, TCP, 22) {
        let what = "nobody may open SSH (TCP 22) to this node".to_owned();
        warn(SSH, what, "a rule for TCP 22 from where you log in");
    }
    let own = scene.world.nodes.get(&scene.node.name);
    let is_own = |address: &IpAddr| {
        scene.node.addresses.contains(address)
            || own.is_some_and(|own| own.addresses.contains(address))
    };
    let is_api_server = scene.world.api_servers.iter().any(is_own);
    let denied = |port| {
        others.iter().find(|(_, address)| !host.allows(Direction::Ingress, *address, TCP, port))
    };
    if is_api_server && let Some((name, address)) = denied(6443) {
        let what =
            format!("the node {name} ({address}) cannot reach the API server here (TCP 6443)");
        warn(API_SERVER, what, "fromEntities: [remote-node] on TCP 6443");
    }
    let control_plane: Vec<(&str, IpAddr)> = others
        .iter()
        .copied()
        .filter(|(name, _)| {
            scene.world.nodes.get(*name).is_some_and(|node| node.labels.contains_key(CONTROL_PLANE))
        })
        .collect();
    if own.is_some_and(|own| own.labels.contains_key(CONTROL_PLANE)) {
        for port in [2379, 2380] {
            let cut = control_plane
                .iter()
                .find(|(_, address)| !host.allows(Direction::Ingress, *address, TCP, port));
            if let Some((name, address)) = cut {
                let what =
                    format!("the node {name} ({address}) cannot reach etcd here (TCP {port})");
                warn(ETCD, what, "fromNodes with the label of the control plane on TCP 2379-2380");
                break;
            }
        }
    }
    // The API server calls the kubelet for logs, exec and metrics.
    let cut = scene.world.api_servers.iter().find(|address| {
        !is_own(address) && !host.allows(Direction::Ingress, **address, TCP, 10250)
    });
    if let (Some(address), Some(_)) = (cut, own) {
        let what = format!("the API server ({address}) cannot reach the kubelet here (TCP 10250)");
        warn(KUBELET, what, "fromEntities: [kube-apiserver] on TCP 10250");
    }
    tunnels(scene, host, others, Direction::Ingress, &mut warn);
}

fn egress(scene: &Scene<'_>, host: &Host<'_>, others: &[(&str, IpAddr)], findings: &mut Findings) {
    let Some((policy, at)) = first_in_force(scene, Direction::Egress) else { return };
    let mut warn =
        |code, what: String, instead: &str| findings.add(policy, at, code, what, instead);
    if !host.anybody(Direction::Egress, UDP, 53) && !host.anybody(Direction::Egress, TCP, 53) {
        let what = "egress is in force, and nothing allows DNS (UDP and TCP 53)".to_owned();
        warn(NO_DNS, what, "an egress rule for UDP and TCP 53 to the DNS servers");
    }
    let own = scene.world.nodes.get(&scene.node.name);
    let cut = scene.world.api_servers.iter().find(|address| {
        ![6443, 443].iter().any(|port| host.allows(Direction::Egress, **address, TCP, *port))
    });
    if let (Some(address), Some(_)) = (cut, own) {
        let what = format!("this node cannot reach the API server ({address}, TCP 6443 or 443)");
        warn(API_SERVER, what, "toEntities: [kube-apiserver] on TCP 6443");
    }
    tunnels(scene, host, others, Direction::Egress, &mut warn);
}

/// Tunnels that end here and are not allowed by the built-in rules.
fn tunnels(
    scene: &Scene<'_>,
    host: &Host<'_>,
    others: &[(&str, IpAddr)],
    direction: Direction,
    warn: &mut impl FnMut(&'static str, String, &str),
) {
    for tunnel in &scene.node.tunnels {
        let cut =
            others.iter().find(|(_, address)| !host.allows(direction, *address, UDP, tunnel.port));
        if let Some((name, address)) = cut {
            let what = format!(
                "the {} tunnel with the node {name} ({address}, UDP {}) is cut",
                tunnel.kind.name(),
                tunnel.port
            );
            warn(
                TUNNEL,
                what,
                "builtins: {tunnels: true}, or a rule for the port from remote-node",
            );
        }
    }
}

/// The first rule that puts a direction of this node in force.
fn first_in_force(
    scene: &Scene<'_>,
    direction: Direction,
) -> Option<(usize, crate::text::Position)> {
    let labels = identity::own_labels(scene.world, scene.node, scene.options);
    let selects = |spec: &Spec| match &spec.subjects {
        Subjects::Nodes(selector) => selector.selects(&labels),
        Subjects::Pods(_) | Subjects::Forwarded(_) => false,
    };
    scene.policies.iter().enumerate().find_map(|(number, policy)| {
        let mut specs = policy.specs.iter();
        let spec =
            specs.find(|spec| selects(spec) && spec.stance(direction) == Stance::DefaultDeny)?;
        let rule = spec.rules.iter().find(|rule| rule.direction == direction)?;
        Some((number, rule.at))
    })
}

/// This host as the image judges it.
struct Host<'a> {
    words: &'a [u32],
}

impl Host<'_> {
    /// What the image says to an address.
    fn allows(&self, direction: Direction, peer: IpAddr, protocol: u8, port: u16) -> bool {
        let peer_class = image::peer(&self.words, &Address::from(peer)) & CLASS;
        self.answer(direction, peer_class, protocol, port).allows()
    }

    /// Whether the image says yes to anybody.
    fn anybody(&self, direction: Direction, protocol: u8, port: u16) -> bool {
        let n_classes = self.words.word(AT_N_PEER_CLASSES);
        (0..n_classes).any(|class| self.answer(direction, class, protocol, port).allows())
    }

    fn answer(&self, direction: Direction, peer_class: u32, protocol: u8, port: u16) -> Answer {
        let question = Question { subject: HOST, direction, peer_class, protocol, port };
        image::verdict(&self.words, self.words.find(question)).0
    }
}
