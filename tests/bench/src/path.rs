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

const EFFORT: Effort = Effort { rounds: 7, packets: 40_000 };

/// One rule after the other: beyond that, loading and a sample take minutes.
pub(crate) const MOST_WALKED: u32 = 1_000;

/// Measures what the arguments name: numbers of rules, `growth`, or what is
/// usual; `--rounds N` for another number of samples.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (mut sizes, mut grows, mut effort) = (Vec::new(), false, EFFORT);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "growth" => grows = true,
            "--rounds" => {
                let rounds = words.next().context("--rounds takes a number")?;
                effort.rounds = rounds.parse().context("--rounds takes a number")?;
            }
            size => sizes.push(size.parse().context("a number of rules, or `growth`")?),
        }
    }
    if sizes.is_empty() && !grows {
        (sizes, grows) = (vec![10, 1_000], true);
    }
    println!(
        "Nanoseconds of processor time for one packet on its whole way into a socket, median of \
         {} rounds, and how far every second one is from it.\n\
         What passes: beside *nothing*, what comes on top of it in the same round.\n\
         What is denied: all of it.\n",
        effort.rounds
    );
    for n_rules in sizes {
        for family in Family::BOTH {
            show(Rules { family, count: n_rules }, effort)?;
        }
    }
    if grows { growth::run(effort) } else { Ok(()) }
}

fn show(rules: Rules, effort: Effort) -> anyhow::Result<()> {
    let Rules { family, count } = rules;
    // What rules cost one by one is not a matter of addresses.
    let walked = |wall: &Wall| family == Family::V4 && count <= MOST_WALKED || !wall.walks();
    let walls: Vec<Wall> = Wall::ALL.into_iter().filter(walked).collect();
    let lab = format!("bench_{}_{count}", family.name());
    let ground = Ground::new(&lab, walls.iter().map(|wall| (*wall, rules)).collect());
    let rows = measure(&ground.beds()?, &traffic::ALL, effort)?;
    let n_rules = number(f64::from(count));
    println!("## {n_rules} rules, {}\n\n{}", family.name(), table::table(&walls, &rows));
    Ok(())
}
