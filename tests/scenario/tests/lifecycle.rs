//! What an operator relies on while daemons die, come back and read bad files.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

use std::{fs, net::SocketAddr};

use hostfw_api::{Mode, Severity};
use hostfw_scenario::{
    Connections, Datagrams, Echo, Firewall, FullHooks, Host, Reach, Stream, as_of_another_version,
    lab, never_within, reaches,
    scene::{MS, SECOND, SILENCE, node_port, node_port6, open_port, pair, peer_port, policy},
    wait_until,
};

/// TCP port 7 and UDP port 9000 and TCP port 9001, nothing else.
fn some_ports() -> String {
    let lists = [open_port(7, "TCP"), open_port(9000, "UDP"), open_port(9001, "TCP")];
    policy("test", &format!("ingress:\n{}", lists.concat()))
}

fn started<'host>(node: &'host Host) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &some_ports());
    firewall.start();
    firewall
}

/// L1.
#[test]
fn a_killed_daemon_leaves_every_verdict_as_it_was() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _echo6) = (Echo::start(&node, node_port(7)), Echo::start(&node, node_port6(7)));
    let _closed = Echo::start(&node, node_port(8));
    let mut firewall = started(&node);
    firewall.kill();
    for _ in 0..5 {
        for to in [node_port(7), node_port6(7)] {
            assert_eq!(reaches(&peer, to, SECOND), Reach::Open);
        }
        assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent);
        // What the host opens works as well: its answers are known.
        assert_eq!(reaches(&node, peer_port(7), SECOND), Reach::Refused);
    }
}

/// Everything that counts itself, allowed and denied.
struct Traffic {
    allowed_datagrams: Datagrams,
    denied_datagrams: Datagrams,
    allowed_stream: Stream,
    own_stream: Stream,
    allowed_connections: Connections,
    denied_connections: Connections,
}

impl Traffic {
    fn start(node: &Host, peer: &Host) -> Self {
        let at = |port: u16| -> SocketAddr { node_port(port) };
        Self {
            allowed_datagrams: Datagrams::start(peer, node, at(9000), MS),
            denied_datagrams: Datagrams::start(peer, node, at(9002), MS),
            allowed_stream: Stream::start(peer, node, at(9001), MS),
            own_stream: Stream::start(node, peer, peer_port(9003), MS),
            allowed_connections: Connections::start(peer, at(7), SECOND, MS),
            denied_connections: Connections::start(peer, at(8), 50 * MS, MS),
        }
    }

    /// No allowed packet was lost, and no denied one passed.
    fn stop(self) {
        assert!(self.allowed_stream.flows_within(SECOND) && self.own_stream.flows_within(SECOND));
        for (what, count) in [
            ("allowed datagrams", self.allowed_datagrams.stop()),
            ("an allowed stream", self.allowed_stream.stop()),
            ("a stream of the host's own", self.own_stream.stop()),
            ("allowed connections", self.allowed_connections.stop()),
        ] {
            println!("{what}: {count:?}");
            assert!(count.sent > 300, "{what}: {count:?} is no proof");
            assert_eq!(count.lost(), 0, "{what}: {count:?}");
        }
        for (what, count) in [
            ("denied datagrams", self.denied_datagrams.stop()),
            ("denied connections", self.denied_connections.stop()),
        ] {
            println!("{what}: {count:?}");
            assert!(count.sent > 30, "{what}: {count:?} is no proof");
            assert_eq!(count.arrived, 0, "{what}: {count:?}");
        }
    }
}

/// L2.
#[test]
fn killing_the_daemon_and_starting_it_again_loses_nothing_and_leaks_nothing() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _closed) = (Echo::start(&node, node_port(7)), Echo::start(&node, node_port(8)));
    let mut firewall = started(&node);
    let traffic = Traffic::start(&node, &peer);
    for _ in 0..3 {
        std::thread::sleep(300 * MS);
        firewall.kill();
        std::thread::sleep(300 * MS);
        firewall.start();
    }
    std::thread::sleep(300 * MS);
    traffic.stop();
}

