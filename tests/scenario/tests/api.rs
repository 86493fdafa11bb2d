//! The socket of a running daemon: who may ask what, what clients can hold up,
//! and what of a policy is told in the log.
#![allow(clippy::print_stderr, reason = "measured times are worth showing")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use hostfw_api::{CONNECTIONS_PATH, ConnectionsReport, StatusReport};
use hostfw_scenario::{
    Answer, Crowd, Firewall, Reach, lab, reaches,
    scene::{SECOND, SILENCE, node_port, open_port, pair, peer_port, policy},
    wait_until,
};

/// Users and groups that no host has, so that nothing else is theirs.
const ANN: u32 = 7_001;
const HER_GROUP: u32 = 7_002;
const READERS: u32 = 7_003;
const CHANGERS: u32 = 7_004;

/// What the command gives up after.
const BOUND: Duration = Duration::from_secs(10);

/// Started as by its unit: root, with the group of the socket.
fn start(firewall: &mut Firewall<'_>) {
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(7, "TCP"))));
    let group = format!("--regid={READERS}");
    firewall.spawn_through(&["setpriv", &group, "--clear-groups"]);
    firewall.await_status("a generation in force", |status| {
        status.generation.is_some() && status.devices.iter().any(|link| link.ingress.is_some())
    });
}

#[test]
fn who_may_read_and_who_may_change_is_a_matter_of_user_and_groups() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.configure(&format!("api: {{changeGroup: \"{CHANGERS}\"}}\n"));
    start(&mut firewall);

    let reading = [&["status"][..], &["rules"], &["links"], &["connections"], &["audit", "report"]];
    let changing = [&["audit", "on"][..], &["audit", "off"], &["reload"]];
    let code = |gids: &[u32], words: &[&str]| firewall.hostfw_as(ANN, gids, words).code;
    // Who is in no group of ours does not even connect.
    let Answer { code: nobody, errors, .. } = firewall.hostfw_as(ANN, &[HER_GROUP], &["status"]);
    assert_eq!(nobody, 77, "{errors}");
    assert!(errors.contains("no permission for"), "{errors}");
    // A supplementary group counts as the first one does, in whatever company.
    let many: Vec<u32> = [HER_GROUP].into_iter().chain(8_000..8_100).chain([READERS]).collect();
    for gids in [&[READERS][..], &[HER_GROUP, READERS], &many] {
        for words in reading {
            assert_eq!(code(gids, words), 0, "{words:?}");
        }
        for words in changing {
            let Answer { code, errors, .. } = firewall.hostfw_as(ANN, gids, words);
            assert_eq!(code, 77, "{words:?}: {errors}");
            let told = format!(
                "hostfw: `{}` is for root and the group {CHANGERS}, not for user {ANN}\n",
                words.join(" ")
            );
            assert_eq!(errors, told);
        }
    }
    for words in changing {
        assert_eq!(code(&[HER_GROUP, READERS, CHANGERS], words), 0, "{words:?}");
        assert_eq!(firewall.hostfw(words).code, 0, "{words:?}");
    }
    // A socket that everybody may connect to opens nothing by itself.
    let everybody = fs::Permissions::from_mode(0o666);
    fs::set_permissions(firewall.socket(), everybody).expect("a file of the lab");
    for words in reading.iter().chain(&changing) {
        let Answer { code, errors, .. } = firewall.hostfw_as(ANN, &[HER_GROUP], words);
        assert_eq!(code, 77, "{words:?}: {errors}");
        assert!(errors.contains("is for root and the group"), "{errors}");
    }
    // The group is that of the file as it is now.
    firewall.configure("");
    firewall.reload();
    firewall.await_status("the file is read", |_| code(&[READERS, CHANGERS], &["reload"]) == 77);

    let log = firewall.log();
    let denied = format!("not permitted uid={ANN} verb=\"audit on\"");
    let changed = format!("asked uid={ANN} verb=\"reload\"");
    assert!(log.contains(&denied) && log.contains(&changed), "{log}");
}

#[test]
fn a_thousand_idle_or_garbled_clients_hold_up_nobody() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    start(&mut firewall);
    let process = firewall.running().id();
    let memory_before_kib = memory_kib(process);

    let mut crowd = Crowd::at(&firewall.socket());
    crowd.grow(250, b"");
    crowd.grow(250, b"POST /v1/audit HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"mode\":");
    crowd.grow(250, b"\x16\x03\x01\x00\xff\x00\r\n\r\n");
    crowd.grow(250, b"GET /v1/rules HTTP/1.1\r\nx: y");

    let begin = Instant::now();
    assert_eq!(firewall.hostfw(&["status"]).code, 0);
    firewall.apply(|firewall| {
        let rules = format!("ingress:\n{}", open_port(8, "TCP"));
        firewall.policy("test.yaml", &policy("test", &rules));
    });
    assert!(begin.elapsed() < BOUND, "took {:?}", begin.elapsed());
    assert_eq!(reaches(&peer, node_port(8), SECOND), Reach::Refused);
    assert_eq!(reaches(&peer, node_port(7), SILENCE), Reach::Silent);

    // It has sent most of them away, and remembers little of them.
    let n_files = fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    assert!(n_files < 300, "{n_files} open files");
    let grown_kib = memory_kib(process).saturating_sub(memory_before_kib);
    assert!(grown_kib < 64 << 10, "{grown_kib} KiB more");

    // Answers that nobody reads.
    crowd.grow(1_000, b"GET /v1/status HTTP/1.1\r\n\r\n");
    assert_eq!(firewall.hostfw(&["status"]).code, 0);
    assert_eq!(firewall.running().id(), process, "the same daemon answers");
    drop(crowd);
    assert_eq!(firewall.hostfw(&["status"]).code, 0);
}

