//! The figures as a page: a table for each number of rules, and for each target
//! whether it is met.

use std::{
    fmt::{self, Write},
    fs,
    process::Command,
};

use crate::{bed::Wall, path::Row, time::median};

/// What it ran on.
pub(crate) fn head() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let count = processors.lines().filter(|line| line.starts_with("processor\t")).count();
    let date = Command::new("date").arg("+%Y-%m-%d").output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "Linux {}, {count} processors ({}), {}.\n",
        kernel.trim(),
        model.unwrap_or("of no name"),
        date.unwrap_or_default()
    )
}

/// The table of one number of rules, with the targets below.
pub(crate) fn table(n_rules: u32, rounds: usize, walls: &[Wall], rows: &[Row]) -> String {
    let mut text = format!(
        "\n## {n_rules} rules\n\nNanoseconds of processor time for one packet, median of {rounds} \
         rounds, and how far every second one is from it.\nWhat passes: beside *nothing*, what comes on top of it. \
         What is denied: all of it.\n\n| traffic |"
    );
    for wall in walls {
        put(&mut text, &format!(" {} |", wall.name()));
    }
    put(&mut text, &format!("\n|---|{}\n", "---|".repeat(walls.len())));
    for row in rows {
        put(&mut text, &format!("| {} |", row.name));
        for (wall, samples) in walls.iter().zip(&row.samples) {
            let (middle, spread) = median(samples);
            if row.passes && *wall != Wall::None {
                let nothing = row.cost(walls, Wall::None);
                put(&mut text, &format!(" {:+.0} ±{spread:.0} |", middle - nothing));
            } else {
                put(&mut text, &format!(" {middle:.0} ±{spread:.0} |"));
            }
        }
        text.push('\n');
    }
    text.push('\n');
    for row in rows {
        for target in targets(walls, row) {
            put(&mut text, &format!("{target}\n"));
        }
    }
    text
}

/// What is to be held.
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) value: f64,
    /// At most that much.
    pub(crate) bound: f64,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, bound } = self;
        let verdict = if value <= bound { "met" } else { "MISSED" };
        write!(f, "- {what}: {value:.2}, at most {bound}: {verdict}")
    }
}

fn targets(walls: &[Wall], row: &Row) -> Vec<Target> {
    let cost = |wall| row.cost(walls, wall);
    let over = |wall| cost(wall) - cost(Wall::None);
    let best = walls
        .iter()
        .filter(|wall| wall.tracks())
        .map(|wall| over(*wall))
        .fold(f64::INFINITY, f64::min);
    let ours = over(Wall::Hostfw);
    let target = |what, value, bound| {
        let what = format!("{}, {what}", row.name);
        Target { what, value, bound }
    };
    match row.kind {
        Kind::Established => vec![
            target("part of the best nftables", ours / best, 0.2),
            target("ns over an empty program", ours - over(Wall::Empty), 25.0),
        ],
        Kind::New => vec![target("part of the best nftables", ours / best, 0.05)],
        Kind::Answer => vec![target("part of the best nftables", ours / best, 0.33)],
        Kind::Denied => {
            vec![target("times an immediate drop", cost(Wall::Hostfw) / cost(Wall::Drop), 1.15)]
        }
    }
}

/// Which target a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Flows that the policy admits and that have begun.
    Established,
    /// Flows that the policy admits, one packet each.
    New,
    /// Answers to what the host has asked.
    Answer,
    /// What the policy does not admit.
    Denied,
}

fn put(text: &mut String, more: &str) {
    let written = text.write_str(more);
    debug_assert!(written.is_ok(), "a string takes everything");
}
