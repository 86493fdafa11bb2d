//! Rules that every node has unless they are switched off: its own tunnels and
//! its own DHCP client. They are listed like any other rule, lose against any
//! deny, and never put a direction in force.

use hostfw_datapath::Direction;

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    entity::Entity,
    node::{Options, ThisNode},
    policy::{Action, Peers, PolicyRule},
    ports::{Entry, Service, Services, UDP},
    text::{FINGERPRINT_SEED, Position, fingerprint},
};

/// The built-in rules in force.
pub(crate) fn rules(node: &ThisNode, options: &Options) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    if options.allow_own_tunnels {
        for tunnel in &node.tunnels {
            let summary = format!(
                "own {} tunnel {} (UDP {}) with known nodes",
                tunnel.kind.name(),
                tunnel.device,
                tunnel.port
            );
            for direction in [Direction::Ingress, Direction::Egress] {
                let nodes = Peers::Entities(vec![Entity::RemoteNode]);
                rules.push(rule(&summary, direction, nodes, tunnel.port));
            }
        }
    }
    if options.allow_dhcp_client {
        let link_local = PrefixTerm {
            at: Position::WHOLE_FILE,
            from: PrefixSource::Cidr(LINK_LOCAL),
            except: Vec::new(),
        };
        let v4 = "own DHCP client (UDP 67)";
        let offers = "answers to the own DHCP client (UDP 68)";
        let v6 = "own DHCPv6 client (UDP 547)";
        let answers = "answers to the own DHCPv6 client (UDP 546) from fe80::/10";
        rules.push(rule(v4, Direction::Egress, Peers::Every, 67));
        // A server answers to an address that the host does not have yet, so the
        // answer matches no flow (RFC 2131 section 4.1).
        rules.push(rule(offers, Direction::Ingress, Peers::Every, 68));
        rules.push(rule(v6, Direction::Egress, Peers::Every, 547));
        let peers = Peers::Prefixes(vec![link_local]);
        rules.push(rule(answers, Direction::Ingress, peers, 546));
    }
    rules
}

/// The own node reaches its pods where nothing else decides (rule 23).
pub(crate) fn local_host() -> PolicyRule {
    let summary = "this node may reach its own pods";
    let peers = Peers::Entities(vec![Entity::Host]);
    PolicyRule { services: Services::Every, ..rule(summary, Direction::Ingress, peers, 0) }
}

/// Servers answer a DHCPv6 client from their link-local address (RFC 8415
/// section 18.3).
const LINK_LOCAL: ipnet::IpNet = ipnet::IpNet::V6(ipnet::Ipv6Net::new_assert(
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    10,
));

fn rule(summary: &str, direction: Direction, peers: Peers, port: u16) -> PolicyRule {
    PolicyRule {
        at: Position::WHOLE_FILE,
        direction,
        action: Action::Allow,
        priority: 0,
        peers,
        services: Services::Only(vec![Entry::from(vec![Service {
            protocol: UDP,
            first: port,
            last: port,
        }])]),
        authentication: None,
        fingerprint: fingerprint(FINGERPRINT_SEED, summary.as_bytes()),
        summary: summary.into(),
    }
}
