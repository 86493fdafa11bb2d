//! The hosts of the demonstration, their servers and their firewalls, and the
//! playing of one probe on them.
//!
//! What decided is read from the counters of the kernel before and after, not
//! computed.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    time::Duration,
};

use hostfw_api::{Direction, Mode, RuleKind};

use super::script::{Decision, EDITED, Phase, Probe, What, demo_folder, policy_text};
use crate::{
    Echo, Etcd, Firewall, Host, Lab, Nginx, Reach, Sshd, eventually, http_get, ping, reaches,
    reaches_from, wait_until,
};

/// A probe that is not answered in this time is closed.
const LIMIT: Duration = Duration::from_millis(500);

/// Nothing moved for this long: the probe is over.
const QUIET: Duration = Duration::from_millis(100);

/// The end of a connection takes less.
const SETTLE: Duration = Duration::from_secs(5);

/// UDP port of the overlay.
const TUNNEL: u16 = 8472;

/// What stands for the port in a report about a ping.
const ECHO_REQUEST: u16 = 8;

/// Hosts with the last part of their addresses; the first three are nodes.
const HOSTS: [(&str, u8); 4] = [("cp-1", 11), ("infra-1", 12), ("worker-1", 13), ("jump", 5)];

/// The pod that collects metrics has an address of its own on the worker.
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 113);

/// The hosts and everything that runs on them but the firewalls.
pub(super) struct Stage {
    hosts: BTreeMap<&'static str, Host>,
    sshd: BTreeMap<&'static str, Sshd>,
    _servers: (Etcd, Nginx, Vec<Echo>),
}

/// What came of a probe.
pub(super) struct Seen {
    pub(super) open: bool,
    pub(super) decision: Decision,
}

pub(super) type Firewalls<'stage> = BTreeMap<&'static str, Firewall<'stage>>;

impl Stage {
    pub(super) fn build(lab: &Lab) -> Self {
        let switch = lab.host("switch");
        switch.ip("link add br0 type bridge\nlink set br0 up\n");
        let mut hosts = BTreeMap::new();
        for (name, number) in HOSTS {
            let host = lab.host(name);
            connect(lab, &switch, &host, number);
            hosts.insert(name, host);
        }
        hosts["worker-1"].ip(&format!("addr add {POD}/32 dev vxlan0\n"));

        let nodes = HOSTS.into_iter().filter(|(name, _)| *name != "jump");
        let mut sshd = BTreeMap::new();
        let mut echoes = Vec::new();
        for (name, number) in nodes {
            let host = &hosts[name];
            sshd.insert(name, Sshd::start(host, (wire(number), 22).into()));
            echoes.push(Echo::start(host, (Ipv4Addr::UNSPECIFIED, 10250).into()));
        }
        echoes.push(Echo::start(&hosts["cp-1"], (wire(11), 6443).into()));
        let etcd = Etcd::start(&hosts["cp-1"], wire(11).into());
        let nginx = Nginx::start(&hosts["infra-1"], wire(12).into(), &[80, 443]);
        let stage = Self { hosts, sshd, _servers: (etcd, nginx, echoes) };
        for from in ["infra-1", "worker-1", "jump"] {
            wait_until("the overlay carries traffic", SETTLE, || {
                ping(&stage.hosts[from], overlay(11).into(), LIMIT)
            });
        }
        stage
    }

    /// One daemon per node, all in audit mode.
    pub(super) fn start_firewalls(&self) -> Firewalls<'_> {
        let mut firewalls = BTreeMap::new();
        for name in self.sshd.keys() {
            let mut firewall = Firewall::new(&self.hosts[name]);
            firewall.configure("audit: true\n");
            copy(&demo_folder().join("policies.d"), |file, text| firewall.policy(file, text));
            copy(&demo_folder().join("cluster.d"), |file, text| firewall.world(file, text));
            firewall.start();
            firewalls.insert(*name, firewall);
        }
        firewalls
    }

    /// Changes what is in force, as an operator does.
    pub(super) fn enter(&self, phase: Phase, firewalls: &Firewalls<'_>) {
        match phase {
            Phase::Audit => {
                for firewall in firewalls.values() {
                    firewall.await_status("audit mode", |status| status.ingress == Mode::Audit);
                }
            }
            Phase::Enforcing => {
                for firewall in firewalls.values() {
                    let answer = firewall.hostfw(&["audit", "off"]);
                    assert_eq!(answer.code, 0, "{answer:?}");
                    firewall.await_status("enforcing", |status| status.ingress == Mode::Enforcing);
                }
            }
            Phase::Edited => {
                let text = policy_text(&format!("edited/{EDITED}"));
                firewalls["cp-1"].apply(|firewall| firewall.policy(EDITED, &text));
            }
        }
    }

    pub(super) fn play(&self, probe: &Probe, firewalls: &Firewalls<'_>) -> Seen {
        let (to, through) = probe.to.split_once('/').unwrap_or((probe.to, ""));
        let number = HOSTS.into_iter().find(|(name, _)| *name == to).expect("a host").1;
        let address = if through.is_empty() { wire(number) } else { overlay(number) };
        let firewall = &firewalls[to];
        let before = Counters::at_rest(firewall);
        let open = self.ask(probe, to, address);
        let port = if probe.what == What::Ping { ECHO_REQUEST } else { probe.port };
        let from = HOSTS.into_iter().find(|(name, _)| *name == probe.from);
        let senders = from.map_or([POD, POD], |(_, number)| [wire(number), overlay(number)]);
        let decision = Counters::at_rest(firewall).decision_since(&before, senders, port);
        Seen { open, decision }
    }

    fn ask(&self, probe: &Probe, to: &str, address: Ipv4Addr) -> bool {
        let target = SocketAddr::new(IpAddr::V4(address), probe.port);
        if probe.from == "pod" {
            let target = SocketAddrV4::new(address, probe.port);
            return reaches_from(&self.hosts["worker-1"], POD, target, LIMIT) == Reach::Open;
        }
        let from = &self.hosts[probe.from];
        match probe.what {
            What::Ssh => self.sshd[to].accepts_login(from, target, LIMIT),
            What::Http => {
                let path = if probe.port == 2379 { "/version" } else { "/" };
                http_get(from, target, path, LIMIT).is_ok_and(|page| page.contains(" 200 "))
            }
            What::Tcp => reaches(from, target, LIMIT) == Reach::Open,
            What::Ping => ping(from, address.into(), LIMIT),
        }
    }
}

