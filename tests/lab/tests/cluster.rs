//! A cluster of whole hosts: control plane, infra, worker and jump host, each
//! with systemd, the package and real services, and somebody outside.
//!
//! Who reaches whom is one table; it is asked in full after every change.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hostfw_lab::{Guest, OLDER};
use hostfw_scenario::{
    Connections, Datagrams, Host, Lab, Reach, http_get, lab, ping, reaches,
    scene::{MS, SECOND, SILENCE},
    udp, wait_until,
};

use self::What::{Overlay, Tcp, Time};

/// Name, role, last part of the addresses. The last one has no system of its
/// own: it is whoever is outside.
const HOSTS: [(&str, &str, u8); 5] = [
    ("cp-1", "control-plane", 11),
    ("infra-1", "infra", 12),
    ("worker-1", "worker", 13),
    ("jump", "jump", 5),
    ("world", "", 99),
];
const CP: usize = 0;
const INFRA: usize = 1;
const WORKER: usize = 2;
const JUMP: usize = 3;
const WORLD: usize = 4;

/// Between two connections: sshd starts a program for each of them, and the
/// machine shall not be busy with that.
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A connection to a port.
    Tcp(u16),
    /// An echo through the overlay.
    Overlay,
    /// An answer of the time server.
    Time,
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is dropped, which shows that every service answers.
    Audit,
    /// The policies of the demonstration.
    Enforcing,
    /// One of them edited: backups in, one worker out.
    Edited,
}

/// From, to, what, and whether it passes: before the edit and after it.
type Row = (usize, usize, What, bool, bool);
const ROWS: &[Row] = &[
    (JUMP, CP, Tcp(22), true, true),
    (JUMP, INFRA, Tcp(22), true, true),
    (JUMP, WORKER, Tcp(22), true, true),
    (CP, INFRA, Tcp(22), false, false),
    (INFRA, WORKER, Tcp(22), false, false),
    (WORKER, CP, Tcp(22), false, false),
    (WORLD, CP, Tcp(22), false, false),
    (WORLD, JUMP, Tcp(22), false, false),
    (WORLD, CP, Tcp(6443), true, true),
    (JUMP, CP, Tcp(6443), true, true),
    (INFRA, CP, Tcp(6443), true, true),
    (WORKER, CP, Tcp(6443), true, false),
    (JUMP, CP, Tcp(2379), false, true),
    (INFRA, CP, Tcp(2379), false, false),
    (INFRA, CP, Tcp(2380), false, false),
    (WORKER, CP, Tcp(2379), false, false),
    (WORLD, CP, Tcp(2379), false, false),
    (CP, INFRA, Tcp(10250), true, true),
    (CP, WORKER, Tcp(10250), true, true),
    (INFRA, WORKER, Tcp(10250), false, false),
    (WORLD, CP, Tcp(10250), false, false),
    (WORLD, INFRA, Tcp(80), true, true),
    (WORLD, INFRA, Tcp(443), true, true),
    (WORKER, INFRA, Tcp(443), true, true),
    (CP, INFRA, Overlay, true, true),
    (INFRA, WORKER, Overlay, true, true),
    (WORKER, CP, Overlay, true, true),
    (JUMP, CP, Overlay, false, false),
    (CP, INFRA, Time, true, true),
    (WORKER, INFRA, Time, true, true),
    (JUMP, INFRA, Time, false, false),
    (WORLD, INFRA, Time, false, false),
];

fn wire(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 0, HOSTS[host].2)
}

fn port(host: usize, port: u16) -> SocketAddr {
    (wire(host), port).into()
}

/// The hosts on one bridge, which is in a namespace of its own.
fn hosts(lab: &Lab) -> (Host, Vec<Host>) {
    let switch = lab.host("switch");
    switch.ip("link add br0 type bridge\nlink set br0 up\n");
    let connected = HOSTS.iter().map(|(name, _, number)| {
        let host = lab.host(name);
        let end = format!("port{number}");
        let (near, far) =
            (format!("02:00:0a:14:00:{number:02x}"), format!("02:00:0a:14:01:{number:02x}"));
        lab.cable((&host, "eth0", &near), (&switch, &end, &far));
        switch.ip(&format!("link set {end} master br0 up\n"));
        host
    });
    let connected: Vec<Host> = connected.collect();
    connected[WORLD].ip("addr add 10.20.0.99/24 dev eth0\nlink set eth0 up\n");
    (switch, connected)
}

