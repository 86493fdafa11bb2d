//! The compiled image answers every question as the rules of the language do,
//! judged one by one: on random policies, in random worlds, for random packets
//! and for those at the edges of every prefix and range.

mod naive;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use hostfw_datapath::{Address, Image as _, checksum, image, verdict::Answer};
use hostfw_policy::{
    Compiled, Dialect, Direction, Enforcement, Options, Severity, Source, ThisNode, World, compile,
    diff::{Change, diff},
    read_policies,
    world::{CidrGroup, ClusterNode, Pod, Workload},
};
use ipnet::IpNet;
use naive::{Outcome, Packet, judge};
use proptest::{prelude::*, sample::select};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_image_says_what_the_rules_say(
        text in directory(),
        world in world(),
        node in node(),
        options in options(),
        strangers in proptest::collection::vec(any::<IpAddr>(), 4),
        seed in any::<u32>(),
    ) {
        let source = Source::new("p.yaml", text);
        let (policies, complaints) = read_policies(&[source], &Dialect::default());
        let errors: Vec<_> =
            complaints.iter().filter(|one| one.severity == Severity::Error).collect();
        prop_assert!(errors.is_empty(), "{errors:#?}");
        let compiled = compile(&policies, &world, &node, &options, seed).expect("small");
        let words = compiled.words.as_slice();
        prop_assert_eq!(checksum::of(words), words.word(image::AT_CHECKSUM));
        prop_assert_eq!(
            u32::try_from(words.len()).expect("small"),
            words.word(image::AT_WORDS)
        );
        let mut peers = edges(&world, &node);
        // An IPv4 address in its mapped form is that IPv4 address.
        peers.extend(strangers.iter().map(IpAddr::to_canonical));
        let mut lot = seed;
        for peer in peers {
            check_flags(&compiled, &world, &node, peer)?;
            for direction in [Direction::Ingress, Direction::Egress] {
                // A few of the services for every peer; over all cases every
                // pair comes up.
                for _ in 0..6 {
                    lot = lot.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let at = usize::try_from(lot >> 16).expect("16 bits") % SERVICES.len();
                    let (protocol, port) = SERVICES[at];
                    let packet = Packet { direction, peer, protocol, port };
                    let expected = judge(&policies, &world, &node, &options, packet);
                    prop_assert_eq!(ask(&compiled, packet), expected, "{:?}", packet);
                }
            }
        }
    }

    #[test]
    fn the_difference_of_two_images_is_that_of_every_packet(
        texts in (directory(), directory()),
        worlds in (world(), world()),
        node in node(),
        strangers in proptest::collection::vec(any::<IpAddr>(), 4),
    ) {
        let image = |text: String, world: &World| {
            let source = Source::new("p.yaml", text);
            let (policies, _) = read_policies(&[source], &Dialect::default());
            compile(&policies, world, &node, &Options::default(), 1).expect("small")
        };
        let (old, new) = (image(texts.0, &worlds.0), image(texts.1, &worlds.1));
        let changes = diff(&old, &new);
        let mut peers = edges(&worlds.0, &node);
        peers.extend(edges(&worlds.1, &node));
        peers.extend(strangers.iter().map(IpAddr::to_canonical));
        for peer in peers {
            for direction in [Direction::Ingress, Direction::Egress] {
                for (protocol, port) in SERVICES {
                    let packet = Packet { direction, peer, protocol: *protocol, port: *port };
                    let passes = |compiled: &Compiled| {
                        !matches!(ask(compiled, packet), Outcome::Deny(..) | Outcome::DefaultDeny)
                    };
                    let differs = passes(&old) != passes(&new);
                    let listed = changes.iter().filter(|change| concerns(change, packet));
                    prop_assert_eq!(listed.count(), usize::from(differs), "{:?}", packet);
                }
            }
        }
    }

    #[test]
    fn equal_input_gives_equal_words(text in directory(), world in world(), node in node()) {
        let source = Source::new("p.yaml", text);
        let (policies, _) = read_policies(&[source], &Dialect::default());
        let once = compile(&policies, &world, &node, &Options::default(), 1).expect("small");
        let twice = compile(&policies, &world, &node, &Options::default(), 1).expect("small");
        prop_assert_eq!(once, twice);
    }
}

