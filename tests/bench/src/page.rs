//! What pages of figures have in common: what it ran on, for each target whether
//! it is met, and where charts go.
//!
//! A page is what a measurement prints; whoever runs it keeps that or not.

use std::{
    fmt::{self, Write},
    fs,
    path::PathBuf,
    process::Command,
};

use anyhow::Context;

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

/// What is to be held.
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) value: f64,
    /// At most that much.
    pub(crate) bound: f64,
}

impl Target {
    /// What is no number was not measured.
    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.bound
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, bound } = self;
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "- {what}: {value:.2}, at most {bound}: {verdict}")
    }
}

/// The folder that charts are written into, if they are to be kept.
const FOLDER: &str = "HOSTFW_BENCH_CHARTS";

/// Keeps a chart beside the page, and says how the page shows it.
pub(crate) fn chart(name: &str, title: &str, svg: &str) -> anyhow::Result<String> {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return Ok(String::new());
    };
    let file = folder.join(format!("{name}.svg"));
    fs::write(&file, svg).with_context(|| format!("write {}", file.display()))?;
    Ok(format!("![{title}]({name}.svg)\n\n"))
}

/// Adds to a text.
pub(crate) fn put(text: &mut String, more: &str) {
    let written = text.write_str(more);
    debug_assert!(written.is_ok(), "a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(value: f64) -> Target {
        Target { what: "new flows, part of nftables".into(), value, bound: 0.05 }
    }

    #[test]
    fn a_target_is_met_up_to_its_bound() {
        let line = "- new flows, part of nftables: 0.05, at most 0.05: met";
        assert_eq!(target(0.05).to_string(), line);
        assert!(target(-1.0).is_met());
        let line = "- new flows, part of nftables: 0.06, at most 0.05: MISSED";
        assert_eq!(target(0.06).to_string(), line);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(!target(f64::NAN).is_met());
    }
}
