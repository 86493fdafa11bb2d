//! What fuzzers call: a target takes any bytes, and panics when reading them
//! does anything but answer. The replay test feeds them the corpus and its
//! mutations; `README.md` says how a coverage-guided fuzzer does.

mod packets;
mod requests;

pub use crate::{
    packets::{IMAGES, Setting, fate, packets},
    requests::{asked, requests},
};

use hostfw_policy::{
    Complaint, Dialect, Options, Severity, Source, ThisNode, World, cases, compile, guardrails,
    lint, read_enforceable, read_policies, read_world,
};

/// More complaints than this about one file are a flood.
const MAX_COMPLAINTS: usize = 101;

/// Policies as YAML or JSON: read, and compiled where nothing is refused.
pub fn policies(bytes: &[u8]) {
    let sources = [Source::new("p.yaml", bytes)];
    let (policies, complaints) = read_policies(&sources, &Dialect::default());
    check(bytes, &complaints);
    let (enforceable, complaints) = read_enforceable(&sources);
    check(bytes, &complaints);
    let refused = complaints.iter().any(|one| one.severity == Severity::Error);
    assert_eq!(policies.len(), enforceable.len());
    if refused {
        return;
    }
    let (world, _) = read_world(&[Source::new("w.yaml", WORLD)]);
    let node = ThisNode { name: "one".to_owned(), ..ThisNode::default() };
    for pods in [false, true] {
        let options = Options { pods, ..Options::default() };
        if let Ok(compiled) = compile(&policies, &world, &node, &options, 1) {
            let found = lint(&sources, &policies, &world, Some(&node), &options, Some(&compiled));
            check(bytes, &found);
        }
    }
}

/// Objects of the world.
pub fn world(bytes: &[u8]) {
    let source = Source::new("w.yaml", bytes);
    let (world, complaints) = read_world(&[source]);
    check(bytes, &complaints);
    if complaints.iter().all(|one| one.severity != Severity::Error) {
        let node = ThisNode { name: "one".to_owned(), ..ThisNode::default() };
        let options = Options { pods: true, ..Options::default() };
        let (policies, _) = read_policies(&[Source::new("p.yaml", POLICY)], &Dialect::default());
        drop(compile(&policies, &world, &node, &options, 1));
    }
}

/// Test cases beside policies.
pub fn test_cases(bytes: &[u8]) {
    let source = Source::new("p.test.yaml", bytes);
    let node = ThisNode { name: "one".to_owned(), ..ThisNode::default() };
    let (_, complaints) = cases::read_cases(&[source], &World::default(), &node);
    check(bytes, &complaints);
}

/// Guardrails, held against a policy that has something of everything.
pub fn guardrails(bytes: &[u8]) {
    let source = Source::new("g.guardrails.yaml", bytes);
    let (guardrails, complaints) = guardrails::read_guardrails([&source]);
    check(bytes, &complaints);
    let sources = [Source::new("p.yaml", POLICY)];
    let (policies, _) = read_policies(&sources, &Dialect::default());
    let (world, _) = read_world(&[Source::new("w.yaml", WORLD)]);
    let node = ThisNode { name: "one".to_owned(), ..ThisNode::default() };
    let options = Options { pods: true, ..Options::default() };
    if let Ok(found) = guardrails::check(&guardrails, &sources, &policies, &world, &node, &options)
    {
        check(POLICY.as_bytes(), &found);
    }
}

/// Complaints are few, stand inside the file, and say what to do.
fn check(bytes: &[u8], complaints: &[Complaint]) {
    assert!(complaints.len() <= MAX_COMPLAINTS, "{} complaints", complaints.len());
    // YAML ends a line at a carriage return too.
    let n_lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for complaint in complaints {
        let line = usize::try_from(complaint.line).expect("a line");
        assert!(line <= n_lines, "{complaint:?} in {n_lines} lines");
        assert!(!complaint.what.is_empty() && !complaint.instead.is_empty(), "{complaint:?}");
        assert!(!complaint.excerpt.contains(char::is_control), "{complaint:?}");
    }
}

/// A world small enough to be compiled for every input.
const WORLD: &str = "
kind: Node
apiVersion: v1
metadata: {name: one, labels: {role: worker}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
kind: Node
apiVersion: v1
metadata: {name: two}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
---
kind: Pod
apiVersion: v1
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  nodeName: one
  containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]
status: {podIP: 10.244.0.7}
";

/// A policy that asks for everything a world has.
const POLICY: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: p}
spec:
  nodeSelector: {}
  ingress:
  - fromEntities: [cluster, kube-apiserver]
  - fromEndpoints: [{matchLabels: {app: web}}]
  - fromNodes: [{}]
  - fromCIDRSet: [{cidrGroupRef: g}, {cidrGroupSelector: {}}]
  egress:
  - toServices: [{k8sService: {serviceName: s, namespace: n}}, {k8sServiceSelector: {selector: {}}}]
";
