//! What users feel: requests, connections and bytes over TCP to a walled host
//! and from it, beside no wall.
//!
//! A wall adds less than what a sample of a shared machine is wrong by. So there
//! are many short ones; those of a round follow each other closely, in an order
//! that changes, and each is compared with those of its own round only. Two
//! hosts stand without a wall: how far they are apart says what the rest of the
//! figures is worth. Threads and connections are made anew from time to time,
//! because where their memory lies is a matter of luck that no repetition heals.

mod ends;
mod walls;

use anyhow::{Context, ensure};
use hostfw_scenario::Lab;

use crate::{
    counters::packets,
    page::Target,
    tcp::{
        ends::{CHUNK, End, Kind, Session},
        walls::{Fence, RULES, Yard},
    },
    time::median,
    wall::Wall,
};

/// How often everything is made anew, and rounds in between.
const TURNS: usize = 25;
const ROUNDS: usize = 16;

/// The first two are what the others are compared with.
const WALLS: [Wall; 5] = [Wall::None, Wall::None, Wall::Empty, Wall::Hostfw, Wall::NftSet];
const BARE: usize = 2;

/// What is done over a path.
struct Traffic {
    name: &'static str,
    kind: Kind,
    /// Towards the walled host.
    inbound: bool,
    v6: bool,
    /// How often in a sample.
    count: usize,
    /// What [`Kind`] says is measured, in units of so many of the sample.
    unit: (&'static str, f64),
    /// The percentage that ours may add.
    bound: Option<f64>,
}

const TRAFFIC: [Traffic; 7] = {
    const fn exchange(name: &'static str, inbound: bool, v6: bool) -> Traffic {
        let unit = ("µs", 1e-6);
        Traffic { name, kind: Kind::Exchange, inbound, v6, count: 300, unit, bound: Some(2.0) }
    }
    const fn connection(name: &'static str, inbound: bool) -> Traffic {
        let (v6, unit) = (false, ("µs", 1e-6));
        Traffic { name, kind: Kind::Connection, inbound, v6, count: 80, unit, bound: Some(2.0) }
    }
    const fn bulk(name: &'static str, inbound: bool) -> Traffic {
        let (v6, unit) = (false, ("ps a byte", 1e-12 * CHUNK as f64));
        Traffic { name, kind: Kind::Bulk, inbound, v6, count: 120, unit, bound: None }
    }
    [
        exchange("request and answer, inbound", true, false),
        exchange("request and answer, outbound", false, false),
        exchange("request and answer, inbound, IPv6", true, true),
        connection("connection, request, answer and reset, inbound", true),
        connection("connection, request, answer and reset, outbound", false),
        bulk("bulk, inbound", true),
        bulk("bulk, outbound", false),
    ]
};

/// Seconds for one of what is done, a list for each wall, a sample of each in a
/// round.
type Samples = [Vec<f64>; WALLS.len()];

/// Measures; the argument is how often everything is made anew.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let turns = arguments.first().map(|word| word.parse()).transpose();
    let turns = turns.context("the argument is a number of turns")?.unwrap_or(TURNS);
    let lab = Lab::new("bench_tcp");
    let yards: Vec<Yard> = (0..WALLS.len()).map(|number| Yard::new(&lab, number)).collect();
    let fences = yards.iter().zip(WALLS).map(|(yard, wall)| Fence::new(yard, wall));
    let fences: Vec<Fence<'_>> = fences.collect::<anyhow::Result<_>>()?;
    for fence in &fences {
        fence.check()?;
    }
    let mut samples: [Samples; TRAFFIC.len()] = Default::default();
    for turn in 0..turns {
        measure(&yards, &fences, turn, &mut samples).with_context(|| format!("turn {turn}"))?;
    }
    let least = turns * ROUNDS * 300;
    for fence in &fences {
        fence.check_judged(u64::try_from(least)?)?;
    }
    println!("{}", table(turns * ROUNDS, &samples));
    Ok(())
}

