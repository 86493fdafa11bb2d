//! What becomes of live connections at a switch: which policy is asked, and
//! what does not concern it.

mod stand;

use hostfw_control::{Event, LiveConnection, Withdrawal};
use hostfw_datapath::Direction;
use hostfw_policy::{EXISTING_CONNECTIONS, ExistingConnections};
use stand::{Stand, World, eth0, loopback, snapshot};

const ALLOWS: &str = "ingress: [{fromCIDR: [198.51.100.0/24]}]";
const OTHERS: &str = "ingress: [{fromCIDR: [203.0.113.0/24]}]";
const DENIES: &str =
    "enableDefaultDeny: {ingress: false}, ingressDeny: [{fromCIDR: [198.51.100.0/24]}]";

fn policy(name: &str, existing: &str, lists: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata:\n  \
         name: {name}\n  annotations: {{{EXISTING_CONNECTIONS}: {existing}}}\n\
         spec: {{nodeSelector: {{}}, {lists}}}\n"
    )
}

/// The step to these files, as the shell is told of it before the switch.
fn step(stand: &mut Stand, files: &[String]) -> Option<Withdrawal> {
    stand.withdrawals.clear();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    stand.files(&files);
    let told = std::mem::take(&mut stand.withdrawals);
    assert!([0, 2].contains(&told.len()), "before the switch and after it");
    told.into_iter().next()
}

/// What becomes of a connection that a peer opened to port 22.
fn fate(step: &Option<Withdrawal>, remote: &str) -> Option<ExistingConnections> {
    step.as_ref()?.fate(&LiveConnection {
        direction: Direction::Ingress,
        local: "192.0.2.1".parse().expect("literal"),
        remote: remote.parse().expect("literal"),
        protocol: 6,
        port: 22,
    })
}

const PEER: &str = "198.51.100.7";

#[test]
fn nobody_is_asked_where_every_policy_judges_again() {
    let mut stand = Stand::started(&[]);
    assert!(step(&mut stand, &[policy("one", "recheck", ALLOWS)]).is_none());
    assert!(step(&mut stand, &[]).is_none());
}

#[test]
fn the_policy_that_admitted_a_connection_is_asked_when_it_no_longer_does() {
    for (name, choice) in ExistingConnections::ALL {
        let mut stand =
            Stand::started(&[&policy("one", name, ALLOWS), &policy("two", "kill", OTHERS)]);
        let step = step(&mut stand, &[policy("one", name, OTHERS), policy("two", "kill", OTHERS)]);
        assert_eq!(fate(&step, PEER), Some(choice));
        assert_eq!(fate(&step, "203.0.113.4"), None, "allowed before and after");
        assert_eq!(fate(&step, "203.0.114.4"), None, "allowed neither before nor after");
        assert_eq!(fate(&step, "192.0.2.1"), None, "to itself");
    }
}

#[test]
fn what_a_policy_says_today_counts_and_what_it_said_last_when_it_is_gone() {
    let mut stand =
        Stand::started(&[&policy("one", "keep", ALLOWS), &policy("two", "keep", OTHERS)]);
    let edited = step(&mut stand, &[policy("one", "kill", OTHERS), policy("two", "keep", OTHERS)]);
    assert_eq!(fate(&edited, PEER), Some(ExistingConnections::Kill));
    step(&mut stand, &[policy("one", "keep", ALLOWS), policy("two", "kill", OTHERS)]);
    let removed = step(&mut stand, &[policy("two", "kill", OTHERS)]);
    assert_eq!(fate(&removed, PEER), Some(ExistingConnections::Keep));
}

#[test]
fn the_policy_with_the_deny_rule_is_asked_first() {
    let allows = || policy("one", "keep", ALLOWS);
    let mut stand = Stand::started(&[&allows()]);
    let denied = step(&mut stand, &[allows(), policy("two", "kill", DENIES)]);
    assert_eq!(fate(&denied, PEER), Some(ExistingConnections::Kill));
    let again = step(&mut stand, &[allows(), policy("three", "kill", DENIES)]);
    assert_eq!(fate(&again, PEER), None, "denied before as well");
}

#[test]
fn the_strictest_is_asked_where_nothing_was_in_force() {
    let mut stand = Stand::start(World::default(), 1_000);
    stand.first_snapshots(&[]);
    let first = step(&mut stand, &[policy("one", "keep", OTHERS), policy("two", "kill", OTHERS)]);
    assert_eq!(fate(&first, PEER), Some(ExistingConnections::Kill));
    // The very first generation of all.
    let mut stand = Stand::start(World::default(), 1_000);
    stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
    stand.event(Event::World(Ok(hostfw_control::Snapshot::default())));
    stand.event(Event::Policies(Ok(snapshot(&[&policy("one", "keep", OTHERS)]))));
    assert_eq!(fate(&stand.withdrawals.first().cloned(), PEER), Some(ExistingConnections::Keep));
}

#[test]
fn audit_withdraws_nothing_but_what_a_deny_rule_names() {
    let mut stand = Stand::started(&[&policy("one", "kill", ALLOWS)]);
    stand.ask(hostfw_control::Request::SetAudit(true));
    let audited = step(&mut stand, &[policy("one", "kill", OTHERS)]);
    assert_eq!(fate(&audited, PEER), None);
    let denied = step(&mut stand, &[policy("one", "kill", OTHERS), policy("two", "kill", DENIES)]);
    assert_eq!(fate(&denied, PEER), Some(ExistingConnections::Kill));
    stand.withdrawals.clear();
    step(&mut stand, &[policy("one", "kill", OTHERS)]);
    stand.withdrawals.clear();
    stand.ask(hostfw_control::Request::SetAudit(false));
    let enforced = stand.withdrawals.first().cloned();
    assert_eq!(fate(&enforced, PEER), Some(ExistingConnections::Kill), "audit let it in");
}

#[test]
fn what_is_kept_is_written_before_the_switch_and_what_is_ended_is_ended_after_it() {
    let mut stand = Stand::started(&[&policy("one", "kill", ALLOWS)]);
    stand.script();
    stand.files(&[&policy("one", "kill", OTHERS)]);
    assert!(stand.script().starts_with("load 2\nkeep\nswitch 2 enforce\nend\n"));
    stand.faults.switch = true;
    stand.files(&[&policy("one", "kill", ALLOWS)]);
    assert!(!stand.script().contains("end"), "a switch that failed withdraws nothing");
}
