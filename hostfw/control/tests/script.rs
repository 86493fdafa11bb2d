//! Event scripts: what is asked of the shell, in which order, for one story
//! each. The order is the point: it is what keeps a live generation live.

mod stand;

use std::net::IpAddr;

use hostfw_control::{Event, Reply, Request, Snapshot, Token};
use hostfw_datapath::{Address, Direction, image, verdict::Answer};
use hostfw_policy::Source;
use stand::{
    BROKEN, SSH, Stand, WEB, World, config, eth0, ethernet, loopback, snapshot, unreadable,
};

#[test]
fn a_first_start_attaches_then_learns_then_seeds_and_only_then_enforces() {
    let mut stand = Stand::started(&[SSH]);
    assert_eq!(
        stand.script(),
        "attach eth0\n\
         notify starting: nothing in force, 0 of 1 devices filtered\n\
         note attached eth0\n\
         notify starting: nothing in force, 1 of 1 devices filtered\n\
         load 1\n\
         learn by 1 and seed\n\
         switch 1 enforce\n\
         note in force 1\n\
         store 1\n\
         notify ready: enforcing, generation 1, 1 of 1 devices filtered"
    );
}

#[test]
fn nothing_is_switched_on_while_what_this_host_has_open_is_unknown() {
    let mut stand = Stand::start(World::default(), 1_000);
    stand.faults.seed = true;
    stand.first_snapshots(&[SSH]);
    stand.pass(5_000);
    assert_eq!(stand.in_force(), None);
    assert!(!stand.status().problems.is_empty());
    stand.faults.seed = false;
    stand.pass(60_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    assert!(stand.status().problems.is_empty());
}

#[test]
fn unchanged_snapshots_cause_nothing() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.first_snapshots(&[SSH]);
    stand.event(Event::Config(Ok(config(""))));
    stand.event(Event::Proof(Ok([2].into())));
    stand.pass(60_000);
    assert_eq!(stand.script(), "");
}

#[test]
fn an_edited_file_is_loaded_beside_the_live_generation_and_then_switched_in() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.files(&[SSH, WEB]);
    assert_eq!(
        stand.script(),
        "load 2\nswitch 2 enforce\nnote in force 2\nstore 2\n\
         notify ready: enforcing, generation 2, 1 of 1 devices filtered"
    );
    assert_eq!(stand.world.slots[&0].number, 1, "the previous generation stays loaded");
}

#[test]
fn a_refused_set_keeps_the_last_good_one_and_is_reported_after_a_second_look() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.files(&[SSH, BROKEN]);
    let line = "enforcing, generation 1, 1 of 1 devices filtered, newest files refused";
    assert_eq!(stand.script(), format!("notify ready: {line}"));
    let refused = stand.status().refused.expect("refused");
    assert_eq!(refused.complaints[0].path, "policies.d/1.yaml");

    stand.pass(1_000);
    assert_eq!(stand.script(), "read policies\nnote refused Policies");
    stand.pass(60_000);
    assert_eq!(stand.script(), "", "nobody is told twice");
    assert_eq!(stand.in_force(), Some((1, false)));

    stand.files(&[SSH]);
    assert!(stand.script().starts_with("note accepted Policies\n"));
    assert!(stand.status().refused.is_none());
    assert_eq!(stand.in_force(), Some((1, false)), "the old set is still the one in force");
}

