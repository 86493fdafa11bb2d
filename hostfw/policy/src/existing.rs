//! What a policy wants to become of connections that live when their permission
//! is withdrawn. Only the word and what it may be; who is asked, and when, is
//! decided where generations meet.

use std::collections::BTreeMap;

use crate::{
    complaint::Report,
    fields::nearest,
    text::{Node, Value},
};

/// The annotation. The reference ignores annotations, so a policy with one
/// still works there.
pub const EXISTING_CONNECTIONS: &str = "hostfw.io/existing-connections";

/// What becomes of a live connection that is no longer allowed. The later, the
/// stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExistingConnections {
    /// It goes on until it ends by itself.
    Keep,
    /// Its next packet is judged like every other one.
    #[default]
    Recheck,
    /// Its socket is destroyed, so that both ends learn of it.
    Kill,
}

impl ExistingConnections {
    /// Every choice, by its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("recheck", Self::Recheck), ("keep", Self::Keep), ("kill", Self::Kill)];

    /// What annotations say.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Self {
        annotations.get(EXISTING_CONNECTIONS).and_then(|text| Self::named(text)).unwrap_or_default()
    }

    /// The choice of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, choice)| choice)
    }

    /// The name of a choice.
    pub fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, choice)| *choice == self)
            .map_or("recheck", |(name, _)| name)
    }
}

/// Complains about a choice that does not exist.
pub(crate) fn check(annotations: &Node, report: &mut Report<'_>) {
    let Value::Map(entries) = &annotations.value else { return };
    for entry in entries.iter().filter(|entry| entry.key == EXISTING_CONNECTIONS) {
        let Value::Text(written) = &entry.value.value else { continue };
        if ExistingConnections::named(written).is_none() {
            let names = ExistingConnections::ALL.map(|(name, _)| name);
            let what = format!("`{written}` is not something that can be done to connections");
            let meant = nearest(written, &names).unwrap_or("recheck");
            let instead =
                format!("{EXISTING_CONNECTIONS}: {meant}; possible are {}", names.join(", "));
            report.error(entry.value.at, "bad-annotation", what, instead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Source, read_policies};

    #[test]
    fn every_choice_is_read_and_another_one_is_refused_with_its_place() {
        let read = |choice: &str| {
            let text = format!(
                "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata:\n  \
                 name: test\n  annotations: {{{EXISTING_CONNECTIONS}: {choice}}}\n\
                 spec: {{nodeSelector: {{}}, ingress: [{{}}]}}\n"
            );
            let source = Source::new("test.yaml", text);
            read_policies(&[source], &Dialect::default())
        };
        for (name, choice) in ExistingConnections::ALL {
            let (policies, complaints) = read(name);
            assert!(complaints.is_empty(), "{complaints:?}");
            assert_eq!(ExistingConnections::of(&policies[0].annotations), choice);
            assert_eq!(choice.name(), name);
        }
        let (_, complaints) = read("kil");
        let [complaint] = complaints.as_slice() else { panic!("one complaint: {complaints:?}") };
        assert_eq!((complaint.code, complaint.line), ("bad-annotation", 5));
        assert!(complaint.instead.starts_with("hostfw.io/existing-connections: kill;"));
        assert_eq!(read("true").1.len(), 1, "a truth value is no text");
    }

    #[test]
    fn a_policy_that_says_nothing_judges_again() {
        assert_eq!(ExistingConnections::of(&BTreeMap::new()), ExistingConnections::Recheck);
    }
}
