//! `policy check`: what is accepted and refused, and whom policies select.

use super::*;

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
fn a_policy_selects_nothing_only_where_somebody_is_known() {
    let one = NODES.split("---\n").nth(1).expect("worker-1 alone");
    let folder = Folder::with("nobody", &[("policies.d/etcd.yaml", ETCD), ("one.d/n.yaml", one)]);
    let warnings = |more: &[&str]| {
        let output = folder.hostfw(&[&["policy", "check", "policies.d"], more].concat());
        let text = String::from_utf8(output.stdout).expect("text");
        let mut lines = text.lines().skip_while(|line| !line.contains("[selects-nothing]"));
        let words: Vec<&str> = lines.by_ref().take(2).flat_map(str::split_whitespace).collect();
        words.join(" ")
    };
    assert_eq!(warnings(&[]), "");
    assert_eq!(warnings(&["-o", "github"]), "");
    let one = warnings(&["--world", "one.d"]);
    assert!(one.contains("this selects nothing: not the only node that is known"), "{one}");
    let named = warnings(&["--node", "worker-1"]);
    assert!(named.contains("not this node, the only one known"), "{named}");
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
fn what_is_never_enforced_is_not_for_want_of_rules() {
    let folder = Folder::good("never");
    let never = ["--node", "cp-1", "--enforcement", "never"];
    let output = folder.hostfw(&[&["policy", "check", "policies.d"], &never[..]].concat());
    let line = "Ingress  not in force: `enforcement: never`, everything passes\n";
    shows(&output, 0, &[line, "Selected by: ssh\n"]);
    let packet = ["ingress", "198.51.100.1", "tcp/22"];
    let trace = [&["policy", "trace", "policies.d"], &never[..], &packet].concat();
    shows(&folder.hostfw(&trace), 0, &["ingress is not in force: `enforcement: never`\n"]);
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
fn a_directory_that_holds_only_directories_is_none_of_policies() {
    let folder = Folder::good("above");
    let above = folder.0.file_name().expect("a name").to_string_lossy().into_owned();
    let said = format!(
        "hostfw: nothing is read from ../{above}, as subdirectories are not: \
         name one of ../{above}/cluster.d, ../{above}/policies.d\n"
    );
    for command in [&["check"][..], &["test"], &["fmt", "--check"], &["explain"]] {
        let above = format!("../{above}");
        let output = folder.hostfw(&[&["policy"], command, &[above.as_str()]].concat());
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), said.clone()));
    }
    fs::create_dir(folder.0.join("empty.d")).expect("a temporary folder");
    shows(&folder.hostfw(&["policy", "check", "empty.d"]), 0, &["Accepted: 0 policies."]);
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
fn a_refusal_is_one_for_a_reader_that_has_seen_enough_too() {
    let folder = Folder::with("pipe", &[("policies.d/ssh.yaml", "kind: [")]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_hostfw"))
        .current_dir(&folder.0)
        .args(["policy", "check", "policies.d"])
        .stdout(writer)
        .status()
        .expect("run hostfw");
    assert_eq!(status.code(), Some(1));
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
    let message = stderr(&output);
    assert!(message.contains("read policies.d/etcd.yaml: "), "{message}");
}

#[test]
fn a_missing_directory_is_an_error() {
    let folder = Folder::with("missing", &[(".keep", "")]);
    let output = folder.hostfw(&["policy", "check", "policies.d"]);
    shows(&output, 2, &[]);
    let message = stderr(&output);
    assert!(message.starts_with("hostfw: open policies.d: "), "{message}");
}

#[test]
fn an_unknown_node_is_wrong_usage() {
    let folder = Folder::good("unknown");
    let world = ["--world", "cluster.d", "--node", "cp1"];
    let output = folder.hostfw(&[&["policy", "check", "policies.d"], &world[..]].concat());
    shows(&output, 64, &[]);
    let message = stderr(&output);
    assert!(message.contains("it has: cp-1, worker-1"), "{message}");
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