#[test]
fn a_set_whose_cases_fail_is_not_loaded_and_the_case_is_named() {
    let cases = |expected: &str| {
        let text = format!(
            "tests:\n- {{name: SSH is open, from: 198.51.100.7, to: host, port: tcp/22, \
             expect: {expected}}}\n"
        );
        Source::new("policies.d/ssh.test.yaml", text)
    };
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    let mut with_cases = snapshot(&[SSH, WEB]);
    with_cases.sources.push(cases("deny"));
    stand.event(Event::Policies(Ok(with_cases.clone())));
    assert_eq!(stand.in_force(), Some((1, false)), "the last good set stays in force");
    let refused = stand.status().refused.expect("refused");
    let [complaint] = refused.complaints.as_slice() else { panic!("one complaint") };
    assert_eq!((complaint.code, complaint.line), ("test-failed", 2));
    assert_eq!(complaint.path, "policies.d/ssh.test.yaml");
    assert!(complaint.what.contains("expected deny, got allow"), "{}", complaint.what);

    with_cases.sources.pop();
    with_cases.sources.push(cases("allow"));
    stand.event(Event::Policies(Ok(with_cases)));
    assert_eq!(stand.in_force(), Some((2, false)));
    assert!(stand.status().refused.is_none());
}

#[test]
fn a_set_that_a_guardrail_does_not_let_pass_is_not_loaded() {
    let guardrails =
        |text: &str| Source::new("policies.d/site.guardrails.yaml", format!("guardrails:\n{text}"));
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    let mut guarded = snapshot(&[SSH, WEB]);
    let forbid = "- name: no-ssh\n  forbid: {ingress: [{toPorts: [{ports: [{port: \"22\"}]}]}]}\n";
    guarded.sources.push(guardrails(forbid));
    stand.event(Event::Policies(Ok(guarded.clone())));
    assert_eq!(stand.in_force(), Some((1, false)), "the last good set stays in force");
    let refused = stand.status().refused.expect("refused");
    let [complaint] = refused.complaints.as_slice() else { panic!("one complaint") };
    assert_eq!(complaint.code, "guardrail");
    assert!(complaint.path.ends_with(".yaml") && complaint.line > 0, "{complaint:?}");
    assert!(complaint.what.contains("`no-ssh`"), "{}", complaint.what);

    for (text, code) in [("- {name: x}\n", "bad-guardrail"), ("- [\n", "yaml-syntax")] {
        guarded.sources.pop();
        guarded.sources.push(guardrails(text));
        stand.event(Event::Policies(Ok(guarded.clone())));
        assert_eq!(stand.in_force(), Some((1, false)), "a guardrail that is no guardrail holds");
        let refused = stand.status().refused.expect("refused");
        assert_eq!(refused.complaints[0].code, code);
    }

    guarded.sources.pop();
    guarded.sources.push(guardrails("- {name: in-full, exactNames: true}\n"));
    stand.event(Event::Policies(Ok(guarded)));
    assert_eq!(stand.in_force(), Some((2, false)));
    assert!(stand.status().refused.is_none());
}

#[test]
fn a_file_caught_half_written_is_never_reported() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.files(&[SSH, BROKEN]);
    stand.world.policies = Some(Ok(snapshot(&[SSH, WEB])));
    stand.pass(1_000);
    assert!(!stand.script().contains("refused Policies"));
    assert_eq!(stand.in_force(), Some((2, false)));
}

