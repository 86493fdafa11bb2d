//! What is refused, warned about or taken where a reading that is too generous
//! would open something without a word, and one that is too strict would refuse
//! what the reference takes.

use hostfw_policy::{
    Dialect, Enforcement, Options, Severity, Source, ThisNode, compile, conflicts, read_policies,
    read_world,
};

/// The codes of all complaints, with a `?` behind a warning.
fn codes(document: &str) -> Vec<String> {
    let sources = [Source::new("policy.yaml", document)];
    let (_, complaints) = read_policies(&sources, &Dialect::default());
    let shown = |one: hostfw_policy::Complaint| match one.severity {
        Severity::Error => one.code.to_owned(),
        Severity::Warning => format!("{}?", one.code),
    };
    complaints.into_iter().map(shown).collect()
}

fn nodes(spec: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: nodes}}\nspec: {{nodeSelector: {{}}, {spec}}}\n"
    )
}

fn pods(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
         metadata: {{name: {name}, namespace: shop}}\nspec: {{endpointSelector: {{}}, {spec}}}\n"
    )
}

fn network_policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: k, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

fn cluster_network_policy(lists: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: c}}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {lists}}}\n"
    )
}

/// An egress rule to one port, with something besides.
fn egress(ports: &str, besides: &str) -> String {
    pods("p", &format!("egress: [{{toPorts: [{{{ports} {besides}}}]}}]"))
}

const HTTPS: &str = "ports: [{port: '443', protocol: TCP}],";
const DOMAIN: &str = "ports: [{port: '53', protocol: UDP}],";

#[track_caller]
fn check(document: &str, wanted: &[&str]) {
    assert_eq!(codes(document), wanted, "{document}");
}

#[test]
fn a_part_without_any_rule_is_refused() {
    for spec in ["ingress: []", "ingress: [], egressDeny: []", "enableDefaultDeny: {ingress: true}"]
    {
        check(&nodes(spec), &["missing-field"]);
    }
    check(&nodes("ingress: [], egress: [{}]"), &[]);
    let many = nodes("ingress: [{}]") + "specs: []\n";
    check(&many, &["no-parts?"]);
}

#[test]
fn an_empty_list_of_a_cluster_network_policy_is_refused_and_denies_nothing_in_silence() {
    for lists in [
        "ingress: [{action: Deny, from: []}]",
        "egress: [{action: Deny, to: []}]",
        "egress: [{action: Deny, to: [{networks: []}]}]",
        "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: []}]",
    ] {
        check(&cluster_network_policy(lists), &["missing-field"]);
    }
    check(&cluster_network_policy("ingress: [{action: Deny, from: [{namespaces: {}}]}]"), &[]);
    check(
        &cluster_network_policy("egress: [{action: Deny, to: [{networks: x}]}]"),
        &["wrong-type"],
    );
}

#[test]
fn dns_rules_need_a_port_and_http_rules_need_none() {
    let dns = "rules: {dns: [{matchPattern: '*'}]}";
    check(&egress("", dns), &["bad-l7"]);
    check(&egress("ports: [],", dns), &["bad-l7"]);
    check(&egress(DOMAIN, dns), &[]);
    check(&egress("", "rules: {http: [{}]}"), &[]);
}

#[test]
fn an_empty_list_of_rules_stands_only_where_rules_may() {
    let listener = "listener: {name: l, envoyConfig: {name: e}}";
    check(&egress(HTTPS, "rules: {http: []}"), &[]);
    check(&egress(DOMAIN, "rules: {http: []}"), &["bad-l7"]);
    check(&egress("ports: [{port: '0', protocol: TCP}],", "rules: {http: []}"), &["bad-l7"]);
    check(&egress(HTTPS, &format!("rules: {{http: []}}, {listener}")), &["bad-listener"]);
    check(&egress(HTTPS, "rules: {http: [], dns: [{matchName: a}]}"), &["two-protocols"]);
    let host = format!("ingress: [{{toPorts: [{{{HTTPS} rules: {{http: []}}}}]}}]");
    check(&nodes(&host), &["bad-l7"]);
    check(&egress(DOMAIN, "rules: {}"), &[]);
}

#[test]
fn names_that_are_needed_are_not_empty() {
    for besides in [
        "rules: {l7proto: ''}",
        "listener: {name: '', envoyConfig: {name: e}}",
        "listener: {name: l, envoyConfig: {name: ''}}",
        "terminatingTLS: {secret: {name: ''}}",
        "rules: {http: [{headerMatches: [{name: X-A, secret: {name: ''}}]}]}",
        "rules: {http: [{headerMatches: [{name: ''}]}]}",
    ] {
        check(&egress(HTTPS, besides), &["missing-field"]);
    }
}