fn ask(compiled: &Compiled, packet: Packet) -> Outcome {
    let image = &compiled.words.as_slice();
    let Packet { direction, peer, protocol, port } = packet;
    if !image::in_force(image, image::subject(image, 0, direction)) {
        assert!(!compiled.in_force(direction));
        return Outcome::NotInForce;
    }
    assert!(compiled.in_force(direction));
    let peer_class = image::peer(image, &Address::from(peer)) & image::CLASS;
    let index =
        image.find(image::Question { subject: image::HOST, direction, peer_class, protocol, port });
    let all = compiled.verdicts.of(index);
    match image::verdict(image, index) {
        (Answer::Allow, rule) => Outcome::Allow(rule, all),
        (Answer::Deny, rule) => Outcome::Deny(rule, all),
        (Answer::DefaultDeny, image::NO_RULE) => Outcome::DefaultDeny,
        (Answer::DefaultAllow, image::NO_RULE) => Outcome::DefaultAllow,
        (answer, rule) => panic!("{answer:?} by {rule}"),
    }
}

fn concerns(change: &Change, packet: Packet) -> bool {
    let is_service = change.services.iter().any(|service| {
        service.protocol == packet.protocol && (service.first..=service.last).contains(&packet.port)
    });
    let is_peer = match packet.peer {
        IpAddr::V4(address) => {
            let at = u32::from(address);
            change.peers.v4.iter().any(|(first, last)| (*first..=*last).contains(&at))
        }
        IpAddr::V6(address) => {
            let at = u128::from(address);
            change.peers.v6.iter().any(|(first, last)| (*first..=*last).contains(&at))
        }
    };
    change.direction == packet.direction && is_service && is_peer
}

fn check_flags(
    compiled: &Compiled,
    world: &World,
    node: &ThisNode,
    peer: IpAddr,
) -> Result<(), TestCaseError> {
    let word = image::peer(&compiled.words.as_slice(), &Address::from(peer));
    let own = world.nodes.get(&node.name);
    let is_local =
        node.addresses.contains(&peer) || own.is_some_and(|own| own.addresses.contains(&peer));
    let is_elsewhere = !is_local
        && (world.nodes.values().any(|node| node.addresses.contains(&peer))
            || world.pods.values().any(|pod| pod.addresses.contains(&peer)));
    prop_assert_eq!(word & image::LOCAL != 0, is_local, "{}", peer);
    prop_assert_eq!(word & image::ELSEWHERE != 0, is_elsewhere, "{}", peer);
    Ok(())
}

/// The first and the last address of every prefix that rules may name, their
/// outer neighbours, and every known address.
fn edges(world: &World, node: &ThisNode) -> BTreeSet<IpAddr> {
    let mut peers: BTreeSet<IpAddr> = node.addresses.iter().copied().collect();
    peers.extend(world.nodes.values().flat_map(|node| &node.addresses));
    peers.extend(world.pods.values().flat_map(|pod| &pod.addresses));
    peers.extend(&world.api_servers);
    for net in NETS {
        let net: IpNet = net.parse().expect("a prefix");
        for (address, step) in [(net.network(), -1i8), (net.broadcast(), 1)] {
            peers.insert(address);
            peers.insert(neighbour(address, step));
        }
    }
    peers
}

fn neighbour(address: IpAddr, step: i8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from(u32::from(address).wrapping_add_signed(step.into())).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from(u128::from(address).wrapping_add_signed(step.into())).into()
        }
    }
}

/// Prefixes that nest, touch and repeat.
const NETS: &[&str] = &[
    "0.0.0.0/0",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/23",
    "10.1.2.0/24",
    "10.1.2.128/25",
    "10.1.2.4/30",
    "10.1.2.5/32",
    "10.1.3.0/24",
    "192.0.2.0/28",
    "255.255.255.255/32",
    "::/0",
    "2001:db8::/29",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:2::/63",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::8/125",
    "2001:db8:1:2::9/128",
    "fd00::/8",
    "fe80::/10",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
];

/// Addresses that nodes, pods and API servers may have; some of them repeat.
const ADDRESSES: &[&str] = &[
    "10.1.2.5",
    "10.1.2.6",
    "10.1.2.200",
    "10.1.3.1",
    "10.200.0.1",
    "192.0.2.1",
    "192.0.2.16",
    "2001:db8:1:2::9",
    "2001:db8:1:2::10",
    "fd00::1",
];

/// Questions around every port and type that rules may name.
const SERVICES: &[(u8, u16)] = &[
    (6, 0),
    (6, 21),
    (6, 22),
    (6, 23),
    (6, 79),
    (6, 80),
    (6, 81),
    (6, 90),
    (6, 91),
    (6, 255),
    (6, 256),
    (6, 999),
    (6, 1000),
    (6, 2000),
    (6, 2001),
    (6, 65534),
    (6, 65535),
    (17, 53),
    (17, 22),
    (17, 1500),
    (17, 65535),
    (132, 53),
    (132, 1),
    (1, 0),
    (1, 8),
    (1, 255),
    (58, 0),
    (58, 128),
    (58, 8),
    (112, 0),
    (2, 0),
    (47, 0),
    (255, 0),
    (0, 0),
];

