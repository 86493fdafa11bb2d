//! Everything that is put before a daemon and should not be: each is answered
//! clearly, in bounded time, and never by dropping what was in force.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use hostfw_api::Mode;
use hostfw_scenario::{
    Answer, Firewall, Host, Reach, lab, reaches,
    scene::{SECOND, SILENCE, node_object, node_port, open_port, pair, policy},
};

/// Long enough for a loaded machine, short enough to be noticed.
const BOUND: Duration = Duration::from_secs(10);

/// Starts the daemon, which must end by itself, and returns what it said.
fn refusal(firewall: &mut Firewall<'_>, wrapper: &[&str]) -> (i32, String) {
    firewall.spawn_through(wrapper);
    let status = firewall.running().ended_within(BOUND);
    let log = firewall.log();
    let status = status.unwrap_or_else(|| panic!("it keeps running:\n{log}"));
    (status.code().unwrap_or(-1), log)
}

fn enforcing<'host>(node: &'host Host) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(7, "TCP"))));
    firewall.start();
    firewall
}

#[test]
fn an_empty_directory_leaves_everything_open_and_says_so() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.start();
    let status = firewall.status();
    assert_eq!((status.ingress, status.egress), (Mode::NotEnforced, Mode::NotEnforced));
    assert!(status.policies.is_empty() && status.refused.is_none());
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Refused);
    let Answer { output, .. } = firewall.hostfw(&["status"]);
    assert!(output.contains("everything passes"), "{output}");
}

/// Its parent was mounted late, or a configuration manager is at work.
#[test]
fn a_world_that_is_missing_at_a_restart_or_a_boot_keeps_the_last_good_generation() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.world("nodes.yaml", &node_object("other", &["192.0.2.2"]));
    let from_nodes = "ingress:\n- fromEntities: [remote-node]\n";
    firewall.policy("test.yaml", &policy("test", from_nodes));
    firewall.start();
    let generation = firewall.generation();
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Refused);
    for boots in [false, true] {
        firewall.stop();
        if boots {
            firewall.cleanup();
        }
        let away = firewall.files.cluster.with_extension("away");
        fs::rename(&firewall.files.cluster, &away).expect("a folder of the lab");
        firewall.spawn();
        let status = firewall.await_status("the refusal and a generation", |status| {
            status.refused.is_some() && status.generation.is_some()
        });
        let complaint = &status.refused.expect("waited for").complaints[0];
        assert_eq!(complaint.path, firewall.files.cluster.display().to_string());
        let Answer { code, output, .. } = firewall.hostfw(&["status"]);
        assert_eq!(code, 1);
        assert!(output.contains("instead: make it again"), "{output}");
        assert_eq!(firewall.generation(), generation, "boots: {boots}");
        assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Refused, "boots: {boots}");
        fs::rename(&away, &firewall.files.cluster).expect("a folder of the lab");
        firewall.await_status("no refusal", |status| status.refused.is_none());
    }
}

#[test]
fn a_directory_without_permission_keeps_the_last_good_generation() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", "ingress:\n- {}\n"));
    // With the capabilities of the unit file, root may not read everything.
    const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
    let inheritable = format!("--inh-caps={CAPABILITIES}");
    let bounding = format!("--bounding-set={CAPABILITIES}");
    firewall.spawn_through(&["setpriv", &inheritable, &bounding]);
    let status = firewall.await_status("a generation", |status| {
        status.generation.is_some() && status.devices.iter().any(|link| link.ingress.is_some())
    });
    let generation = status.generation.map(|generation| generation.number);
    fs::set_permissions(&firewall.files.policies, fs::Permissions::from_mode(0o000))
        .expect("our own folder");
    firewall.reload();
    let status = firewall.await_status("the problem is told", |status| {
        let place = firewall.files.policies.display().to_string();
        let refused = status.refused.iter().flat_map(|refused| &refused.complaints);
        status.problems.iter().any(|problem| problem.contains(&place))
            || refused.map(|complaint| &complaint.path).any(|path| path.contains(&place))
    });
    assert_eq!(status.generation.map(|generation| generation.number), generation);
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent);
    assert_eq!(firewall.hostfw(&["status"]).code, 1);
    fs::set_permissions(&firewall.files.policies, fs::Permissions::from_mode(0o755))
        .expect("our own folder");
}

