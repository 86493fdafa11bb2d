//! One packet before the data path, in a setting that the first two bytes
//! choose. Whatever it is, it has one fate, that fate is told in consistent
//! numbers, and a packet that is dropped has changed nothing.

use hostfw_datapath::{
    ABI_VERSION, Action, Address, Direction, Facts, FlowKey, Image as _, Reason, Verdict,
    image::{self, NO_RULE},
    judge::{Judged, judge},
    model::{Bytes, Model},
    packet::Layer,
    parse::protocol,
    report::{self, GATE_BUCKETS},
    sketch::{self, Content},
    tables::Opener,
    verdict::{REASON_SLOTS, Report},
};
use hostfw_policy::{
    Dialect, Options, Severity, Source, ThisNode, compile, read_policies, read_world,
};
use std::net::IpAddr;

/// Where a packet is judged: the first byte of an input, from bit 0, and the
/// image, the second one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// Leaves the host.
    pub egress: bool,
    /// The device has no Ethernet headers.
    pub bare: bool,
    /// Leaves the host, and somebody else has sent it.
    pub forwarded: bool,
    /// Default denies are let through and reported.
    pub audit: bool,
    /// The device has taken a VLAN tag out of the frame.
    pub tagged: bool,
    /// The host forwards what is for others.
    pub forwarding: bool,
    /// Flows of every kind are open.
    pub busy: bool,
    /// An index into [`IMAGES`].
    pub image: u8,
}

impl Setting {
    fn of(flags: u8, image: u8) -> Self {
        let bit = |at: u8| flags & (1 << at) != 0;
        Self {
            egress: bit(0),
            bare: bit(1),
            forwarded: bit(2),
            audit: bit(3),
            tagged: bit(4),
            forwarding: bit(5),
            busy: bit(6),
            image,
        }
    }

    /// An input with this packet.
    pub fn input(self, packet: &[u8]) -> Vec<u8> {
        let Self { egress, bare, forwarded, audit, tagged, forwarding, busy, image } = self;
        let bits = [egress, bare, forwarded, audit, tagged, forwarding, busy];
        let flags = (0..).zip(bits).fold(0u8, |flags, (at, bit)| flags | u8::from(bit) << at);
        [&[flags, image], packet].concat()
    }
}