#[test]
fn a_directory_that_vanishes_keeps_the_last_good_set() {
    let mut stand = Stand::started(&[SSH]);
    stand.event(Event::Policies(Err(unreadable(true))));
    stand.event(Event::World(Err(unreadable(true))));
    stand.pass(1_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    assert_eq!(stand.status().refused.expect("both").complaints.len(), 2);
}

#[test]
fn a_node_without_a_cluster_has_no_such_directory_however_often_it_is_read() {
    let mut stand = Stand::start(World::default(), 1_000);
    stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
    stand.files(&[SSH]);
    for _ in 0..3 {
        stand.event(Event::World(Err(unreadable(true))));
        stand.pass(1_000);
        assert!(stand.status().refused.is_none());
    }
    assert_eq!(stand.in_force(), Some((1, false)));
    stand.event(Event::World(Ok(Snapshot::default())));
    stand.event(Event::World(Err(unreadable(true))));
    assert!(stand.status().refused.is_some(), "one that was there and vanished is missed");
}

#[test]
fn a_world_that_is_missing_after_a_restart_or_a_boot_is_missed_and_an_empty_one_is_not() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-2}\n\
                status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}\n";
    let source = Source::new("cluster.d/node.yaml", node);
    let cluster = Snapshot { sources: vec![source], ignored: Vec::new() };
    let missing = || Event::World(Err(unreadable(true)));
    for boots in [false, true] {
        let mut stand = Stand::start(World::default(), 1_000);
        stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
        stand.event(Event::World(Ok(cluster.clone())));
        stand.files(&[SSH]);
        let with_world = stand.in_force();
        assert_eq!(with_world, Some((1, false)));

        let mut world = stand.world.clone();
        if boots {
            (world.word, world.slots, world.attached) = Default::default();
        }
        let mut stand = Stand::start(world, stand.now_ms + 1);
        stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
        stand.event(missing());
        stand.files(&[SSH]);
        stand.pass(10_000);
        assert_eq!(stand.in_force(), with_world, "what was made with the world stays");
        assert_eq!(stand.world.stored.as_ref().map(|(stored, _)| stored.number), Some(1));
        let refused = stand.status().refused.expect("it is said");
        assert!(refused.complaints[0].instead.contains("make it again"), "{refused:?}");

        // An empty one is an answer, and from then on none is as good.
        stand.event(Event::World(Ok(Snapshot::default())));
        assert!(stand.status().refused.is_none());
        let mut stand = stand.restart();
        stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
        stand.event(missing());
        stand.files(&[SSH]);
        stand.pass(10_000);
        assert!(stand.status().refused.is_none());
    }
}

#[test]
fn an_emptied_directory_is_a_state_like_any_other() {
    let mut stand = Stand::started(&[SSH]);
    stand.files(&[]);
    assert_eq!(stand.in_force(), Some((2, false)));
}

#[test]
fn refused_files_at_the_first_start_are_ready_to_be_asked_about() {
    let mut stand = Stand::started(&[BROKEN]);
    stand.pass(1_000);
    assert_eq!(stand.in_force(), None);
    assert!(
        stand.script().contains(
            "notify ready: nothing in force, 1 of 1 devices filtered, newest files refused"
        )
    );
}

#[test]
fn a_comment_makes_no_new_generation() {
    let mut stand = Stand::started(&[SSH]);
    stand.files(&[&format!("{SSH}# reviewed\n")]);
    assert_eq!(stand.in_force(), Some((1, false)));
    stand.script();
    stand.files(&[&format!("# reviewed\n{SSH}")]);
    assert!(!stand.script().contains("load"), "lines moved, verdicts did not");
}

#[test]
fn a_new_address_makes_a_new_generation_even_while_the_files_are_refused() {
    let mut stand = Stand::started(&[SSH]);
    stand.files(&[BROKEN]);
    let moved = ethernet(2, "eth0", "192.0.2.99");
    stand.event(Event::Links(Ok(vec![loopback(), moved])));
    assert_eq!(stand.in_force(), Some((2, false)));
    let names = stand.world.slots[&1].policies.len();
    assert_eq!(names, 1, "it is the last good set with the new address");
}

#[test]
fn a_new_device_is_filtered_before_it_is_up_and_a_vanished_one_is_forgotten() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    let mut eth1 = ethernet(3, "eth1", "192.0.2.2");
    eth1.addresses.clear();
    eth1.up = false;
    stand.event(Event::Links(Ok(vec![loopback(), eth0(), eth1])));
    assert!(stand.script().starts_with("attach eth1\n"));
    assert!(stand.world.attached.contains(&3));

    stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
    assert!(stand.script().starts_with("detach 3\n"));
    assert_eq!(stand.status().links.devices.len(), 1);
}

#[test]
fn a_renamed_device_stays_filtered() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.event(Event::Links(Ok(vec![loopback(), ethernet(2, "wan0", "192.0.2.1")])));
    assert_eq!(stand.script(), "");
    assert_eq!(stand.status().links.devices[0].device.name, "wan0");
}