#[test]
fn a_file_of_ten_mebibytes_of_aliases_is_refused_in_time_and_memory() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = enforcing(&node);
    let process = firewall.running().id();
    // Each line holds the one before twice: 2^30 nodes, were they expanded.
    let mut bomb = String::from("a0: &a0 [x]\n");
    for level in 1..30 {
        bomb += &format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1);
    }
    while bomb.len() < 10 << 20 {
        bomb += "more: [*a29, *a29, *a29, *a29, *a29, *a29, *a29, *a29, *a29, *a29]\n---\n";
    }
    let begin = Instant::now();
    firewall.policy("bomb.yaml", &bomb);
    let status = firewall.await_status("the bomb is refused", |status| {
        let refused = status.refused.iter().flat_map(|refused| &refused.complaints);
        refused.map(|complaint| &complaint.path).any(|path| path.ends_with("bomb.yaml"))
    });
    assert!(begin.elapsed() < BOUND, "took {:?}", begin.elapsed());
    assert_eq!(status.ingress, Mode::Enforcing);
    assert_eq!(firewall.running().id(), process, "the same daemon answers");
    let memory = fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak_kib < 512 << 10, "{peak_kib} KiB");
    let check =
        firewall.hostfw(&["policy", "check", &firewall.files.policies.display().to_string()]);
    assert_eq!(check.code, 1, "{}", check.errors);
}

#[test]
fn a_policy_that_selects_nothing_here_is_listed_as_such() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    let text = policy("elsewhere", "ingress:\n- {}\n")
        .replace("nodeSelector: {}", "nodeSelector: {matchLabels: {role: elsewhere}}");
    firewall.policy("elsewhere.yaml", &text);
    firewall.start();
    let status = firewall.status();
    assert_eq!(status.ingress, Mode::NotEnforced);
    let [listed] = &status.policies[..] else { panic!("{:#?}", status.policies) };
    assert_eq!((listed.name.as_str(), listed.selects_this_node), ("elsewhere", false));
    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Refused);
}

#[test]
fn two_policies_of_one_name_are_refused_with_both_places() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = enforcing(&node);
    firewall.policy("again.yaml", &policy("test", "ingress:\n- {}\n"));
    let status = firewall.await_status("a refusal", |status| status.refused.is_some());
    let complaints = status.refused.expect("waited for").complaints;
    let told: String = complaints
        .iter()
        .map(|complaint| format!("{} {} {} ", complaint.path, complaint.what, complaint.instead))
        .collect();
    assert!(told.contains("again.yaml") && told.contains("test.yaml"), "{told}");
    // The stricter of the two is not in force either.
    assert_ne!(reaches(&peer, node_port(7), SECOND), Reach::Silent);
}

#[test]
fn binary_garbage_is_one_clear_complaint() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = enforcing(&node);
    let garbage: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(firewall.files.policies.join("garbage.yaml"), garbage).expect("a file of the lab");
    let status = firewall.await_status("a refusal", |status| status.refused.is_some());
    let complaints = status.refused.expect("waited for").complaints;
    let about: Vec<_> = complaints.iter().filter(|c| c.path.ends_with("garbage.yaml")).collect();
    assert_eq!(about.len(), 1, "{about:#?}");
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent);
}

#[test]
fn a_bad_configuration_ends_the_start_with_its_place() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.configure("adit: true\n");
    let (code, log) = refusal(&mut firewall, &[]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("hostfw.yaml:8") && log.contains("audit"), "{log}");
    let Answer { code, errors, .. } = firewall.check();
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("hostfw.yaml:8") && errors.contains("audit"), "{errors}");
    firewall.configure("audit: true\n");
    let Answer { code, output, errors } = firewall.check();
    assert_eq!((code, &*output, &*errors), (0, "", ""));
}

#[test]
fn without_a_bpffs_the_start_ends_and_says_how_to_mount_one() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.files.bpf = node.folder().join("no-bpffs/hostfw");
    fs::create_dir_all(node.folder().join("no-bpffs")).expect("a folder of the lab");
    firewall.configure("");
    let (code, log) = refusal(&mut firewall, &[]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("mount -t bpf"), "{log}");
}

#[test]
fn without_privilege_the_start_ends_and_names_what_is_needed() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    let nothing = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
    let (code, log) = refusal(&mut firewall, &nothing);
    assert_eq!(code, 77, "{log}");
    assert!(log.contains("CAP_BPF") && log.contains("CAP_NET_ADMIN"), "{log}");
}