/// Installs the package and runs the script that also serves virtual machines.
fn provision(guest: &Guest<'_>, host: usize) {
    let (name, role, _) = HOSTS[host];
    guest.apt_get(&format!("install hostfw={OLDER}"));
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["etc/demo/policies.d", "etc/demo/cluster.d", "etc/demo/edited"] {
        guest.does(&format!("mkdir -p /vagrant/{folder}"));
        for entry in fs::read_dir(tree.join(folder)).expect("the demonstration").flatten() {
            let text = fs::read_to_string(entry.path()).expect("a readable file");
            let file = entry.file_name();
            guest.write(&format!("/vagrant/{folder}/{}", file.to_string_lossy()), &text);
        }
    }
    guest.write("/provision.sh", include_str!("../../../vagrant/provision.sh"));
    guest.does(&format!("sh /provision.sh {name} {role} {}", wire(host)));
}

/// Whether what is asked for is given. A refusal counts as given: the firewall
/// let the question through.
fn given(from: &Host, to: usize, what: What) -> bool {
    match what {
        Tcp(number) => reaches(from, port(to, number), SILENCE) != Reach::Silent,
        Overlay => {
            let overlay = Ipv4Addr::new(10, 244, 0, HOSTS[to].2);
            ping(from, IpAddr::V4(overlay), SILENCE)
        }
        Time => {
            // Version 4, from a client.
            let mut question = [0; 48];
            question[0] = 0x23;
            let socket = udp(from, port(to, 123), SILENCE);
            socket.send(&question).is_ok() && socket.recv(&mut question).is_ok_and(|n| n == 48)
        }
    }
}

/// Asks for everything in the table; the hosts ask at the same time.
fn check(hosts: &[Host], phase: Phase, when: &str) {
    let ask = |host: usize| {
        let rows = ROWS.iter().filter(move |row| row.0 == host);
        let wrong = rows.filter(|(from, to, what, before, after)| {
            let expected = match phase {
                Phase::Audit => true,
                Phase::Enforcing => *before,
                Phase::Edited => *after,
            };
            given(&hosts[*from], *to, *what) != expected
        });
        wrong.map(|row| (HOSTS[row.0].0, HOSTS[row.1].0, row.2)).collect::<Vec<_>>()
    };
    let wrong: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..HOSTS.len()).map(|host| scope.spawn(move || ask(host))).collect();
        asked.into_iter().flat_map(|asked| asked.join().expect("no panic")).collect()
    });
    let passing = ROWS.iter().filter(|row| match phase {
        Phase::Audit => true,
        Phase::Enforcing => row.3,
        Phase::Edited => row.4,
    });
    let passing = passing.count();
    println!("{when}: {passing} pairs reach, {} do not", ROWS.len() - passing);
    assert!(wrong.is_empty(), "{when}: {phase:?} is wrong about {wrong:?}");
}

