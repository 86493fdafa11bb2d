//! From starting the program to the first packet that is denied, on a node that
//! nothing protects, with the files of the demonstration.

use std::{fs, path::Path, time::Instant};

use anyhow::Context;
use hostfw_scenario::Firewall;

use super::{node::Pair, probe::Probe, say};

const STARTS: usize = 10;
const BOUND_MS: f64 = 300.0;

/// A node of the demonstration.
pub(crate) const NODE: &str = "cp-1";

/// Starts again and again, from nothing.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n## From start to enforcement\n");
    println!("Nothing is pinned and nothing stored; the files are those of the demonstration.\n");
    let pair = Pair::new("start", NODE);
    let mut firewall = pair.firewall("");
    write_demo(&firewall)?;
    let mut probe = Probe::new(&pair)?;
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        probe.await_state(true)?;
        let since = Instant::now();
        firewall.spawn();
        samples.push(probe.turns(false, since)?);
        firewall.stop();
        firewall.cleanup();
        fs::remove_dir_all(&firewall.files.state).context("forget what was stored")?;
        fs::create_dir_all(&firewall.files.state).context("make the folder of the state")?;
    }
    say("a start", &samples, BOUND_MS);
    Ok(())
}

/// Gives a daemon the policies and the world of the demonstration.
///
/// # Errors
/// Files that cannot be read.
pub(crate) fn write_demo(firewall: &Firewall<'_>) -> anyhow::Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/demo");
    for (folder, is_world) in [("policies.d", false), ("cluster.d", true)] {
        for entry in fs::read_dir(demo.join(folder)).context("find the demonstration")? {
            let path = entry.context("find the demonstration")?.path();
            let text = fs::read_to_string(&path).context("read the demonstration")?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_world { firewall.world(&name, &text) } else { firewall.policy(&name, &text) }
        }
    }
    Ok(())
}
