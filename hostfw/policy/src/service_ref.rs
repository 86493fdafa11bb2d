//! References to Services as `toServices` writes them. It does not know who
//! stands behind a Service; that is a question to the world.

use crate::{
    complaint::Report,
    fields::{self, Fields},
    selector::{self, Selector},
    text::{Node, Position},
};

/// One entry of `toServices`.
#[derive(Clone, Debug)]
pub struct ServiceTerm {
    /// Where it stands; it has no part in what the term means.
    pub at: Position,
    /// Which Services.
    pub which: WhichServices,
}

/// Which Services an entry names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WhichServices {
    /// One, by its namespace and name.
    Named(String, String),
    /// All of a namespace, or of every one, whose labels match.
    Selected(Option<String>, Selector),
}

impl PartialEq for ServiceTerm {
    fn eq(&self, other: &Self) -> bool {
        self.which == other.which
    }
}

impl Eq for ServiceTerm {}

impl std::hash::Hash for ServiceTerm {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.which.hash(state);
    }
}

/// Reads `toServices`; a name without a namespace is one of `own_namespace`.
pub fn read_list(
    node: &Node,
    name: &str,
    own_namespace: Option<&str>,
    report: &mut Report<'_>,
) -> Vec<ServiceTerm> {
    let items = fields::list(node, name, report).unwrap_or_default();
    items.iter().filter_map(|item| term(item, own_namespace, report)).collect()
}

fn term(node: &Node, own: Option<&str>, report: &mut Report<'_>) -> Option<ServiceTerm> {
    let mut fields = Fields::new(node, "an entry of `toServices`", report)?;
    let named = fields.take("k8sService");
    let selected = fields.take("k8sServiceSelector");
    fields.finish(report, |unknown| match unknown {
        "serviceName" | "namespace" => {
            Some(format!("k8sService: {{{unknown}: ...}}, one level deeper"))
        }
        "selector" => Some("k8sServiceSelector: {selector: ...}".to_owned()),
        _ => None,
    });
    let which = match (named, selected) {
        (Some(named), None) => read_named(named, own, report)?,
        (None, Some(selected)) => read_selected(selected, report)?,
        (None, None) | (Some(_), Some(_)) => {
            let what = "an entry names exactly one of k8sService and k8sServiceSelector";
            let instead = "- k8sService: {serviceName: my-service, namespace: default}";
            report.error(node.at, "bad-service", what, instead);
            return None;
        }
    };
    Some(ServiceTerm { at: node.at, which })
}

fn read_named(node: &Node, own: Option<&str>, report: &mut Report<'_>) -> Option<WhichServices> {
    let mut fields = Fields::new(node, "k8sService", report)?;
    let name = fields.need("serviceName", report);
    let namespace = fields.take("namespace");
    fields.finish(report, |unknown| (unknown == "name").then(|| "serviceName:".to_owned()));
    let name = fields::text(name?, "serviceName", report)?;
    let namespace = match (namespace, own) {
        (Some(namespace), _) => fields::text(namespace, "namespace", report)?,
        (None, own) => own.unwrap_or("default"),
    };
    Some(WhichServices::Named(namespace.to_owned(), name.to_owned()))
}

fn read_selected(node: &Node, report: &mut Report<'_>) -> Option<WhichServices> {
    let mut fields = Fields::new(node, "k8sServiceSelector", report)?;
    let selector = fields.need("selector", report);
    let namespace = fields.take("namespace");
    fields.finish(report, |_| None);
    let selector = selector::read(selector?, "selector", report)?;
    let namespace = match namespace {
        None => None,
        Some(namespace) => Some(fields::text(namespace, "namespace", report)?.to_owned()),
    };
    Some(WhichServices::Selected(namespace, selector))
}
