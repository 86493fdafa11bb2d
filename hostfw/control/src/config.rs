//! The configuration file: what may stand in it, what it means, and what to
//! write instead of anything else. It is read with the text reader of the
//! policies, so its complaints have the same form.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hostfw_policy::{
    Complaint, Enforcement, Options, Severity, Source, ThisNode, Tunnel, TunnelKind,
    complaint::Report,
    fields::{self, Fields},
    label,
    text::{Node, documents},
};

use crate::link::Link;

/// The configuration of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of the Node object; the host's name when none is given.
    pub node_name: Option<String>,
    /// Labels in addition to those of the Node object.
    pub node_labels: BTreeMap<String, String>,
    /// Which devices are filtered against the automatic choice.
    pub devices: DevicePatterns,
    /// How programs are attached. Read once, at the start.
    pub attach: Attach,
    /// Audit mode, until somebody asks otherwise at run time.
    pub audit: bool,
    /// The group, by name or number, whose members may change things through the
    /// API as root may.
    pub change_group: Option<String>,
    /// What the policy compiler wants to know.
    pub options: Options,
    /// Where everything is.
    pub paths: Paths,
}

/// Names of devices; a final `*` stands for any end of the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePatterns {
    /// Filtered even where the automatic choice would not.
    pub include: Vec<String>,
    /// Not filtered, whatever else is said.
    pub exclude: Vec<String>,
}

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// With tcx, or with clsact where the kernel has no tcx.
    #[default]
    Auto,
    /// With clsact, as on kernels before 6.6.
    Clsact,
}

/// Where everything is. Read once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Directory of policies.
    pub policies: String,
    /// Directory of nodes, pods, namespaces and CIDR groups.
    pub cluster: String,
    /// Directory of what survives a reboot.
    pub state: String,
    /// Directory of the API socket.
    pub run: String,
    /// Directory of pins, on a BPF file system.
    pub bpf: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            policies: "/etc/hostfw/policies.d".into(),
            cluster: "/etc/hostfw/cluster.d".into(),
            state: "/var/lib/hostfw".into(),
            run: "/run/hostfw".into(),
            bpf: "/sys/fs/bpf/hostfw".into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: None,
            node_labels: BTreeMap::new(),
            devices: DevicePatterns::default(),
            attach: Attach::default(),
            audit: false,
            change_group: None,
            options: Options {
                allow_own_tunnels: true,
                allow_dhcp_client: true,
                ..Options::default()
            },
            paths: Paths::default(),
        }
    }
}

impl Config {
    /// The name that policies know this node by.
    pub fn node_name<'a>(&'a self, hostname: &'a str) -> &'a str {
        self.node_name.as_deref().unwrap_or(hostname)
    }

    /// This node as the compiler sees it. Everything is sorted: the order in
    /// which the kernel lists devices must not make a new generation.
    pub(crate) fn this_node(&self, hostname: &str, links: &[Link]) -> ThisNode {
        let addresses: BTreeSet<IpAddr> =
            links.iter().flat_map(|link| &link.addresses).map(|one| one.address).collect();
        let mut tunnels: Vec<Tunnel> = links.iter().filter_map(tunnel).collect();
        tunnels.sort_by(|one, other| one.device.cmp(&other.device));
        ThisNode {
            name: self.node_name(hostname).to_owned(),
            labels: self.node_labels.clone(),
            addresses: addresses.into_iter().collect(),
            tunnels,
        }
    }
}

