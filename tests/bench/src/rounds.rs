//! Samples of beds, round by round, so that what disturbs one disturbs all: one
//! of each bed in a round, all in one process, and differences within a round.

use std::thread::available_parallelism;

use anyhow::{Context, ensure};
use hostfw_scenario::{Host, Lab};

use crate::{
    bed::Bed,
    bpf::{Cell, Xdp},
    flows::Flows,
    rules::Rules,
    time::median,
    traffic::{Kind, Traffic},
    wall::Wall,
};

/// Samples of each kind, and packets in a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) packets: u32,
}

/// Hosts for walls that are looked at together.
pub(crate) struct Ground {
    lab: Lab,
    hosts: Vec<(Host, Host)>,
    walls: Vec<(Wall, Rules)>,
}

impl Ground {
    /// In a lab of this name.
    pub(crate) fn new(lab: &str, walls: Vec<(Wall, Rules)>) -> Self {
        let lab = Lab::new(lab);
        let hosts = (0..walls.len()).map(|number| hosts(&lab, number)).collect();
        Self { lab, hosts, walls }
    }

    /// Puts up all walls, once.
    pub(crate) fn beds(&self) -> anyhow::Result<Vec<Bed<'_>>> {
        let beds = self.walls.iter().zip(&self.hosts).map(|((wall, rules), (node, _))| {
            let name = wall.name();
            Bed::new(node, *wall, *rules).with_context(|| format!("put up {name}"))
        });
        let beds = beds.collect::<anyhow::Result<_>>();
        beds.with_context(|| format!("in {}", self.lab.folder().display()))
    }
}

/// Runs every kind of packets against each bed.
pub(crate) fn measure(
    beds: &[Bed<'_>],
    traffic: &[Traffic],
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let processors = available_parallelism().context("count the processors")?.get();
    let possible = traffic.iter().filter(|traffic| usize::from(traffic.processors) <= processors);
    possible
        .map(|traffic| {
            let samples = sample(beds, traffic, effort);
            let samples = samples.with_context(|| format!("measure {}", traffic.name))?;
            let walls = beds.iter().map(|bed| (bed.wall, bed.rules)).collect();
            Ok(Row { traffic: *traffic, walls, samples })
        })
        .collect()
}

/// A node and whoever is at the other end of its cable.
fn hosts(lab: &Lab, number: usize) -> (Host, Host) {
    let node = lab.host(&format!("node{number}"));
    let peer = lab.host(&format!("peer{number}"));
    lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&peer, "eth0", "02:00:00:00:00:02"));
    peer.ip("link set eth0 up\n");
    (node, peer)
}

/// What a kind of packets costs behind each wall, a list of samples each, which
/// is empty where a wall cannot do right by them.
pub(crate) struct Row {
    pub(crate) traffic: Traffic,
    walls: Vec<(Wall, Rules)>,
    samples: Vec<Vec<f64>>,
}

impl Row {
    /// The first bed with this wall.
    pub(crate) fn place(&self, wall: Wall) -> Option<usize> {
        self.walls.iter().position(|(one, _)| *one == wall)
    }

    /// The bed with this wall and so many rules.
    pub(crate) fn place_of(&self, wall: Wall, n_rules: u32) -> Option<usize> {
        self.walls.iter().position(|(one, rules)| *one == wall && rules.count == n_rules)
    }

    /// Nanoseconds for a packet, and the spread.
    pub(crate) fn cost(&self, bed: Option<usize>) -> Option<(f64, f64)> {
        let samples = self.samples.get(bed?)?;
        (!samples.is_empty()).then(|| median(samples))
    }

    /// Nanoseconds that a bed adds to another one, each time in the same round,
    /// and the spread.
    pub(crate) fn over(&self, bed: Option<usize>, base: Option<usize>) -> Option<(f64, f64)> {
        let (bed, base) = (self.samples.get(bed?)?, self.samples.get(base?)?);
        let differences: Vec<f64> = bed.iter().zip(base).map(|(one, other)| one - other).collect();
        (!differences.is_empty()).then(|| median(&differences))
    }

    /// The same over no firewall.
    pub(crate) fn added(&self, bed: Option<usize>) -> Option<(f64, f64)> {
        self.over(bed, self.place(Wall::None))
    }

    /// What the best firewall with a table of connections adds.
    pub(crate) fn best_tracker(&self) -> Option<f64> {
        let trackers = (0..self.walls.len()).filter(|bed| self.walls[*bed].0.tracks());
        let added = trackers.filter_map(|bed| Some(self.added(Some(bed))?.0));
        added.reduce(f64::min)
    }
}

/// Samples of every bed, one of each in a round.
fn sample(beds: &[Bed<'_>], traffic: &Traffic, effort: Effort) -> anyhow::Result<Vec<Vec<f64>>> {
    let kind = traffic.kind;
    let lanes = beds.iter().map(|bed| Lane::new(bed, traffic));
    let lanes: Vec<Lane<'_>> = lanes.collect::<Result<_, _>>().context("load the generator")?;
    let mut samples = vec![Vec::new(); beds.len()];
    for round in 0..=effort.rounds {
        for (lane, samples) in lanes.iter().zip(&mut samples) {
            let (bed, flows) = (lane.bed, &lane.flows);
            if !bed.wall.serves(kind) {
                continue;
            }
            if flows.count != 0 && kind != Kind::Denied {
                bed.acquaint(flows, kind == Kind::Answer)?;
            }
            // One rule after the other: with many of them a sample takes long,
            // and what it takes is not in doubt.
            let asks = matches!(kind, Kind::New | Kind::Denied);
            let slow = asks && bed.wall.walks() && bed.rules.count >= 100;
            let packets = if slow { effort.packets / 20 } else { effort.packets };
            let (cost, share) = bed.sample(&lane.programs, &flows.frame(), packets)?;
            bed.forget()?;
            if let Some(expected) = bed.wall.lets_through(kind) {
                let name = bed.wall.name();
                let right = (share - expected).abs() < 0.001;
                ensure!(right, "{name}: {share} of all arrived, not {expected}");
            }
            // The first round warms caches, tables and clocks.
            if round > 0 {
                samples.push(cost);
            }
        }
    }
    Ok(samples)
}

/// A bed with the generators of its packets, one for each processor.
struct Lane<'bed> {
    bed: &'bed Bed<'bed>,
    flows: Flows,
    programs: Vec<Xdp>,
}

impl<'bed> Lane<'bed> {
    fn new(bed: &'bed Bed<'_>, traffic: &Traffic) -> std::io::Result<Self> {
        let flows = traffic.flows(bed.rules);
        let program = |number| flows.program(&Cell::new()?, number);
        let programs = (0..traffic.processors).map(program).collect::<Result<_, _>>()?;
        Ok(Self { bed, flows, programs })
    }
}