#[test]
fn a_device_that_refuses_a_program_is_a_problem_and_is_tried_again() {
    let mut stand = Stand::start(World::default(), 1_000);
    stand.faults.attach.insert(2);
    stand.first_snapshots(&[SSH]);
    assert_eq!(stand.status().problems, ["eth0 is not filtered: it failed"]);
    assert_eq!(stand.in_force(), Some((1, false)), "other devices do not wait for it");
    stand.pass(10_000);
    stand.faults.attach.clear();
    stand.pass(60_000);
    assert!(stand.status().problems.is_empty());
    assert!(stand.world.attached.contains(&2));
}

#[test]
fn a_program_that_somebody_removed_is_put_back() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.event(Event::Proof(Ok([].into())));
    assert!(stand.script().starts_with("note lost eth0\nattach eth0\n"));
}

#[test]
fn an_unfiltered_device_is_named_once() {
    let mut stand = Stand::start(
        World { config: "devices: {exclude: [docker0]}\n".into(), ..World::default() },
        1_000,
    );
    let links = vec![loopback(), eth0(), ethernet(3, "docker0", "172.17.0.1")];
    stand.event(Event::Links(Ok(links.clone())));
    stand.event(Event::Links(Ok(links)));
    let named = "note unfiltered docker0: excluded by the pattern \"docker0\"";
    assert_eq!(stand.script().matches(named).count(), 1);
    assert!(!stand.world.attached.contains(&3));
}

#[test]
fn a_generation_that_does_not_load_or_switch_leaves_the_live_one_alone() {
    let mut stand = Stand::started(&[SSH]);
    stand.faults.load = true;
    stand.files(&[WEB]);
    assert_eq!(stand.in_force(), Some((1, false)));
    assert_eq!(stand.status().problems, ["generation 2 is not loaded: it failed"]);
    stand.faults.load = false;
    stand.faults.switch = true;
    stand.pass(10_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    assert_eq!(stand.status().problems, ["switching failed: it failed"]);
    stand.faults.switch = false;
    stand.pass(60_000);
    assert_eq!(stand.in_force(), Some((2, false)));
    assert!(stand.status().problems.is_empty());
}

#[test]
fn an_image_that_cannot_be_switched_to_is_loaded_anew() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.faults.switch = true;
    stand.files(&[WEB]);
    let lines = stand.script();
    assert!(lines.starts_with("load 2\nswitch 2 enforce\nnote failed switch"), "{lines}");
    stand.pass(600);
    let lines = stand.script();
    assert!(lines.starts_with("load 2\nswitch 2 enforce"), "{lines}");
    stand.pass(100_000);
    let n_loads = stand.script().matches("load 2").count();
    assert!((5..10).contains(&n_loads), "{n_loads} loads: ever more rarely");
    stand.faults.switch = false;
    // What is new is not held up by what failed.
    stand.files(&[SSH, WEB]);
    assert_eq!(stand.in_force(), Some((3, false)));
    assert!(stand.status().problems.is_empty());
}

#[test]
fn going_back_to_the_live_set_drops_one_that_would_not_load() {
    let mut stand = Stand::started(&[SSH]);
    stand.faults.load = true;
    stand.files(&[WEB]);
    stand.files(&[SSH]);
    assert!(stand.status().problems.is_empty());
    stand.faults.load = false;
    stand.pass(60_000);
    assert_eq!(stand.in_force(), Some((1, false)));
}

#[test]
fn a_failed_switch_that_is_no_longer_wanted_is_not_tried_again() {
    let mut stand = Stand::started(&[SSH]);
    stand.faults.switch = true;
    stand.ask(Request::SetAudit(true));
    stand.ask(Request::SetAudit(false));
    stand.script();
    stand.pass(200_000);
    assert_eq!(stand.script(), "");
    assert!(stand.control.deadline_ms().is_none());
}

