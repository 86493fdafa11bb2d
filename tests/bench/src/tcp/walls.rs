//! A host behind a wall in both directions, and whoever talks to it over one
//! cable. Rule `r` has a prefix of each family and one of ten ports; the other
//! end lives in the prefix of the one in the middle.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context, ensure};
use hostfw_scenario::{Firewall, ForeignProgram, Host, Lab, Place};

use crate::{flows::Family, wall::Wall};

/// Rules in each direction.
pub(crate) const RULES: u32 = 1_000;
const MIDDLE: u32 = RULES / 2;
/// Ports that rules name, and one that no rule does.
const PORTS: u32 = 10;
const FIRST_PORT: u16 = 1000;
const DENIED_PORT: u16 = 999;

/// What a wall lets pass within this time passes.
const PATIENCE: Duration = Duration::from_millis(200);

/// A walled host and its neighbour.
pub(crate) struct Yard {
    pub(crate) node: Host,
    pub(crate) peer: Host,
}

impl Yard {
    pub(crate) fn new(lab: &Lab, number: usize) -> Self {
        let node = lab.host(&format!("node{number}"));
        let peer = lab.host(&format!("peer{number}"));
        lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&peer, "eth0", "02:00:00:00:00:02"));
        let (v4, v6) = (v4_of(MIDDLE, 1), v6_of(MIDDLE, 1));
        node.ip(&format!(
            "link set eth0 up\n\
             addr add 192.0.2.1/24 dev eth0\n\
             addr add 2001:db8::1/64 dev eth0 nodad\n\
             route add 10.0.0.0/8 dev eth0\n\
             route add 2001:db8:1::/48 dev eth0\n\
             neigh add {v4} lladdr 02:00:00:00:00:02 nud permanent dev eth0\n\
             neigh add {v6} lladdr 02:00:00:00:00:02 nud permanent dev eth0\n"
        ));
        peer.ip(&format!(
            "link set eth0 up\n\
             addr add {v4}/32 dev eth0\n\
             addr add {v6}/128 dev eth0 nodad\n\
             route add 192.0.2.0/24 dev eth0 src {v4}\n\
             route add 2001:db8::/64 dev eth0 src {v6}\n\
             neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0\n\
             neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 nud permanent dev eth0\n"
        ));
        Self { node, peer }
    }

    /// Who connects and who is connected to, and where.
    pub(crate) fn ends(&self, inbound: bool, v6: bool) -> ((&Host, &Host), SocketAddr) {
        let (hosts, address) = match (inbound, v6) {
            (true, false) => ((&self.peer, &self.node), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            (true, true) => {
                let node = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
                ((&self.peer, &self.node), node.into())
            }
            (false, false) => ((&self.node, &self.peer), v4_of(MIDDLE, 1).into()),
            (false, true) => ((&self.node, &self.peer), v6_of(MIDDLE, 1).into()),
        };
        (hosts, SocketAddr::new(address, port_of(MIDDLE)))
    }
}

/// What stands before the node, for as long as this lives.
pub(crate) struct Fence<'yard> {
    pub(crate) wall: Wall,
    yard: &'yard Yard,
    firewall: Option<Firewall<'yard>>,
    _links: Vec<OwnedFd>,
}

impl<'yard> Fence<'yard> {
    pub(crate) fn new(yard: &'yard Yard, wall: Wall) -> anyhow::Result<Self> {
        let (mut firewall, mut links) = (None, Vec::new());
        if wall == Wall::Empty {
            let program = ForeignProgram::drops(1);
            links.push(program.chain(&yard.node, "eth0", Place::First));
            links.push(program.chain_departing(&yard.node, "eth0", Place::First));
        } else if wall == Wall::Hostfw {
            let mut ours = Firewall::new(&yard.node);
            ours.configure("devices: {include: [eth0]}\n");
            ours.policy("bench.yaml", &policy());
            ours.start();
            firewall = Some(ours);
        } else if wall == Wall::NftSet {
            yard.node.nft(&nftables());
        } else {
            ensure!(wall == Wall::None, "{} has no rules for both directions", wall.name());
        }
        Ok(Self { wall, yard, firewall, _links: links })
    }

