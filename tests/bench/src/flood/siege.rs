//! A host with very many live flows, and a neighbour who is the other end of all
//! of them. Datagrams are counted where they end: at sockets that refuse them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use anyhow::{Context, ensure};
use hostfw_scenario::{Firewall, Host, Lab};

use crate::{
    bed::{self, refusing_socket},
    bpf::{Cell, Xdp},
    counters::packets,
    flood::{
        connections::{self, Connections},
        syn,
    },
    flows::{FIRST_PORT, Family, Flows, OWN_PORT, PORTS},
    rules::Rules,
    time::{median, stay_on_processor, thread_time},
    wall::Wall,
};

/// A port that everybody may open, and one that nobody may, nor listens at.
pub(crate) const OPEN_PORT: u16 = 80;
pub(crate) const CLOSED_PORT: u16 = 81;

/// Where connections that live go: everybody may open that port too.
pub(crate) const LIVE_PORT: u16 = 22;

/// Datagrams between two looks at what the neighbour has received: it keeps up.
const VOLLEY: usize = 500;

/// What stands before the host, and whether it judges what the host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) wall: Wall,
    pub(crate) egress: bool,
}

impl Guard {
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.wall.name(), if self.egress { ", both directions" } else { "" })
    }
}

/// What packets of one kind have cost, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Toll {
    pub(crate) sent: u64,
    /// Reached a socket; of a flood: was answered by the host.
    pub(crate) arrived: u64,
    /// Nanoseconds for one packet, wave by wave.
    costs: Vec<f64>,
}

impl Toll {
    pub(crate) fn add(&mut self, more: Self) {
        self.sent += more.sent;
        self.arrived += more.arrived;
        self.costs.extend(more.costs);
    }

    /// Nanoseconds for one packet of the middle wave, and how far every second
    /// one is from it.
    pub(crate) fn cost(&self) -> (f64, f64) {
        median(&self.costs)
    }

    /// The part that has arrived.
    pub(crate) fn share(&self) -> f64 {
        self.arrived as f64 / self.sent as f64
    }
}

/// Connections that nobody accepts; whoever listens goes last.
pub(crate) struct Crowd {
    pub(crate) connections: Connections,
    _listener: TcpListener,
}

/// Whatever address a datagram is for.
const EVERY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Two hosts on a cable.
pub(crate) struct Pair {
    node: Host,
    peer: Host,
}

impl Pair {
    pub(crate) fn new(lab: &Lab, number: usize) -> Self {
        let node = lab.host(&format!("node{number}"));
        let peer = lab.host(&format!("peer{number}"));
        lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&peer, "eth0", "02:00:00:00:00:02"));
        node.ip("link set eth0 up\n\
             addr add 192.0.2.1/24 dev eth0\n\
             neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev eth0\n\
             route add default via 192.0.2.2\n");
        // The neighbour has every address of a flow, and none of a flood.
        peer.ip("link set eth0 up\n\
             addr add 192.0.2.2/24 dev eth0\n\
             neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0\n\
             route add local 10.0.0.0/8 dev lo\n\
             route add local 172.16.0.0/12 dev lo\n");
        for host in [&node, &peer] {
            host.sysctl("net/ipv4/conf/all/rp_filter", "0");
            host.sysctl("net/ipv4/conf/eth0/rp_filter", "0");
            // Nothing leaves but what is counted.
            host.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
        }
        Self { node, peer }
    }
}

/// A host under siege.
pub(crate) struct Siege<'pair> {
    pub(crate) guard: Guard,
    pair: &'pair Pair,
    ifindex: u32,
    sockets: BTreeMap<u16, UdpSocket>,
    _neighbours: Vec<UdpSocket>,
    _listener: TcpListener,
    flood: (Xdp, Xdp),
    pub(crate) firewall: Option<Firewall<'pair>>,
    _link: OwnedFd,
}

