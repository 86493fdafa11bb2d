//! What the daemon promises: how soon an edited file, a pod or a node that
//! changed, and a start reach the first packet; what it holds in memory, and
//! what it does while nothing happens. The daemon is the real one, and the
//! packets say what is enforced.

mod cluster;
mod edit;
mod idle;
mod memory;
mod node;
mod peers;
mod probe;
mod start;

use anyhow::bail;

use crate::{page::Target, time::median};

type Measure = fn() -> anyhow::Result<()>;

const ALL: [(&str, Measure); 5] = [
    ("start", start::run),
    ("edit", edit::run),
    ("peers", peers::run),
    ("memory", memory::run),
    ("idle", idle::run),
];

/// Measures what the arguments name, or all of it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = arguments.iter().find(|word| ALL.iter().all(|(name, _)| name != word)) {
        bail!("`{unknown}` is no part of: start, edit, peers, memory, idle");
    }
    if cfg!(debug_assertions) {
        println!("This is no release build; its figures say nothing about the targets.");
    }
    for (name, measure) in ALL {
        if arguments.is_empty() || arguments.iter().any(|word| word == name) {
            measure()?;
        }
    }
    Ok(())
}

/// Prints times as a row with their median and the longest, and holds the median
/// against the bound.
fn say(what: &str, samples_ms: &[f64], bound_ms: f64) {
    let (middle, _) = median(samples_ms);
    let worst = samples_ms.iter().copied().fold(0.0, f64::max);
    println!("{what}: median {middle:.1} ms, worst {worst:.1} ms, {} times", samples_ms.len());
    println!("{}", Target { what: format!("{what}, ms"), value: middle, bound: bound_ms });
    println!("{}", Target { what: format!("{what}, worst, ms"), value: worst, bound: bound_ms });
}