/// Some rounds with threads and connections of their own.
fn measure(
    yards: &[Yard],
    fences: &[Fence<'_>],
    turn: usize,
    samples: &mut [Samples; TRAFFIC.len()],
) -> anyhow::Result<()> {
    let ends: Vec<(End, End)> =
        yards.iter().map(|yard| (End::start(&yard.node), End::start(&yard.peer))).collect();
    let sessions = yards.iter().map(|yard| {
        [(true, false), (true, true), (false, false)]
            .map(|(inbound, v6)| {
                let (hosts, address) = yard.ends(inbound, v6);
                Session::open(hosts, address)
            })
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()
    });
    let sessions: Vec<Vec<Session>> = sessions.collect::<anyhow::Result<_>>()?;
    for ((yard, sessions), (node, peer)) in yards.iter().zip(&sessions).zip(&ends) {
        check_large(yard, sessions, (peer, node))?;
    }
    for round in 0..=ROUNDS {
        for (traffic, samples) in TRAFFIC.iter().zip(samples.iter_mut()) {
            for step in 0..WALLS.len() {
                // Everybody is first once, and comes after each neighbour.
                let step = if round % 2 == 0 { step } else { WALLS.len() - 1 - step };
                let place = (turn + round + step) % WALLS.len();
                let (Some(samples), Some((node, peer)), Some(sessions)) =
                    (samples.get_mut(place), ends.get(place), sessions.get(place))
                else {
                    continue;
                };
                let session = match (traffic.inbound, traffic.v6) {
                    (true, false) => sessions.first(),
                    (true, true) => sessions.get(1),
                    (false, _) => sessions.get(2),
                };
                let ends = if traffic.inbound { (peer, node) } else { (node, peer) };
                let session = session.context("there is a session for each path")?;
                let sample = || session.sample(ends, traffic.kind, traffic.count);
                // What others have left in the caches is not this one's fault.
                session.sample(ends, traffic.kind, traffic.count / 10)?;
                let spent = sample().context(traffic.name)?;
                // The first round warms everything else.
                if round > 0 {
                    samples.push(spent.as_secs_f64() / traffic.count as f64);
                }
            }
        }
        for fence in fences {
            fence.forget()?;
        }
    }
    Ok(())
}

/// Chunks of bulk are looked at; a packet of theirs holds this many bytes and
/// more, confirmations included: the cable carries what the stack hands it whole.
const LARGE: usize = 8 << 10;

fn check_large(yard: &Yard, sessions: &[Session], ends: (&End, &End)) -> anyhow::Result<()> {
    let count = || yard.node.inside(packets).map(|(received, sent)| received + sent);
    let session = sessions.first().context("there is an inbound session")?;
    let before = count()?;
    session.sample(ends, Kind::Bulk, 64)?;
    let packets = usize::try_from(count()? - before)?;
    ensure!(packets * LARGE < 64 * CHUNK, "{packets} packets for {} bytes", 64 * CHUNK);
    Ok(())
}

/// What a wall adds, in percent of nothing: the median over all rounds, and how
/// far it is likely to be off.
fn added(samples: &Samples, place: usize) -> (f64, f64) {
    let bare = if place < BARE { &samples[..1] } else { &samples[..BARE] };
    let ratios: Vec<f64> = (0..samples[0].len())
        .map(|round| {
            let bare = bare.iter().map(|list| list[round]).sum::<f64>() / bare.len() as f64;
            (samples[place][round] / bare - 1.0) * 100.0
        })
        .collect();
    let (middle, spread) = median(&ratios);
    // The standard error of a median, from the distance of the quarters, as if
    // the samples were normally distributed.
    (middle, 1.86 * spread / (ratios.len() as f64).sqrt())
}

fn table(rounds: usize, samples: &[Samples; TRAFFIC.len()]) -> String {
    let mut text = format!(
        "## TCP, {RULES} rules in each direction\n\nProcessor time of both ends on one processor, \
         median of {rounds} rounds; behind a wall, what it adds to nothing in the same round, and \
         the error of that median.\n\n| | nothing | the other nothing |"
    );
    for wall in &WALLS[BARE..] {
        text.push_str(&format!(" {} |", wall.name()));
    }
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(WALLS.len())));
    for (Traffic { name, unit, .. }, samples) in TRAFFIC.iter().zip(samples) {
        let nothing = median(&samples[0]).0 / unit.1;
        text.push_str(&format!("| {name} | {nothing:.2} {} |", unit.0));
        for place in 1..WALLS.len() {
            let (middle, error) = added(samples, place);
            text.push_str(&format!(" {middle:+.1} % ±{error:.1} |"));
        }
        text.push('\n');
    }
    text.push('\n');
    for (traffic, samples) in TRAFFIC.iter().zip(samples) {
        let Some(bound) = traffic.bound else { continue };
        let of = |wall| WALLS.iter().position(|one| *one == wall).map(|at| added(samples, at));
        let (Some((value, error)), Some((nft, _))) = (of(Wall::Hostfw), of(Wall::NftSet)) else {
            continue;
        };
        let name = traffic.name;
        let what = format!("{name}, % over nothing (±{error:.1}; nftables {nft:+.1})");
        text.push_str(&format!("{}\n", Target { what, value, bound }));
    }
    text
}