/// L2.
#[test]
fn restarting_and_reloading_the_daemon_loses_nothing_and_leaks_nothing() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _closed) = (Echo::start(&node, node_port(7)), Echo::start(&node, node_port(8)));
    let mut firewall = started(&node);
    let traffic = Traffic::start(&node, &peer);
    for round in 0..3 {
        std::thread::sleep(200 * MS);
        firewall.stop();
        firewall.start();
        // New generations under traffic, with another rule each time.
        let more = format!("ingress:\n- fromCIDR: [198.51.100.{round}/32]\n");
        firewall.apply(|firewall| firewall.policy("more.yaml", &policy("more", &more)));
    }
    std::thread::sleep(300 * MS);
    traffic.stop();
}

fn started_by<'host>(node: &'host Host, attach: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.configure(&format!("devices: {{attach: {attach}}}\n"));
    firewall.policy("test.yaml", &some_ports());
    firewall.start();
    firewall
}

fn pins(firewall: &Firewall<'_>) -> Vec<String> {
    let entries = fs::read_dir(&firewall.files.bpf).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// L3.
#[test]
fn a_version_with_another_layout_takes_over_and_nothing_is_lost_or_leaks() {
    for attach in ["auto", "clsact"] {
        let lab = lab!();
        let (node, peer) = pair(&lab);
        let (_echo, _closed) = (Echo::start(&node, node_port(7)), Echo::start(&node, node_port(8)));
        let mut firewall = started_by(&node, attach);
        let traffic = Traffic::start(&node, &peer);
        for _ in 0..3 {
            std::thread::sleep(300 * MS);
            firewall.stop();
            as_of_another_version(&node, &firewall.files.bpf, "eth0");
            firewall.start();
            assert_eq!(firewall.status().problems, [""; 0], "{attach}");
            assert_eq!(pins(&firewall).len(), 2, "{attach}: nothing of the other one is left");
        }
        std::thread::sleep(300 * MS);
        traffic.stop();
    }
}

/// L3: the version before goes on for as long as this one has nothing to enforce.
#[test]
fn refused_files_at_an_upgrade_to_another_layout_leave_the_old_version_judging() {
    for attach in ["auto", "clsact"] {
        let lab = lab!();
        let (node, peer) = pair(&lab);
        let _echoes = [7, 8].map(|port| Echo::start(&node, node_port(port)));
        let mut firewall = started_by(&node, attach);
        firewall.stop();
        as_of_another_version(&node, &firewall.files.bpf, "eth0");
        // It keeps generations that this one cannot read.
        fs::remove_dir_all(firewall.files.state.join("generations")).expect("stored generations");
        firewall.policy("bad.yaml", "spec: [");
        firewall.spawn();
        let status = firewall.await_status("the refusal", |status| status.refused.is_some());
        assert!(status.generation.is_none());
        assert_eq!(status.judged_by_another_version, ["eth0"], "{attach}");
        let is_open = || reaches(&peer, node_port(8), SILENCE) != Reach::Silent;
        assert!(never_within(2 * SECOND, is_open), "{attach}");
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "{attach}");
        firewall.kill();
        firewall.spawn();
        firewall.await_status("the refusal", |status| status.refused.is_some());
        assert!(never_within(SECOND, is_open), "{attach}: a restart changes nothing");
        fs::remove_file(firewall.files.policies.join("bad.yaml")).expect("a file of the lab");
        firewall.await_status("a generation", |status| status.generation.is_some());
        assert!(!is_open(), "{attach}: mended");
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "{attach}: mended");
        assert_eq!(firewall.status().judged_by_another_version, [""; 0], "{attach}");
        assert_eq!(pins(&firewall).len(), 2, "{attach}: nothing of the other one is left");
    }
}

/// What a device had stays where it cannot be attached to again.
#[test]
fn a_hook_that_cannot_be_attached_to_again_costs_the_other_one_nothing() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(8));
    let mut firewall = Firewall::new(&node);
    let text = format!("{}egress:\n{}", "ingress: [{}]\n", open_port(7, "TCP"));
    firewall.policy("test.yaml", &policy("test", &text));
    firewall.start();
    assert_eq!(reaches(&node, peer_port(8), SILENCE), Reach::Silent);
    firewall.kill();
    // The hook of arriving packets is lost, and others take its place.
    let links = pins(&firewall).into_iter().find(|name| name.starts_with("links")).expect("links");
    let links = firewall.files.bpf.join(links);
    fs::remove_file(links.join(format!("{}_eth_in", node.ifindex("eth0")))).expect("a pin");
    let full = FullHooks::occupy(&node, "eth0");
    firewall.spawn();
    let status = firewall.await_status("the failure is told", |status| {
        status.devices.iter().any(|device| device.problem.contains("ingress"))
    });
    let device = &status.devices[0];
    assert!(device.ingress.is_none() && device.egress.is_some(), "{device:?}");
    assert_eq!(reaches(&node, peer_port(8), SILENCE), Reach::Silent, "egress is judged as before");
    drop(full);
    firewall.await_status("both hooks", |status| {
        status.devices.iter().all(|device| device.ingress.is_some() && device.egress.is_some())
    });
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "ingress is judged again");
}