#[test]
fn audit_mode_is_switched_without_a_new_generation_and_survives_a_restart() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    let Reply::Audit { audit, problems } = stand.ask(Request::SetAudit(true)) else { panic!() };
    assert!(audit.on && problems.is_empty());
    assert_eq!(
        stand.script(),
        "note audit true\nswitch 1 audit\nstore audit Some(true)\nnote in force 1\n\
         notify ready: auditing, generation 1, 1 of 1 devices filtered\nreply"
    );

    let mut stand = stand.restart();
    stand.first_snapshots(&[SSH]);
    stand.files(&[WEB]);
    assert_eq!(stand.in_force(), Some((2, true)));

    stand.event(Event::Config(Ok(config("# touched\n"))));
    assert_eq!(stand.in_force(), Some((2, true)), "the value itself did not change");
    stand.event(Event::Config(Ok(config("audit: true\n"))));
    stand.event(Event::Config(Ok(config("audit: false\n"))));
    assert_eq!(stand.in_force(), Some((2, false)));
}

#[test]
fn audit_mode_holds_even_when_the_disk_is_full() {
    let mut stand = Stand::started(&[SSH]);
    stand.faults.disk = true;
    let Reply::Audit { audit, problems } = stand.ask(Request::SetAudit(true)) else { panic!() };
    assert!(audit.on);
    assert_eq!(problems, ["audit mode will not survive a restart: it failed"]);
    assert_eq!(stand.in_force(), Some((1, true)));
}

#[test]
fn a_restart_with_the_same_files_changes_nothing_in_the_kernel() {
    let mut stand = Stand::started(&[SSH]).restart();
    stand.first_snapshots(&[SSH]);
    let script = stand.script();
    assert!(!script.contains("load") && !script.contains("switch"), "{script}");
    assert!(script.contains("attach eth0"), "the programs are renewed");
    assert!(script.ends_with("notify ready: enforcing, generation 1, 1 of 1 devices filtered"));
}

