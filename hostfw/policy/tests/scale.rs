//! Size: memory and time follow the rules, never peers times ports, and what
//! does not fit is refused whole.

#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use hostfw_datapath::{Address, Image as _, image, verdict::Answer};
use hostfw_policy::{
    CompileError, Compiled, Dialect, Direction, MAX_IMAGE_WORDS, Options, Policy, Source, ThisNode,
    World,
    cidr::{PrefixSource, PrefixTerm},
    compile,
    policy::{Action, Peers, PolicyRule, Spec, Stance, Subjects, Tier},
    ports::{Entry, Service, Services, TCP},
    read_policies,
    selector::Selector,
    text::Position,
};
use ipnet::{IpNet, Ipv4Net};

/// Generous for a build without full optimisation on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_hundred_thousand_rules_over_a_thousand_ports_fit() {
    for n_ports in [10, 1000] {
        let start = Instant::now();
        let compiled = compiled(&policy((0..100_000).map(|n| rule(host(n), n % n_ports))));
        let compiled = compiled.expect("fits");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(compiled.words.len() <= MAX_IMAGE_WORDS);
        for n in [0, 1, 777, 99_999] {
            let port = 1 + n % n_ports;
            assert_eq!(ask(&compiled, n, port), (Answer::Allow, n));
            assert_eq!(ask(&compiled, n, 1 + (port % n_ports)).0, Answer::DefaultDeny);
        }
    }
}

#[test]
fn rules_of_one_port_share_all_but_their_own_cell() {
    let small = compiled(&policy((0..1_000).map(|n| rule(host(n), 0)))).expect("fits");
    let large = compiled(&policy((0..10_000).map(|n| rule(host(n), 0)))).expect("fits");
    let each = (large.words.len() - small.words.len()) / 9_000;
    // A row of 16 classes, a verdict, and a share of trie and rows tree.
    assert!(each < 48, "{each} words for each further rule");
}

#[test]
fn peers_that_may_use_the_same_ports_are_neighbours() {
    let everyone = PolicyRule { peers: Peers::Every, ..rule(host(0), 99) };
    let hosts = (0..1_000).map(|n| rule(host(n), n % 10));
    for last in [false, true] {
        let first = (!last).then(|| everyone.clone());
        let rules = first.into_iter().chain(hosts.clone()).chain(last.then(|| everyone.clone()));
        let compiled = compiled(&policy(rules)).expect("fits");
        for port in 0..10 {
            let classes: BTreeSet<u32> =
                (0..100).map(|n| class(&compiled, 10 * n + port)).collect();
            let (first, last) = (classes.first().expect("some"), classes.last().expect("some"));
            assert_eq!((classes.len(), last - first), (100, 99), "{port}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    // A thousand ports are open for everyone, and a hundred thousand hosts have
    // a rule of their own for every service: no row can be shared.
    let everyone = (0..1_000).map(|n| PolicyRule { peers: Peers::Every, ..rule(host(0), n) });
    let hosts = (0..100_000).map(|n| PolicyRule { services: Services::Every, ..rule(host(n), 0) });
    let start = Instant::now();
    let compiled = compiled(&policy(everyone.chain(hosts)));
    assert!(matches!(compiled, Err(CompileError::TooLarge)));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn nested_prefixes_and_ranges_cost_no_more_than_their_number() {
    // Each prefix lies in the one before it, each range too.
    let rules = (0..32u32).map(|n| {
        let net = Ipv4Net::new([10, 1, 2, 3].into(), 32 - u8::try_from(n).expect("small"));
        let port = service(n).first;
        let range = Service { protocol: TCP, first: port, last: 65535 - port };
        let services = Services::Only(vec![Entry::from(vec![range])]);
        PolicyRule { services, ..rule(IpNet::V4(net.expect("a prefix").trunc()), 0) }
    });
    let compiled = compiled(&policy(rules)).expect("fits");
    // The tables of fixed size have about 70,000 words.
    assert!(compiled.words.len() < 90_000, "{}", compiled.words.len());
}

#[test]
fn a_file_of_fifty_thousand_rules_is_read() {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n\
         spec:\n  nodeSelector: {}\n  ingress:\n",
    );
    for n in 0..50_000 {
        text += &format!("  - fromCIDR: [{}]\n    toPorts:\n    - ports:\n", host(n));
        text += "      - {port: \"80\", protocol: TCP}\n";
    }
    let start = Instant::now();
    let source = Source::new("p.yaml", text);
    let (policies, complaints) = read_policies(&[source], &Dialect::default());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(complaints, []);
    assert_eq!(policies[0].specs[0].rules.len(), 50_000);
}

fn compiled(policy: &Policy) -> Result<Compiled, CompileError> {
    let node = ThisNode { name: "this".to_owned(), ..ThisNode::default() };
    compile(std::slice::from_ref(policy), &World::default(), &node, &Options::default(), 1)
}

fn ask(compiled: &Compiled, n: u32, port: u32) -> (Answer, u32) {
    let image = &compiled.words.as_slice();
    let index = image.find(image::Question {
        subject: image::HOST,
        direction: Direction::Ingress,
        peer_class: class(compiled, n),
        protocol: TCP,
        port: u16::try_from(port).expect("a port"),
    });
    image::verdict(image, index)
}

fn class(compiled: &Compiled, n: u32) -> u32 {
    image::peer(&compiled.words.as_slice(), &Address::from(host(n).addr())) & image::CLASS
}

/// Addresses of 10.0.0.0/8, each with a neighbour that is named too.
fn host(n: u32) -> IpNet {
    IpNet::V4(Ipv4Net::from(std::net::Ipv4Addr::from(0x0a00_0000 + n)))
}

fn service(n: u32) -> Service {
    let port = u16::try_from(n + 1).expect("a port");
    Service { protocol: TCP, first: port, last: port }
}

fn rule(net: IpNet, n_port: u32) -> PolicyRule {
    let at = Position { line: 1, column: 1 };
    PolicyRule {
        at,
        direction: Direction::Ingress,
        action: Action::Allow,
        priority: 0,
        peers: Peers::Prefixes(vec![PrefixTerm {
            at,
            from: PrefixSource::Cidr(net),
            except: Vec::new(),
        }]),
        services: Services::Only(vec![Entry::from(vec![service(n_port)])]),
        authentication: None,
        fingerprint: 0,
        summary: "a rule".into(),
    }
}

fn policy(rules: impl Iterator<Item = PolicyRule>) -> Policy {
    Policy {
        kind: "CiliumClusterwideNetworkPolicy",
        name: "p".to_owned(),
        namespace: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        path: "p.yaml".to_owned(),
        at: Position { line: 1, column: 1 },
        specs: Arc::new(vec![Spec {
            at: Position { line: 1, column: 1 },
            subjects: Subjects::Nodes(Selector::default()),
            tier: Tier::Normal,
            ingress: Stance::DefaultDeny,
            egress: Stance::Untouched,
            rules: rules.collect(),
        }]),
    }
}
