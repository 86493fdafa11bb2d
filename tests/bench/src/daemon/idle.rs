//! What the daemon does while nothing happens, with 100 rules.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{edit::write_rules, node::Pair};
use crate::page::Target;

/// What comes after a start is over by then.
const REST: Duration = Duration::from_secs(3);
/// As long as its slowest timer, which reads everything again.
const WATCHED: Duration = Duration::from_secs(30);

/// Watches one for a while.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n## Nothing to do\n");
    let pair = Pair::new("idle", "node");
    let mut firewall = pair.firewall("");
    write_rules(&firewall.files.policies, 100, 1, &pair)?;
    firewall.start();
    sleep(REST);
    let id = firewall.running().id();
    let (begin, before) = (Instant::now(), spent(id)?);
    sleep(WATCHED);
    let (time, after) = (begin.elapsed(), spent(id)?);
    let percent = (after.ran_ns - before.ran_ns) as f64 / time.as_nanos() as f64 * 100.0;
    let turns = (after.turns - before.turns) as f64 / time.as_secs_f64();
    println!("100 rules: {turns:.1} turns on a processor a second");
    let what = "percent of a processor while idle".to_owned();
    println!("{}", Target { what, value: percent, bound: 0.1 });
    firewall.stop();
    firewall.cleanup();
    Ok(())
}

/// What all threads of a process have had.
struct Spent {
    ran_ns: u64,
    turns: u64,
}

fn spent(id: u32) -> anyhow::Result<Spent> {
    let mut sum = Spent { ran_ns: 0, turns: 0 };
    for entry in fs::read_dir(format!("/proc/{id}/task")).context("list its threads")? {
        // Nanoseconds on a processor, nanoseconds of waiting for one, turns.
        let path = entry.context("list its threads")?.path().join("schedstat");
        let text = fs::read_to_string(path).context("read what a thread has had")?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().context("a number")?.context("a number");
        sum.ran_ns += next()?;
        next()?;
        sum.turns += next()?;
    }
    Ok(sum)
}
