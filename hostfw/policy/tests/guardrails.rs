//! Guardrails are held against what policies mean: the same bad rule is found
//! in every spelling, and what only looks like it is let pass.

use std::collections::BTreeMap;

use hostfw_policy::{
    Complaint, Dialect, Options, Severity, Source, ThisNode, World,
    guardrails::{self, read_guardrails},
    read_policies,
    world::{CidrGroup, Service},
};

fn source(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

/// A world with a group of prefixes and a Service outside of the cluster.
fn world() -> World {
    let mut world = World::default();
    let group = CidrGroup {
        labels: BTreeMap::from([("site".to_owned(), "all".to_owned())]),
        cidrs: vec!["172.0.0.0/8".parse().expect("a prefix")],
    };
    world.cidr_groups.insert("wide".to_owned(), group);
    let service = Service {
        addresses: ["198.51.100.7".parse().expect("an address")].into(),
        ..Service::default()
    };
    world.services.insert(("shop".to_owned(), "bank".to_owned()), service);
    world
}

/// A policy for nodes with the given lists.
fn policy(lists: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: p}}\nspec:\n  nodeSelector: {{}}\n{lists}"
    )
}

fn held(guardrail: &str, policy: &str) -> Vec<Complaint> {
    let guardrails = [source("a.guardrails.yaml", &format!("guardrails:{guardrail}"))];
    let policies = [source("p.yaml", policy)];
    let (guardrails, complaints) = read_guardrails(&guardrails);
    assert_eq!(complaints, [], "{guardrail}");
    let (parsed, complaints) = read_policies(&policies, &Dialect::default());
    let errors = complaints.iter().filter(|one| one.severity == Severity::Error);
    assert_eq!(errors.count(), 0, "{policy}\n{complaints:#?}");
    let node = ThisNode { name: "n".to_owned(), ..ThisNode::default() };
    let options = Options { pods: true, ..Options::default() };
    guardrails::check(&guardrails, &policies, &parsed, &world(), &node, &options).expect("fits")
}

/// Every spelling is found once, at its rule, and no harmless one.
fn expect(guardrail: &str, bad: &[&str], harmless: &[&str]) {
    for lists in bad {
        let found = held(guardrail, &policy(lists));
        assert_eq!(found.len(), 1, "{lists}\n{found:#?}");
        assert_eq!((found[0].code, found[0].severity), ("guardrail", Severity::Error));
        assert!(found[0].line >= 6, "{lists}\n{found:#?}");
        assert!(found[0].what.contains("(a.guardrails.yaml:2)"), "{found:#?}");
    }
    for lists in harmless {
        let found = held(guardrail, &policy(lists));
        assert_eq!(found, [], "{lists}");
    }
}

const SSH: &str = r#"
- name: ssh-from-inside
  forbid:
    ingress:
    - fromCIDRSet: [{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}]
      toPorts: [{ports: [{port: "22", protocol: TCP}]}]
"#;

#[test]
fn a_forbidden_port_is_found_however_it_is_opened() {
    expect(
        SSH,
        &[
            "  ingress: [{fromEntities: [world], toPorts: [{ports: [{port: \"22\"}]}]}]",
            "  ingress: [{fromCIDR: [203.0.113.0/24], toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]}]",
            "  ingress: [{fromCIDR: [192.0.0.0/2], toPorts: [{ports: [{port: \"1\", endPort: 1024, protocol: TCP}]}]}]",
            "  ingress: [{fromEntities: [all]}]",
            "  ingress: [{toPorts: [{ports: [{port: \"0\", protocol: TCP}]}]}]",
            "  ingress: [{fromCIDRSet: [{cidrGroupRef: wide}]}]",
            "  ingress: [{fromCIDRSet: [{cidr: 8.0.0.0/7, except: [8.0.0.0/8]}]}]",
            "  ingress: [{fromEndpoints: [{matchLabels: {\"reserved:world-ipv4\": \"\"}}]}]",
        ],
        &[
            "  ingress: [{fromCIDR: [10.2.0.0/16], toPorts: [{ports: [{port: \"22\"}]}]}]",
            "  ingress: [{fromEntities: [world], toPorts: [{ports: [{port: \"22\", protocol: UDP}]}]}]",
            "  ingress: [{fromEntities: [world], toPorts: [{ports: [{port: \"23\", endPort: 99, protocol: TCP}]}]}]",
            "  egress: [{toEntities: [world]}]",
            "  ingress: [{fromEntities: [cluster, remote-node]}]",
            "  ingressDeny: [{fromEntities: [world]}]",
            "  ingress: [{}]",
            // What the policy itself denies is not allowed.
            "  ingress: [{fromEntities: [world]}]\n  ingressDeny: [{fromEntities: [world], toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]}]",
        ],
    );
}

