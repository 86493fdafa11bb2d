//! Reading again gives what reading anew gives.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn reading_again_is_reading_anew(edits in prop::collection::vec((0..4_usize, 0..9_usize), 1..20)) {
        let mut readings = Readings::default();
        let mut files: BTreeMap<usize, usize> = BTreeMap::new();
        let mut before = Vec::new();
        for (file, text) in edits {
            // The last text is that of a file that is not there.
            if text == 8 { files.remove(&file) } else { files.insert(file, text) };
            let now: Vec<Source> = files.iter().map(|(file, text)| source(*file, *text)).collect();
            let again = readings.read_enforceable(&now, &before);
            prop_assert_eq!(again, read_enforceable(&now));
            before = now;
        }
    }
}

#[test]
fn what_is_not_said_to_be_as_before_is_read() {
    let mut readings = Readings::default();
    let (one, other) = ([source(0, 0)], [source(0, 1)]);
    readings.read_enforceable(&one, &[]);
    assert_eq!(readings.read_enforceable(&other, &[]), read_enforceable(&other));
    assert_eq!(readings.read_enforceable(&other, &other), read_enforceable(&other));
}

/// Files that are clean, share a name, cannot be read, or cannot be enforced.
fn source(file: usize, text: usize) -> Source {
    let policy = |name: &str, rule: &str| {
        format!(
            "---\napiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
             metadata: {{name: {name}}}\nspec:\n  nodeSelector: {{}}\n  ingress:\n  - {rule}\n"
        )
    };
    let prefix = "fromCIDR: [192.0.2.0/24]";
    let text = match text {
        0 => policy(&format!("own-{file}"), prefix),
        1 => policy(&format!("own-{file}"), "fromCIDR: [198.51.100.0/24]"),
        2 => policy("shared", prefix),
        3 => policy("twice", prefix) + &policy("twice", prefix),
        4 => policy("named", "toPorts: [{ports: [{port: http, protocol: TCP}]}]"),
        5 => policy("unknown", "fromNowhere: []"),
        6 => "no: [end".to_owned(),
        _ => String::new(),
    };
    let ending = if file == 3 { "test.yaml" } else { "yaml" };
    Source::new(format!("{file}.{ending}"), text)
}

/// Two policies with lists of every kind; what their rules hold knows its place.
const LONG: &str = r#"# The node, and pods.
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {}
  egressDeny:
  - toCIDR: [192.0.2.1/32]
  - toEntities: [host]
  - toCIDR:
    - 192.0.2.3/32
  - toCIDR: [192.0.2.4/32]
  ingress:
  - fromCIDR: ["192.0.2.0/24"]
    toPorts:
    - ports:
      - {port: "22", protocol: TCP}
  # A remark.
  - fromCIDRSet:
    - cidr: 10.0.0.0/8
      except: [10.1.0.0/16]

  - {fromEntities: [host, remote-node]}
  -   fromEndpoints:
      - matchLabels:
          app: "a\
            b"
  - toPorts: [{ports: [{port: "443",
      protocol: TCP}]}]
  - icmps:
    - fields: [{type: 8, family: IPv4}]
  - fromCIDR:
    - 2001:db8::/32
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: pods, namespace: shop}
specs:
- endpointSelector: {}
  egress:
  - toServices:
    - k8sService: {serviceName: db, namespace: shop}
  - toPorts:
    - ports: [{port: web, protocol: TCP}]
  - toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules:
        http:
        - path: |+
            /public

  - toServices:
    - k8sService: {serviceName: web, namespace: shop}
  - toFQDNs: [{matchPattern: "*.example.org"}]
  - toPorts: [{ports: [{port: dns, protocol: UDP}]}]
- endpointSelector: {matchLabels: {app: x}}
  ingress:
  - fromEndpoints: [{}]
  - {}
  - fromEntities: [cluster]
  - fromEntities: [world]
"#;

/// Lines that make another thing of those around them.
const LINES: [&str; 28] = [
    "---",
    "...",
    "",
    "#",
    "  - fromCIDR: [203.0.113.0/24]",
    "  - {}",
    "    toPorts: [{ports: [{port: \"8443\"}]}]",
    "  - toPorts: [{ports: [{port: http}]}]",
    "  - toCIDR: |+",
    "  - fromCIDR: [",
    "  ]",
    "  - \"",
    "  - '",
    "  ingress:",
    "  ingressDeny:",
    "  egress:",
    "  egressDeny:",
    "- nodeSelector: {}",
    "  - - fromCIDR: [203.0.113.0/24]",
    "    - fromCIDR: [203.0.113.0/24]",
    "  -",
    "\t- {}",
    "  - &a {}",
    "  - *a",
    "  description: >-",
    "  description: \u{2028}\u{85}",
    "spec:",
    "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: x}\n\
     spec:\n  nodeSelector: {}\n  ingress:",
];

/// One edit: where, so many lines that go, and lines that come: those of
/// [`LINES`] and then those of the text.
fn edits() -> impl Strategy<Value = Vec<(usize, usize, Vec<usize>)>> {
    let line = || 0..LINES.len() + LONG.lines().count();
    prop::collection::vec((0..60_usize, 0..4_usize, prop::collection::vec(line(), 0..3)), 1..6)
}

fn edited(text: &str, (at, n_gone, come): &(usize, usize, Vec<usize>)) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = (*at).min(lines.len());
    let gone = at..(at + n_gone).min(lines.len());
    let known: Vec<&str> = LINES.into_iter().chain(LONG.lines()).collect();
    lines.splice(gone, come.iter().map(|number| known[*number]));
    lines.join("\n") + "\n"
}

