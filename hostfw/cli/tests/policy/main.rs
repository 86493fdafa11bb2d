//! The built command on directories of policies: what is accepted and refused,
//! whom policies select, which rule decides a packet, how files are rewritten. Without
//! daemon and root.

mod cases;
mod check;
mod diff;
mod fmt;
mod trace;

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
    let messages = stderr(output);
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

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
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
