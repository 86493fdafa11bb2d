//! An image that follows its world answers as one that is compiled anew: after
//! every one of many random changes of pods and nodes, for every subject, peer
//! and service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hostfw_datapath::{Address, Image as _, checksum, image};
use hostfw_policy::{
    Compiled, Dialect, Direction, Options, Severity, Source, Standing, ThisNode, World, changes,
    compile,
    diff::diff,
    ports::TCP,
    read_policies,
    world::{ClusterNode, ContainerPort, Pod, Workload},
};
use proptest::prelude::*;

const POLICIES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec:
  nodeSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {app: a}}]
    toPorts: [{ports: [{port: "22", protocol: TCP}]}]
  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/24]}]
  - fromCIDR: ["fd00::/16", 10.1.0.7/32]
  - fromNodes: [{matchLabels: {role: x}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  ingressDeny:
  - fromEndpoints: [{matchExpressions: [{key: role, operator: In, values: [x]}]}]
  egress:
  - toEntities: [cluster]
  - toEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: http}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: a, namespace: one}
spec:
  endpointSelector: {matchLabels: {app: a}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}, {matchLabels: {role: x}}]
    toPorts: [{ports: [{port: http}]}]
  - fromEntities: [world]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: b, namespace: one}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}]
  egress:
  - to: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.0.8/29]}}]
"#;

