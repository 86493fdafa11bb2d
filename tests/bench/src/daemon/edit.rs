//! From an edited policy file to the first packet that is judged by it.

use std::path::Path;

use super::{
    node::{PORT, Pair},
    probe::Probe,
    say,
};
use crate::{flows::Family, rules::Rules};

const EDITS: usize = 12;

/// So many rules in so many files, one of which is edited.
struct Layout {
    n_rules: u32,
    n_files: u32,
    bound_ms: f64,
}

const LAYOUTS: [Layout; 4] = [
    Layout { n_rules: 1_000, n_files: 10, bound_ms: 100.0 },
    Layout { n_rules: 1_000, n_files: 1, bound_ms: 100.0 },
    Layout { n_rules: 100_000, n_files: 100, bound_ms: 500.0 },
    Layout { n_rules: 100_000, n_files: 1, bound_ms: 500.0 },
];

/// Measures each layout.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n## From an edited file to enforcement\n");
    println!("A policy file is replaced by a rename; a port of it opens and closes.\n");
    for layout in LAYOUTS {
        let Layout { n_rules, n_files, bound_ms } = layout;
        let samples = measure(n_rules, n_files)?;
        say(&format!("an edit with {n_rules} rules in {n_files} files"), &samples, bound_ms);
    }
    Ok(())
}

fn measure(n_rules: u32, n_files: u32) -> anyhow::Result<Vec<f64>> {
    let pair = Pair::new("edit", "node");
    let mut firewall = pair.firewall("");
    write_rules(&firewall.files.policies, n_rules, n_files, &pair)?;
    firewall.start();
    let mut probe = Probe::new(&pair)?;
    probe.await_state(false)?;
    let edited = firewall.files.policies.join(file(0));
    let texts = [policy(0, n_rules / n_files, false), policy(0, n_rules / n_files, true)];
    let mut samples = Vec::new();
    for edit in 0..EDITS {
        let opens = edit % 2 == 0;
        // It answers when it has done what follows a change: an operator's edits
        // are further apart.
        firewall.status();
        let since = pair.put(&edited, &texts[usize::from(opens)])?;
        samples.push(probe.turns(opens, since)?);
    }
    firewall.stop();
    firewall.cleanup();
    Ok(samples)
}

/// Writes rules in files of one length.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write_rules(
    folder: &Path,
    n_rules: u32,
    n_files: u32,
    pair: &Pair,
) -> anyhow::Result<()> {
    for number in 0..n_files {
        let text = policy(number, n_rules / n_files, false);
        pair.put(&folder.join(file(number)), &text)?;
    }
    Ok(())
}

fn file(number: u32) -> String {
    format!("rules-{number:03}.yaml")
}

/// A file of rules; the port may be open in it.
fn policy(number: u32, n_rules: u32, open: bool) -> String {
    let rules = Rules { family: Family::V4, count: n_rules };
    let mut text = rules.document(&format!("rules-{number}"), number * n_rules);
    if open {
        text.push_str(&format!(
            "  - toPorts: [{{ports: [{{port: \"{PORT}\", protocol: UDP}}]}}]\n"
        ));
    }
    text
}