#[test]
fn a_restart_with_broken_files_leaves_the_adopted_generation_in_force_and_named() {
    let mut stand = Stand::started(&[SSH]).restart();
    stand.first_snapshots(&[BROKEN]);
    stand.pass(60_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    let status = stand.status();
    assert!(status.refused.is_some());
    let generation = status.generation.expect("adopted").generation.expect("named from the disk");
    assert_eq!(generation.policies[0].name, "ssh");

    let mut stand = stand.restart();
    stand.first_snapshots(&[WEB]);
    assert_eq!(stand.in_force(), Some((2, false)), "numbers go on");
}

#[test]
fn an_adopted_generation_keeps_its_audit_mode_until_somebody_asks() {
    let mut stand = Stand::started(&[SSH]);
    stand.world.config = "audit: true\n".into();
    let mut stand = stand.restart();
    stand.first_snapshots(&[BROKEN]);
    stand.pass(60_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    stand.ask(Request::SetAudit(true));
    assert_eq!(stand.in_force(), Some((1, true)));
}

#[test]
fn an_adopted_generation_without_its_record_is_said_to_be_unknown() {
    let mut stand = Stand::started(&[SSH]);
    stand.world.stored = None;
    let mut stand = stand.restart();
    stand.first_snapshots(&[BROKEN]);
    let problems = stand.status().problems;
    assert_eq!(problems, ["generation 1 was adopted and its rules are not known"]);
    stand.files(&[SSH]);
    assert_eq!(stand.in_force(), Some((2, false)));
}

/// The same disk, on a machine that has booted: the kernel holds nothing.
fn booted(stand: Stand) -> Stand {
    let World { stored, audit, config, .. } = stand.world;
    Stand::start(World { stored, audit, config, ..World::default() }, 1_000)
}

#[test]
fn a_boot_with_refused_files_puts_the_last_good_generation_in_force() {
    let mut stand = booted(Stand::started(&[SSH]));
    stand.first_snapshots(&[BROKEN]);
    stand.pass(5_000);
    assert_eq!(stand.in_force(), Some((1, false)));
    assert!(stand.status().refused.is_some());
    // It gives way to the first files that can be read.
    stand.files(&[WEB]);
    assert_eq!(stand.in_force(), Some((2, false)));
}

#[test]
fn a_boot_with_good_files_takes_them_and_nothing_older() {
    let mut stand = booted(Stand::started(&[SSH]));
    stand.first_snapshots(&[]);
    stand.pass(5_000);
    assert_eq!(stand.in_force(), Some((2, false)));
    assert!(!stand.script().contains("load 1\n"));
}

#[test]
fn a_device_that_is_excluded_while_the_daemon_is_down_is_detached_at_the_start() {
    let mut stand = Stand::started(&[SSH]);
    stand.world.config = "devices: {exclude: [eth0]}\n".into();
    let mut stand = stand.restart();
    stand.first_snapshots(&[SSH]);
    assert!(stand.script().contains("detach 2"));
    assert!(stand.world.attached.is_empty());
}

#[test]
fn a_reload_answers_when_its_result_is_in_force() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.world.policies = Some(Ok(snapshot(&[WEB])));
    let Reply::Status(status) = stand.ask(Request::Reload) else { panic!() };
    assert_eq!(status.generation.expect("loaded").number, 2);
    let script = stand.script();
    assert!(script.starts_with("read config\nread cluster\nread policies\nnotify reloading"));
    assert!(script.ends_with("notify ready: enforcing, generation 2, 1 of 1 devices filtered"));
}

#[test]
fn a_reload_that_the_kernel_refuses_says_so() {
    let mut stand = Stand::started(&[SSH]);
    stand.world.policies = Some(Ok(snapshot(&[WEB])));
    stand.faults.load = true;
    let Reply::Status(status) = stand.ask(Request::Reload) else { panic!() };
    assert_eq!(status.not_in_force, ["generation 2 is not loaded: it failed"]);
    assert_eq!(status.generation.expect("the one before").number, 1);
}

#[test]
fn a_reload_by_signal_shows_what_it_refused() {
    let mut stand = Stand::started(&[SSH]);
    stand.script();
    stand.world.policies = Some(Ok(snapshot(&[SSH, BROKEN])));
    stand.event(Event::Reload);
    let script = stand.script();
    assert!(script.contains("notify reloading"), "{script}");
    let line = "enforcing, generation 1, 1 of 1 devices filtered, newest files refused";
    assert!(script.ends_with(&format!("notify ready: {line}")), "{script}");
    let refused = stand.status().refused.expect("refused at once");
    assert_eq!(refused.complaints[0].path, "policies.d/1.yaml");

    // What the watch has refused before stays refused when it is read again.
    stand.pass(1_000);
    stand.event(Event::Reload);
    assert!(stand.script().ends_with(&format!("notify ready: {line}")));
    assert_eq!(stand.status().refused, Some(refused));
    assert_eq!(stand.in_force(), Some((1, false)));
}

#[test]
fn pods_that_come_and_go_are_peers_at_once() {
    const METRICS: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: metrics}
spec:
  nodeSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {app: prometheus}}]
    toPorts: [{ports: [{port: "9100", protocol: TCP}]}]
"#;
    let pod = |name: &str, app: &str, address: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: m, labels: {{app: {app}}}}}\n\
             status: {{podIP: {address}}}\n"
        )
    };
    let (one, two) = (pod("p-0", "prometheus", "10.1.0.1"), pod("p-1", "prometheus", "10.1.0.2"));
    let other = pod("p-1", "grafana", "10.1.0.2");
    let mut stand = Stand::started(&[METRICS]);
    for (pods, admitted) in [
        (vec![one.as_str()], [true, false]),
        (vec![&one, &two], [true, true]),
        (vec![&one, &other], [true, false]),
        (vec![&two], [false, true]),
        (vec![], [false, false]),
    ] {
        stand.event(Event::World(Ok(snapshot(&pods))));
        let slot = stand.world.word.expect("in force").in_force(0).slot;
        let words = stand.world.slots[&slot].words.as_slice();
        let admits = |address: &str| {
            let address = Address::from(address.parse::<IpAddr>().expect("an address"));
            image::answer(&words, Direction::Ingress, &address, 6, 9100) == Answer::Allow
        };
        assert_eq!(["10.1.0.1", "10.1.0.2"].map(admits), admitted, "{pods:?}");
    }
}

