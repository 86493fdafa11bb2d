//! Checks the dependencies against `deny.toml`.
//!
//! Installs nothing: building cargo-deny takes minutes, so setup does it only
//! when asked.

use anyhow::bail;

use crate::run;

/// Runs cargo-deny where it is installed.
pub(crate) fn run() -> anyhow::Result<()> {
    if run::find_program("cargo-deny").is_none() {
        bail!("cargo-deny is not installed: run `cargo xtask setup --with-deny`");
    }
    run::shown(&mut run::cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    // Last, because it alone fetches something: the advisory database.
    run::shown(&mut run::cargo(&["deny", "check", "advisories"]))
}
