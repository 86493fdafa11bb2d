//! Labels of nodes, pods and reserved identities: their syntax, their sources,
//! and the filter that the compatible mode applies. It does not know what a
//! selector asks of them.

use std::collections::BTreeMap;

/// The source of labels that come from Kubernetes objects.
pub const K8S: &str = "k8s";
/// The source of labels that name a role instead of an object.
pub const RESERVED: &str = "reserved";
/// The label that carries a pod's namespace.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels that carry those of a pod's namespace.
pub const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
/// The label that carries a pod's cluster.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
/// The label that carries a pod's service account.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// The only cluster there is.
pub const LOCAL_CLUSTER: &str = "default";

/// The labels of one identity: key -> (source, value), several sources a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, Vec<(String, String)>>);

impl Labels {
    /// Adds a label; a second one of the same source and key replaces it.
    pub fn insert(&mut self, source: &str, key: &str, value: &str) {
        let values = self.0.entry(key.to_owned()).or_default();
        values.retain(|(known, _)| known != source);
        values.push((source.to_owned(), value.to_owned()));
        values.sort();
    }

    /// With one more label.
    #[must_use]
    pub fn with(mut self, source: &str, key: &str, value: &str) -> Self {
        self.insert(source, key, value);
        self
    }

    /// The keys, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every key with each of its values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(key, values)| {
            values.iter().map(move |(_, value)| (key.as_str(), value.as_str()))
        })
    }

    /// The values under a key, of one source or of any.
    pub fn values<'l>(
        &'l self,
        source: Option<&'l str>,
        key: &str,
    ) -> impl Iterator<Item = &'l str> + use<'l> {
        self.0
            .get(key)
            .into_iter()
            .flatten()
            .filter(move |(known, _)| source.is_none_or(|source| source == known))
            .map(|(_, value)| value.as_str())
    }
}

/// Prefixes of keys that the reference leaves out of a node's and a pod's
/// labels, and longer ones that it keeps all the same.
const LEFT_OUT: [&str; 14] = [
    "io.kubernetes",
    "kubernetes.io",
    "k8s.io",
    "topology.kubernetes.io",
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "controller-uid",
    "annotation",
    "etcd_node",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
];
const KEPT: [&str; 5] =
    ["app.kubernetes.io", NAMESPACE, NAMESPACE_LABELS, CLUSTER, SERVICE_ACCOUNT];

/// True when the compatible mode lets a selector see a key: the longest kept
/// prefix is longer than the shortest left-out one.
pub fn compatible(key: &str) -> bool {
    let beta = "beta.kubernetes.io";
    let left_out = LEFT_OUT
        .iter()
        .filter(|prefix| key.starts_with(**prefix))
        .map(|prefix| prefix.len())
        .chain(key.find(beta).map(|start| start + beta.len()))
        .min();
    let kept = KEPT.iter().filter(|prefix| key.starts_with(**prefix)).map(|kept| kept.len()).max();
    left_out.is_none_or(|left_out| kept.is_some_and(|kept| kept > left_out))
}

/// What is wrong with a key as Kubernetes sees it, `None` when nothing is.
pub fn key_fault(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        let label = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if prefix.len() > 253 || !prefix.split('.').all(label) {
            return Some("the part before the slash is no domain name");
        }
    }
    if name.is_empty() {
        return Some("the name is empty");
    }
    value_fault(name)
}

/// What is wrong with a value as Kubernetes sees it, `None` when nothing is.
pub fn value_fault(value: &str) -> Option<&'static str> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    if value.len() > 63 {
        Some("it is longer than 63 characters")
    } else if !value.bytes().all(inner) {
        Some("only letters, digits, `-`, `_` and `.` are possible")
    } else if !edge(value.bytes().next()) || !edge(value.bytes().last()) {
        Some("it must start and end with a letter or a digit")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compatible_filter_keeps_what_the_reference_keeps() {
        for key in [
            "node-role.kubernetes.io/infra",
            "app.kubernetes.io/name",
            "io.kubernetes.pod.namespace",
            "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
            "app",
        ] {
            assert!(compatible(key), "{key}");
        }
        for key in [
            "kubernetes.io/hostname",
            "kubernetes.io/os",
            "beta.kubernetes.io/arch",
            "failure-domain.beta.kubernetes.io/zone",
            "topology.kubernetes.io/zone",
            "k8s.io/x",
            "annotation.y",
            "pod-template-hash",
        ] {
            assert!(!compatible(key), "{key}");
        }
    }

    #[test]
    fn label_syntax_is_that_of_kubernetes() {
        for key in ["app", "a/b", "node-role.kubernetes.io/control-plane", "A_b.c"] {
            assert_eq!(key_fault(key), None, "{key}");
        }
        for key in ["", "a/", "/a", "a/b/c", "a b", "-a", "A.b/c", &"x".repeat(64)] {
            assert!(key_fault(key).is_some(), "{key}");
        }
        assert_eq!(value_fault(""), None);
        assert!(value_fault("a b").is_some());
    }
}