/// Sixty-four clients that want everything and read nothing.
#[test]
fn listings_of_full_tables_that_nobody_reads_hold_up_nobody() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.configure("devices: {include: [\"eth*\"]}\n");
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(7, "TCP"))));
    firewall.start();
    let process = firewall.running().id();
    // A listing is the longest where every table is full; this one is 262,144.
    for _ in 0..5 {
        let socket = node.inside(|| UdpSocket::bind("192.0.2.1:0")).expect("a free port");
        for port in 1_024..61_024 {
            // An error is the peer's complaint about an earlier one.
            if socket.send_to(b"?", peer_port(port)).is_err() {
                drop(socket.send_to(b"?", peer_port(port)));
            }
        }
    }
    let began = Instant::now();
    let whole = firewall.ask::<ConnectionsReport>("GET", CONNECTIONS_PATH, "").expect("listed");
    eprintln!("{} connections listed in {:?}", whole.connections.len(), began.elapsed());
    assert!(whole.connections.len() > 200_000, "{}", whole.connections.len());
    let before_kib = most_memory_kib(process);

    let mut crowd = Crowd::at(&firewall.socket());
    crowd.grow(64, format!("GET {CONNECTIONS_PATH} HTTP/1.1\r\n\r\n").as_bytes());
    let began = Instant::now();
    lab.cable((&node, "eth1", "02:00:00:00:01:01"), (&peer, "eth1", "02:00:00:00:01:02"));
    firewall.await_status("the new device is filtered", |status| {
        status.devices.iter().any(|link| link.device == "eth1" && link.ingress.is_some())
    });
    let took = began.elapsed();
    eprintln!("a new device was filtered after {took:?}");
    assert!(took < SECOND, "{took:?}");
    // Whoever waits is told in time.
    let busy = firewall.hostfw(&["connections"]);
    assert!(busy.code == 2 && busy.errors.contains("try again"), "{busy:?}");
    let grown_kib = most_memory_kib(process).saturating_sub(before_kib);
    eprintln!("{before_kib} KiB at most before, {grown_kib} KiB more");
    assert!(grown_kib < 64 << 10, "{grown_kib} KiB more than for one listing");
    drop(crowd);
    wait_until("there is room again", 5 * SECOND, || {
        firewall.hostfw(&["connections", "--limit", "1"]).code == 0
    });
}

#[test]
fn the_daemon_listens_nowhere_but_at_its_socket() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    start(&mut firewall);
    let process = firewall.running().id();
    for kind in ["tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "packet"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{kind}"));
        let n_sockets = table.map_or(0, |table| table.lines().skip(1).count());
        assert_eq!(n_sockets, 0, "{kind}");
    }
}

#[test]
fn the_log_tells_the_place_and_the_offending_word_and_nothing_else_of_a_file() {
    let lab = lab!();
    let (node, _peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    start(&mut firewall);
    // Where people put what nobody else should read.
    let text = format!(
        "# password: hunter2a\n{}",
        policy("test", "ingress:\n- fromCIDR: [192.0.2.0/24]\n  fromEntitys: [hunter2b]\n")
            .replace("spec:", "  annotations: {token: hunter2c}\nspec:\n  description: hunter2d")
    );
    firewall.policy("test.yaml", &text);
    firewall.policy("broken.yaml", "key: hunter2e\nother: [hunter2f\n");
    firewall.policy("kind.yaml", "apiVersion: v1\nkind: Secret\ndata: {key: hunter2g}\n");
    // Files that are still being written are told in the log once they settle.
    wait_until("the log tells it", BOUND, || firewall.log().contains("broken.yaml"));
    let body = "{\"mode\":\"hunter2h\",\"token\":\"hunter2i\"}";
    let refusal = firewall.ask::<StatusReport>("POST", hostfw_api::AUDIT_PATH, body);
    let refusal = refusal.expect_err("no audit mode").to_string();
    assert!(refusal.contains("the body is no audit request"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    let log = firewall.log();
    assert!(log.contains("test.yaml") && log.contains("fromEntitys"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

/// What the process has in memory.
fn memory_kib(process: u32) -> u64 {
    size_kib(process, "VmRSS:")
}

/// What it has had at most.
fn most_memory_kib(process: u32) -> u64 {
    size_kib(process, "VmHWM:")
}

fn size_kib(process: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
