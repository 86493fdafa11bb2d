//! `policy diff`: whom a change lets in or shuts out, and where it ends
//! enforcement.

use super::*;

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
fn the_end_of_enforcement_is_said_before_anything_else() {
    let folder = Folder::with("diff-end", &[("old.d/ssh.yaml", SSH), ("new.d/.keep", "")]);
    let diff = |arguments: &[&str]| {
        folder.hostfw(&[&["policy", "diff"], arguments, &["--node", "a"]].concat())
    };
    let output = diff(&["old.d", "new.d"]);
    let lines = [
        "! ingress is no longer in force for a: everything passes\n\na\n",
        "every service but TCP 22, UDP 68, ICMP EchoRequest\n    before: default deny",
        "    after:  ingress is not in force: everything passes\n",
    ];
    shows(&output, 1, &lines);
    let report = json(&diff(&["old.d", "new.d", "-o", "json"]));
    assert_eq!(report["enforcement"][0]["direction"], "ingress", "{report}");
    assert_eq!(report["enforcement"][0]["in_force"], false, "{report}");
    let changes = report["changes"].as_array().expect("a list");
    assert!(changes.iter().all(|one| one["after_answer"] == "not-in-force"), "{report}");
    assert!(changes.iter().any(|one| one["before_answer"] == "default-deny"), "{report}");
    assert!(changes.iter().any(|one| one["before_answer"] == "deny"), "{report}");
    // Those with ports are looked for first.
    assert_eq!(changes[0]["services"][0].as_str().map(|one| &one[..3]), Some("TCP"), "{report}");

    let output = diff(&["new.d", "old.d"]);
    let lines = [
        "! ingress comes into force for a\n\na\n",
        "    before: ingress is not in force: everything passes\n    after:  default deny",
    ];
    shows(&output, 1, &lines);
}

#[test]
fn a_node_without_a_name_is_called_this_node() {
    let folder = Folder::with("unnamed", &[("old.d/ssh.yaml", SSH), ("new.d/.keep", "")]);
    let output = folder.hostfw(&["policy", "diff", "old.d", "new.d"]);
    shows(&output, 1, &["no longer in force for this node: everything passes\n\nthis node\n"]);
    let ends = ["--from", "192.0.2.7", "--to", "host", "tcp/22"];
    let output = folder.hostfw(&[&["policy", "trace", "old.d"], &ends[..]].concat());
    shows(&output, 0, &["Ingress of the node (no --node given): allowed\n"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("node this"));
}