/// What one node's kernel has counted on ingress.
#[derive(PartialEq, Eq)]
struct Counters {
    /// By file and line: packets, and whether the rule allows. The tunnel's own
    /// rule is left out: what is inside is what was asked.
    rules: BTreeMap<(String, u32), (u64, bool)>,
    /// By peer and port: packets that no rule allowed.
    denied: BTreeMap<(IpAddr, u16), u64>,
    audits: bool,
}

impl Counters {
    /// Reads when nothing moves any more: connections end after their probe.
    fn at_rest(firewall: &Firewall<'_>) -> Self {
        let mut last = Self::read(firewall);
        let rest = eventually(SETTLE, || {
            std::thread::sleep(QUIET);
            let now = Self::read(firewall);
            let rests = now == last;
            last = now;
            rests.then_some(())
        });
        assert!(rest.is_some(), "the counters do not come to rest");
        last
    }

    fn read(firewall: &Firewall<'_>) -> Self {
        let report = firewall.rules();
        let asked = report.rules.iter().filter(|rule| {
            rule.direction == Direction::Ingress && !rule.summary.contains(&TUNNEL.to_string())
        });
        let rules = asked.map(|rule| {
            let file = Path::new(&rule.path).file_name().unwrap_or_default().to_string_lossy();
            let counter = (rule.packets, rule.kind != RuleKind::Deny);
            ((file.into_owned(), rule.line), counter)
        });
        let flows =
            firewall.audit().flows.into_iter().filter(|flow| {
                flow.direction == Direction::Ingress && flow.reason == "default-deny"
            });
        let mut denied = BTreeMap::new();
        for flow in flows {
            *denied.entry((flow.peer, flow.port)).or_default() += flow.packets;
        }
        Self { rules: rules.collect(), denied, audits: firewall.status().audit.on }
    }

    /// What was decided about packets of these senders to this port. A tunnel
    /// that was denied, or audited, counts for what is inside.
    fn decision_since(&self, before: &Self, senders: [Ipv4Addr; 2], port: u16) -> Decision {
        let refused = senders.into_iter().flat_map(|sender| [(sender, port), (sender, TUNNEL)]);
        let refused = refused.map(|(sender, port)| (IpAddr::V4(sender), port)).any(|flow| {
            self.denied.get(&flow).unwrap_or(&0) > before.denied.get(&flow).unwrap_or(&0)
        });
        let moved = self.rules.iter().filter(|(place, counter)| {
            counter.0 > before.rules.get(*place).map_or(0, |counter| counter.0)
        });
        let moved: Vec<_> = moved.collect();
        match &moved[..] {
            _ if refused => Decision::NoRule { audited: self.audits },
            [((file, line), (_, allows))] => {
                Decision::Rule { file: file.clone(), line: *line, allows: *allows }
            }
            several => Decision::Unclear(format!("{} rules", several.len())),
        }
    }
}

/// Address on the wire.
fn wire(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 0, number)
}

/// Address in the overlay.
fn overlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, number)
}

/// Puts a host on the switch. Every host has an end of the overlay, the jump
/// host too: it is not a node, so it should not get through.
fn connect(lab: &Lab, switch: &Host, host: &Host, number: u8) {
    let port = format!("port{number}");
    let (near, far) =
        (format!("02:00:0a:14:00:{number:02x}"), format!("02:00:0a:14:01:{number:02x}"));
    lab.cable((host, "eth0", &near), (switch, &port, &far));
    switch.ip(&format!("link set {port} master br0 up\n"));
    let (wire_address, overlay_address) = (wire(number), overlay(number));
    host.ip(&format!(
        "link set eth0 up\naddr add {wire_address}/24 dev eth0\n\
         link add vxlan0 type vxlan id 42 dstport {TUNNEL} local {wire_address} dev eth0\n\
         addr add {overlay_address}/24 dev vxlan0\n"
    ));
    // Nothing but the probes shall go through the tunnel.
    host.sysctl("net/ipv6/conf/vxlan0/disable_ipv6", "1");
    host.ip("link set vxlan0 up\n");
    let others = HOSTS.into_iter().filter(|&(_, other)| other != number);
    let flood = others
        .map(|(_, other)| format!("fdb append 00:00:00:00:00:00 dev vxlan0 dst {}\n", wire(other)));
    host.bridge(&flood.collect::<String>());
}

fn copy(folder: &Path, write: impl Fn(&str, &str)) {
    for entry in fs::read_dir(folder).expect("etc/demo is in the source tree").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a readable file");
        write(&entry.file_name().to_string_lossy(), &text);
    }
}
