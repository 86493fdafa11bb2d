//! Every directory of `tests/policies` is one case: policies, maybe a world, a
//! node with questions, and the answer in `expected.txt`. `UPDATE_EXPECT=1`
//! rewrites the answers.

#![expect(clippy::disallowed_methods, reason = "the cases are files")]

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hostfw_datapath::{Address, Direction, Image as _, image, verdict::Answer};
use hostfw_policy::{
    Compiled, Complaint, Enforcement, Options, Severity, Source, ThisNode, Tunnel, TunnelKind,
    compile, lint, read_enforceable, read_world,
    text::{self, Node, Value},
};

#[test]
fn every_case_answers_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/policies");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .expect("the cases are part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "only {} cases in {}", cases.len(), root.display());
    for case in cases {
        let answer = answer(&case);
        expect_test::expect_file![case.join("expected.txt")].assert_eq(&answer);
    }
}

fn answer(case: &Path) -> String {
    let setting = Setting::read(&case.join("node.yaml"));
    let (world_files, policy_files): (Vec<_>, Vec<_>) = files(case)
        .into_iter()
        .filter(|source| source.path != "node.yaml")
        .partition(|source| source.path.starts_with("world"));
    let (world, mut complaints) = read_world(&world_files);
    let (policies, of_policies) = read_enforceable(&policy_files);
    complaints.extend(of_policies);
    let (node, options) = (&setting.node, &setting.options);
    let is_refused = complaints.iter().any(|one| one.severity == Severity::Error);
    let compiled =
        (!is_refused).then(|| compile(&policies, &world, node, options, 7).expect("fits"));
    complaints.extend(lint(
        &policy_files,
        &policies,
        &world,
        Some(node),
        options,
        compiled.as_ref(),
    ));

    let mut shown = String::new();
    for complaint in &complaints {
        show_complaint(&mut shown, complaint);
    }
    let Some(compiled) = compiled else {
        shown.push_str("refused\n");
        return shown;
    };
    show_compiled(&mut shown, &compiled);
    for probe in &setting.probes {
        show_probe(&mut shown, &compiled, probe);
    }
    shown
}

fn show_complaint(shown: &mut String, complaint: &Complaint) {
    let severity = match complaint.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let Complaint { path, line, column, code, what, instead, excerpt, .. } = complaint;
    writeln!(shown, "{severity}[{code}] {path}:{line}:{column}: {what}").expect("a string");
    writeln!(shown, "    | {excerpt}").expect("a string");
    writeln!(shown, "    = write: {instead}").expect("a string");
}

fn show_compiled(shown: &mut String, compiled: &Compiled) {
    for policy in &compiled.policies {
        let selects = if policy.selects_this_node { "selects" } else { "does not select" };
        writeln!(
            shown,
            "policy {} {}:{} {selects} this node",
            policy.name, policy.path, policy.line
        )
        .expect("a string");
    }
    for rule in compiled.rules.iter() {
        writeln!(
            shown,
            "rule {} {:?} {:?} {} {}:{}:{}  {}",
            rule.id,
            rule.direction,
            rule.kind,
            rule.policy,
            rule.path,
            rule.line,
            rule.column,
            rule.summary
        )
        .expect("a string");
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let state = if compiled.in_force(direction) { "in force" } else { "not in force" };
        writeln!(shown, "{direction:?} {state}").expect("a string");
    }
}

fn show_probe(shown: &mut String, compiled: &Compiled, probe: &str) {
    let mut words = probe.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("`{probe}` is too short"));
    let direction = match next() {
        "ingress" => Direction::Ingress,
        "egress" => Direction::Egress,
        other => panic!("no direction `{other}`"),
    };
    let address: IpAddr = next().parse().expect("an address");
    let protocol = match next() {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "ICMP" => 1,
        "ICMPv6" => 58,
        number => number.parse().expect("a protocol"),
    };
    let port = next().parse().expect("a port or a type");
    let image = &compiled.words.as_slice();
    let subject = image::subject(image, 0, direction);
    if !image::in_force(image, subject) {
        writeln!(shown, "{probe}: allowed, not in force").expect("a string");
        return;
    }
    let peer_class = image::peer(image, &Address::from(address)) & image::CLASS;
    let index =
        image.find(image::Question { subject: image::HOST, direction, peer_class, protocol, port });
    let (answer, rule) = image::verdict(image, index);
    let answer = match answer {
        Answer::Allow => "allowed",
        Answer::Deny => "denied",
        Answer::DefaultDeny => "denied by default",
        Answer::DefaultAllow => "allowed by default",
        Answer::Redirect => "redirected",
        Answer::Broken => panic!("no answer for `{probe}`"),
    };
    write!(shown, "{probe}: {answer}").expect("a string");
    if rule != image::NO_RULE {
        write!(shown, " by rule {rule} of {:?}", compiled.verdicts.of(index)).expect("a string");
    }
    shown.push('\n');
}

/// What stands in `node.yaml`.
#[derive(Default)]
struct Setting {
    node: ThisNode,
    options: Options,
    probes: Vec<String>,
}

impl Setting {
    fn read(path: &Path) -> Self {
        let mut setting = Self::default();
        setting.node.name = "this".to_owned();
        let Ok(bytes) = fs::read(path) else { return setting };
        let source = Source::new(path.display().to_string(), bytes);
        let mut report = hostfw_policy::complaint::Report::new(&source);
        let documents = text::documents(&mut report);
        assert_eq!(report.finish(), [], "{}", path.display());
        let [Node { value: Value::Map(entries), .. }] = documents.as_slice() else {
            panic!("{} is one mapping", path.display());
        };
        for entry in entries {
            let words = || texts(&entry.value);
            match entry.key.as_str() {
                "name" => setting.node.name = words().concat(),
                "addresses" => {
                    setting.node.addresses =
                        words().iter().map(|word| word.parse().expect("an address")).collect();
                }
                "labels" => {
                    let Value::Map(labels) = &entry.value.value else { panic!("labels") };
                    for label in labels {
                        let value = texts(&label.value).concat();
                        setting.node.labels.insert(label.key.clone(), value);
                    }
                }
                "options" => words().iter().for_each(|word| setting.option(word)),
                "probes" => setting.probes = words(),
                other => panic!("{} has `{other}`", path.display()),
            }
        }
        setting
    }

    fn option(&mut self, word: &str) {
        match word {
            "cidrMatch nodes" => self.options.cidr_match_nodes = true,
            "cidrMatch pods" => self.options.cidr_match_pods = true,
            "compatibility cilium" => self.options.cilium_labels = true,
            "enforcement always" => self.options.enforcement = Enforcement::Always,
            "enforcement never" => self.options.enforcement = Enforcement::Never,
            "pods" => self.options.pods = true,
            "tunnels" | "tunnels without rules" => {
                self.options.allow_own_tunnels = word == "tunnels";
                let device = "vxlan0".to_owned();
                self.node.tunnels.push(Tunnel { kind: TunnelKind::Vxlan, port: 8472, device });
            }
            "dhcp" => self.options.allow_dhcp_client = true,
            other => panic!("no option `{other}`"),
        }
    }
}

fn texts(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Text(text) => vec![text.clone()],
        Value::List(items) => items.iter().flat_map(texts).collect(),
        Value::Null | Value::Number(_) | Value::Truth(_) | Value::Map(_) => {
            panic!("text, not {}", node.kind())
        }
    }
}

fn files(case: &Path) -> Vec<Source> {
    let mut sources: Vec<Source> = fs::read_dir(case)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            Source::new(name, fs::read(&path).expect("readable"))
        })
        .collect();
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    sources
}