/// All of it, with the places that do not count when policies are compared.
fn in_full(reading: &Reading) -> String {
    let Reading {
        file: PolicyFile { policies, complaints, has_taken_back, n_nodes: _ },
        unenforceable,
    } = reading;
    format!("{policies:#?}{complaints:#?}{has_taken_back}{unenforceable:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Edits after which the file is as good as before are kept, so that later
    /// ones are made to a text of which parts were read long ago.
    #[test]
    fn an_edit_reads_as_the_whole_text(edits in edits()) {
        let mut text = LONG.to_owned();
        let mut reading = Reading::new(&Source::new("p.yaml", LONG));
        for edit in edits {
            let now = edited(&text, &edit);
            let source = Source::new("p.yaml", now.as_str());
            let Some(again) = reading.after_edit(text.as_bytes(), &source) else { continue };
            let anew = Reading::new(&source);
            prop_assert_eq!(in_full(&again), in_full(&anew), "{}", now);
            prop_assert!(again.file.n_nodes >= anew.file.n_nodes);
            (text, reading) = (now, again);
        }
    }
}

#[test]
fn an_edit_of_one_rule_leaves_the_others_unread() {
    let reading = Reading::new(&Source::new("p.yaml", LONG));
    assert!(reading.is_faultless(), "{reading:?}");
    let lines: Vec<&str> = LONG.lines().collect();
    let line = |wanted: &str| lines.iter().position(|line| line.ends_with(wanted)).expect(wanted);
    let rule = 4;
    let prefix = LINES.len() + line("[192.0.2.4/32]");
    for (at, n_gone, come) in [
        (line("icmps:"), 0, vec![rule]),
        (line("icmps:"), 2, vec![]),
        (line("{fromEntities: [host, remote-node]}"), 1, vec![rule, rule]),
        (line("egressDeny:") + 1, 1, vec![prefix]),
        (line("2001:db8::/32") + 1, 0, vec![rule]),
        (line("[world]"), 1, vec![]),
        (lines.len(), 0, vec![LINES.len() + line("[world]")]),
    ] {
        let now = edited(LONG, &(at, n_gone, come));
        let shortened = Shortened::new(LONG.as_bytes(), now.as_bytes(), &reading.file.policies);
        let text = String::from_utf8(shortened.expect("shorter").text).expect("text");
        assert_eq!(text.lines().count(), now.lines().count());
        assert!(text.lines().filter(|line| *line == "#").count() > 8, "{text}");
        let source = Source::new("p.yaml", now.as_str());
        let again = reading.after_edit(LONG.as_bytes(), &source).expect("read");
        assert_eq!(in_full(&again), in_full(&Reading::new(&source)), "{now}");
    }
}

#[test]
fn an_edit_that_changes_what_lines_elsewhere_mean_is_read_whole() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
             metadata: {{name: x}}\nspec:\n  nodeSelector: {{}}\n{spec}"
        )
    };
    let item = "    - fromEntities: [host]\n";
    let rules = |n: usize| item.repeat(n);
    let deny = format!("  ingress:\n{}  ingressDeny:\n{}", rules(4), rules(4));
    let text = format!("  ingress:\n{}  description: |\n{}", rules(4), rules(4));
    let named = format!("  ingress:\n    - &a {{}}\n{}    - *a\n{}", rules(2), rules(2));
    let tagged = |head: &str| {
        let tag = "    - fromEntities: [!t!str host]\n";
        format!("{head}---\n{}", policy(&format!("  ingress:\n{}{tag}{}", rules(2), rules(2))))
    };
    for (old, new) in [
        (policy(&format!("  ingress:\n{}", rules(8))), policy(&deny)),
        (policy(&format!("  ingress:\n{}", rules(8))), policy(&text)),
        (policy(&named), policy(&named.replace("    - &a {}\n", item))),
        (tagged("%TAG !t! tag:yaml.org,2002:\n"), tagged("")),
    ] {
        let reading = Reading::new(&Source::new("p.yaml", old.as_str()));
        assert!(reading.is_faultless(), "{old}{reading:?}");
        let source = Source::new("p.yaml", new.as_str());
        assert!(reading.after_edit(old.as_bytes(), &source).is_none(), "{new}");
    }
}

#[test]
fn warnings_that_an_edit_turns_on_again_are_found() {
    let ignore = "metadata: {name: node, annotations: {hostfw.io/ignore: cidr-host-bits}}";
    let on = LONG.replacen("192.0.2.3/32", "192.0.2.3/24", 1);
    let off = on.replacen("metadata: {name: node}", ignore, 1);
    let [on, off] = [on, off].map(|text| Source::new("p.yaml", text));
    let reading = Reading::new(&off);
    assert_eq!(reading.file.complaints, []);
    assert!(reading.after_edit(&off.bytes, &on).is_none());
    assert_eq!(Reading::new(&on).file.complaints.len(), 1);
}

#[test]
fn the_nodes_of_what_is_not_read_again_count() {
    let mut reading = Reading::new(&Source::new("p.yaml", LONG));
    let source = Source::new("p.yaml", edited(LONG, &(8, 0, vec![5])));
    assert!(reading.after_edit(LONG.as_bytes(), &source).is_some());
    reading.file.n_nodes = MAX_NODES;
    assert!(reading.after_edit(LONG.as_bytes(), &source).is_none());
}
