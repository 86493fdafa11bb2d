//! What events cost: a million denied packets a second, every one of a flow
//! that nobody has seen, where the programs tell of them and where they do not.
//! And whether each of them is counted, told or said to be lost: by the programs
//! alone, and by a daemon that is asked.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{AttachMode, Capacity, Events, Kernel, KernelConfig};
use hostfw_datapath::{
    Direction, Reason,
    control_word::{ControlWord, InForce},
    packet::Layer,
};
use hostfw_parity::policies;
use hostfw_scenario::{Firewall, Host, Lab};

use crate::{
    bpf::{Cell, Xdp},
    flows::{DENIED_PORT, Family, Flows},
    page::Target,
    rules::Rules,
    time::{median, stay_on_processor, thread_time},
};

/// Packets a second, for so many seconds a sample: what is told is bounded for
/// each second, so a part of one would say nothing.
const PER_SECOND: u32 = 1_000_000;
const SECONDS: u32 = 1;
/// They are sent together, so many times a second.
const BURSTS: u32 = 100;
const ROUNDS: usize = 5;
const BOUND: f64 = 1.3;

/// A daemon empties the ring that often.
const DRAIN: Duration = Duration::from_millis(20);

/// Rules of the policy that denies by having none for these packets.
const RULES: u32 = 1_000;
const RULESET: Rules = Rules { family: Family::V4, count: RULES };

/// Programs on a device that tell of what they deny, or do not.
struct Side {
    ifindex: u32,
    kernel: Kernel,
    events: Option<Events>,
    sent: u64,
    told: u64,
    ns: Vec<f64>,
    _link: OwnedFd,
}

impl Side {
    /// Attaches programs of its own to a device of this namespace.
    fn new(folder: &Path, device: &str, ifindex: u32, reports_per_s: u32) -> anyhow::Result<Self> {
        let link = known(ifindex)?;
        let compiled = policies::compile_text(&RULESET.policy(), 1)?;
        let capacity = Capacity::SMALL.for_image(compiled.words.len(), compiled.rules.len());
        let (bpf_dir, attach) = (folder.join(device), AttachMode::Auto);
        let config = KernelConfig { bpf_dir, attach, capacity, reports_per_s };
        let (mut kernel, _) = Kernel::open(config)?;
        let slot = kernel.load(&compiled.words, &[Family::V4.node()])?;
        kernel.attach(ifindex, device, Layer::Ethernet)?;
        kernel.switch(ControlWord::confirmed(InForce { slot, audit: false }))?;
        let events = if reports_per_s > 0 { Some(kernel.events()?) } else { None };
        Ok(Self { ifindex, kernel, events, sent: 0, told: 0, ns: Vec::new(), _link: link })
    }

    /// One sample, while the ring is emptied as a daemon does it.
    fn sample(&mut self, program: &Xdp) -> anyhow::Result<(f64, f64)> {
        let done = AtomicBool::new(false);
        let told = AtomicU64::new(0);
        let (ifindex, events) = (self.ifindex, &mut self.events);
        let sample = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Acquire);
                    let records = events.iter_mut().flatten().filter(is_denied_here);
                    let count = u64::try_from(records.count()).unwrap_or(0);
                    told.fetch_add(count, Ordering::Relaxed);
                    sleep(DRAIN);
                }
            });
            let sample = send(ifindex, program);
            done.store(true, Ordering::Release);
            sample
        })?;
        self.sent += u64::from(PER_SECOND * SECONDS);
        self.told += told.load(Ordering::Relaxed);
        Ok(sample)
    }

    /// Whether every packet was counted and, where they are told of, each of
    /// them was told or counted as lost; and how many were lost.
    fn check(&self) -> anyhow::Result<u64> {
        let reasons = self.kernel.reason_counts()?;
        let denied: Vec<_> = reasons
            .iter()
            .filter(|(direction, reason, _)| {
                *direction == Direction::Ingress && *reason == Reason::DefaultDeny
            })
            .map(|(_, _, counts)| (counts.packets, counts.bytes))
            .collect();
        let bytes = u64::try_from(traffic().frame().len()).unwrap_or(0) * self.sent;
        ensure!(denied == [(self.sent, bytes)], "{} sent, {denied:?} counted", self.sent);
        let (told, lost) = (self.told, self.kernel.lost_reports()?);
        // A busy tick looks at some packets only; nobody counts what it has not
        // looked at.
        let most = if self.events.is_some() { self.sent } else { 0 };
        ensure!(told + lost <= most, "{told} told and {lost} lost of {most}");
        ensure!(self.events.is_none() || told > 0, "nothing was told");
        Ok(lost)
    }
}

/// A record of one of the packets that are sent here.
fn is_denied_here(record: &hostfw_datapath::report::Record) -> bool {
    record.reason == Reason::DefaultDeny as u8 && record.flow.local_port == DENIED_PORT
}

/// Makes the queue of a device of this namespace known to the generator.
fn known(ifindex: u32) -> anyhow::Result<OwnedFd> {
    // It says `XDP_PASS`, no more.
    let pass = Xdp::load(&[[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]])?;
    pass.attach(ifindex).context("attach a program to the device")
}

