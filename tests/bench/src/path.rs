//! What a packet costs on its whole way into a socket: beside nothing, beside
//! the cheapest programs that there are, and beside nftables with the same
//! rules. Everything is in network namespaces, in one process, round by round,
//! so that what disturbs one disturbs all.
use anyhow::{Context, ensure};
use hostfw_scenario::{Host, Lab};

use crate::{
    bed::{Bed, Wall},
    bpf::Cell,
    flows::{ALLOWED, DENIED, DENIED_PORT, Flows, OWN_PORT},
    page::{self, Kind},
    time::median,
};

/// Packets in a sample, and samples of each kind.
const COUNT: u32 = 100_000;
const ROUNDS: usize = 15;

/// Packets of a kind.
struct Traffic {
    name: &'static str,
    kind: Kind,
    flows: Flows,
}

/// What a kind of packets costs behind each wall, a list of samples each.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) passes: bool,
    pub(crate) samples: Vec<Vec<f64>>,
}

impl Row {
    /// The median behind a wall.
    pub(crate) fn cost(&self, walls: &[Wall], wall: Wall) -> f64 {
        let place = walls.iter().position(|one| *one == wall);
        place.and_then(|place| self.samples.get(place)).map_or(f64::NAN, |list| median(list).0)
    }
}

fn traffic(n_rules: u32) -> Vec<Traffic> {
    let allowed = Flows { base: ALLOWED, rules: n_rules, port: 0, count: 1_000 };
    let denied = Flows { base: DENIED, ..allowed };
    let own = Flows { rules: 1_000, port: OWN_PORT, ..denied };
    let one = |name, kind, flows| Traffic { name, kind, flows };
    let many = |flows| Flows { count: 100_000, ..flows };
    vec![
        one("established, 1,000 flows", Kind::Established, allowed),
        one("established, 100,000 flows", Kind::Established, many(allowed)),
        one("every packet a new flow", Kind::New, Flows { count: 0, ..allowed }),
        one("answers to own, 1,000 flows", Kind::Answer, own),
        one("answers to own, 100,000 flows", Kind::Answer, many(own)),
        one("denied port", Kind::Denied, Flows { port: DENIED_PORT, ..allowed }),
        one("denied source", Kind::Denied, denied),
    ]
}

/// Measures with each of the numbers of rules.
pub(crate) fn run(sizes: &[String]) -> anyhow::Result<()> {
    let sizes: Vec<u32> = sizes
        .iter()
        .map(|word| word.parse())
        .collect::<Result<_, _>>()
        .context("the arguments are numbers of rules")?;
    for n_rules in if sizes.is_empty() { vec![10, 1_000] } else { sizes } {
        measure(n_rules)?;
    }
    Ok(())
}

fn measure(n_rules: u32) -> anyhow::Result<()> {
    let lab = Lab::new(&format!("bench_{n_rules}"));
    // One rule after the other: beyond that, a sample takes minutes.
    let walls = Wall::ALL.into_iter().filter(|wall| *wall != Wall::NftLinear || n_rules <= 1_000);
    let walls: Vec<Wall> = walls.collect();
    let hosts: Vec<(Host, Host)> = (0..walls.len()).map(|number| hosts(&lab, number)).collect();
    let beds = walls.iter().zip(&hosts).map(|(wall, (node, _))| Bed::new(node, *wall, n_rules));
    let beds: Vec<Bed<'_>> = beds.collect::<anyhow::Result<_>>()?;
    let mut rows = Vec::new();
    for Traffic { name, kind, flows } in traffic(n_rules) {
        let passes = kind != Kind::Denied;
        let samples = sample(&beds, kind, &flows).with_context(|| format!("measure {name}"))?;
        rows.push(Row { name, kind, passes, samples });
    }
    println!("{}", page::table(n_rules, ROUNDS, &walls, &rows));
    Ok(())
}

/// A node and whoever is at the other end of its cable.
fn hosts(lab: &Lab, number: usize) -> (Host, Host) {
    let node = lab.host(&format!("node{number}"));
    let peer = lab.host(&format!("peer{number}"));
    lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&peer, "eth0", "02:00:00:00:00:02"));
    peer.ip("link set eth0 up\n");
    (node, peer)
}

/// Samples of every bed, one of each in a round.
fn sample(beds: &[Bed<'_>], kind: Kind, flows: &Flows) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::new(); beds.len()];
    let program = flows.program(&Cell::new()?).context("load the generator")?;
    for round in 0..=ROUNDS {
        for (bed, samples) in beds.iter().zip(&mut samples) {
            if flows.count != 0 && kind != Kind::Denied {
                bed.acquaint(flows, kind == Kind::Answer)?;
            }
            let (cost, share) = bed.sample(&program, COUNT)?;
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