fn tunnel(link: &Link) -> Option<Tunnel> {
    let kind = match link.kind.as_deref()? {
        "vxlan" => TunnelKind::Vxlan,
        "geneve" => TunnelKind::Geneve,
        "wireguard" => TunnelKind::WireGuard,
        _ => return None,
    };
    Some(Tunnel { kind, port: link.tunnel_port?, device: link.name.clone() })
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it; an empty file is fine.
pub fn read_config(source: &Source) -> Result<Config, Vec<Complaint>> {
    let mut report = Report::new(source);
    let mut config = Config::default();
    match documents(&mut report).as_slice() {
        [] => {}
        [document] => read_document(document, &mut config, &mut report),
        [_, second, ..] => report.error(
            second.at,
            "second-document",
            "the configuration has more than one document",
            "one document; remove the `---`",
        ),
    }
    let complaints = report.finish();
    if complaints.iter().any(|complaint| complaint.severity == Severity::Error) {
        return Err(complaints);
    }
    Ok(config)
}

fn read_document(document: &Node, config: &mut Config, report: &mut Report<'_>) {
    let Some(mut top) = Fields::new(document, "the configuration", report) else { return };
    if let Some(node) = top.take("node") {
        read_node(node, config, report);
    }
    if let Some(node) = top.take("devices") {
        read_devices(node, config, report);
    }
    if let Some(audit) = top.take("audit").and_then(|node| fields::truth(node, "audit", report)) {
        config.audit = audit;
    }
    if let Some(node) = top.take("api") {
        read_api(node, config, report);
    }
    if let Some(node) = top.take("cidrMatch") {
        for item in fields::list(node, "cidrMatch", report).unwrap_or_default() {
            match choice(item, "cidrMatch", &["nodes", "pods"], report) {
                Some("nodes") => config.options.cidr_match_nodes = true,
                Some(_) => config.options.cidr_match_pods = true,
                None => {}
            }
        }
    }
    if let Some(node) = top.take("compatibility") {
        config.options.cilium_labels = choice(node, "compatibility", &["cilium"], report).is_some();
    }
    let confirmed =
        top.take("confirmAlways").and_then(|node| fields::truth(node, "confirmAlways", report));
    if let Some(node) = top.take("enforcement") {
        config.options.enforcement =
            match choice(node, "enforcement", &["default", "always", "never"], report) {
                Some("always") => Enforcement::Always,
                Some("never") => Enforcement::Never,
                Some(_) | None => Enforcement::Default,
            };
        if config.options.enforcement == Enforcement::Always && confirmed != Some(true) {
            report.error(
                node.at,
                "unconfirmed",
                "`enforcement: always` denies everything in both directions that no policy allows",
                "add `confirmAlways: true` when that is meant",
            );
        }
    }
    if let Some(node) = top.take("builtins") {
        read_builtins(node, &mut config.options, report);
    }
    if let Some(node) = top.take("existingConnections") {
        // The only behaviour there is; named so that a file may say so.
        choice(node, "existingConnections", &["recheck"], report);
    }
    if let Some(node) = top.take("paths") {
        read_paths(node, &mut config.paths, report);
    }
    top.finish(report, |_| None);
}

fn read_node(node: &Node, config: &mut Config, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "`node`", report) else { return };
    if let Some(name) = fields.take("name") {
        let text = fields::text(name, "name", report).unwrap_or_default();
        if text.is_empty() {
            report.error(name.at, "bad-name", "the node has an empty name", "name: node-1");
        }
        config.node_name = Some(text.to_owned());
    }
    if let Some(labels) = fields.take("labels") {
        for (entry, value) in fields::text_map(labels, "labels", report) {
            if let Some(fault) = label::key_fault(&entry.key) {
                let what = format!("`{}` is no label key: {fault}", entry.key);
                report.error(entry.at, "bad-label", what, "a key such as `example.com/role`");
            } else if let Some(fault) = label::value_fault(value) {
                let what = format!("`{value}` is no label value: {fault}");
                report.error(entry.value.at, "bad-label", what, "letters, digits, `-`, `_`, `.`");
            } else {
                config.node_labels.insert(entry.key.clone(), value.to_owned());
            }
        }
    }
    fields.finish(report, |_| None);
}

fn read_devices(node: &Node, config: &mut Config, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "`devices`", report) else { return };
    if let Some(node) = fields.take("attach")
        && choice(node, "attach", &["auto", "clsact"], report) == Some("clsact")
    {
        config.attach = Attach::Clsact;
    }
    let devices = &mut config.devices;
    for (name, patterns) in [("include", &mut devices.include), ("exclude", &mut devices.exclude)] {
        let Some(items) = fields.take(name).and_then(|node| fields::list(node, name, report))
        else {
            continue;
        };
        for item in items {
            let Some(text) = fields::text(item, name, report) else { continue };
            let stem = text.strip_suffix('*').unwrap_or(text);
            if text.is_empty() || stem.contains(['*', '?', '[', '/', ' ']) {
                report.error(
                    item.at,
                    "bad-pattern",
                    format!("`{text}` is no name of a device"),
                    "a name such as `eth0`, or the start of names such as `eth*`",
                );
            } else {
                patterns.push(text.to_owned());
            }
        }
    }
    fields.finish(report, |_| None);
}

fn read_api(node: &Node, config: &mut Config, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "`api`", report) else { return };
    if let Some(group) = fields.take("changeGroup") {
        let text = fields::text(group, "changeGroup", report).unwrap_or_default();
        if text.is_empty() || text.contains([':', ' ', ',', '\n']) {
            let what = format!("`{text}` is no name of a group");
            report.error(group.at, "bad-name", what, "one group, such as `changeGroup: netops`");
        }
        config.change_group = Some(text.to_owned());
    }
    fields.finish(report, |_| None);
}

