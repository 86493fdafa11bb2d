//! What the machine says beside its test results: one line for each fact, which
//! whoever reads the console can tell from the kernel's own lines.

/// Leads a line of facts.
pub(crate) const MARK: &str = "hostfw-vm:";

/// A fact: its kind, then what there is to say.
pub(crate) fn line(kind: &str, what: &str) {
    println!("{MARK} {kind} {what}");
}
