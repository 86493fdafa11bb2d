//! The built command on directories of policies: what is accepted and refused,
//! whom policies select, which rule decides a packet. Without daemon and root.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const SSH: &str = r#"apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata:
  name: ssh
spec:
  nodeSelector: {}
  ingress:
  - fromCIDR:
    - 192.0.2.0/24
    - 2001:db8:1::/64
    toPorts:
    - ports:
      - port: "22"
        protocol: TCP
  - icmps:
    - fields:
      - type: 8
  ingressDeny:
  - fromCIDR:
    - 192.0.2.66/32
"#;

const ETCD: &str = r#"apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata:
  name: etcd
spec:
  nodeSelector:
    matchLabels:
      node-role.kubernetes.io/control-plane: ""
  ingress:
  - fromEntities:
    - remote-node
    toPorts:
    - ports:
      - port: "2379"
        endPort: 2380
        protocol: TCP
  egress:
  - toEntities:
    - cluster
"#;

const NODES: &str = r#"apiVersion: v1
kind: Node
metadata:
  name: cp-1
  labels:
    node-role.kubernetes.io/control-plane: ""
status:
  addresses:
  - type: InternalIP
    address: 10.0.0.1
---
apiVersion: v1
kind: Node
metadata:
  name: worker-1
status:
  addresses:
  - type: InternalIP
    address: 10.0.0.2
---
apiVersion: v1
kind: Pod
metadata:
  name: prometheus-0
  namespace: monitoring
status:
  podIP: 10.1.0.9