fn read_builtins(node: &Node, options: &mut Options, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "`builtins`", report) else { return };
    for (name, option) in
        [("tunnels", &mut options.allow_own_tunnels), ("dhcp", &mut options.allow_dhcp_client)]
    {
        if let Some(on) = fields.take(name).and_then(|node| fields::truth(node, name, report)) {
            *option = on;
        }
    }
    fields.finish(report, |_| None);
}

fn read_paths(node: &Node, paths: &mut Paths, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "`paths`", report) else { return };
    for (name, path) in [
        ("policies", &mut paths.policies),
        ("cluster", &mut paths.cluster),
        ("state", &mut paths.state),
        ("run", &mut paths.run),
        ("bpf", &mut paths.bpf),
    ] {
        let Some(node) = fields.take(name) else { continue };
        let Some(text) = fields::text(node, name, report) else { continue };
        if text.starts_with('/') {
            text.clone_into(path);
        } else {
            let what = format!("`{text}` is no absolute path");
            report.error(node.at, "relative-path", what, format!("{name}: {path}"));
        }
    }
    fields.finish(report, |_| None);
}

fn choice<'n>(
    node: &'n Node,
    name: &str,
    choices: &[&str],
    report: &mut Report<'_>,
) -> Option<&'n str> {
    let text = fields::text(node, name, report)?;
    if choices.contains(&text) {
        return Some(text);
    }
    let what = format!("`{name}` cannot be `{text}`");
    report.error(node.at, "unknown-value", what, format!("one of {}", choices.join(", ")));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(read("# nothing\n"), Ok(Config::default()));
    }

    #[test]
    fn every_field_is_read() {
        let config = read(
            "node: {name: cp-1, labels: {node-role.kubernetes.io/control-plane: \"\"}}\n\
             devices: {include: [\"eth*\"], exclude: [docker0], attach: clsact}\n\
             audit: true\napi: {changeGroup: netops}\ncidrMatch: [nodes, pods]\ncompatibility: cilium\n\
             enforcement: always\nconfirmAlways: true\n\
             builtins: {tunnels: false, dhcp: false}\nexistingConnections: recheck\n\
             paths: {policies: /p, cluster: /c, state: /s, run: /r, bpf: /b}\n",
        )
        .expect("clean");
        assert_eq!(config.node_name("other"), "cp-1");
        assert!(config.node_labels.contains_key("node-role.kubernetes.io/control-plane"));
        assert_eq!(config.devices.include, ["eth*"]);
        assert_eq!(config.devices.exclude, ["docker0"]);
        assert_eq!(config.attach, Attach::Clsact);
        assert!(config.audit);
        assert_eq!(config.change_group.as_deref(), Some("netops"));
        let options = &config.options;
        assert!(options.cidr_match_nodes && options.cidr_match_pods && options.cilium_labels);
        assert!(!options.allow_own_tunnels && !options.allow_dhcp_client);
        assert_eq!(options.enforcement, Enforcement::Always);
        assert_eq!(config.paths.policies, "/p");
        assert_eq!(config.paths.bpf, "/b");
    }

    #[test]
    fn an_unknown_field_is_refused_where_it_stands() {
        let complaints = read("audit: true\nexistingConections: recheck\n").expect_err("misspelt");
        assert_eq!((complaints[0].line, complaints[0].column), (2, 1));
        assert_eq!(complaints[0].instead, "existingConnections:");
    }

    #[test]
    fn always_needs_a_confirmation() {
        let complaints = read("enforcement: always\n").expect_err("unconfirmed");
        assert_eq!((complaints[0].code, complaints[0].line), ("unconfirmed", 1));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "audit: maybe\n",
            "- audit\n",
            "audit: true\n---\naudit: false\n",
            "devices: {include: [\"e*h\"]}\n",
            "devices: {attach: xdp}\n",
            "paths: {policies: here}\n",
            "existingConnections: keep\n",
            "node: {labels: {role: 7}}\n",
            "node: {name: \"\"}\n",
            "api: {changeGroup: \"\"}\n",
            "api: {changeGroup: [netops]}\n",
            "api: {changeGroup: \"a, b\"}\n",
            "cidrMatch: [peers]\n",
            "\u{0}\u{1}",
        ] {
            let complaints = read(text).expect_err(text);
            assert!(complaints.iter().all(|one| one.path == "hostfw.yaml" && !one.what.is_empty()));
        }
    }

    fn read(text: &str) -> Result<Config, Vec<Complaint>> {
        read_config(&Source::new("hostfw.yaml", text))
    }
}