const ADDRESSES: &[&str] = &[
    "10.1.0.0",
    "10.1.0.1",
    "10.1.0.7",
    "10.1.0.8",
    "10.1.0.255",
    "10.1.1.0",
    "10.255.255.255",
    "11.0.0.0",
    "192.0.2.1",
    "255.255.255.255",
    "0.0.0.0",
    "fd00::1",
    "fd00::2",
    "fd00::12",
    "fd00:0:1::1",
    "fd00:ffff::",
    "fd01::",
    "2001:db8::1",
    "::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

const SERVICES: &[(u8, u16)] = &[(6, 22), (6, 80), (6, 8080), (6, 1), (17, 53), (1, 8), (47, 0)];

/// One pod or node becomes this, or goes.
#[derive(Clone, Debug)]
enum Change {
    Pod((String, String), Option<Pod>),
    Node(String, Option<ClusterNode>),
}

impl Change {
    fn apply(self, world: &mut World) {
        match self {
            Self::Pod(key, Some(pod)) => drop(world.pods.insert(key, pod.into())),
            Self::Pod(key, None) => drop(world.pods.remove(&key)),
            Self::Node(name, Some(node)) => drop(world.nodes.insert(name, node)),
            Self::Node(name, None) => drop(world.nodes.remove(&name)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => pod_change().prop_map(|(key, pod)| Change::Pod(key, pod)),
        1 => node_change().prop_map(|(name, node)| Change::Node(name, node)),
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(
        proptest::sample::select(&["app", "role", "hash"][..]).prop_map(str::to_owned),
        proptest::sample::select(&["a", "b", "x"][..]).prop_map(str::to_owned),
        0..4,
    )
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    proptest::collection::btree_set(
        proptest::sample::select(ADDRESSES).prop_map(|one| one.parse().expect("an address")),
        0..3,
    )
    .prop_map(|addresses| addresses.into_iter().collect())
}

fn node_change() -> impl Strategy<Value = (String, Option<ClusterNode>)> {
    let node = (labels(), addresses()).prop_map(|(labels, addresses)| ClusterNode {
        labels,
        addresses,
        ..ClusterNode::default()
    });
    let names = proptest::sample::select(&["this", "other", "n1", "n2", "n3", "n4"][..]);
    (names.prop_map(str::to_owned), proptest::option::weighted(0.7, node))
}

fn pod_change() -> impl Strategy<Value = ((String, String), Option<Pod>)> {
    let ports = proptest::sample::select(vec![None, Some(8080), Some(80)]);
    let pod = (labels(), addresses(), any::<bool>(), ports).prop_map(
        |(labels, addresses, here, ports)| Pod {
            workload: workload(labels, ports),
            addresses,
            node: Some(if here { "this" } else { "other" }.to_owned()),
        },
    );
    let key = (
        proptest::sample::select(&["one", "two"][..]).prop_map(str::to_owned),
        proptest::sample::select(&["p1", "p2", "p3", "p4", "p5"][..]).prop_map(str::to_owned),
    );
    (key, proptest::option::weighted(0.7, pod))
}

fn world() -> World {
    let mut world = World::default();
    let node = |addresses: &[&str]| ClusterNode {
        addresses: addresses.iter().map(|one| one.parse().expect("an address")).collect(),
        ..ClusterNode::default()
    };
    world.nodes.insert("this".to_owned(), node(&["192.0.2.1"]));
    world.nodes.insert("other".to_owned(), node(&["192.0.2.2", "2001:db8::2"]));
    world.api_servers.insert("2001:db8::1".parse().expect("an address"));
    world
}

/// All rules that match, by what they are and not by their numbers: a
/// generation that follows keeps the rules of pods that have gone.
fn matching(compiled: &Compiled, subject: u32, peer: IpAddr, service: (u8, u16)) -> Vec<String> {
    let words = &compiled.words.as_slice();
    let mut found = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let peer_class = image::peer(words, &Address::from(peer)) & image::CLASS;
        let (protocol, port) = service;
        let question = image::Question { subject, direction, peer_class, protocol, port };
        let index = words.find(question);
        let (answer, rule) = image::verdict(words, index);
        let name = |rule: &hostfw_policy::Rule| {
            format!("{}:{}:{}:{}", rule.policy, rule.line, rule.column, rule.summary)
        };
        let deciding = compiled.rule(rule).map(name);
        let all: Vec<String> = compiled.matching_rules(index).into_iter().map(name).collect();
        found.push(format!("{answer:?} {deciding:?} {all:?}"));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn following_is_compiling(
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..3), 1..12),
        (cidr_match_pods, cidr_match_nodes) in any::<(bool, bool)>(),
    ) {
        let source = Source::new("p.yaml", POLICIES);
        let (policies, complaints) = read_policies(&[source], &Dialect::default());
        prop_assert!(complaints.iter().all(|one| one.severity != Severity::Error), "{complaints:?}");
        let node = ThisNode { name: "this".to_owned(), ..ThisNode::default() };
        let options =
            Options { pods: true, cidr_match_pods, cidr_match_nodes, ..Options::default() };
        let mut before = world();
        let mut standing = Standing::new(&policies, &before, &node, &options, 1).expect("small");
        for (generation, batch) in (2..).zip(batches) {
            let mut after = before.clone();
            batch.into_iter().for_each(|change| change.apply(&mut after));
            let changes = changes(&before, &after).expect("only pods and nodes differ");
            let whole = compile(&policies, &after, &node, &options, generation).expect("small");
            standing = match standing.follow(&changes, &after, &node, &options, generation) {
                Some(standing) => standing,
                None => Standing::new(&policies, &after, &node, &options, generation).expect("small"),
            };
            let followed = standing.compiled();
            let words = followed.words.as_slice();
            prop_assert_eq!(checksum::of(words), words.word(image::AT_CHECKSUM));
            prop_assert_eq!(words.word(image::AT_GENERATION), generation);
            prop_assert_eq!(&followed.subjects, &whole.subjects);
            prop_assert_eq!(&followed.policies, &whole.policies);
            prop_assert_eq!(diff(followed, &whole), vec![]);
            for (subject, _) in (0..).zip(&whole.subjects) {
                for peer in ADDRESSES.iter().map(|one| one.parse().expect("an address")) {
                    let word = |of: &Compiled| image::peer(&of.words.as_slice(), &Address::from(peer));
                    prop_assert_eq!(word(followed) & !image::CLASS, word(&whole) & !image::CLASS);
                    for service in SERVICES {
                        prop_assert_eq!(
                            matching(followed, subject, peer, *service),
                            matching(&whole, subject, peer, *service),
                            "{} {:?}", peer, service
                        );
                    }
                }
            }
            before = after;
        }
    }
}

fn pod(number: u32, app: &str, node: &str) -> ((String, String), Pod) {
    let [_, b, c, d] = number.to_be_bytes();
    let labels = [("app", app), ("hash", &number.to_string())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pod = Pod {
        workload: workload(labels.into(), Some(8080)),
        addresses: vec![IpAddr::from([10, b, c, d])],
        node: Some(node.to_owned()),
    };
    (("one".to_owned(), format!("p{number}")), pod)
}

/// With a port that it calls `http`.
fn workload(labels: BTreeMap<String, String>, port_of: Option<u16>) -> Arc<Workload> {
    let port = |port| ContainerPort { name: "http".to_owned(), protocol: TCP, port };
    let service_account = "default".to_owned();
    Arc::new(Workload { labels, service_account, ports: port_of.into_iter().map(port).collect() })
}

fn shared((key, pod): ((String, String), Pod)) -> ((String, String), Arc<Pod>) {
    (key, Arc::new(pod))
}

/// What happens all the time is followed, and what goes deeper is not.
#[test]
fn ordinary_changes_need_no_compilation() {
    let source = Source::new("p.yaml", POLICIES);
    let (policies, _) = read_policies(&[source], &Dialect::default());
    let node = ThisNode { name: "this".to_owned(), ..ThisNode::default() };
    let options = Options { pods: true, ..Options::default() };
    let mut first = world();
    first.pods.extend((0..600).map(|number| shared(pod(number, "a", "other"))));
    first.pods.extend([shared(pod(600, "a", "this"))]);
    let changed = |change: &dyn Fn(&mut World)| {
        let standing = Standing::new(&policies, &first, &node, &options, 1).expect("small");
        let mut after = first.clone();
        change(&mut after);
        standing.follow(&changes(&first, &after)?, &after, &node, &options, 2)
    };
    let with = |(key, pod): ((String, String), Pod)| {
        move |world: &mut World| {
            world.pods.insert(key.clone(), pod.clone().into());
        }
    };
    let without = |number: u32| {
        move |world: &mut World| {
            world.pods.remove(&pod(number, "a", "").0);
        }
    };
    assert!(changed(&with(pod(700, "a", "other"))).is_some(), "a pod elsewhere");
    assert!(changed(&with(pod(700, "new", "other"))).is_some(), "labels that nobody had");
    assert!(changed(&without(7)).is_some(), "a pod elsewhere goes");
    assert!(changed(&with(pod(700, "a", "this"))).is_some(), "another pod of an application here");
    assert!(changed(&without(600)).is_some(), "a pod here goes");
    assert!(changed(&with(pod(7, "b", "other"))).is_some(), "labels change");
    let (key, mut moved) = pod(7, "a", "other");
    moved.addresses = [IpAddr::from([10, 9, 9, 9])].into();
    assert!(changed(&with((key, moved.clone()))).is_some(), "an address changes");

    assert!(changed(&with(pod(700, "b", "this"))).is_none(), "a new application here");
    moved.addresses = [IpAddr::from([10, 0, 0, 8])].into();
    assert!(changed(&with((pod(701, "a", "").0, moved.clone()))).is_none(), "a taken address");
    moved.addresses = [IpAddr::from([10, 9, 9, 9])].into();
    Arc::make_mut(&mut moved.workload).ports[0].port = 9090;
    assert!(changed(&with((pod(701, "a", "").0, moved))).is_none(), "a port of another meaning");

    let node = |address: [u8; 4]| ClusterNode {
        addresses: [IpAddr::from(address)].into(),
        ..ClusterNode::default()
    };
    let with_node = |name: &'static str, address| {
        move |world: &mut World| drop(world.nodes.insert(name.to_owned(), node(address)))
    };
    assert!(changed(&with_node("new", [10, 9, 9, 9])).is_some(), "a node comes");
    assert!(changed(&with_node("other", [10, 9, 9, 9])).is_some(), "an address of a node changes");
    let without_other = |world: &mut World| drop(world.nodes.remove("other"));
    assert!(changed(&without_other).is_some(), "a node goes");
    assert!(changed(&with_node("this", [10, 9, 9, 9])).is_none(), "this node");
    assert!(changed(&with_node("new", [10, 0, 0, 8])).is_none(), "the address of a pod");
    let namespace = |world: &mut World| drop(world.namespaces.insert("two".into(), [].into()));
    assert!(changed(&namespace).is_none(), "neither a pod nor a node");
}