/// A key of the jump host's root, and logins with it.
fn log_in(guests: &[Guest<'_>]) {
    guests[JUMP]
        .does("mkdir -p ~root/.ssh; ssh-keygen -q -t ed25519 -N '' -f ~root/.ssh/id_ed25519");
    let key = guests[JUMP].does("cat ~root/.ssh/id_ed25519.pub");
    for host in [CP, INFRA, WORKER] {
        guests[host].does("mkdir -p -m 700 ~root/.ssh");
        guests[host].does(&format!("echo '{}' >~root/.ssh/authorized_keys", key.trim()));
        let options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=5";
        let answer = guests[JUMP].does(&format!("ssh -q {options} {} hostname", wire(host)));
        assert_eq!(answer.trim(), HOSTS[host].0);
    }
}

#[test]
fn a_cluster_of_hosts_is_edited_upgraded_and_booted_under_traffic() {
    let began = Instant::now();
    let lab: Lab = lab!();
    let (_switch, hosts) = hosts(&lab);
    let mut guests: Vec<Guest<'_>> = hosts[..WORLD].iter().map(Guest::new).collect();
    // From this thread: what boots a guest ends with the thread that started it.
    guests.iter_mut().for_each(Guest::boot);
    println!("booted after {:?}", began.elapsed());
    thread::scope(|scope| {
        for (host, guest) in guests.iter().enumerate() {
            scope.spawn(move || provision(guest, host));
        }
    });
    println!("provisioned after {:?}", began.elapsed());

    // Every service answers, and then those that may.
    let every = |line: &str| guests.iter().for_each(|guest| drop(guest.does(line)));
    every("hostfw audit on");
    wait_until("the time server answers", 10 * SECOND, || given(&hosts[CP], INFRA, Time));
    wait_until("the overlay carries traffic", 10 * SECOND, || given(&hosts[JUMP], CP, Overlay));
    check(&hosts, Phase::Audit, "audit");
    every("hostfw audit off");
    check(&hosts, Phase::Enforcing, "enforcing");
    log_in(&guests);
    let page = http_get(&hosts[WORLD], port(INFRA, 443), "/", SECOND).expect("a page");
    assert!(page.contains("infra-1"), "{page}");

    every("cp /vagrant/etc/demo/edited/*.yaml /etc/hostfw/policies.d/ && systemctl reload hostfw");
    check(&hosts, Phase::Edited, "edited and reloaded");
    let version = http_get(&hosts[JUMP], port(CP, 2379), "/version", SECOND).expect("a page");
    assert!(version.contains("etcdserver"), "{version}");

    // Upgraded one after the other, under logins and backups.
    let passing = [(JUMP, CP, 22), (JUMP, INFRA, 22), (JUMP, WORKER, 22), (JUMP, CP, 2379)];
    let falling = [(WORLD, CP, 22), (INFRA, CP, 2379), (INFRA, WORKER, 10250), (WORLD, JUMP, 22)];
    let start = |(from, to, number): (usize, usize, u16), limit| {
        Connections::start(&hosts[from], port(to, number), limit, PAUSE)
    };
    let passing = passing.map(|one| (one, start(one, SECOND)));
    let falling = falling.map(|one| (one, start(one, 50 * MS)));
    guests.iter().for_each(|guest| drop(guest.apt_get("upgrade")));
    thread::sleep(500 * MS);
    for ((from, to, number), traffic) in passing {
        let count = traffic.stop();
        println!("upgrade, {} to {}:{number}: {count:?}", HOSTS[from].0, HOSTS[to].0);
        assert!(count.sent > 20 && count.lost() == 0, "{count:?}");
    }
    for ((from, to, number), traffic) in falling {
        let count = traffic.stop();
        println!("upgrade, {} to {}:{number}: {count:?}", HOSTS[from].0, HOSTS[to].0);
        assert!(count.sent > 10 && count.arrived == 0, "{count:?}");
    }
    check(&hosts, Phase::Edited, "upgraded");

    // A boot under a prober. The namespace outlives it, so what a machine would
    // lose with its devices is taken away by hand.
    let datagrams = Datagrams::start(&hosts[WORLD], &hosts[WORKER], port(WORKER, 9002), MS);
    let connections = start((INFRA, WORKER, 22), 50 * MS);
    hosts[WORKER].ip("link delete vxlan0\nlink set eth0 down\naddr flush dev eth0\n");
    guests[WORKER].power_off();
    guests[WORKER].boot();
    wait_until("the worker is a member again", 10 * SECOND, || {
        given(&hosts[JUMP], WORKER, Tcp(22)) && given(&hosts[INFRA], WORKER, Overlay)
    });
    thread::sleep(300 * MS);
    for count in [datagrams.stop(), connections.stop()] {
        println!("boot, denied: {count:?}");
        assert!(count.sent > 4 && count.arrived == 0, "{count:?}");
    }
    check(&hosts, Phase::Edited, "booted");
    guests.iter_mut().for_each(Guest::power_off);
    println!("done after {:?}", began.elapsed());
}