#[test]
fn the_labels_of_a_part_are_texts_or_keys() {
    check(&nodes("ingress: [{}], labels: [a, 'k8s:b=c', {key: d, value: e, source: f}]"), &[]);
    check(&nodes("ingress: [{}], labels: {a: b}"), &["wrong-type"]);
    check(&nodes("ingress: [{}], labels: [1]"), &["wrong-type"]);
    check(&nodes("ingress: [{}], labels: ['']"), &["missing-field"]);
    check(&nodes("ingress: [{}], labels: [{value: b}]"), &["missing-field"]);
}

#[test]
fn an_empty_text_in_a_set_of_prefixes_counts_as_missing() {
    let set = |entry: &str| nodes(&format!("ingress: [{{fromCIDRSet: [{entry}]}}]"));
    check(&set("{cidrGroupRef: ''}"), &["bad-cidr"]);
    check(&set("{cidr: ''}"), &["bad-cidr"]);
    check(&set("{cidr: 10.0.0.0/8, cidrGroupRef: ''}"), &[]);
}

#[test]
fn an_end_port_needs_a_port() {
    let ports = |port: &str| network_policy(&format!("ingress: [{{ports: [{port}]}}]"));
    check(&ports("{protocol: TCP, endPort: 90}"), &["bad-port"]);
    check(&ports("{port: 0, endPort: 'abc'}"), &["wrong-type"]);
    check(&ports("{port: 0, endPort: 90}"), &["range-from-0?"]);
    check(&ports("{port: 80, endPort: 90}"), &[]);
    check(&ports("{port: http, endPort: 90}"), &[]);
    check(&egress("ports: [{port: '0', endPort: 1023}]", ""), &["range-from-0?"]);
    check(&egress("ports: [{port: '0', endPort: 0}]", ""), &[]);
}

#[test]
fn a_number_is_no_name_of_a_port() {
    for port in ["8e1", "8.0", "0x50"] {
        let list = format!("ingress: [{{ports: [{{port: {port}}}]}}]");
        check(&network_policy(&list), &["bad-port"]);
    }
    let named = "ingress: [{action: Deny, from: [{namespaces: {}}], \
                 protocols: [{destinationNamedPort: 8e1}]}]";
    check(&cluster_network_policy(named), &["bad-port"]);
}

#[test]
fn an_empty_port_counts_as_missing() {
    let read = |port: &str, extended_protocols: bool| {
        let sources = [Source::new("policy.yaml", egress(port, ""))];
        let dialect =
            Dialect { extended_protocols, missing_ports: extended_protocols, ..Dialect::default() };
        read_policies(&sources, &dialect).1.len()
    };
    for protocol in ["VRRP", "TCP"] {
        let port = format!("ports: [{{port: '', protocol: {protocol}}}]");
        assert_eq!((read(&port, false), read(&port, true)), (1, 0), "{protocol}");
    }
    assert_eq!(read("ports: [{endPort: 90, protocol: TCP}]", true), 1, "it bounds nothing");
}

#[test]
fn the_remedy_for_many_zeros_is_one() {
    let sources = [Source::new("policy.yaml", egress("ports: [{port: '00'}]", ""))];
    let (_, complaints) = read_policies(&sources, &Dialect::default());
    assert_eq!(complaints[0].instead, "port: \"0\"");
}

#[test]
fn a_prefix_that_no_packet_bears_is_warned_about() {
    let sources =
        [Source::new("p.yaml", nodes("ingress: [{fromCIDR: ['::ffff:203.0.113.9/120']}]"))];
    let (_, complaints) = read_policies(&sources, &Dialect::default());
    let said: Vec<(&str, &str)> =
        complaints.iter().map(|one| (one.code, one.instead.as_str())).collect();
    assert_eq!(
        said,
        [("cidr-host-bits", "::ffff:203.0.113.0/120"), ("mapped-ipv4", "203.0.113.0/24")]
    );
    check(&nodes("ingress: [{fromCIDR: ['2001:db8::/32', '::/0']}]"), &[]);
}

/// The world, and what a set of policies comes to for it.
struct Scene {
    enforcement: Enforcement,
    host_policies: bool,
}

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: one}
status: {podIP: 10.0.0.1}
";

