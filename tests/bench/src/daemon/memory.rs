//! What the daemon holds in memory: at the size of the demonstration, and with
//! 50,000 peers and 100,000 rules.

use std::{fs, time::Duration};

use anyhow::Context;
use hostfw_scenario::Firewall;

use super::{
    cluster::{NODES, PODS_EACH},
    node::{PEER, Pair},
    peers, start,
};
use crate::{daemon::cluster, page::Target};

/// What comes after a start is over by then.
const REST: Duration = Duration::from_secs(2);

/// Starts a daemon at each size, and again after a few changes.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n## Memory\n");
    {
        let pair = Pair::new("memory", start::NODE);
        let mut firewall = pair.firewall("");
        start::write_demo(&firewall)?;
        firewall.start();
        say("the demonstration", &mut firewall, 40.0)?;
        firewall.stop();
        firewall.cleanup();
    }
    let pair = Pair::new("memory", "node-0");
    let mut firewall = pair.firewall("");
    let (n_rules, n_files) = (100_000, 100);
    peers::write(&firewall, n_rules, n_files, &pair)?;
    firewall.start();
    let what = format!("{} peers and {n_rules} rules", NODES * PODS_EACH);
    say(&what, &mut firewall, 250.0)?;
    for change in 0..4 {
        let app = format!("app-{change}");
        let pod = cluster::pod("ns-0", "knocker", &app, "node-7", PEER);
        firewall.apply(|firewall| {
            firewall.world("knocker.yaml", &pod);
            firewall.policy("rules-007.yaml", &cluster::policy(7, 1_000 - change));
        });
    }
    say(&format!("{what}, after four changes"), &mut firewall, 250.0)?;
    firewall.stop();
    firewall.cleanup();
    Ok(())
}

fn say(what: &str, firewall: &mut Firewall<'_>, bound: f64) -> anyhow::Result<()> {
    std::thread::sleep(REST);
    // It answers when nothing else is to be done.
    firewall.status();
    let id = firewall.running().id();
    let text = fs::read_to_string(format!("/proc/{id}/status")).context("read its status")?;
    let mib = |name: &str| -> anyhow::Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a line")?;
        let kib = line.split_whitespace().next().context("a number")?;
        Ok(kib.parse::<f64>().context("a number")? / 1_024.0)
    };
    println!(
        "{what}: {:.1} MiB resident ({:.1} of its own, {:.1} of files, {:.1} shared with the \
         kernel), {:.1} at most",
        mib("VmRSS:")?,
        mib("RssAnon:")?,
        mib("RssFile:")?,
        mib("RssShmem:")?,
        mib("VmHWM:")?
    );
    println!("{}", Target { what: format!("{what}, MiB resident"), value: mib("VmRSS:")?, bound });
    println!("{}", Target { what: format!("{what}, MiB at most"), value: mib("VmHWM:")?, bound });
    Ok(())
}