const PORTS: &[&str] = &[
    "{port: \"22\", protocol: TCP}",
    "{port: \"80\", protocol: TCP}",
    "{port: \"80\", endPort: 90, protocol: TCP}",
    "{port: \"81\", endPort: 2000, protocol: TCP}",
    "{port: \"1000\", endPort: 65535, protocol: TCP}",
    "{port: \"255\", endPort: 256}",
    "{port: \"53\", protocol: ANY}",
    "{port: \"53\", protocol: UDP}",
    "{port: \"0\", protocol: TCP}",
    "{port: \"0\"}",
    "{port: \"65535\"}",
    "{port: \"1500\", endPort: 3, protocol: UDP}",
    "{protocol: VRRP}",
    "{protocol: GRE, port: \"0\"}",
];

const FIELDS: &[&str] =
    &["{type: 0}", "{type: 8}", "{type: \"255\"}", "{type: EchoRequest, family: IPv6}"];

const ENTITIES: &[&str] = &[
    "all",
    "world",
    "world-ipv4",
    "world-ipv6",
    "host",
    "remote-node",
    "kube-apiserver",
    "cluster",
    "health",
    "none",
];

const SELECTORS: &[&str] = &[
    "{}",
    "{matchLabels: {app: a}}",
    "{matchLabels: {\"k8s:app\": b, role: x}}",
    "{matchExpressions: [{key: app, operator: NotIn, values: [a]}]}",
    "{matchExpressions: [{key: role, operator: DoesNotExist}]}",
    "{matchExpressions: [{key: app, operator: In, values: [a, b]}]}",
    "{matchLabels: {io.kubernetes.pod.namespace: one}}",
    "{matchExpressions: [{key: \"reserved:host\", operator: Exists}]}",
    "{matchExpressions: [{key: \"reserved:host\", operator: DoesNotExist}]}",
    "{matchLabels: {\"reserved:kube-apiserver\": \"\"}}",
    "{matchLabels: {\"reserved:world-ipv6\": \"\"}}",
    "{matchLabels: {io.cilium.k8s.namespace.labels.team: red}}",
];

fn lists(items: impl Strategy<Value = String>, most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(items, 1..=most).prop_map(|items| format!("[{}]", items.join(", ")))
}

fn of(items: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(items).prop_map(str::to_owned)
}

/// A prefix as it may stand in a list: colons want quotes.
fn net() -> impl Strategy<Value = String> {
    select(NETS).prop_map(|net| format!("\"{net}\""))
}

fn set_entry() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (net(), proptest::collection::vec(select(NETS), 0..5)).prop_map(|(cidr, except)| {
            let outer: IpNet = cidr.trim_matches('"').parse().expect("a prefix");
            let inside: Vec<_> = except
                .into_iter()
                .filter(|one| outer.contains(&one.parse::<IpNet>().expect("a prefix")))
                .map(|one| format!("\"{one}\""))
                .collect();
            format!("{{cidr: {cidr}, except: [{}]}}", inside.join(", "))
        }),
        1 => (select(&["g1", "g2", "missing"][..]), net()).prop_map(|(group, except)| {
            format!("{{cidrGroupRef: {group}, except: [{except}]}}")
        }),
        1 => of(&["{matchLabels: {app: a}}", "{}"])
            .prop_map(|groups| format!("{{cidrGroupSelector: {groups}}}")),
    ]
}

fn peers(direction: &'static str) -> impl Strategy<Value = String> {
    let peers = prop_oneof![
        4 => lists(net(), 4).prop_map(|list| format!("CIDR: {list}")),
        4 => lists(set_entry(), 3).prop_map(|list| format!("CIDRSet: {list}")),
        2 => lists(of(ENTITIES), 2).prop_map(|list| format!("Entities: {list}")),
        2 => lists(of(SELECTORS), 2).prop_map(|list| format!("Endpoints: {list}")),
        1 => lists(of(SELECTORS), 2).prop_map(|list| format!("Nodes: {list}")),
        1 => Just("Entities: []".to_owned()),
    ];
    prop_oneof![5 => peers.prop_map(move |peers| format!("{direction}{peers}")), 1 => Just(String::new())]
}

