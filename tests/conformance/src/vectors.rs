//! The files of vectors as they are written: worlds, scenarios, documents and
//! names. It reads them and knows nothing of policies. The format is described
//! in the README beside.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, de::DeserializeOwned};

/// What a scenario happens in.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct World {
    #[serde(default)]
    pub(crate) namespaces: BTreeMap<String, Namespace>,
    #[serde(default)]
    pub(crate) nodes: Vec<Node>,
    #[serde(default)]
    pub(crate) pods: Vec<Pod>,
    #[serde(default)]
    pub(crate) apiserver_ips: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) fqdn: BTreeMap<IpAddr, Vec<String>>,
    #[serde(default)]
    pub(crate) cidr_groups: Vec<CidrGroup>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Namespace {
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) ips: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) apiserver: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) ips: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) service_account: Option<String>,
    #[serde(default)]
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CidrGroup {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) cidrs: Vec<String>,
}

/// Policies in a world and what becomes of flows.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) world: String,
    #[serde(default)]
    pub(crate) options: Options,
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    #[serde(default)]
    pub(crate) policy_results: Vec<PolicyResult>,
    #[serde(default)]
    pub(crate) subjects: BTreeMap<String, SubjectResult>,
    #[serde(default)]
    pub(crate) flows: Vec<Flow>,
}

/// Where a scenario differs from the defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    pub(crate) policy_enforcement: String,
    pub(crate) host_firewall: bool,
    pub(crate) always_allow_localhost: bool,
    pub(crate) non_default_deny_policies: bool,
    pub(crate) policy_default_local_cluster: bool,
    pub(crate) policy_cidr_match_mode: Vec<String>,
    pub(crate) extended_ip_protocols: bool,
    pub(crate) ipv6: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy_enforcement: "default".to_owned(),
            host_firewall: true,
            always_allow_localhost: true,
            non_default_deny_policies: true,
            policy_default_local_cluster: true,
            policy_cidr_match_mode: Vec::new(),
            extended_ip_protocols: false,
            ipv6: true,
        }
    }
}

/// Whether the reference took a document.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolicyResult {
    pub(crate) accepted: bool,
    #[serde(default)]
    pub(crate) unknown_fields: Vec<String>,
}

/// What is in force for a subject.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct SubjectResult {
    pub(crate) ingress_enforced: bool,
    pub(crate) egress_enforced: bool,
}

/// One flow, as its subject sees it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Flow {
    pub(crate) subject: SubjectOf,
    pub(crate) direction: String,
    pub(crate) peer: Peer,
    pub(crate) protocol: String,
    #[serde(default)]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) icmp_type: Option<u16>,
    pub(crate) expect: Expect,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SubjectOf {
    Node(String),
    Pod(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Ip(IpAddr),
    Pod(String),
    Node(String),
    ApiServer(serde::de::IgnoredAny),
    Entity(String),
}

/// What the reference made of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) verdict: Option<String>,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) redirect: Option<String>,
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    #[serde(default)]
    pub(crate) error: Option<serde_json::Value>,
}

/// A document that is refused, or one that is not although one might think so.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Document {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    #[serde(default)]
    pub(crate) class: Option<String>,
    #[serde(default)]
    pub(crate) stage: Option<String>,
}

/// A pattern, a name, and whether they match.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NameCase {
    #[serde(default)]
    pub(crate) match_pattern: Option<String>,
    #[serde(default)]
    pub(crate) match_name: Option<String>,
    pub(crate) name: String,
    #[serde(default, rename = "match")]
    pub(crate) matches: bool,
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// The files of a directory that hold vectors, with their kinds.
pub(crate) fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".jsonl.gz") || name.ends_with(".jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The worlds of a directory, where it has any.
pub(crate) fn worlds(directory: &Path) -> anyhow::Result<BTreeMap<String, World>> {
    let path = directory.join("worlds.json");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// One record a line.
pub(crate) fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|ending| ending == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut records = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        if !line.trim().is_empty() {
            let record = serde_json::from_str(&line)
                .with_context(|| format!("{}:{}", path.display(), number + 1))?;
            records.push(record);
        }
    }
    Ok(records)
}