/// L5.
#[test]
fn bad_files_leave_the_last_good_generation_in_force_and_are_named() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let firewall = started(&node);
    let generation = firewall.generation();
    let good = some_ports();
    let half = &good[..good.len() / 2];
    let misspelt = policy("other", "ingress:\n- fromCIDRs: [192.0.2.0/24]\n");
    let garbage: String = (0..2000_u32).map(|number| (number % 7) as u8 as char).collect();
    for (what, text) in [
        ("cut in half", half),
        ("of the same name", good.as_str()),
        ("with an unknown field", misspelt.as_str()),
        ("garbage", garbage.as_str()),
    ] {
        firewall.policy("bad.yaml", text);
        let status = firewall.await_status(what, |status| status.refused.is_some());
        let refused = status.refused.expect("waited for");
        assert!(
            refused.complaints.iter().any(|complaint| {
                complaint.severity == Severity::Error
                    && (complaint.path.ends_with("bad.yaml") || complaint.what.contains("bad.yaml"))
            }),
            "{what}: {refused:#?}"
        );
        assert_eq!(firewall.generation(), generation, "{what}");
        assert_eq!(status.ingress, Mode::Enforcing, "{what}");
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "{what}");
        assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "{what}");
        assert_eq!(firewall.hostfw(&["status"]).code, 1, "{what}");
        fs::remove_file(firewall.files.policies.join("bad.yaml")).expect("a file of the lab");
        firewall.await_status("the refusal is over", |status| status.refused.is_none());
    }
    assert_eq!(firewall.generation(), generation, "the same files give the same generation");
}

/// The ways in which files are replaced in practice.
#[test]
fn edits_are_taken_as_editors_and_configuration_managers_make_them() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let mut firewall = Firewall::new(&node);
    // The directory is a link to a version, which is swapped as a whole.
    let version = |name: &str| node.folder().join(name);
    let one = policy("test", &format!("ingress:\n{}", open_port(7, "TCP")));
    let other = policy("test", &format!("ingress:\n{}", open_port(8, "TCP")));
    for (name, text) in [("v1", &one), ("v2", &other)] {
        fs::create_dir(version(name)).expect("a folder of the lab");
        fs::write(version(name).join("test.yaml"), text).expect("a file of the lab");
    }
    let point_to = |name: &str| {
        let beside = version("policies.new");
        std::os::unix::fs::symlink(version(name), &beside).expect("a link of the lab");
        fs::rename(&beside, version("policies.d")).expect("a link of the lab");
    };
    fs::remove_dir(&firewall.files.policies).expect("an empty folder");
    point_to("v1");
    firewall.start();
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
    firewall.apply(|_| point_to("v2"));
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent, "the link was swapped");

    // In place, in two writes with a pause: the half is never in force.
    let place = version("v2").join("test.yaml");
    firewall.apply(|_| {
        let (first, second) = one.split_at(one.len() / 2);
        fs::write(&place, first).expect("a file of the lab");
        std::thread::sleep(20 * MS);
        fs::write(&place, format!("{first}{second}")).expect("a file of the lab");
    });
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "written in place");

    // What editors leave beside it is no policy.
    let generation = firewall.generation();
    for name in [".test.yaml.swp", "test.yaml~", "#test.yaml#", "4913"] {
        fs::write(version("v2").join(name), "not: [a policy").expect("a file of the lab");
    }
    assert!(never_within(SECOND, || firewall.status().refused.is_some()));
    assert_eq!(firewall.generation(), generation);

    // A policy that is deleted is gone.
    firewall.apply(|_| fs::remove_file(&place).expect("a file of the lab"));
    assert_eq!(firewall.status().ingress, Mode::NotEnforced);

    // As the kubelet mounts a ConfigMap: a link to a hidden link to a version,
    // and the one in the middle is swapped.
    let mounted = version("v3");
    for (name, text) in [("..1", &other), ("..2", &one)] {
        fs::create_dir_all(mounted.join(name)).expect("a folder of the lab");
        fs::write(mounted.join(name).join("test.yaml"), text).expect("a file of the lab");
    }
    let mount = |name: &str| {
        std::os::unix::fs::symlink(name, mounted.join("..data_tmp")).expect("a link of the lab");
        fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).expect("a link of the lab");
    };
    mount("..1");
    std::os::unix::fs::symlink("..data/test.yaml", mounted.join("test.yaml")).expect("a link");
    firewall.apply(|_| point_to("v3"));
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent, "mounted");
    firewall.apply(|_| mount("..2"));
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "mounted anew");
}