fn services() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => lists(of(PORTS), 3).prop_map(|ports| format!("toPorts: [{{ports: {ports}}}]")),
        2 => lists(of(FIELDS), 2).prop_map(|fields| format!("icmps: [{{fields: {fields}}}]")),
        2 => Just(String::new()),
        1 => Just("toPorts: [{}]".to_owned()),
        1 => Just("toPorts: []".to_owned()),
    ]
}

fn rules(direction: &'static str) -> impl Strategy<Value = String> {
    let rule = (peers(direction), services()).prop_map(|(peers, services)| {
        let comma = if peers.is_empty() || services.is_empty() { "" } else { ", " };
        format!("{{{peers}{comma}{services}}}")
    });
    proptest::collection::vec(rule, 0..5).prop_map(|rules| format!("[{}]", rules.join(", ")))
}

fn directory() -> impl Strategy<Value = String> {
    let lists = (rules("from"), rules("from"), rules("to"), rules("to"));
    let spec = (
        of(SELECTORS),
        lists.prop_filter("a part has a rule", |(one, two, three, four)| {
            [one, two, three, four].into_iter().any(|list| list != "[]")
        }),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(|(nodes, (ingress, ingress_deny, egress, egress_deny), (one, other))| {
            format!(
                "spec:\n  nodeSelector: {nodes}\n  enableDefaultDeny: {{ingress: {one}, egress: {other}}}\n  \
                 ingress: {ingress}\n  ingressDeny: {ingress_deny}\n  egress: {egress}\n  \
                 egressDeny: {egress_deny}\n"
            )
        });
    proptest::collection::vec(spec, 0..4).prop_map(|specs| {
        let documents = specs.iter().enumerate().map(|(index, spec)| {
            format!(
                "---\napiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
                 metadata: {{name: p{index}}}\n{spec}"
            )
        });
        documents.collect()
    })
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    let address = select(ADDRESSES).prop_map(|address| address.parse().expect("an address"));
    proptest::collection::btree_set(address, 0..4)
        .prop_map(|addresses| addresses.into_iter().collect())
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = select(&["app", "role"][..]).prop_map(str::to_owned);
    let value = select(&["a", "b", "x", ""][..]).prop_map(str::to_owned);
    proptest::collection::btree_map(key, value, 0..3)
}

fn world() -> impl Strategy<Value = World> {
    let nodes = proptest::collection::btree_map(
        select(&["this", "n1", "n2"][..]).prop_map(str::to_owned),
        (labels(), addresses()).prop_map(|(labels, addresses)| ClusterNode {
            labels,
            addresses,
            pod_cidrs: Vec::new(),
        }),
        0..3,
    );
    let pods = proptest::collection::btree_map(
        (select(&["one", "two"][..]), select(&["p1", "p2"][..]))
            .prop_map(|(space, name)| (space.to_owned(), name.to_owned())),
        (labels(), addresses()).prop_map(|(labels, addresses)| Pod {
            workload: Arc::new(Workload {
                labels,
                service_account: "default".to_owned(),
                ports: Vec::new(),
            }),
            addresses,
            node: None,
        }),
        0..4,
    );
    let groups = proptest::collection::btree_map(
        select(&["g1", "g2"][..]).prop_map(str::to_owned),
        (labels(), proptest::collection::vec(select(NETS), 0..4)).prop_map(|(labels, nets)| {
            CidrGroup {
                labels,
                cidrs: nets.iter().map(|net| net.parse().expect("a prefix")).collect(),
            }
        }),
        0..3,
    );
    (nodes, pods, groups, addresses(), any::<bool>()).prop_map(
        |(nodes, pods, cidr_groups, api_servers, red)| {
            let mut namespaces = BTreeMap::new();
            if red {
                let team = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
                namespaces.insert("two".to_owned(), team);
            }
            let pods = pods.into_iter().map(|(name, pod)| (name, Arc::new(pod))).collect();
            let api_servers = api_servers.into_iter().collect();
            World { nodes, pods, namespaces, cidr_groups, api_servers, ..World::default() }
        },
    )
}

fn node() -> impl Strategy<Value = ThisNode> {
    (labels(), addresses()).prop_map(|(labels, addresses)| ThisNode {
        name: "this".to_owned(),
        labels,
        addresses: addresses.into_iter().collect(),
        tunnels: Vec::new(),
    })
}

fn options() -> impl Strategy<Value = Options> {
    let enforcement = prop_oneof![6 => Just(Enforcement::Default), 1 => Just(Enforcement::Always), 1 => Just(Enforcement::Never)];
    (any::<bool>(), any::<bool>(), enforcement).prop_map(|(nodes, pods, enforcement)| Options {
        cidr_match_nodes: nodes,
        cidr_match_pods: pods,
        enforcement,
        ..Options::default()
    })
}
