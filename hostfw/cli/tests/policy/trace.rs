//! `policy trace`: which rule decides a packet, and what it leaves behind.

use super::*;

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
    assert!(stderr(&output).contains("`nobody` is neither"));
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
    let message = stderr(&output);
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
        json(&output)
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
fn an_option_that_would_have_no_effect_is_wrong_usage() {
    let folder = Folder::good("no-effect");
    let trace = |more: &[&str]| {
        let ends = ["--from", "cp-1", "--to", "worker-1", "tcp/22"];
        let arguments = ["policy", "trace", "policies.d", "--world", "cluster.d"];
        folder.hostfw(&[&arguments[..], &ends, more].concat())
    };
    let output = trace(&["--flags", "ack"]);
    shows(&output, 64, &[]);
    let message = stderr(&output);
    assert!(message.contains("--flags is for a packet, not for --from and --to"), "{message}");
    let output = trace(&["--through", "cp-1", "--node", "worker-1"]);
    shows(&output, 64, &[]);
    assert!(stderr(&output).contains("cannot be used with"), "{}", stderr(&output));
    assert_ne!(trace(&["--through", "cp-1"]).status.code(), Some(64));
}

#[test]
fn labels_are_those_of_the_node_that_forwards() {
    let policy = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
                  metadata: {name: f, annotations: {hostfw.io/scope: forward}}\n\
                  spec: {nodeSelector: {matchLabels: {role: gw}}, \
                  ingress: [{fromCIDR: [192.0.2.0/24]}]}\n";
    let folder = Folder::with("through", &[("policies.d/f.yaml", policy)]);
    let trace = |more: &[&str]| {
        let ends =
            ["--from", "198.51.100.7", "--to", "198.51.100.1", "tcp/22", "--through", "gw-1"];
        folder.hostfw(&[&["policy", "trace", "policies.d"], &ends[..], more].concat())
    };
    shows(&trace(&[]), 0, &["by sender: allowed: no policy is in force\n"]);
    shows(&trace(&["--label", "role=gw"]), 1, &["by sender: denied: no rule allows it\n"]);
}