/// L11, as far as this version goes.
#[test]
fn audit_mode_set_at_run_time_outlives_the_daemon() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = started(&node);
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent);
    assert_eq!(firewall.hostfw(&["audit", "on"]).code, 0);
    assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Refused);
    firewall.kill();
    assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Refused, "while it is dead");
    firewall.start();
    assert!(firewall.status().audit.on);
    assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Refused, "after it came back");
    assert_eq!(firewall.hostfw(&["audit", "off"]).code, 0);
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent);
}

/// Counts of a rule go on over new generations and over the daemon's death.
#[test]
fn the_counts_of_a_rule_survive_reloads_and_restarts() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let mut firewall = started(&node);
    let packets = |firewall: &Firewall<'_>| {
        let rules = firewall.rules().rules;
        let rule = rules.iter().find(|rule| rule.summary.contains("TCP 7"));
        rule.map(|rule| rule.packets).unwrap_or_else(|| panic!("no rule for port 7: {rules:?}"))
    };
    for _ in 0..3 {
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
    }
    let before = packets(&firewall);
    assert!(before >= 3, "{before} packets counted");

    let more = [open_port(10, "TCP"), open_port(7, "TCP")];
    let more = policy("test", &format!("ingress:\n{}", more.concat()));
    firewall.apply(|firewall| firewall.policy("test.yaml", &more));
    assert!(packets(&firewall) >= before, "a new generation starts where the old one ended");

    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
    let reloaded = packets(&firewall);
    assert!(reloaded > before, "{reloaded} after {before}");
    firewall.kill();
    firewall.start();
    assert!(packets(&firewall) >= reloaded, "a restart forgets nothing");

    // More rules than there is room for, so all counters move to larger maps.
    let mut many: String = (2_000..3_200).map(|port| open_port(port, "TCP")).collect();
    many += &open_port(7, "TCP");
    let many = policy("test", &format!("ingress:\n{many}"));
    firewall.apply(|firewall| firewall.policy("test.yaml", &many));
    assert!(packets(&firewall) >= reloaded, "a larger policy forgets nothing");
}

/// Detaching is a verb of its own, and the only one.
#[test]
fn cleaning_up_opens_the_host_however_the_programs_are_attached() {
    for attach in ["auto", "clsact"] {
        for is_other in [false, true] {
            let case = format!("{attach}, another version: {is_other}");
            let lab = lab!();
            let (node, peer) = pair(&lab);
            let _echo = Echo::start(&node, node_port(8));
            let mut firewall = started_by(&node, attach);
            firewall.stop();
            if is_other {
                as_of_another_version(&node, &firewall.files.bpf, "eth0");
            }
            assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "{case}: still there");
            firewall.cleanup();
            assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Open, "{case}: gone");
            assert_eq!(pins(&firewall), [""; 0], "{case}");
            firewall.cleanup();
            firewall.start();
            assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "{case}: back");
        }
    }
}

/// Somebody tidies up `/sys/fs/bpf` below a running daemon.
#[test]
fn a_daemon_whose_pins_are_taken_away_filters_again_by_itself() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echoes = [7, 8].map(|port| Echo::start(&node, node_port(port)));
    let mut firewall = started(&node);
    fs::remove_dir_all(&firewall.files.bpf).expect("pins are files");
    wait_until("the devices are filtered again", 30 * SECOND, || {
        reaches(&peer, node_port(8), SILENCE) == Reach::Silent
            && firewall.log().contains("removed by somebody else")
    });
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
    firewall.stop();
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "without a daemon too");
    firewall.start();
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent);
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open);
}