#[test]
fn a_wide_prefix_is_found_in_whatever_pieces() {
    expect(
        "\n- name: narrow\n  widestPrefix: {ipv4: 16, ipv6: 32}\n",
        &[
            "  ingress: [{fromCIDR: [10.0.0.0/15]}]",
            "  ingress: [{fromCIDR: [10.0.0.0/16, 10.1.0.0/16]}]",
            "  ingress:\n  - fromCIDR: [10.0.0.0/16, 10.1.0.0/17]\n    toPorts: [{ports: [{port: \"22\"}]}]\n  - fromCIDR: [10.1.128.0/17]",
            "  ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.128.0.0/9]}]}]",
            "  ingress: [{fromCIDRSet: [{cidrGroupSelector: {matchLabels: {site: all}}}]}]",
            "  egress: [{toEntities: [world]}]",
            "  egress: [{toCIDR: [\"2001::/16\"]}]",
            "  ingress: [{toPorts: [{ports: [{port: \"443\"}]}]}]",
        ],
        &[
            "  ingress: [{fromCIDR: [10.0.0.0/16]}]",
            // Side by side, and no prefix together.
            "  ingress: [{fromCIDR: [10.1.0.0/16, 10.2.0.0/16]}]",
            // Different ports are no wider prefix.
            "  ingress:\n  - fromCIDR: [10.0.0.0/16]\n    toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]\n  - fromCIDR: [10.1.0.0/16]\n    toPorts: [{ports: [{port: \"23\", protocol: TCP}]}]",
            "  egress: [{toCIDR: [\"2001:db8::/32\"]}]",
            "  ingress: [{fromEntities: [remote-node]}]",
            "  ingressDeny: [{fromCIDR: [0.0.0.0/0]}]",
        ],
    );
}

#[test]
fn names_that_are_patterns_are_found() {
    let pods = |names: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, \
             namespace: shop}}\nspec:\n  endpointSelector: {{}}\n  egress:\n  - toFQDNs: [{names}]"
        )
    };
    let guardrail = "\n- name: in-full\n  exactNames: true\n";
    for names in [
        "{matchPattern: \"*\"}",
        "{matchPattern: \"*.example.com\"}",
        "{matchPattern: \"**.example.com\"}",
        "{matchName: a.example.com}, {matchPattern: \"b*.example.com\"}",
        "{matchPattern: \"***\"}",
    ] {
        assert_eq!(held(guardrail, &pods(names)).len(), 1, "{names}");
    }
    for names in ["{matchName: a.example.com}", "{matchPattern: a.example.com}"] {
        assert_eq!(held(guardrail, &pods(names)), [], "{names}");
    }
    // Every name is every address, which is the widest prefix.
    let narrow = "\n- name: narrow\n  widestPrefix: {ipv4: 16}\n";
    assert_eq!(held(narrow, &pods("{matchPattern: \"*\"}")).len(), 1);
    assert_eq!(held(narrow, &pods("{matchPattern: \"*.example.com\"}")), []);
}

const APPROVED: &str = r#"
- name: approved
  for: pods
  exempt: [shop/free]
  allowOnly:
    egress:
    - toEntities: [cluster]
    - toCIDR: [198.51.100.0/24]
      toPorts: [{ports: [{port: "443", protocol: TCP}]}]
    - toFQDNs: [{matchPattern: "*.example.com"}]
"#;

#[test]
fn egress_goes_to_approved_names_and_prefixes_only() {
    let named = |name: &str, rule: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, \
             namespace: shop}}\nspec:\n  endpointSelector: {{}}\n  egress:\n  - {rule}\n  \
             ingress:\n  - fromEntities: [all]"
        )
    };
    let https = "toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]";
    for bad in [
        "toCIDR: [198.51.100.0/25]".to_owned(),
        format!("toCIDR: [198.51.100.0/23]\n    {https}"),
        format!("toCIDRSet: [{{cidr: 198.51.0.0/16, except: [198.51.100.0/24]}}]\n    {https}"),
        "toServices: [{k8sService: {serviceName: bank, namespace: shop}}]".to_owned(),
        "toEntities: [world]".to_owned(),
        "toFQDNs: [{matchName: www.example.org}]".to_owned(),
        "toFQDNs: [{matchPattern: \"**.example.com\"}]".to_owned(),
        "toFQDNs: [{matchName: a.example.com}, {matchPattern: \"*\"}]".to_owned(),
        "toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]".to_owned(),
    ] {
        assert_eq!(held(APPROVED, &named("p", &bad)).len(), 1, "{bad}");
        assert_eq!(held(APPROVED, &named("free", &bad)), [], "exempt: {bad}");
    }
    for fine in [
        format!("toCIDR: [198.51.100.0/25, 198.51.100.128/25]\n    {https}"),
        "toEndpoints: [{}]".to_owned(),
        "toEntities: [host, remote-node, cluster]".to_owned(),
        "toFQDNs: [{matchName: www.example.com}, {matchPattern: \"w*.EXAMPLE.com\"}]".to_owned(),
    ] {
        assert_eq!(held(APPROVED, &named("p", &fine)), [], "{fine}");
    }
    // It is about pods, and this one selects nodes.
    assert_eq!(held(APPROVED, &policy("  egress: [{toEntities: [world]}]")), []);
}

