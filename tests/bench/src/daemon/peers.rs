//! From a pod or a node that comes or goes, among 50,000 peers, to the first
//! packet that is judged by it.
//!
//! Included is everything from the rename of the file that describes it:
//! noticing, waiting for the writer to settle, reading, compiling, loading,
//! rehearsing and the switch.

use hostfw_scenario::Firewall;

use super::{
    cluster::{self, MAY_KNOCK, NODES, PODS_EACH},
    node::{PEER, Pair},
    probe::Probe,
    say,
};

const CHANGES: usize = 12;
const BOUND_MS: f64 = 10.0;

/// Rules beside the peers, in so many files.
const RULES: [(u32, u32); 2] = [(1_000, 10), (10_000, 10)];

/// What changes: a file with and one without the peer that knocks.
struct Change {
    name: &'static str,
    file: &'static str,
    without: String,
    with: String,
}

/// Measures each kind of change beside each number of rules.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n## A pod or a node among {} peers\n", NODES * PODS_EACH);
    println!("The peers are in {NODES} files, one a node; one file is replaced by a rename.\n");
    for (n_rules, n_files) in RULES {
        let pair = Pair::new("peers", "node-0");
        let mut firewall = pair.firewall("");
        write(&firewall, n_rules, n_files, &pair)?;
        let changes = changes();
        for change in &changes {
            pair.put(&firewall.files.cluster.join(change.file), &change.without)?;
        }
        firewall.start();
        let mut probe = Probe::new(&pair)?;
        probe.await_state(false)?;
        for change in &changes {
            let samples = measure(&firewall, change, &pair, &mut probe)?;
            say(&format!("{}, {n_rules} rules", change.name), &samples, BOUND_MS);
        }
        firewall.stop();
        firewall.cleanup();
    }
    Ok(())
}

/// Writes the cluster and rules about it.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write(
    firewall: &Firewall<'_>,
    n_rules: u32,
    n_files: u32,
    pair: &Pair,
) -> anyhow::Result<()> {
    let files = &firewall.files;
    pair.put(&files.cluster.join("namespaces.yaml"), &cluster::namespaces())?;
    for number in 0..NODES {
        let text = cluster::node_with_pods(number);
        pair.put(&files.cluster.join(format!("node-{number:03}.yaml")), &text)?;
    }
    pair.put(&files.policies.join("knocking.yaml"), &cluster::knocking())?;
    for number in 0..n_files {
        let text = cluster::policy(number, n_rules / n_files);
        pair.put(&files.policies.join(format!("rules-{number:03}.yaml")), &text)?;
    }
    Ok(())
}

fn changes() -> Vec<Change> {
    let pod = cluster::pod("ns-0", "knocker", MAY_KNOCK, "node-7", PEER);
    let (alone, many) = (cluster::namespaces(), cluster::node_with_pods(7));
    // A file that is there and says nothing new, and one with one object more.
    let empty = "# Nobody.\n".to_owned();
    let with = |text: &str, more: &str| format!("{text}{more}");
    vec![
        Change {
            name: "a pod in a file of its own",
            file: "knocker.yaml",
            without: empty.clone(),
            with: pod.clone(),
        },
        Change {
            name: "a pod in the file of its node",
            file: "node-007.yaml",
            with: with(&many, &pod),
            without: many,
        },
        Change {
            name: "a node in a file of its own",
            file: "knocker-node.yaml",
            without: empty,
            with: cluster::node("knocker", PEER.into()),
        },
        Change {
            name: "a node in the file of the namespaces",
            file: "namespaces.yaml",
            with: with(&alone, &cluster::node("knocker", PEER.into())),
            without: alone,
        },
    ]
}

fn measure(
    firewall: &Firewall<'_>,
    change: &Change,
    pair: &Pair,
    probe: &mut Probe,
) -> anyhow::Result<Vec<f64>> {
    let place = firewall.files.cluster.join(change.file);
    let mut samples = Vec::new();
    for number in 0..CHANGES {
        let comes = number % 2 == 0;
        // It answers when it has done what follows a change.
        firewall.status();
        let since = pair.put(&place, if comes { &change.with } else { &change.without })?;
        samples.push(probe.turns(comes, since)?);
    }
    Ok(samples)
}
