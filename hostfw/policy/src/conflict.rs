//! Rules that are fine by themselves and contradict each other on one subject:
//! two proxies for the same connections, two ways to authenticate the same
//! peers. It is asked before anything is compiled, and compares rules that name
//! the same peers; where different peers overlap, rule 26 says who wins.

use std::collections::HashMap;

use crate::{
    compile::CompileError,
    l7::{L7, Proxy},
    parts::{Part, Parts, Uses},
    ports::Service,
    select::SelectedRule,
    terms::TermId,
};

/// Refuses the rules when two of them contradict each other.
pub(crate) fn refuse(
    rules: &[SelectedRule<'_>],
    parts: &Parts<'_>,
    uses: &[[Uses; 2]],
) -> Result<(), CompileError> {
    // Nearly no set of rules has either, and this one walks all of them.
    let any_l7 = parts.parts.iter().any(|part| part.l7.is_some());
    let any_auth = rules.iter().any(|rule| rule.rule.authentication.is_some());
    if !any_l7 && !any_auth {
        return Ok(());
    }
    for uses in uses.iter().flatten() {
        refuse_in(rules, parts, uses)?;
    }
    Ok(())
}

fn refuse_in(
    rules: &[SelectedRule<'_>],
    parts: &Parts<'_>,
    uses: &Uses,
) -> Result<(), CompileError> {
    for (term, uses) in uses {
        let mut proxies: HashMap<(TermId, Service), Vec<&Part<'_>>> = HashMap::new();
        let mut authenticated: HashMap<Option<usize>, &SelectedRule<'_>> = HashMap::new();
        for one in uses {
            let Some(part) = usize::try_from(one.part).ok().and_then(|at| parts.parts.get(at))
            else {
                continue;
            };
            let Some(rule) = usize::try_from(part.rule).ok().and_then(|at| rules.get(at)) else {
                continue;
            };
            if let Some(mode) = rule.rule.authentication {
                let first = authenticated.entry(one.list).or_insert(rule);
                if first.rule.authentication != Some(mode) {
                    return Err(conflict("two ways to authenticate the same peers", first, rule));
                }
            }
            let Some(l7) = part.l7 else { continue };
            let services = one.list.and_then(|list| parts.lists.get(list));
            for service in services.into_iter().flatten() {
                let before = proxies.entry((*term, *service)).or_default();
                for other in before.iter() {
                    let first = usize::try_from(other.rule).ok().and_then(|at| rules.get(at));
                    if let (Some(other), Some(first)) = (other.l7, first)
                        && let Some(what) = disagreement(other, l7)
                    {
                        return Err(conflict(what, first, rule));
                    }
                }
                before.push(part);
            }
        }
    }
    Ok(())
}

/// Why two proxies cannot have the same connections.
fn disagreement(one: &L7, other: &L7) -> Option<&'static str> {
    match (one.proxy, other.proxy) {
        (Proxy::Listener, Proxy::Listener) => {
            let (Some(left), Some(right)) = (&one.listener, &other.listener) else { return None };
            ((&left.resource, &left.name) != (&right.resource, &right.name)
                && left.priority == right.priority)
                .then_some("two listeners of one priority for the same connections")
        }
        (Proxy::Http, Proxy::Tls) | (Proxy::Tls, Proxy::Http) => (!one.terminates_tls
            && !other.terminates_tls)
            .then_some("HTTP rules and server names without `terminatingTLS`"),
        (left, right) => (left != right).then_some("two proxies for the same connections"),
    }
}

fn conflict(
    what: &'static str,
    first: &SelectedRule<'_>,
    second: &SelectedRule<'_>,
) -> CompileError {
    let place = |rule: &SelectedRule<'_>| {
        let listed = &rule.listed;
        format!("`{}` ({}:{})", listed.policy, listed.path, listed.line)
    };
    CompileError::Conflict { what, first: place(first), second: place(second) }
}
