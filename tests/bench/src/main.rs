//! What hostfw costs, and whether it holds what it promises: everything in
//! network namespaces, in one run, beside nothing and beside nftables.
//!
//! The first argument says what is measured, the others are its own. A page of
//! figures and the targets, each met or missed, are written to the output.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod bed;
mod bpf;
mod chart;
mod counters;
mod daemon;
mod events;
mod flood;
mod flows;
mod generator;
mod growth;
#[cfg(test)]
mod guard;
mod lookups;
mod memory;
mod page;
mod path;
mod rounds;
mod rules;
mod table;
mod tcp;
mod time;
mod traffic;
mod wall;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    println!("{}", page::head());
    match what.as_str() {
        "daemon" => daemon::run(&rest),
        "events" => events::run(&rest),
        "flood" => flood::run(&rest),
        "lookups" => lookups::run(&rest),
        "path" => path::run(&rest),
        "tcp" => tcp::run(&rest),
        _ => bail!("what is measured is one of: daemon, events, flood, lookups, path, tcp"),
    }
}