impl<'pair> Siege<'pair> {
    pub(crate) fn new(pair: &'pair Pair, guard: Guard, n_rules: u32) -> anyhow::Result<Self> {
        let node = &pair.node;
        let ifindex = node.ifindex("eth0");
        let pass = Xdp::load(&[[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]])?;
        let link = node.inside(|| pass.attach(ifindex)).context("attach to the device")?;
        let mut firewall = None;
        let rules = Rules { family: Family::V4, count: n_rules };
        if guard.wall == Wall::Hostfw {
            let mut ours = Firewall::new(node);
            ours.configure("devices: {include: [eth0]}\n");
            let mut policy = rules.policy();
            for port in [OPEN_PORT, LIVE_PORT] {
                policy.push_str(&format!(
                    "  - toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n"
                ));
            }
            if guard.egress {
                policy.push_str("  egress:\n  - toCIDR: [172.16.0.0/12]\n");
            }
            ours.policy("bench.yaml", &policy);
            ours.start();
            firewall = Some(ours);
        } else if guard.wall == Wall::NftSet {
            node.nft(&rules.nft_set());
            // Room is what is measured. A slow run must not look like none.
            for key in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
                node.sysctl(&format!("net/netfilter/{key}"), "600");
            }
            let ports = format!("{{ {OPEN_PORT}, {LIVE_PORT} }}");
            node.nft(&format!("add rule inet bench input tcp dport {ports} accept\n"));
        } else {
            ensure!(guard.wall == Wall::None, "{} is not besieged", guard.name());
        }
        let ports = (0..PORTS).filter_map(|port| u16::try_from(port).ok());
        let ports = ports.map(|port| FIRST_PORT + port).chain([OWN_PORT]);
        let sockets: io::Result<_> =
            node.inside(|| ports.map(|port| Ok((port, refusing_socket(EVERY, port)?))).collect());
        // All ports that 100,000 flows have at the other end.
        let neighbours: io::Result<_> =
            pair.peer.inside(|| (1024..1034).map(|port| refusing_socket(EVERY, port)).collect());
        let listener = node.inside(|| TcpListener::bind(("0.0.0.0", OPEN_PORT)));
        let cell = Cell::new()?;
        let flood = (syn::program(&cell, OPEN_PORT)?, syn::program(&cell, CLOSED_PORT)?);
        Ok(Self {
            guard,
            pair,
            ifindex,
            sockets: sockets.context("open the sockets")?,
            _neighbours: neighbours.context("open the sockets of the neighbour")?,
            _listener: listener.context("listen")?,
            flood,
            firewall,
            _link: link,
        })
    }

    /// One packet from each of the flows to this host.
    pub(crate) fn hear_all(&self, flows: &Flows) -> anyhow::Result<u64> {
        let program = Flows { count: 0, ..*flows }.program(&Cell::new()?, 0)?;
        Ok(self.live(&program, &flows.frame(), flows.count)?.arrived)
    }

    /// One packet from this host to each of the flows.
    pub(crate) fn tell_all(&self, flows: &Flows) -> anyhow::Result<u64> {
        let Pair { node, peer } = self.pair;
        let before = peer.inside(arrived)?;
        let all: Vec<u32> = (0..flows.count).collect();
        for volley in all.chunks(VOLLEY) {
            node.inside(|| {
                volley.iter().try_for_each(|&flow| {
                    let socket = self.sockets.get(&flows.port(flow));
                    let socket = socket.context("there is a socket for each port")?;
                    // A wall may refuse; what counts is what arrives.
                    let _refused = socket.send_to(&[0], flows.peer(flow));
                    anyhow::Ok(())
                })
            })?;
        }
        Ok(peer.inside(arrived)? - before)
    }

    /// Packets of flows that live.
    pub(crate) fn live(&self, program: &Xdp, frame: &[u8], count: u32) -> anyhow::Result<Toll> {
        self.send(program, frame, count, arrived)
    }

    /// Requests for connections with a port.
    pub(crate) fn flood(&self, port: u16, count: u32) -> anyhow::Result<Toll> {
        let program = if port == OPEN_PORT { &self.flood.0 } else { &self.flood.1 };
        self.send(program, &syn::frame(port), count, departed)
    }

    fn send(
        &self,
        program: &Xdp,
        frame: &[u8],
        count: u32,
        counter: fn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<Toll> {
        self.pair.node.inside(|| {
            stay_on_processor(0).context("choose a processor")?;
            let before = counter()?;
            let begin = thread_time();
            program.send(frame, self.ifindex, count).context("run the generator")?;
            let spent = thread_time().saturating_sub(begin);
            let cost = spent.as_secs_f64() * 1e9 / f64::from(count);
            let arrived = counter()? - before;
            Ok(Toll { sent: u64::from(count), arrived, costs: vec![cost] })
        })
    }

    /// Opens connections with this host, or from it.
    pub(crate) fn connect(&self, count: usize, begun_here: bool) -> anyhow::Result<Crowd> {
        let Pair { node, peer } = self.pair;
        let (client, server) = if begun_here { (node, peer) } else { (peer, node) };
        let backlog = 2 * count;
        server.sysctl("net/core/somaxconn", &backlog.to_string());
        // The kernel looks for a free port one by one, and takes every second one
        // first: there should be more of these than are wanted.
        client.sysctl("net/ipv4/ip_local_port_range", "1024 65535");
        let backlog = i32::try_from(backlog)?;
        let listener = server.inside(|| connections::listener(LIVE_PORT, backlog))?;
        let connections = Connections::open(client, count, |number| {
            let number = u8::try_from(number % 200).unwrap_or(0);
            let address = if begun_here {
                Ipv4Addr::new(172, 16, 0, 10 + number)
            } else {
                let address = Ipv4Addr::new(192, 0, 2, 10 + number);
                node.try_ip(&format!("addr add {address}/24 dev eth0\n"));
                address
            };
            (address, LIVE_PORT).into()
        })?;
        Ok(Crowd { connections, _listener: listener })
    }

    /// Connections that netfilter knows on this host.
    pub(crate) fn tracked(&self) -> anyhow::Result<Option<u64>> {
        if !self.guard.wall.tracks() {
            return Ok(None);
        }
        let output = self.pair.node.command("conntrack").arg("--count").output();
        let text = String::from_utf8_lossy(&output.context("run conntrack")?.stdout).into_owned();
        Ok(Some(text.trim().parse().context("a count of connections")?))
    }

    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        if self.guard.wall.tracks() {
            let output = self.pair.node.command("conntrack").arg("--flush").output();
            let output = output.context("run conntrack")?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Datagrams that sockets of the calling thread's namespace have refused.
fn arrived() -> anyhow::Result<u64> {
    bed::arrived(Family::V4)
}

/// Packets that the host has sent.
fn departed() -> anyhow::Result<u64> {
    Ok(packets()?.1)
}