/// Sends from this namespace at the rate, as far as the processor can:
/// nanoseconds of its time for a packet, and packets a second.
fn send(ifindex: u32, program: &Xdp) -> anyhow::Result<(f64, f64)> {
    let frame = traffic().frame();
    stay_on_processor(0).context("choose a processor")?;
    let pause = Duration::from_secs(1) / BURSTS;
    let (begin, mut spent) = (Instant::now(), Duration::ZERO);
    for burst in 0..BURSTS * SECONDS {
        let before = thread_time();
        program.send(&frame, ifindex, PER_SECOND / BURSTS).context("run the generator")?;
        spent += thread_time().saturating_sub(before);
        sleep((pause * (burst + 1)).saturating_sub(begin.elapsed()));
    }
    let count = f64::from(PER_SECOND * SECONDS);
    Ok((spent.as_secs_f64() * 1e9 / count, count / begin.elapsed().as_secs_f64()))
}

/// Packets to a port that no rule names, each of a new flow.
fn traffic() -> Flows {
    Flows { family: Family::V4, named: true, rules: RULES, port: DENIED_PORT, count: 0 }
}

/// Measures, and prints whether the bounds hold.
pub(crate) fn run(_: &[String]) -> anyhow::Result<()> {
    let lab = Lab::new("bench_events");
    let (node, peer) = (lab.host("node"), lab.host("peer"));
    for device in DEVICES {
        lab.cable((&node, device, NODE_MAC), (&peer, device, PEER_MAC));
        node.ip(&format!("link set {device} up\n"));
        peer.ip(&format!("link set {device} up\n"));
    }
    let folder = node.folder().join("bpf");
    let indices = DEVICES.map(|device| node.ifindex(device));
    node.inside(|| beside_none(&folder, indices))?;
    let daemon = lab.host("daemon");
    lab.cable((&daemon, "eth0", NODE_MAC), (&peer, "eth2", PEER_MAC));
    daemon.ip("link set eth0 up\naddr add 192.0.2.1/24 dev eth0\n");
    peer.ip("link set eth2 up\n");
    let wrong = counted_by_daemon(&daemon)?;
    let what = "denied packets that a daemon's counters miss, or have too many".to_owned();
    println!("{}", Target { what, value: wrong, bound: 0.0 });
    Ok(())
}

/// With events and without.
const DEVICES: [&str; 2] = ["eth0", "eth1"];
const NODE_MAC: &str = "02:00:00:00:00:01";
const PEER_MAC: &str = "02:00:00:00:00:02";

/// Measures both sides, round by round.
fn beside_none(folder: &Path, indices: [u32; 2]) -> anyhow::Result<()> {
    let [on, off] = DEVICES;
    let mut sides = [
        Side::new(folder, on, indices[0], KernelConfig::REPORTS_PER_S)?,
        Side::new(folder, off, indices[1], 0)?,
    ];
    let program = traffic().program(&Cell::new()?, 0).context("load the generator")?;
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        for side in &mut sides {
            let (ns, rate) = side.sample(&program)?;
            // The first round warms caches, tables and clocks.
            if round > 0 {
                side.ns.push(ns);
                rates.push(rate);
            }
        }
    }
    println!(
        "\nNanoseconds of processor time for a denied packet of a new flow, at {:.0} packets a \
         second; median of {ROUNDS} rounds, and how far every second one is from it.\n\n\
         | events | ns | sent and counted | told | counted as lost |\n|---|---|---|---|---|",
        median(&rates).0
    );
    for (name, side) in ["on", "off"].into_iter().zip(&sides) {
        let lost = side.check()?;
        let ((middle, spread), Side { sent, told, .. }) = (median(&side.ns), side);
        println!("| {name} | {middle:.0} ±{spread:.0} | {sent} | {told} | {lost} |");
    }
    let [on, off] = &sides;
    let ratios: Vec<f64> = on.ns.iter().zip(&off.ns).map(|(on, off)| on / off).collect();
    let value = median(&ratios).0;
    let what = format!("{PER_SECOND} denied packets a second, times their cost without events");
    println!("\n{}", Target { what, value, bound: BOUND });
    Ok(())
}

/// How far a daemon's counters are from what it was sent: what no rule allows,
/// and what a rule denies.
fn counted_by_daemon(host: &Host) -> anyhow::Result<f64> {
    let ifindex = host.ifindex("eth0");
    let _link = host.inside(|| known(ifindex))?;
    let mut ours = Firewall::new(host);
    ours.configure("devices: {include: [eth0]}\n");
    ours.policy("bench.yaml", &RULESET.policy());
    ours.policy(
        "deny.yaml",
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {name: deny}\nspec:\n  nodeSelector: {}\n\
         \x20 ingressDeny: [{fromCIDR: [172.16.0.0/12]}]\n",
    );
    ours.start();
    let by_default = traffic();
    let by_rule = Flows { named: false, ..by_default };
    for flows in [by_default, by_rule] {
        let program = flows.program(&Cell::new()?, 0)?;
        host.inside(|| send(ifindex, &program))?;
    }
    let report = ours.rules();
    let count = |name: &str| {
        let named = report.ingress.reasons.iter().filter(|one| one.reason == name);
        named.map(|one| one.packets).sum::<u64>()
    };
    let of_rule: u64 =
        report.rules.iter().filter(|rule| rule.policy == "deny").map(|rule| rule.packets).sum();
    let sent = u64::from(PER_SECOND * SECONDS);
    let found = [count(Reason::DefaultDeny.name()), count(Reason::ExplicitDeny.name()), of_rule];
    println!(
        "\nA daemon was sent {sent} packets that no rule allows and {sent} that a rule denies: it \
         has counted {}, {}, and {} for the rule.\n",
        found[0], found[1], found[2]
    );
    Ok(found.iter().map(|found| found.abs_diff(sent) as f64).sum())
}
