//! A few of the measurements with wide margins, so that the tests notice when a
//! packet comes to cost twice as much. Ratios within one run are judged, as no
//! two machines are alike; it needs root, as scenarios do.

use crate::{
    flows::Family,
    page::Target,
    rounds::{Effort, Ground, Row, measure},
    rules::Rules,
    traffic::Traffic,
    wall::Wall,
};

/// What is added to a packet of an established flow, as a part of what the best
/// set of nftables adds.
const ESTABLISHED: f64 = 0.75;
/// The same for a packet that begins a flow.
const NEW: f64 = 0.16;
/// What a denied packet costs, as a part of what it costs with nftables.
const DENIED: f64 = 0.8;
/// The same in times of an immediate drop.
const DROPPED: f64 = 2.5;

const EFFORT: Effort = Effort { rounds: 5, packets: 20_000 };
/// Noise misses a bound now and then, a change for the worse every time.
const ATTEMPTS: u32 = 3;

#[test]
fn a_packet_costs_a_part_of_what_it_costs_with_nftables() {
    let rules = Rules { family: Family::V4, count: 1_000 };
    let walls = [Wall::None, Wall::Drop, Wall::Hostfw, Wall::NftSet].map(|wall| (wall, rules));
    let ground = Ground::new("bench_guard", walls.to_vec());
    let beds = ground.beds().expect("walls (needs root, nftables and the built programs)");
    let traffic = [Traffic::established(1_000), Traffic::new_flows(), Traffic::denied_port()];
    let mut missed = Vec::new();
    for _ in 0..ATTEMPTS {
        let rows = measure(&beds, &traffic, EFFORT).expect("a measurement");
        missed = targets(&rows).into_iter().filter(|target| !target.is_met()).collect();
        if missed.is_empty() {
            return;
        }
    }
    let missed: Vec<String> = missed.iter().map(Target::to_string).collect();
    panic!("missed {ATTEMPTS} times:\n{}", missed.join("\n"));
}

fn targets(rows: &[Row]) -> Vec<Target> {
    let [established, new, denied] = rows else { panic!("three kinds of packets") };
    let added = |row: &Row| {
        let ours = row.added(row.place(Wall::Hostfw));
        let theirs = row.added(row.place(Wall::NftSet));
        ours.zip(theirs).map_or(f64::NAN, |(ours, theirs)| ours.0 / theirs.0)
    };
    let whole = |row: &Row, wall| {
        let (ours, other) = (row.cost(row.place(Wall::Hostfw)), row.cost(row.place(wall)));
        ours.zip(other).map_or(f64::NAN, |(ours, other)| ours.0 / other.0)
    };
    let target = |what: &str, value, bound| Target { what: what.into(), value, bound };
    vec![
        target("established, part of nftables", added(established), ESTABLISHED),
        target("new flows, part of nftables", added(new), NEW),
        target("denied, part of nftables", whole(denied, Wall::NftSet), DENIED),
        target("denied, times an immediate drop", whole(denied, Wall::Drop), DROPPED),
    ]
}
