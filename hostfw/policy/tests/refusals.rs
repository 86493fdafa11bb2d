//! What is refused, warned about or taken where a reading that is too generous
//! would open something without a word, and one that is too strict would refuse
//! what the reference takes.

use hostfw_policy::{Dialect, Severity, Source, read_policies};

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