    /// A wall that hinders nothing is none: what no rule names must not come
    /// through in either direction, and must where there is no rule.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let stands = matches!(self.wall, Wall::Hostfw | Wall::NftSet);
        for (inbound, v6) in [(true, false), (true, true), (false, false), (false, true)] {
            let ((client, server), mut address) = self.yard.ends(inbound, v6);
            address.set_port(DENIED_PORT);
            let _listener = server.inside(|| TcpListener::bind(address)).context("listen")?;
            let reached = client.inside(|| TcpStream::connect_timeout(&address, PATIENCE)).is_ok();
            let name = self.wall.name();
            ensure!(reached != stands, "{name}: a connection to {address} reached: {reached}");
        }
        Ok(())
    }

    /// Ours must have judged each packet: so many of them, at least, were
    /// admitted by a rule in each direction.
    pub(crate) fn check_judged(&self, packets: u64) -> anyhow::Result<()> {
        if let Some(ours) = &self.firewall {
            let (inbound, outbound) = (ours.ingress_packets("rule"), ours.egress_packets("rule"));
            let all = inbound >= packets && outbound >= packets;
            ensure!(all, "rules admitted {inbound} and {outbound} packets of {packets} and more");
        }
        Ok(())
    }

    /// Forgets what a table of connections holds, see [`crate::bed::Bed`].
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        if !self.wall.tracks() {
            return Ok(());
        }
        let mut conntrack = self.yard.node.command("conntrack");
        let output = conntrack.arg("--flush").output().context("run conntrack")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// A host's address in the prefix of a rule.
fn v4_of(rule: u32, host: u32) -> Ipv4Addr {
    Ipv4Addr::from(Family::V4.base(true) + rule * 64 + host)
}

fn v6_of(rule: u32, host: u16) -> Ipv6Addr {
    let rule = u16::try_from(rule).unwrap_or(u16::MAX);
    Ipv6Addr::new(0x2001, 0xdb8, 1, rule, 0, 0, 0, host)
}

fn port_of(rule: u32) -> u16 {
    FIRST_PORT + u16::try_from(rule % PORTS).unwrap_or(0)
}

fn policy() -> String {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {name: bench}\nspec:\n  nodeSelector: {}\n",
    );
    for (direction, peers) in [("ingress", "fromCIDR"), ("egress", "toCIDR")] {
        text.push_str(&format!("  {direction}:\n"));
        for rule in 0..RULES {
            text.push_str(&format!(
                "  - {peers}: [{}/26, \"{}/64\"]\n    \
                 toPorts: [{{ports: [{{port: \"{}\", protocol: TCP}}]}}]\n",
                v4_of(rule, 0),
                v6_of(rule, 0),
                port_of(rule)
            ));
        }
    }
    text
}

fn nftables() -> String {
    let elements = |prefix: fn(u32) -> String| {
        let all: Vec<String> =
            (0..RULES).map(|rule| format!("{} . {}", prefix(rule), port_of(rule))).collect();
        all.join(", ")
    };
    let mut text = format!(
        "table inet bench {{\n\
         set allowed {{ type ipv4_addr . inet_service; flags interval; elements = {{ {} }}; }}\n\
         set allowed6 {{ type ipv6_addr . inet_service; flags interval; elements = {{ {} }}; }}\n",
        elements(|rule| format!("{}/26", v4_of(rule, 0))),
        elements(|rule| format!("{}/64", v6_of(rule, 0)))
    );
    for (hook, end) in [("input", "saddr"), ("output", "daddr")] {
        text.push_str(&format!(
            "chain {hook} {{\n type filter hook {hook} priority filter; policy drop;\n\
             ct state vmap {{ established : accept, related : accept, invalid : drop }}\n\
             ip {end} . tcp dport @allowed accept\n\
             ip6 {end} . tcp dport @allowed6 accept\n}}\n"
        ));
    }
    text.push_str("}\n");
    text
}