#[test]
fn a_forbidden_name_is_found_in_every_pattern_that_may_mean_it() {
    let guardrail = "\n- name: no-paste\n  forbid: {egress: [{toFQDNs: [{matchPattern: \"**.paste.example\"}]}]}\n";
    let pods = |rule: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, \
             namespace: shop}}\nspec:\n  endpointSelector: {{}}\n  egress:\n  - {rule}"
        )
    };
    for bad in [
        "toFQDNs: [{matchName: www.paste.example}]",
        "toFQDNs: [{matchPattern: \"*\"}]",
        "toFQDNs: [{matchPattern: \"*.*.example\"}]",
        "toFQDNs: [{matchPattern: \"**.example\"}]",
        "toFQDNs: [{matchName: WWW.paste.example.}]",
    ] {
        assert_eq!(held(guardrail, &pods(bad)).len(), 1, "{bad}");
    }
    for fine in
        ["toFQDNs: [{matchName: paste.example}]", "toFQDNs: [{matchPattern: \"*.example\"}]"]
    {
        assert_eq!(held(guardrail, &pods(fine)), [], "{fine}");
    }
}

#[test]
fn what_every_policy_must_carry_is_asked_for() {
    let guardrail = "\n- name: owner\n  why: ask the platform team\n  require: {annotations: [example.com/owner], labels: [tier]}\n";
    let with = |metadata: &str| {
        policy("  ingress: [{}]").replace("{name: p}", &format!("{{name: p, {metadata}}}"))
    };
    let found = held(guardrail, &policy("  ingress: [{}]"));
    assert_eq!(found.len(), 1);
    assert!(found[0].what.ends_with("the label tier and the annotation example.com/owner"));
    assert_eq!(found[0].instead, "ask the platform team");
    let half = with("labels: {tier: x}, annotations: {example.com/owner: \" \"}");
    assert!(held(guardrail, &half)[0].what.ends_with("carry the annotation example.com/owner"));
    assert_eq!(
        held(guardrail, &with("labels: {tier: x}, annotations: {example.com/owner: me}")),
        []
    );
}

#[test]
fn wrong_guardrails_are_refused_with_their_place() {
    for (text, line) in [
        ("guardrails:\n- name: a\n", 2),
        ("guardrails:\n- name: a\n  exactNames: true\n  require: {labels: [x]}\n", 2),
        ("guardrails:\n- name: a\n  widestPrefix: {ipv4: 33}\n", 3),
        ("guardrails:\n- name: a\n  widestPrefix: {}\n", 3),
        ("guardrails:\n- name: a\n  widestPrefix: 16\n", 3),
        ("guardrails:\n- name: a\n  forbid: {ingress: []}\n", 3),
        ("guardrails:\n- name: a\n  forbid: {ingressDeny: []}\n", 3),
        ("guardrails:\n- name: a\n  require: {}\n", 3),
        ("guardrails:\n- name: a\n  exactNames: false\n", 3),
        ("guardrails:\n- name: a\n  exactNames: true\n  for: services\n", 4),
        ("guardrails:\n- exactNames: true\n", 2),
        ("guards: []\n", 1),
    ] {
        let (guardrails, complaints) = read_guardrails([&source("a.guardrails.yaml", text)]);
        assert_eq!(guardrails, [], "{text}");
        assert!(!complaints.is_empty(), "{text}");
        assert!(
            complaints.iter().all(|one| one.line == line && !one.instead.is_empty()),
            "{text}{complaints:#?}"
        );
    }
}

#[test]
fn a_wrong_guardrail_is_answered_with_what_was_meant() {
    for (lines, what, instead) in [
        ("forbidden: {}", "a guardrail has no field `forbidden`", "forbid:"),
        ("subjects: pods", "a guardrail has no field `subjects`", "for: nodes, or for: pods"),
        ("endpointSelector: {}", "a guardrail has no field `endpointSelector`", "for: pods"),
        (
            "widestPrefix: 16",
            "`widestPrefix` is said for each family",
            "widestPrefix: {ipv4: 16, ipv6: 32}",
        ),
        (
            "why: x",
            "a guardrail demands one thing, and this one nothing",
            "one of forbid, allowOnly, widestPrefix, exactNames, require",
        ),
    ] {
        let text = format!("guardrails:\n- name: a\n  {lines}\n");
        let (_, complaints) = read_guardrails([&source("a.guardrails.yaml", &text)]);
        let is_it = |one: &Complaint| one.what == what && one.instead == instead;
        assert!(complaints.iter().any(is_it), "{text}{complaints:#?}");
    }
}
