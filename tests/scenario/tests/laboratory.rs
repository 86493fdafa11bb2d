//! The laboratory without a firewall: everything reaches everything. A scenario
//! that sees silence can rely on it that the silence is the firewall's.

use std::net::{IpAddr, SocketAddr};

use hostfw_scenario::{
    Connections, Datagrams, Echo, Etcd, Host, Lab, LinkSocket, Nginx, Reach, Sshd, Stream, Tun,
    contains, eventually, http_get, lab, packet, ping, reaches,
    scene::{MS, NODE_MAC, PEER_MAC, SECOND, pair},
    tcp, udp,
};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn hosts_of_a_lab_reach_each_other_and_nobody_else() {
    let lab = lab!();
    let (one, two) = pair(&lab);
    assert!(ping(&two, address("192.0.2.1"), SECOND));
    assert!(ping(&two, address("2001:db8::1"), SECOND));
    assert!(!ping(&two, address("192.0.2.77"), 100 * MS));
    assert!(!ping(&two, address("198.51.100.1"), 100 * MS));
    let _echo = Echo::start(&one, at("192.0.2.1:7"));
    assert_eq!(reaches(&two, at("192.0.2.1:7"), SECOND), Reach::Open);
    assert_eq!(reaches(&two, at("192.0.2.1:8"), SECOND), Reach::Refused);
    assert_eq!(reaches(&two, at("192.0.2.77:7"), 200 * MS), Reach::Silent);
    let asker = udp(&two, at("192.0.2.1:7"), SECOND);
    asker.send(b"hello").expect("sent");
    assert_eq!(asker.recv(&mut [0; 16]).expect("echoed"), 5);
}

#[test]
fn traffic_counts_itself_without_loss() {
    let lab = lab!();
    let (one, two) = pair(&lab);
    let _echo = Echo::start(&one, at("192.0.2.1:7"));
    let datagrams = Datagrams::start(&two, &one, at("192.0.2.1:9000"), MS);
    let stream = Stream::start(&two, &one, at("[2001:db8::1]:9001"), MS);
    let connections = Connections::start(&two, at("192.0.2.1:7"), SECOND, MS);
    let refusals = Connections::start(&two, at("192.0.2.1:8"), SECOND, MS);
    assert!(stream.flows_within(SECOND));
    std::thread::sleep(300 * MS);
    for count in [datagrams.stop(), stream.stop(), connections.stop(), refusals.stop()] {
        assert_eq!(count.lost(), 0, "{count:?}");
        assert!(count.sent > 20, "{count:?}");
    }
}

#[test]
fn raw_frames_arrive_as_they_were_sent() {
    let lab = lab!();
    let (one, two) = pair(&lab);
    let seen = LinkSocket::open(&one, "eth0", LinkSocket::LLDP);
    let sender = LinkSocket::open(&two, "eth0", LinkSocket::LLDP);
    let to = [1, 0x80, 0xc2, 0, 0, 0x0e];
    sender.send(&packet::ethernet(to, PEER_MAC, LinkSocket::LLDP, b"a neighbour, with a tail"));
    assert!(seen.sees(SECOND, |frame| contains(frame, b"a neighbour")));

    let received = one.inside(|| std::net::UdpSocket::bind("192.0.2.1:9")).expect("a free port");
    received.set_read_timeout(Some(SECOND)).expect("a limit above zero");
    let datagram = packet::udp((address("192.0.2.2"), 5000), (address("192.0.2.1"), 9), b"raw");
    let sender = LinkSocket::open(&two, "eth0", LinkSocket::IPV4);
    sender.send(&packet::ethernet(NODE_MAC, PEER_MAC, LinkSocket::IPV4, &datagram));
    assert_eq!(received.recv(&mut [0; 16]).expect("the checksums are right"), 3);
}

#[test]
fn a_tun_device_carries_packets_without_ethernet() {
    let lab = lab!();
    let one = lab.host("one");
    let mut tun = Tun::open(&one, "tun0");
    one.ip("addr add 10.9.0.1/24 dev tun0\nlink set tun0 up\n");
    let _echo = Echo::start(&one, at("10.9.0.1:7"));
    let syn =
        packet::tcp((address("10.9.0.2"), 999), (address("10.9.0.1"), 7), packet::SYN, [1, 0]);
    tun.deliver(&syn);
    let answer = tun.receive(SECOND, |answer| answer.get(9) == Some(&packet::protocol::TCP));
    assert_eq!(answer.expect("an answer")[33], packet::SYN | packet::ACK);
}

#[test]
fn the_real_servers_come_up_and_answer() {
    let lab = lab!();
    let (one, two) = pair(&lab);
    let sshd = Sshd::start(&one, at("192.0.2.1:22"));
    assert!(sshd.accepts_login(&two, at("192.0.2.1:22"), 5 * SECOND), "{}", sshd.process.log());
    let _etcd = Etcd::start(&one, address("192.0.2.1"));
    let version = http_get(&two, at("192.0.2.1:2379"), "/version", 5 * SECOND).expect("an answer");
    assert!(version.contains("etcdserver"), "{version}");
    let _nginx = Nginx::start(&one, address("192.0.2.1"), &[80, 443]);
    let page = http_get(&two, at("192.0.2.1:443"), "/", 5 * SECOND).expect("an answer");
    assert!(page.ends_with("node\n"), "{page}");
}

#[test]
fn what_a_killed_run_left_is_cleaned_away_by_the_next() {
    let name = "laboratory::a_killed_run";
    let first = Lab::new(name);
    let host = first.host("left");
    let mut sleeper = host.command("sleep").arg("600").spawn().expect("sleep is there");
    // A killed run never drops its lab.
    std::mem::forget(first);
    let second = Lab::new(name);
    let ended = eventually(SECOND, || sleeper.try_wait().expect("our own child"));
    assert!(ended.is_some(), "the process of the first run is ended");
    let again = second.host("left");
    assert!(again.folder().join("bpf").is_dir());
    tcp_to_itself(&again);
}

fn tcp_to_itself(host: &Host) {
    let _echo = Echo::start(host, at("127.0.0.1:7"));
    drop(tcp(host, at("127.0.0.1:7"), SECOND));
}