/// Policies by which packets are judged.
pub const IMAGES: [&str; 5] = [
    // Nothing in force.
    "",
    "  ingress:
  - {fromCIDR: [198.51.100.0/24, \"2001:db8::/32\"], toPorts: [{ports: [{port: \"22\", protocol: TCP}, {port: \"53\", protocol: UDP}]}]}
  - {fromEntities: [all], icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]}",
    "  ingress:
  - {fromEntities: [world], toPorts: [{ports: [{port: \"1\", endPort: 1023, protocol: TCP}, {port: \"53\"}]}]}
  - {fromEntities: [cluster]}
  egress:
  - {toCIDRSet: [{cidr: 198.51.100.0/24, except: [198.51.100.9/32]}], toPorts: [{ports: [{port: \"443\", protocol: TCP}, {port: \"53\", protocol: UDP}]}]}
  - {toEntities: [remote-node]}",
    "  ingress:
  - {fromEntities: [all]}
  ingressDeny:
  - {fromCIDR: [198.51.100.9/32, \"2001:db8::9/128\"]}
  - {fromEntities: [all], toPorts: [{ports: [{port: \"23\", protocol: TCP}]}]}
  - {fromEntities: [world], icmps: [{fields: [{type: 3, family: IPv4}, {type: 1, family: IPv6}]}]}
  egress:
  - {toEntities: [all]}
  egressDeny:
  - {toEntities: [world], toPorts: [{ports: [{port: \"25\", protocol: TCP}]}]}",
    "  enableDefaultDeny: {ingress: false, egress: false}
  ingress:
  - {fromEntities: [cluster], toPorts: [{ports: [{port: \"9\", protocol: SCTP}, {port: \"0\", protocol: VRRP}]}]}
  ingressDeny:
  - {fromCIDR: [198.51.100.9/32]}
  egress:
  - {}
  egressDeny:
  - {toCIDR: [\"2001:db8::9/128\"]}",
];

const WORLD: &str = "
kind: Node
apiVersion: v1
metadata: {name: two}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}, {type: InternalIP, address: \"fd00::2\"}]}
---
kind: Pod
apiVersion: v1
metadata: {name: web, namespace: default}
spec: {nodeName: two}
status: {podIPs: [{ip: 10.244.0.7}, {ip: \"fd00:1::7\"}]}
";

/// Questions beyond the image that one packet may cost.
const MAX_QUESTIONS: usize = 8;

/// A packet in a setting: flags, image, then its bytes.
///
/// # Panics
/// When the packet has no single, consistent fate.
pub fn packets(bytes: &[u8]) {
    fate(bytes);
}

/// What becomes of the packet of an input; nothing where there is no packet.
///
/// # Panics
/// As [`packets`] does.
pub fn fate(bytes: &[u8]) -> Option<Verdict> {
    let [flags, image, packet @ ..] = bytes else { return None };
    let setting = Setting::of(*flags, *image);
    HOSTS.with(|hosts| {
        let words = &hosts.images[usize::from(setting.image) % hosts.images.len()];
        let model = if setting.busy { hosts.busy.clone() } else { Model::default() };
        let model = Model { forwarding: setting.forwarding, ..model };
        Some(judged_alike(setting, packet, words, model))
    })
}

fn judged_alike(setting: Setting, bytes: &[u8], words: &[u32], model: Model) -> Verdict {
    let direction = if setting.egress { Direction::Egress } else { Direction::Ingress };
    let facts = Facts {
        layer: if setting.bare { Layer::Ip } else { Layer::Ethernet },
        vlan: u16::from(setting.tagged) * 7,
        forwarded: setting.egress && setting.forwarded,
        for_other: false,
    };
    let judged_in = |model: &Model, bytes| {
        let packet = Bytes { bytes, facts };
        let short = model.short_way(direction, &packet, &words, setting.audit);
        let judged = judge(direction, &packet, &words, model, setting.audit);
        if let Some((plain, after)) = short {
            assert_eq!(plain.verdict, judged.verdict, "the short way agrees");
            assert!(is_same(&after, model), "the short way has another effect");
        }
        let asked = model.take_questions();
        assert!(asked.len() <= MAX_QUESTIONS, "{asked:?}");
        judged
    };
    // What a piece comes to, before the whole can change anything.
    let pieces = [bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len().min(54)];
    let pieces = pieces.map(|end| judged_in(&model.clone(), &bytes[..end]).verdict.action);

    let before = model.clone();
    let first = judged_in(&model, bytes);
    check(&first, setting, words);
    if first.verdict.action != Action::Pass {
        assert!(!pieces.contains(&Action::Pass), "a piece of {first:?} passes");
    }
    if first.verdict.action == Action::Drop {
        assert!(is_same(&before, &model), "dropped, and yet it changed something: {first:?}");
    }
    // Seen again, it fares alike where it has changed nothing itself, and what
    // it has changed it changes once.
    let before = model.clone();
    let second = judged_in(&model, bytes);
    if first.verdict.action == Action::Drop {
        assert_eq!(second, first);
    }
    assert!(is_same(&before, &model), "a second packet changes something: {second:?}");
    assert_eq!(judged_in(&model, bytes), second);
    first.verdict
}

fn is_same(one: &Model, other: &Model) -> bool {
    one.flows == other.flows && one.opened == other.opened
}

/// What is counted, reported and listed of a packet fits together.
fn check(judged: &Judged, setting: Setting, words: &[u32]) {
    let verdict = judged.verdict;
    let reason = verdict.reason;
    // Reasons to refuse stand from 32 on; all are counted in one array.
    let number = u32::from(reason as u8);
    assert!(number < REASON_SLOTS, "{judged:?}");
    let refuses = number >= 32;
    assert_eq!(refuses, verdict.action != Action::Pass, "{judged:?}");
    assert_eq!(refuses, verdict.report == Report::Denied, "{judged:?}");
    let audited = refuses && setting.audit && reason != Reason::ExplicitDeny;
    assert_eq!(audited, verdict.action == Action::Audit, "{judged:?}");
    // A rule is named where one decided, and only there.
    let names_a_rule = matches!(reason, Reason::Rule | Reason::ExplicitDeny);
    assert_eq!(names_a_rule, verdict.rule != NO_RULE, "{judged:?}");
    let of_image = names_a_rule || matches!(reason, Reason::DefaultDeny | Reason::DefaultAllow);
    assert_eq!(of_image, verdict.verdict != 0, "{judged:?}");
    if names_a_rule {
        assert!(verdict.rule < words.word(image::AT_N_RULES), "{judged:?}");
    }
    assert!(verdict.verdict < words.word(image::AT_N_VERDICTS), "{judged:?}");
    assert_ne!(reason, Reason::BrokenImage, "{judged:?}");
    // It is news once.
    let now_s = 1_000;
    let is_reported = verdict.report != Report::Nothing;
    let tag = judged.tag;
    assert!(is_reported || tag == 0, "{judged:?}");
    assert_eq!(report::is_news(0, tag, verdict.report, now_s), is_reported, "{judged:?}");
    let bucket = report::bucket(tag, now_s);
    assert!(!report::is_news(bucket, tag, verdict.report, now_s), "{judged:?}");
    assert!(GATE_BUCKETS.is_power_of_two());
}

/// What settings choose from, made once.
struct Hosts {
    images: Vec<Vec<u32>>,
    busy: Model,
}

thread_local! {
    static HOSTS: Hosts = Hosts { images: IMAGES.map(image_of).into(), busy: busy() };
}

fn image_of(rules: &str) -> Vec<u32> {
    let source = |text: String| [Source::new("p.yaml", text)];
    let policy = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: p}}\nspec:\n  nodeSelector: {{}}\n{rules}\n"
    );
    let policy = if rules.is_empty() { String::new() } else { policy };
    let (policies, complaints) = read_policies(&source(policy), &Dialect::default());
    let refused = complaints.iter().find(|one| one.severity == Severity::Error);
    assert_eq!(refused, None, "{rules}");
    let (world, _) = read_world(&source(WORLD.to_owned()));
    let node = ThisNode {
        name: "one".to_owned(),
        addresses: OWN.iter().map(|own| own.parse().expect("an address")).collect(),
        ..ThisNode::default()
    };
    let compiled = compile(&policies, &world, &node, &Options::default(), 1);
    let words = compiled.expect("a small policy").words.to_vec();
    assert_eq!(words.as_slice().word(image::AT_ABI), ABI_VERSION);
    words
}

/// This host in every image.
const OWN: [&str; 2] = ["10.0.0.1", "fd00::1"];

/// A host that has opened flows of every kind to two peers of each family, and
/// one TCP connection of each direction that no table knows.
fn busy() -> Model {
    let model = Model::default();
    let open = image_of("");
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let flows = [
        ("10.0.0.1", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.4"),
        ("fd00::1", "2001:db8::7"),
        ("fd00::1", "3fff::4"),
    ];
    for (own, peer) in flows.map(|(own, peer)| (ip(own), ip(peer))) {
        let echo = if own.is_ipv4() { 8 } else { 128 };
        for content in [
            Content::Tcp { from: 50_000, to: 443, flags: 2 },
            Content::Udp { from: 50_000, to: 53 },
            Content::Sctp { from: 50_000, to: 9 },
            Content::Icmp { kind: echo, code: 0, id: 7 },
        ] {
            let frame = sketch::ethernet(own, peer, content);
            judge(Direction::Egress, &Bytes::ethernet(&frame), &open.as_slice(), &model, false);
        }
    }
    let mut sockets = std::collections::BTreeMap::new();
    for (local_port, remote_port, opener) in
        [(50_001, 443, Opener::Host), (22, 40_000, Opener::Peer)]
    {
        let key = FlowKey {
            local: Address::from(ip("10.0.0.1")),
            remote: Address::from(ip("198.51.100.7")),
            local_port,
            remote_port,
            protocol: protocol::TCP,
            zero: [0; 3],
        };
        sockets.insert(key, opener);
        model.opened.borrow_mut().insert((protocol::TCP, local_port));
    }
    model.take_questions();
    Model { sockets, ..model }
}
