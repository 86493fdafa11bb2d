//! Tunnels of every kind that the kernel has: the outer packets by a rule, the
//! inner ones judged on their own, each once.
#![allow(clippy::print_stdout, reason = "what a kernel lacks is worth showing")]

use std::{net::SocketAddr, process::Command};

use hostfw_api::{Direction, RuleKind};
use hostfw_scenario::{
    Echo, Firewall, Host, Reach, binary, lab, ping, reaches,
    scene::{SECOND, SILENCE, node_object, open_port, pair, policy},
    udp,
};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// What is needed to make one end of a tunnel, and to let its packets through.
struct Kind {
    name: &'static str,
    /// The rest of `ip link add tun0`, with our number for `ME` and the other
    /// end's for `YOU`.
    device: &'static str,
    /// The protocol to be named in a rule; none where a built-in rule is.
    protocol: Option<&'static str>,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "vxlan",
        device: "type vxlan id 42 dstport 8472 local 192.0.2.ME remote 192.0.2.YOU dev eth0",
        protocol: None,
    },
    Kind { name: "geneve", device: "type geneve id 42 remote 192.0.2.YOU", protocol: None },
    Kind { name: "wireguard", device: "type wireguard", protocol: None },
    Kind {
        name: "gre",
        device: "type gre local 192.0.2.ME remote 192.0.2.YOU",
        protocol: Some("GRE"),
    },
    Kind {
        name: "ipip",
        device: "type ipip local 192.0.2.ME remote 192.0.2.YOU",
        protocol: Some("IPIP"),
    },
    Kind {
        name: "sit",
        device: "type sit local 192.0.2.ME remote 192.0.2.YOU mode any",
        protocol: Some("IPIP"),
    },
];

impl Kind {
    /// Makes the device on both ends; false where the kernel has none.
    fn make(&self, ends: &[&Host; 2]) -> bool {
        let line = |me: &str, you: &str| {
            format!("link add tun0 {}\n", self.device.replace("ME", me).replace("YOU", you))
        };
        if !ends[0].try_ip(&line("1", "2")) {
            return false;
        }
        ends[1].ip(&line("2", "1"));
        if self.name == "wireguard" {
            meet(ends);
        }
        for (host, number) in ends.iter().zip(1..) {
            host.ip(&format!("addr add 10.9.0.{number}/24 dev tun0\nlink set tun0 up\n"));
        }
        true
    }

    fn lists(&self) -> String {
        let outer = self.protocol.map_or(String::new(), |name| {
            format!(
                "- fromEntities: [remote-node]\n  toPorts: [{{ports: [{{protocol: {name}}}]}}]\n"
            )
        });
        let inner = open_port(7, "UDP") + &open_port(7, "TCP");
        format!("ingress:\n{inner}{outer}egress:\n{inner}{}", outer.replace("from", "to"))
    }
}

/// Tells two WireGuard devices of each other.
#[track_caller]
fn meet(ends: &[&Host; 2]) {
    let wg = |host: &Host, arguments: &[&str], input: &str| {
        let file = host.folder().join("input");
        std::fs::write(&file, input).expect("a file of the lab");
        let input = std::fs::File::open(&file).expect("a file of the lab");
        let mut command: Command = host.command(binary("wg"));
        let output = command.args(arguments).stdin(input).output().expect("wg is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let keys = ends.map(|host| {
        let key = wg(host, &["genkey"], "");
        let public = wg(host, &["pubkey"], &key);
        (host.folder().join("key"), key, public)
    });
    for (index, host) in ends.iter().enumerate() {
        let (file, key, _) = &keys[index];
        std::fs::write(file, key).expect("a file of the lab");
        let file = file.to_string_lossy();
        let endpoint = format!("192.0.2.{}:51820", 2 - index);
        let own = ["set", "tun0", "listen-port", "51820", "private-key", &file];
        let other = ["peer", &keys[1 - index].2, "allowed-ips", "0.0.0.0/0", "endpoint", &endpoint];
        wg(host, &[&own[..], &other].concat(), "");
    }
}

/// T16 and T19: what a kernel has no driver for is said and passed over.
#[test]
fn the_inside_of_a_tunnel_is_judged_once_and_its_outside_by_a_rule() {
    for kind in &KINDS {
        let lab = lab!();
        let (node, peer) = pair(&lab);
        if !kind.make(&[&node, &peer]) {
            println!("this kernel has no {} driver: not shown here", kind.name);
            continue;
        }
        let (own, theirs) = (at("10.9.0.1:7"), at("10.9.0.2:7"));
        let (_echo, _there) = (Echo::start(&node, own), Echo::start(&peer, theirs));
        let mut firewall = Firewall::new(&node);
        firewall.policy("test.yaml", &policy("test", &kind.lists()));
        let world = [
            node_object("node", &["192.0.2.1", "10.9.0.1"]),
            node_object("other", &["192.0.2.2", "10.9.0.2"]),
        ];
        firewall.world("nodes.yaml", &world.join("---\n"));
        firewall.start();
        assert_eq!(firewall.links().links.len(), 2, "{}", kind.name);
        for (from, to) in [(&peer, own), (&node, theirs)] {
            assert_eq!(reaches(from, to, 5 * SECOND), Reach::Open, "{} to {to}", kind.name);
        }
        assert_eq!(reaches(&peer, at("10.9.0.1:8"), SILENCE), Reach::Silent, "{}", kind.name);
        assert!(!ping(&node, theirs.ip(), SILENCE), "{}: egress is denied", kind.name);

        // Five questions: each counted once inside, and once or more outside.
        let count = |protocol: &str, direction: Direction| -> u64 {
            let rules = firewall.rules().rules;
            let of = rules.iter().filter(|rule| {
                rule.direction == direction && rule.policy == "test" && {
                    let text = rule.summary.to_uppercase();
                    text.contains(protocol)
                }
            });
            of.map(|rule| rule.packets).sum()
        };
        let before = [Direction::Ingress, Direction::Egress].map(|way| count("UDP", way));
        for (from, to) in [(&peer, own), (&node, theirs)] {
            let socket = udp(from, to, SECOND);
            for _ in 0..5 {
                socket.send(b"question").expect("sent");
                socket.recv(&mut [0; 16]).expect("an answer");
            }
        }
        let after = [Direction::Ingress, Direction::Egress].map(|way| count("UDP", way));
        assert_eq!([after[0] - before[0], after[1] - before[1]], [5, 5], "{}", kind.name);
        let rules = firewall.rules().rules;
        let outer = rules.iter().find(|rule| {
            rule.direction == Direction::Ingress
                && match kind.protocol {
                    Some(name) => rule.summary.contains(name),
                    None => rule.kind == RuleKind::BuiltIn && rule.summary.contains("tun0"),
                }
        });
        let outer = outer.unwrap_or_else(|| panic!("{}: {rules:#?}", kind.name));
        assert!(outer.packets >= 10, "{}: {outer:?}", kind.name);

        // Without its rule nothing gets through.
        firewall.apply(|firewall| {
            let inner = "ingress:\n".to_owned() + &open_port(7, "UDP") + &open_port(7, "TCP");
            firewall.policy("test.yaml", &policy("test", &inner));
            firewall.configure("builtins: {tunnels: false}\n");
            firewall.reload();
        });
        assert_eq!(reaches(&peer, own, SILENCE), Reach::Silent, "{}", kind.name);
    }
}