#[test]
fn the_labels_of_the_status_are_those_that_selectors_see() {
    const NODE: &str =
        "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, labels: {zone: a, tier: back}}\n";
    let mut stand = Stand::start(World::default(), 1_000);
    stand.event(Event::Config(Ok(config("node: {labels: {role: edge, tier: front}}\n"))));
    assert_eq!(labels(&mut stand), "role=edge tier=front");
    stand.event(Event::Links(Ok(vec![loopback(), eth0()])));
    stand.event(Event::World(Ok(snapshot(&[NODE]))));
    stand.files(&[SSH]);
    assert_eq!(labels(&mut stand), "role=edge tier=front zone=a");
}

fn labels(stand: &mut Stand) -> String {
    let labels = stand.status().labels;
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(" ")
}

#[test]
fn a_broken_configuration_keeps_the_old_one() {
    let mut stand = Stand::started(&[SSH]);
    stand.event(Event::Config(Ok(config("audit: true\ncolour: red\n"))));
    assert_eq!(stand.in_force(), Some((1, false)));
    let refused = stand.status().refused.expect("refused");
    assert_eq!((refused.complaints[0].line, refused.complaints[0].column), (2, 1));
    stand.event(Event::Config(Ok(config("audit: true\n"))));
    assert!(stand.status().refused.is_none());
    assert_eq!(stand.in_force(), Some((1, true)));
}

#[test]
fn paths_are_read_once() {
    let mut stand = Stand::started(&[SSH]);
    stand.event(Event::Config(Ok(config("paths: {policies: /elsewhere}\n"))));
    assert_eq!(stand.control.config().paths.policies, "/etc/hostfw/policies.d");
    assert_eq!(stand.status().problems.len(), 1);
    stand.event(Event::Config(Ok(config(""))));
    assert!(stand.status().problems.is_empty());
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut stand = Stand::started(&[SSH]);
    let before = stand.status();
    for event in [
        Event::Loaded { number: 9, result: Ok(0) },
        Event::Switched(Ok(())),
        Event::Switched(Err("late".into())),
        Event::Attached { index: 99, result: Ok("tcx".into()) },
        Event::Detached { index: 2, result: Ok(()) },
        Event::Seeded(Err("late".into())),
        Event::GenerationStored(Err("late".into())),
        Event::AuditStored(Err("late".into())),
        Event::World(Ok(Snapshot::default())),
    ] {
        stand.event(event);
    }
    assert_eq!(format!("{before:?}"), format!("{:?}", stand.status()));
}

#[test]
fn a_slot_in_force_is_never_believed_to_be_idle() {
    let mut stand = Stand::started(&[SSH]);
    stand.control.handle(stand.now_ms, Event::Policies(Ok(snapshot(&[WEB]))));
    stand.control.handle(stand.now_ms, Event::Loaded { number: 2, result: Ok(0) });
    let switches = std::iter::from_fn(|| stand.control.next_effect())
        .filter(|effect| matches!(effect, hostfw_control::Effect::Switch(_)));
    assert_eq!(switches.count(), 0);
}

#[test]
fn a_request_is_answered_to_the_one_who_asked() {
    let mut stand = Stand::started(&[SSH]);
    stand.event(Event::Request { token: Token(5), request: Request::Links });
    stand.event(Event::Request { token: Token(6), request: Request::Rules });
    let tokens: Vec<u64> = stand.replies.iter().map(|(token, _)| token.0).collect();
    assert_eq!(tokens, [5, 6]);
}