impl Scene {
    /// Who is in force: a direction of the node, then of the pod.
    fn in_force(&self, documents: &[String]) -> Vec<(bool, bool)> {
        let sources = [Source::new("policy.yaml", documents.join("---\n"))];
        let (policies, complaints) = read_policies(&sources, &Dialect::default());
        assert_eq!(complaints, []);
        let (world, _) = read_world(&[Source::new("world.yaml", PODS)]);
        let node = ThisNode { name: "one".to_owned(), ..ThisNode::default() };
        let options = Options {
            pods: true,
            enforcement: self.enforcement,
            host_policies: self.host_policies,
            ..Options::default()
        };
        let compiled = compile(&policies, &world, &node, &options, 1).expect("fits");
        let subjects = compiled.subjects.iter();
        subjects.map(|one| (one.ingress_in_force, one.egress_in_force)).collect()
    }
}

#[test]
fn a_network_policy_stays_in_its_namespace_whatever_its_labels_say() {
    let scene = Scene { enforcement: Enforcement::Default, host_policies: true };
    let elsewhere = "podSelector: {matchLabels: {io.kubernetes.pod.namespace: prod}}";
    let policy = network_policy(&format!("{elsewhere}, ingress: [{{}}]"));
    assert_eq!(scene.in_force(&[policy]), [(false, false), (true, false)]);
    let asked = "podSelector: {matchExpressions: [\
                 {key: io.kubernetes.pod.namespace, operator: In, values: [prod]}]}";
    let policy = network_policy(&format!("{asked}, ingress: [{{}}]"));
    assert_eq!(scene.in_force(&[policy]), [(false, false), (false, false)]);
}

#[test]
fn an_empty_namespace_is_the_default_one() {
    let document = pods("p", "ingress: [{}]").replace("namespace: shop", "namespace: ''");
    let sources = [Source::new("policy.yaml", document)];
    let (policies, complaints) = read_policies(&sources, &Dialect::default());
    assert_eq!((complaints, policies[0].name.as_str()), (Vec::new(), "default/p"));
}

#[test]
fn without_host_policies_a_node_is_open_even_where_all_is_enforced() {
    let all = |host_policies| Scene { enforcement: Enforcement::Always, host_policies };
    assert_eq!(all(false).in_force(&[]), [(false, false), (true, true)]);
    assert_eq!(all(true).in_force(&[]), [(true, true), (true, true)]);
}

/// How many rules contradict one before them.
fn conflicting(first: &str, second: &str) -> usize {
    let documents = pods("a", first) + "---\n" + &pods("b", second);
    let sources = [Source::new("policy.yaml", documents)];
    let (policies, complaints) = read_policies(&sources, &Dialect::default());
    assert_eq!(complaints, []);
    let (world, _) = read_world(&[Source::new("world.yaml", PODS)]);
    conflicts(&sources, &policies, &world, None, &Options::default()).len()
}

#[test]
fn proxies_contradict_each_other_wherever_two_rules_name_the_same_peer() {
    let http = |peers: &str| {
        format!("egress: [{{{peers} toPorts: [{{{HTTPS} rules: {{http: [{{}}]}}}}]}}]")
    };
    let tls = |peers: &str| {
        format!("egress: [{{{peers} toPorts: [{{{HTTPS} serverNames: [a.example.com]}}]}}]")
    };
    assert_eq!(conflicting(&http("toEntities: [world, host],"), &tls("toEntities: [world],")), 1);
    assert_eq!(conflicting(&http("toEntities: [all],"), &tls("")), 1);
    assert_eq!(conflicting(&http("toEntities: [world],"), &tls("toEntities: [host],")), 0);
    assert_eq!(conflicting(&http("toCIDR: [],"), &tls("toCIDR: [],")), 0, "nobody");
    let kafka = format!("egress: [{{toPorts: [{{{HTTPS} rules: {{kafka: [{{topic: a}}]}}}}]}}]");
    let other = format!("egress: [{{toPorts: [{{{HTTPS} rules: {{l7proto: cassandra}}}}]}}]");
    assert_eq!(conflicting(&kafka, &other), 1);
    assert_eq!(conflicting(&kafka, &kafka), 0);
}

#[test]
fn authentication_contradicts_itself_port_by_port() {
    let rule = |mode: &str, ports: &str| {
        format!(
            "ingress: [{{fromEndpoints: [{{}}], authentication: {{mode: {mode}}}, \
             toPorts: [{{ports: [{ports}]}}]}}]"
        )
    };
    let (http, https) = ("{port: '80', protocol: TCP}", "{port: '443', protocol: TCP}");
    let both = rule("required", &format!("{http}, {https}"));
    assert_eq!(conflicting(&both, &rule("disabled", https)), 1);
    assert_eq!(conflicting(&rule("required", http), &rule("disabled", https)), 0);
}