"#;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("hostfw-policy-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a temporary folder");
            fs::write(path, text).expect("a temporary file");
        }
        Self(folder)
    }

    fn good(name: &str) -> Self {
        Self::with(
            name,
            &[
                ("policies.d/ssh.yaml", SSH),
                ("policies.d/etcd.yml", ETCD),
                ("policies.d/README", "not a policy"),
                ("policies.d/.ssh.yaml.swp", "an editor's"),
                ("policies.d/old/ssh.yaml", "not read"),
                ("cluster.d/nodes.yaml", NODES),
            ],
        )
    }

    fn hostfw(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hostfw"))
            .current_dir(&self.0)
            .args(arguments)
            .env_remove("COLUMNS")
            .output()
            .expect("run hostfw")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[track_caller]
fn shows(output: &Output, code: i32, lines: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}{messages}");
    for line in lines {
        assert!(text.contains(line), "no `{line}` in\n{text}{messages}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_good_directory_is_accepted_and_shows_whom_it_selects() {
    let folder = Folder::good("good");
    let output = folder.hostfw(&["policy", "check", "policies.d", "--world", "cluster.d"]);
    shows(
        &output,
        0,
        &[
            "Accepted: 2 policies.",
            "policies.d/README is not read: not .yaml, .yml or .json\n",
            "policies.d/old is not read: a directory\n",
            "etcd (policies.d/etcd.yml:1) selects cp-1\n",
            "ssh (policies.d/ssh.yaml:1) selects cp-1, worker-1\n",
        ],
    );
}

#[test]
fn a_named_node_shows_what_would_be_loaded() {
    let folder = Folder::good("node");
    let world = ["--world", "cluster.d", "--node", "worker-1"];
    let output = folder.hostfw(&[&["policy", "check", "policies.d"], &world[..]].concat());
    shows(
        &output,
        0,
        &[
            "Ingress  in force",
            "Egress   not in force",
            "Selected by: ssh\n",
            "Not selected by: etcd\n",
        ],
    );
    let label = ["--label", "node-role.kubernetes.io/control-plane=", "-o", "json"];
    let output =
        folder.hostfw(&[&["policy", "check", "policies.d"], &world[..], &label[..]].concat());
    let report = json(&output);
    assert_eq!(report["node"]["egress_in_force"], true, "{report}");
    assert_eq!(report["policies"].as_array().map(Vec::len), Some(2), "{report}");
}

#[test]
fn a_policy_for_pods_selects_pods() {
    let folder = Folder::good("pods");
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: all, namespace: monitoring}\nspec: {podSelector: {}}\n";
    fs::write(folder.0.join("policies.d/pods.yaml"), policy).expect("a temporary file");
    let check = |more: &[&str]| {
        let arguments = ["policy", "check", "policies.d", "--world", "cluster.d"];
        folder.hostfw(&[&arguments[..], more].concat())
    };
    let line = "monitoring/all (policies.d/pods.yaml:1) selects monitoring/prometheus-0\n";
    shows(&check(&[]), 0, &[line, "ssh (policies.d/ssh.yaml:1) selects cp-1, worker-1\n"]);
    let report = json(&check(&["-o", "json"]));
    assert_eq!((&report["n_nodes"], &report["n_pods"]), (&2.into(), &1.into()), "{report}");
    let of_pods = &report["policies"][1];
    assert_eq!(of_pods["n_pods"], 1, "{report}");
    assert_eq!(of_pods["pods"][0], "monitoring/prometheus-0", "{report}");
    assert_eq!(of_pods["selects"].as_array().map(Vec::len), Some(0), "{report}");
    // Where that pod runs nobody says, so it is on no node that is named.
    shows(&check(&["--node", "cp-1"]), 0, &["Not selected by: monitoring/all\n"]);
}

#[test]
fn rules_that_contradict_each_other_on_a_pod_are_refused_with_both_places() {
    let policy = |name: &str, proxy: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
             metadata: {{name: {name}, namespace: monitoring}}\nspec:\n  endpointSelector: {{}}\n  \
             egress:\n  - toEntities: [world]\n    toPorts:\n    - ports: [{{port: \"80\", \
             protocol: TCP}}]\n      {proxy}\n"
        )
    };
    let world = NODES.replace(
        "  namespace: monitoring\n",
        "  namespace: monitoring\nspec:\n  nodeName: worker-1\n",
    );
    let folder = Folder::with(
        "conflict",
        &[
            ("policies.d/one.yaml", &policy("one", "rules: {http: [{path: /}]}")),
            ("policies.d/two.yaml", &policy("two", "rules: {l7proto: cassandra}")),
            ("cluster.d/nodes.yaml", &world),
        ],
    );
    let check = |more: &[&str]| folder.hostfw(&[&["policy", "check", "policies.d"], more].concat());
    let lines = [
        "policies.d/two.yaml:7:5: error[conflict]: two proxies for the same connections:\n",
        "this rule and `monitoring/one` (policies.d/one.yaml:7)",
        "Refused: 1 error, ",
    ];
    shows(&check(&["--world", "cluster.d"]), 1, &lines);
    assert_eq!(check(&["--world", "cluster.d", "--node", "worker-1"]).status.code(), Some(1));
    // Its pod runs elsewhere, and without a world nobody has both.
    assert_eq!(check(&["--world", "cluster.d", "--node", "cp-1"]).status.code(), Some(0));
    assert_eq!(check(&[]).status.code(), Some(0));
}

#[test]
fn a_refused_directory_is_shown_as_by_a_compiler() {
    let bad = SSH.replace("port: \"22\"", "port: 22").replace("fromCIDR:", "fromCIDRs:");
    let folder =
        Folder::with("bad", &[("policies.d/ssh.yaml", &bad), ("policies.d/etcd.yaml", ETCD)]);
    let output = folder.hostfw(&["policy", "check", "policies.d"]);
    shows(
        &output,
        1,
        &[
            "policies.d/ssh.yaml:8:5: error[",
            "  8 |   - fromCIDRs:\n",
            "    |     ^\n",
            "  = instead: ",
            "Refused: ",
        ],
    );
    let report = json(&folder.hostfw(&["policy", "check", "policies.d", "-o", "json"]));
    assert_eq!(report["accepted"], false, "{report}");
    let complaints = report["complaints"].as_array().expect("complaints");
    assert!(complaints.iter().any(|complaint| complaint["line"] == 13), "the port too: {report}");
}

#[test]
fn an_empty_directory_is_accepted() {
    let folder = Folder::with("empty", &[("policies.d/.keep", "")]);
    let output = folder.hostfw(&["policy", "check", "policies.d"]);
    shows(&output, 0, &["Accepted: 0 policies.\nNo nodes are known: "]);
}

#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let folder = Folder::with("dangling", &[("policies.d/ssh.yaml", SSH)]);
    std::os::unix::fs::symlink("/nonexistent", folder.0.join("policies.d/etcd.yaml"))
        .expect("a link");
    let output = folder.hostfw(&["policy", "check", "policies.d"]);
    shows(&output, 2, &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("read policies.d/etcd.yaml: "), "{message}");
}

#[test]
fn a_missing_directory_is_an_error() {
    let folder = Folder::with("missing", &[(".keep", "")]);
    let output = folder.hostfw(&["policy", "check", "policies.d"]);
    shows(&output, 2, &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.starts_with("hostfw: open policies.d: "), "{message}");
}

#[test]
fn an_unknown_node_is_wrong_usage() {
    let folder = Folder::good("unknown");
    let world = ["--world", "cluster.d", "--node", "cp1"];
    let output = folder.hostfw(&[&["policy", "check", "policies.d"], &world[..]].concat());
    shows(&output, 64, &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("it has: cp-1, worker-1"), "{message}");
}

#[track_caller]
fn traced(folder: &Folder, packet: &[&str], code: i32) -> serde_json::Value {
    let arguments =
        ["policy", "trace", "policies.d", "--world", "cluster.d", "--node", "cp-1", "-o", "json"];
    let output = folder.hostfw(&[&arguments[..], packet].concat());
    shows(&Output { stdout: Vec::new(), ..output.clone() }, code, &[]);
    json(&output)
}

#[test]
fn a_trace_names_the_deciding_rule_with_file_and_line() {
    let folder = Folder::good("trace");
    let report = traced(&folder, &["ingress", "192.0.2.7", "tcp/22"], 0);
    assert_eq!(report["action"], "pass", "{report}");
    assert_eq!(report["reason"], "rule", "{report}");
    assert_eq!(report["rule"]["path"], "policies.d/ssh.yaml", "{report}");
    assert_eq!(report["rule"]["line"], 8, "{report}");
    assert_eq!(report["local"], "10.0.0.1", "{report}");
}

#[test]
fn a_trace_says_what_an_allowed_packet_leaves_behind() {
    let folder = Folder::good("remembered");
    let remembered = |packet: &[&str]| {
        let report = traced(&folder, packet, 0);
        let steps = report["steps"].as_array().expect("a list").clone();
        let texts = |step: &serde_json::Value| step["answer"].as_str().map(str::to_owned);
        let wanted = steps.iter().filter(|step| step["question"] == "remembered");
        (wanted.filter_map(texts).collect::<Vec<_>>(), report.to_string())
    };
    let (texts, report) = remembered(&["ingress", "192.0.2.7", "tcp/22"]);
    assert_eq!(texts, ["no entry: this host has opened nothing from tcp/22"], "{report}");
    let (texts, report) = remembered(&["egress", "10.0.0.2", "udp/53"]);
    assert_eq!(texts, ["an entry in the connection table lets the answers pass"], "{report}");
    assert!(!report.contains("has opened"), "{report}");
}

#[test]
fn an_explicit_deny_beats_an_allow_which_is_listed_too() {
    let folder = Folder::good("deny");
    let report = traced(&folder, &["ingress", "192.0.2.66", "tcp/22"], 1);
    assert_eq!(report["reason"], "explicit-deny", "{report}");
    assert_eq!(report["rule"]["kind"], "deny", "{report}");
    assert_eq!(report["rule"]["line"], 19, "{report}");
}

#[test]
fn what_no_rule_allows_is_denied() {
    let folder = Folder::good("default");
    for packet in [
        &["ingress", "198.51.100.1", "tcp/22"][..],
        &["ingress", "192.0.2.7", "tcp/23"],
        &["ingress", "192.0.2.7", "udp/22"],
        &["ingress", "2001:db8:2::7", "tcp/22"],
        &["ingress", "198.51.100.1", "tcp/2379"],
        &["egress", "198.51.100.1", "tcp/443"],
        &["ingress", "192.0.2.7", "tcp/8080", "--flags", "ack"],
    ] {
        let report = traced(&folder, packet, 1);
        assert_eq!(report["reason"], "default-deny", "{report}");
        assert_eq!(report["rule"], serde_json::Value::Null, "{report}");
    }
}

#[test]
fn peers_are_whom_the_world_says_they_are() {
    let folder = Folder::good("world");
    let report = traced(&folder, &["ingress", "10.0.0.2", "tcp/2380"], 0);
    assert_eq!(report["rule"]["policy"], "etcd", "{report}");
    let report = traced(&folder, &["egress", "10.0.0.2", "udp/53"], 0);
    assert_eq!(report["rule"]["policy"], "etcd", "{report}");
    assert!(report.to_string().contains("the node worker-1"), "{report}");
}

#[test]
fn a_peer_may_be_named_as_in_the_world() {
    let folder = Folder::good("named");
    let report = traced(&folder, &["ingress", "worker-1", "tcp/2379"], 0);
    assert_eq!(report["peer"], "10.0.0.2", "{report}");
    let report = traced(&folder, &["egress", "monitoring/prometheus-0", "sctp/9090"], 0);
    assert_eq!(report["peer"], "10.1.0.9", "{report}");
    assert!(report.to_string().contains("the pod monitoring/prometheus-0"), "{report}");
    let arguments = ["policy", "trace", "policies.d", "--node", "n", "ingress", "nobody", "ping"];
    let output = folder.hostfw(&arguments);
    shows(&output, 64, &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("`nobody` is neither"));
}

#[test]
fn ping_is_an_echo_request_of_the_peers_family() {
    let folder = Folder::good("ping");
    assert_eq!(traced(&folder, &["ingress", "198.51.100.1", "ping"], 0)["protocol"], 1);
    let report = traced(&folder, &["ingress", "2001:db8::5", "ping"], 1);
    assert_eq!(report["protocol"], 58, "{report}");
}

#[test]
fn neighbour_discovery_passes_whatever_policy_says() {
    let folder = Folder::good("neighbour");
    let report = traced(&folder, &["ingress", "fe80::7", "icmpv6/135"], 0);
    assert_eq!(report["reason"], "neighbour", "{report}");
}

#[test]
fn a_trace_through_refused_files_is_an_error_not_a_verdict() {
    let folder = Folder::with("trace-bad", &[("ssh.yaml", "kind: [")]);
    let arguments = ["policy", "trace", ".", "--node", "n", "ingress", "192.0.2.7", "tcp/22"];
    let output = folder.hostfw(&arguments);
    shows(&output, 2, &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("the files are refused"), "{message}");
}

#[test]
fn the_text_of_a_trace_fits_eighty_columns() {
    let folder = Folder::good("text");
    let arguments = ["policy", "trace", "policies.d", "--node", "cp-1", "--world", "cluster.d"];
    let output = folder.hostfw(&[&arguments[..], &["ingress", "192.0.2.7", "tcp/22"]].concat());
    shows(
        &output,
        0,
        &[
            "PASS: rule\n  tcp/22 from 192.0.2.7 to cp-1 (10.0.0.1)\n",
            "Decided by\n  allow from ",
            "ssh policies.d/ssh.yaml:8\n",
        ],
    );
}

#[test]
fn a_connection_is_judged_at_both_of_its_ends() {
    let folder = Folder::good("ends");
    let ends = |from: &str, to: &str, what: &str, code: i32| {
        let arguments = [
            "policy",
            "trace",
            "policies.d",
            "--world",
            "cluster.d",
            "--from",
            from,
            "--to",
            to,
            what,
            "-o",
            "json",
        ];
        let output = folder.hostfw(&arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("a report")
    };
    let report = ends("cp-1", "worker-1", "tcp/22", 1);
    let [leaving, arriving] = report["ends"].as_array().expect("a list").as_slice() else {
        panic!("two ends: {report}")
    };
    assert_eq!((&leaving["direction"], &leaving["passes"]), (&"egress".into(), &true.into()));
    assert_eq!(leaving["rule"]["policy"], "etcd");
    assert_eq!((&arriving["direction"], &arriving["passes"]), (&"ingress".into(), &false.into()));
    let report = ends("192.0.2.7", "worker-1", "tcp/22", 0);
    assert_eq!(report["ends"].as_array().map(Vec::len), Some(1), "nothing is known of the outside");
    assert_eq!(ends("192.0.2.66", "10.0.0.2", "ping", 1)["ends"][0]["rule"]["kind"], "deny");
}

#[test]
fn a_difference_names_peers_services_and_both_rules() {
    let folder = Folder::good("diff");
    let narrower = SSH.replace("192.0.2.0/24", "192.0.2.0/25").replace("\"22\"", "\"2222\"");
    fs::create_dir_all(folder.0.join("new.d")).expect("a temporary folder");
    fs::write(folder.0.join("new.d/ssh.yaml"), narrower).expect("a temporary file");
    fs::write(folder.0.join("new.d/etcd.yml"), ETCD).expect("a temporary file");
    let arguments =
        ["policy", "diff", "policies.d", "new.d", "--world", "cluster.d", "--node", "cp-1"];
    let output = folder.hostfw(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("- closes ingress from 192.0.2.0-192.0.2.65"), "{text}");
    assert!(text.contains("+ opens ingress from 192.0.2.0-192.0.2.65"), "{text}");
    assert!(text.contains("TCP 2222"), "{text}");
    let same = ["policy", "diff", "policies.d", "policies.d", "--world", "cluster.d"];
    let output = folder.hostfw(&same);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn cases_beside_the_policies_are_no_policies_and_decide_the_exit_code() {
    let folder = Folder::good("cases");
    let cases = |expect: &str| {
        let text = format!(
            "tests:\n- {{name: open, from: 192.0.2.7, to: cp-1, port: tcp/22, expect: {expect}}}\n"
        );
        fs::write(folder.0.join("policies.d/ssh.test.yaml"), text).expect("a temporary file");
    };
    let test = |form: &str| {
        folder.hostfw(&["policy", "test", "policies.d", "--world", "cluster.d", "-o", form])
    };
    cases("allow");
    let output = test("text");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Passed: 1 of 1 case.\n");
    let checked = folder.hostfw(&["policy", "check", "policies.d", "--world", "cluster.d"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    cases("deny");
    let output = test("junit");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("failures=\"1\"") && text.contains("expected deny, got allow"), "{text}");
    cases("perhaps");
    let output = test("text");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("allow, deny or redirect"), "{}", stderr(&output));
}

/// Checks a good directory with the given cases beside its policies.
fn checked_with_cases(name: &str, cases: &str, more: &[&str]) -> Output {
    let folder = Folder::good(&format!("cases-{name}"));
    fs::write(folder.0.join("policies.d/ssh.test.yaml"), format!("tests:\n{cases}"))
        .expect("a temporary file");
    folder.hostfw(&[&["policy", "check", "policies.d"], more].concat())
}

#[test]
fn a_set_whose_cases_fail_or_cannot_be_read_is_refused_as_by_the_daemon() {
    let world = ["--world", "cluster.d"];
    let good = "- {from: 192.0.2.7, to: cp-1, port: tcp/22, expect: allow}\n";
    let output = checked_with_cases("good", good, &world);
    shows(&output, 0, &["Accepted: 2 policies.\nCases: 1 passed.\n"]);

    let bad = "- {name: shut, from: 192.0.2.7, to: cp-1, port: tcp/22, expect: deny}\n";
    let output = checked_with_cases("bad", &format!("{good}{bad}"), &world);
    let lines = [
        "policies.d/ssh.test.yaml:3:3: error[test-failed]: the test `shut` fails:\n",
        "expected deny, got allow: ingress of the node cp-1 is allowed by `ssh`\n",
        "Refused: 1 error, 2 policies.\nCases: 1 passed, 1 failed.\n",
    ];
    shows(&output, 1, &lines);
    let output = checked_with_cases("bad-json", bad, &["--world", "cluster.d", "-o", "json"]);
    let report = json(&output);
    assert_eq!((&report["accepted"], &report["cases"]["failed"]), (&false.into(), &1.into()));

    for (number, (case, complaint)) in [
        ("{from: cp-9, to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `cp-9` is no"),
        ("{from: shop/a, to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `shop/a` is no"),
        ("{from: 'a=b,c', to: cp-1, port: tcp/22, expect: deny}", "[test-unknown]: `c` in `a=b,c`"),
        ("{from: world, to: cp-1, port: tcp/ssh, expect: deny}", "[bad-port]: "),
        ("{from: world, to: cp-1, port: tcp/22, expect: maybe}", "[bad-expectation]: "),
        ("{from: world, to: cp-1, port: tcp/22}", "[missing-field]: "),
        ("{from: world, to: remote-node, port: tcp/22, expect: deny}", "no answer: neither"),
        ("{from: 192.0.2.7, to: cp-1, port: icmpv6/8, expect: deny}", "two ends of the protocol"),
        ("{form: world, to: cp-1, port: tcp/22, expect: deny}", "= instead: from:"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = checked_with_cases(&format!("wrong-{number}"), &format!("- {case}\n"), &world);
        shows(&output, 1, &[complaint, "Refused: "]);
    }
    // A bare number is a protocol, which is hardly meant behind `port`.
    let bare = "- {from: 192.0.2.7, to: cp-1, port: \"22\", expect: deny}\n";
    let output = checked_with_cases("bare", bare, &world);
    shows(&output, 0, &["warning[protocol-number]: `22` is", "port: tcp/22, unless"]);
}

#[test]
fn a_case_that_cannot_be_asked_without_a_node_is_not_run() {
    let cases = "- {name: own, from: 192.0.2.7, to: host, port: tcp/22, expect: allow}\n\
                 - {name: etcd, from: worker-1, to: host, port: tcp/2379, expect: allow}\n\
                 - {name: other, from: 192.0.2.7, to: 198.51.100.9, port: tcp/22, expect: allow}\n";
    let check = |name: &str, more: &[&str]| checked_with_cases(name, cases, more);
    let output = check("anywhere", &["--world", "cluster.d"]);
    let lines = [
        "Accepted: 2 policies.\nCases: 3 not run.\n",
        "  not run: own (policies.d/ssh.test.yaml:2): `host` is the node itself, and no\n",
        "192.0.2.7 may be an address of\n    the node",
        "  --node NAME says which node `host` is, ",
    ];
    shows(&output, 0, &lines);
    // One node is meant, and it is another one for which `etcd` is open.
    let node = ["--world", "cluster.d", "--node", "cp-1", "--address", "198.51.100.9"];
    shows(&check("cp-1", &node), 0, &["Accepted: 2 policies.\nCases: 3 passed.\n"]);
    let output = check("worker-1", &["--world", "cluster.d", "--node", "worker-1"]);
    shows(&output, 1, &["Refused: 2 errors, 2 policies.\nCases: 1 passed, 2 failed.\n"]);
    // Without a world nobody is known, and nothing is a typing error.
    let output = check("nowhere", &["-o", "json"]);
    let report = json(&output);
    let not_run = &report["cases"]["not_run"];
    assert_eq!(not_run.as_array().map(Vec::len), Some(3), "{report}");
    assert_eq!((&not_run[1]["name"], &not_run[1]["line"]), (&"etcd".into(), &3.into()));
    assert_eq!((&report["accepted"], &report["cases"]["passed"]), (&true.into(), &0.into()));
    let unknown = "- {from: shop/a, to: cp-1, port: tcp/22, expect: deny}\n";
    shows(&checked_with_cases("unknown", unknown, &[]), 0, &["Cases: 1 not run.\n"]);
    // For a named node it is as in its daemon, which has no world either.
    let output = checked_with_cases("alone", unknown, &["--node", "cp-1"]);
    shows(&output, 1, &["error[test-unknown]: `shop/a` is no"]);
}

#[test]
fn guardrails_refuse_what_policies_mean() {
    let folder = Folder::good("guardrails");
    let guardrails = "guardrails:\n- name: no-ssh\n  why: use the console\n  forbid: {ingress: \
                      [{toPorts: [{ports: [{port: \"22\"}]}]}]}\n";
    let check = |more: &[&str]| {
        let mut arguments = vec!["policy", "check", "policies.d", "--world", "cluster.d"];
        arguments.extend(more);
        folder.hostfw(&arguments)
    };
    fs::write(folder.0.join("site.yaml"), guardrails).expect("a temporary file");
    assert_eq!(check(&[]).status.code(), Some(0));
    let output = check(&["--guardrails", "site.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("ssh.yaml:8:5: error[guardrail]"), "{text}");
    assert!(text.contains("forbids TCP 22 from") && text.contains("use the console"), "{text}");
    // One that lies beside the policies needs no option.
    fs::rename(folder.0.join("site.yaml"), folder.0.join("policies.d/site.guardrails.yaml"))
        .expect("a temporary file");
    assert_eq!(check(&[]).status.code(), Some(1));
}

#[test]
fn complaints_have_forms_for_other_programs_and_only_where_they_belong() {
    let folder = Folder::with("forms", &[("p.yaml", "kind: [")]);
    let output = folder.hostfw(&["policy", "check", ".", "-o", "sarif"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "yaml-syntax");
    let output = folder.hostfw(&["policy", "check", ".", "-o", "github"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("::error file="));
    let output = folder.hostfw(&["policy", "check", ".", "-o", "junit"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn policies_are_explained_in_sentences_and_have_schemas() {
    let folder = Folder::good("explain");
    let output = folder.hostfw(&["policy", "explain", "policies.d", "--world", "cluster.d"]);
    shows(
        &output,
        0,
        &[
            "CiliumClusterwideNetworkPolicy `ssh` (policies.d/ssh.yaml:1)\n",
            "  It concerns every node; of the 2 known: cp-1, worker-1.\n",
            "  Ingress is in force: what comes in is denied unless a rule allows it.\n",
            "      8: allows TCP 22 from 192.0.2.0/24, 2001:db8:1::/64\n",
            "     19: denies every service from 192.0.2.66/32\n",
        ],
    );
    let world = ["--world", "cluster.d", "-o", "json"];
    let output = folder.hostfw(&[&["policy", "explain", "policies.d"], &world[..]].concat());
    let report = json(&output);
    assert_eq!(report["policies"][1]["name"], "ssh", "{report}");
    let rules = &report["policies"][1]["parts"][0]["rules"];
    assert_eq!(rules[2]["line"], 19, "{report}");
    assert_eq!(rules[2]["sentence"], "denies every service from 192.0.2.66/32", "{report}");
    for verb in [&["explain", "policies.d"][..], &["schema"]] {
        for form in ["sarif", "github", "junit"] {
            let output = folder.hostfw(&[&["policy"], verb, &["-o", form]].concat());
            shows(&output, 64, &[]);
            assert!(stderr(&output).contains("has this form"), "{}", stderr(&output));
        }
    }
    let output = folder.hostfw(&["policy", "schema", "networkpolicy", "-o", "json"]);
    assert_eq!(json(&output)["title"], "NetworkPolicy");
    let output = folder.hostfw(&["policy", "schema", "Deployment"]);
    assert_eq!(output.status.code(), Some(64));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
