//! Label selectors: `matchLabels` and `matchExpressions`, read from a document
//! and asked of labels. It does not know whose labels they are.

use crate::{
    complaint::Report,
    fields::{self, Fields},
    label::{self, CLUSTER, K8S, LOCAL_CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, RESERVED},
    node::Dialect,
    text::{Node, Position},
};

/// A conjunction of requirements; none at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// What labels must fulfil, in the order of the document.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's source; `None` for any.
    pub source: Option<String>,
    /// The label's key.
    pub key: String,
    /// What is required of it.
    pub operator: Operator,
}

/// What is required of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Present with one of the values.
    In(Vec<String>),
    /// Absent, or present with other values only.
    NotIn(Vec<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl Selector {
    /// True when the labels fulfil every requirement.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// As the peer of a Cilium policy (rule 6): pods of the policy's own
    /// namespace, or of any for a clusterwide one, and of this cluster; whatever
    /// the author says about either stands. One that names a reserved role is
    /// left as it is.
    #[must_use]
    pub fn among_pods(mut self, own_namespace: Option<&str>, dialect: &Dialect) -> Self {
        if self.requirements.iter().any(|one| one.source.as_deref() == Some(RESERVED)) {
            return self;
        }
        if !self.names(NAMESPACE) {
            match own_namespace {
                Some(_) if self.names_namespace_labels() => {}
                Some(own) => self.require(NAMESPACE, Operator::In(vec![own.to_owned()])),
                None => self.require(NAMESPACE, Operator::Exists),
            }
        }
        if dialect.default_local_cluster {
            self.in_local_cluster();
        }
        self
    }

    /// Pods of this cluster, unless the author named another one.
    pub(crate) fn in_local_cluster(&mut self) {
        if !self.names(CLUSTER) {
            self.require(CLUSTER, Operator::In(vec![LOCAL_CLUSTER.to_owned()]));
        }
    }

    /// With the namespaces whose labels another selector asks about.
    pub(crate) fn in_namespaces(&mut self, namespaces: Self) {
        if namespaces.requirements.is_empty() {
            self.require(NAMESPACE, Operator::Exists);
        }
        self.requirements.extend(namespaces.requirements.into_iter().map(|one| Requirement {
            source: Some(K8S.to_owned()),
            key: format!("{NAMESPACE_LABELS}.{}", one.key),
            ..one
        }));
    }

    /// With one namespace only.
    pub(crate) fn in_namespace(&mut self, namespace: &str) {
        self.require(NAMESPACE, Operator::In(vec![namespace.to_owned()]));
    }

    /// Keys of Kubernetes objects have no source of their own.
    pub(crate) fn of_objects(&mut self) {
        for requirement in &mut self.requirements {
            requirement.source = Some(K8S.to_owned());
        }
    }

    fn names_namespace_labels(&self) -> bool {
        self.requirements.iter().any(|one| {
            one.key.strip_prefix(NAMESPACE_LABELS).is_some_and(|rest| rest.starts_with('.'))
        })
    }

    fn names(&self, key: &str) -> bool {
        self.requirements
            .iter()
            .any(|one| one.key == key && one.source.as_deref().is_none_or(|source| source == K8S))
    }

    fn require(&mut self, key: &str, operator: Operator) {
        let requirement =
            Requirement { source: Some(K8S.to_owned()), key: key.to_owned(), operator };
        self.requirements.push(requirement);
    }
}

impl Requirement {
    /// True for what [`Selector::among_pods`] adds to every selector.
    pub fn is_automatic(&self) -> bool {
        self.source.as_deref() == Some(K8S)
            && match &self.operator {
                Operator::Exists => self.key == NAMESPACE,
                Operator::In(values) => self.key == CLUSTER && *values == [LOCAL_CLUSTER],
                Operator::NotIn(_) | Operator::DoesNotExist => false,
            }
    }

    /// True when the labels fulfil it.
    pub fn holds(&self, labels: &Labels) -> bool {
        let mut values = labels.values(self.source.as_deref(), &self.key);
        match &self.operator {
            Operator::In(wanted) => values.any(|value| wanted.iter().any(|one| one == value)),
            Operator::NotIn(unwanted) => {
                !values.any(|value| unwanted.iter().any(|one| one == value))
            }
            Operator::Exists => values.next().is_some(),
            Operator::DoesNotExist => values.next().is_none(),
        }
    }
}

/// Reads a selector; `name` is the field it stands in.
pub fn read(node: &Node, name: &'static str, report: &mut Report<'_>) -> Option<Selector> {
    let (mut selector, expressions) = read_apart(node, name, report)?;
    selector.requirements.extend(expressions);
    Some(selector)
}

/// Reads the `endpointSelector` of a policy of a namespace (rule 4): the
/// namespace is its own, even where `matchLabels` names another one; what an
/// expression says of it is asked besides.
pub fn read_in_namespace(
    node: &Node,
    name: &'static str,
    namespace: &str,
    report: &mut Report<'_>,
) -> Option<Selector> {
    let (mut selector, expressions) = read_apart(node, name, report)?;
    selector.requirements.retain(|one| one.key != NAMESPACE || one.source.as_deref() != Some(K8S));
    selector.in_namespace(namespace);
    selector.requirements.extend(expressions);
    Some(selector)
}

/// Reads a selector without what its `matchLabels` say of the namespace.
pub(crate) fn read_without_namespace(
    node: &Node,
    name: &'static str,
    report: &mut Report<'_>,
) -> Option<Selector> {
    let (mut selector, expressions) = read_apart(node, name, report)?;
    selector.requirements.retain(|one| one.key != NAMESPACE);
    selector.requirements.extend(expressions);
    Some(selector)
}

/// What `matchLabels` says, and what `matchExpressions` does.
fn read_apart(
    node: &Node,
    name: &'static str,
    report: &mut Report<'_>,
) -> Option<(Selector, Vec<Requirement>)> {
    let mut fields = Fields::new(node, "a selector", report)?;
    let mut selector = Selector::default();
    let mut from_expressions = Vec::new();
    if let Some(labels) = fields.take("matchLabels") {
        for (entry, value) in fields::text_map(labels, "matchLabels", report) {
            check_value(entry.value.at, value, report);
            let (source, key) = key(entry.at, &entry.key, report);
            let operator = Operator::In(vec![value.to_owned()]);
            selector.requirements.push(Requirement { source, key, operator });
        }
    }
    if let Some(expressions) = fields.take("matchExpressions") {
        for item in fields::list(expressions, "matchExpressions", report).unwrap_or_default() {
            from_expressions.extend(expression(item, report));
        }
    }
    fields.finish(report, |unknown| {
        let instead = format!("{name}: {{matchLabels: {{{unknown}: ...}}}}");
        (!["matchlabel", "matchexpression"]
            .iter()
            .any(|start| unknown.to_ascii_lowercase().starts_with(start)))
        .then_some(instead)
    });
    Some((selector, from_expressions))
}

fn expression(node: &Node, report: &mut Report<'_>) -> Option<Requirement> {
    let mut fields = Fields::new(node, "an expression", report)?;
    let key_node = fields.need("key", report);
    let operator_node = fields.need("operator", report);
    let values_node = fields.take("values");
    fields.finish(report, |_| None);

    let key_node = key_node?;
    let (source, key) = key(key_node.at, fields::text(key_node, "key", report)?, report);
    let operator_node = operator_node?;
    let written = fields::text(operator_node, "operator", report)?;
    let mut values = Vec::new();
    if let Some(node) = values_node {
        for value in fields::list(node, "values", report)? {
            let text = fields::text(value, "values", report)?;
            check_value(value.at, text, report);
            values.push(text.to_owned());
        }
    }
    let at = values_node.unwrap_or(operator_node).at;
    let operator = match written {
        "In" | "NotIn" if values.is_empty() => {
            let what = format!("the operator {written} needs values");
            report.error(at, "bad-selector", what, "values: [\"...\"]");
            return None;
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let what = format!("the operator {written} takes no values");
            report.error(at, "bad-selector", what, "remove `values`");
            return None;
        }
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => {
            let what = format!("there is no operator `{written}`");
            report.error(operator_node.at, "bad-selector", what, "In, NotIn, Exists, DoesNotExist");
            return None;
        }
    };
    Some(Requirement { source, key, operator })
}

/// Splits the source off a key. No source, `any:` and `unspec:` mean every one.
fn key(at: Position, written: &str, report: &mut Report<'_>) -> (Option<String>, String) {
    let (source, key) = match written.split_once(':') {
        None => (None, written),
        Some(("any" | "unspec" | "", key)) => (None, key),
        Some((source, key)) => (Some(source.to_owned()), key),
    };
    if let Some(fault) = label::key_fault(key) {
        let what = format!("`{written}` is no label key: {fault}");
        report.error(at, "bad-label", what, "a key like `app.kubernetes.io/name`");
    }
    (source, key.to_owned())
}

fn check_value(at: Position, value: &str, report: &mut Report<'_>) {
    if let Some(fault) = label::value_fault(value) {
        let what = format!("`{value}` is no label value: {fault}");
        report.error(at, "bad-label", what, "the value as it stands on the object");
    }
}
