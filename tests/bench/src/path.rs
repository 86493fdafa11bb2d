//! What a packet costs on its whole way into a socket: beside nothing, beside
//! the cheapest programs that there are, and beside nftables with the same
//! rules; and how that grows with rules and flows. Everything is in network
//! namespaces.

use anyhow::Context;

use crate::{
    chart::number,
    flows::Family,
    growth,
    rounds::{Effort, Ground, measure},
    rules::Rules,
    table, traffic,
    wall::Wall,
};

const EFFORT: Effort = Effort { rounds: 9, packets: 50_000 };

/// One rule after the other: beyond that, loading and a sample take minutes.
pub(crate) const MOST_WALKED: u32 = 1_000;

/// Measures with each of the numbers of rules, then growth.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let sizes: Vec<u32> = arguments
        .iter()
        .map(|word| word.parse())
        .collect::<Result<_, _>>()
        .context("the arguments are numbers of rules")?;
    println!(
        "Nanoseconds of processor time for one packet on its whole way into a socket, median of \
         {} rounds, and how far every second one is from it.\n\
         What passes: beside *nothing*, what comes on top of it in the same round.\n\
         What is denied: all of it.\n",
        EFFORT.rounds
    );
    for n_rules in if sizes.is_empty() { vec![10, 1_000] } else { sizes } {
        for family in Family::BOTH {
            show(Rules { family, count: n_rules })?;
        }
    }
    growth::run(EFFORT)
}

fn show(rules: Rules) -> anyhow::Result<()> {
    let Rules { family, count } = rules;
    // What rules cost one by one is not a matter of addresses.
    let walked = |wall: &Wall| family == Family::V4 && count <= MOST_WALKED || !wall.walks();
    let walls: Vec<Wall> = Wall::ALL.into_iter().filter(walked).collect();
    let lab = format!("bench_{}_{count}", family.name());
    let ground = Ground::new(&lab, walls.iter().map(|wall| (*wall, rules)).collect());
    let rows = measure(&ground.beds()?, &traffic::ALL, EFFORT)?;
    let n_rules = number(f64::from(count));
    println!("## {n_rules} rules, {}\n\n{}", family.name(), table::table(&walls, &rows));
    Ok(())
}
