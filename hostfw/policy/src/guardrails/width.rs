//! Finds prefixes that are wider than they may be, in whatever pieces they were
//! written.

use hostfw_datapath::Direction;

use super::{
    cells::{Cells, Ports, prefix, widest},
    findings::{Findings, Owner, Statement, allowed, names_of, specs},
};
use crate::{
    compile::CompileError,
    identity::Known,
    node::Options,
    policy::{Action, PolicyRule},
    text::Position,
    world::World,
};

/// Finds what is wider than it may be. Known addresses are left out: a prefix is as
/// wide whether or not somebody is known within it.
pub(super) fn find(
    findings: &mut Findings<'_>,
    number: usize,
    limits: [Option<u8>; 2],
    world: &World,
    options: &Options,
) -> Result<(), CompileError> {
    for (policy, spec) in specs(findings.policies) {
        if !findings.concerns(number, policy, spec) {
            continue;
        }
        let rules: Vec<&PolicyRule> = spec.rules.iter().collect();
        let cells = Cells::of(&rules, world, &Known::default(), options)?;
        let owner = Owner::Policy(policy, spec);
        let statements: Vec<Statement<'_>> =
            rules.iter().map(|rule| Statement { rule, owner }).collect();
        for direction in [Direction::Ingress, Direction::Egress] {
            // By class: what is allowed, and the rules that allow it.
            let mut of_class = Vec::with_capacity(cells.classes.len());
            for present in cells.naming() {
                let present: Vec<(usize, Statement<'_>)> = present
                    .iter()
                    .filter_map(|at| Some((*at, *statements.get(*at)?)))
                    .filter(|(_, one)| one.rule.direction == direction)
                    .collect();
                let mut ports = Ports::default();
                let each = present.iter().map(|one| allowed(&cells, *one, &present));
                each.for_each(|own| ports.add(&own));
                let first = present.iter().find(|one| !allowed(&cells, **one, &present).is_empty());
                of_class.push((ports, first.map(|(_, one)| one.rule.at)));
            }
            for (is_v4, limit) in [true, false].into_iter().zip(limits) {
                let Some(limit) = limit else { continue };
                if let Some(wide) = wider(&cells, &of_class, is_v4, limit) {
                    let service = cells.service(wide.ports);
                    let what = format!(
                        "lets no prefix be wider than /{limit}: {} is, for {service}",
                        prefix(wide.start, wide.length, is_v4)
                    );
                    findings.add(number, policy, wide.at, what);
                }
            }
        }
        for rule in rules.iter().filter(|rule| rule.action == Action::Allow) {
            for name in names_of(rule).filter(|name| name.is_every_name()) {
                let what = format!("limits prefixes, and `{}` is every address", name.as_written());
                findings.add(number, policy, rule.at, what);
            }
        }
    }
    Ok(())
}

/// What is too wide.
struct Wide {
    /// The rule that begins it.
    at: Position,
    /// The first address.
    start: u128,
    /// Bits of the widest prefix of it.
    length: u8,
    /// A class of ports for which all of it is allowed.
    ports: u32,
}

/// A prefix wider than the limit, all of which is allowed for one port. By
/// class `of_class` says what is allowed and by which rule.
fn wider(
    cells: &Cells,
    of_class: &[(Ports, Option<Position>)],
    is_v4: bool,
    limit: u8,
) -> Option<Wide> {
    // Whatever is wider holds a whole block of one bit less than the limit.
    let inner = u32::from((if is_v4 { 32 } else { 128 }) - limit.checked_sub(1)?);
    let block = |address: u128| address.checked_shr(inner).unwrap_or(0);
    let ranges: Vec<(u128, u128, &Ports)> = cells
        .ranges(is_v4)
        .filter_map(|(first, last, class)| Some((first, last, &of_class.get(class)?.0)))
        .collect();
    // What is allowed in all of the block so far.
    let mut all: Option<Ports> = None;
    let mut found = None;
    for (number, (first, last, ports)) in ranges.iter().enumerate() {
        let is_new = number == 0 || *first == block(*first).checked_shl(inner).unwrap_or(0);
        let so_far = match all.take().filter(|_| !is_new) {
            Some(before) => before.and(ports),
            None => (*ports).clone(),
        };
        let end = block(*first).checked_shl(inner).unwrap_or(0) | low_bits(inner);
        if *last >= end
            && let Some(class) = so_far.sample()
        {
            found = Some((number, class));
            break;
        }
        let (_, length) = widest(*first, *last, is_v4);
        if length < limit
            && let Some(class) = ports.sample()
        {
            found = Some((number, class));
            break;
        }
        // The next range goes on in the block that this one ends in.
        let goes_on = block(*first) == block(*last);
        all = Some(if goes_on { so_far } else { (*ports).clone() });
    }
    let (number, class) = found?;
    // As wide as it gets, for this port.
    let allowed = |at: usize| ranges.get(at).is_some_and(|(_, _, ports)| ports.contains(class));
    let first = (0..=number).rev().take_while(|at| allowed(*at)).last()?;
    let last = (number..ranges.len()).take_while(|at| allowed(*at)).last()?;
    let (start, length) = widest(ranges.get(first)?.0, ranges.get(last)?.1, is_v4);
    let begins = cells.ranges(is_v4).filter(|(_, last, _)| *last >= start);
    let at = begins.filter_map(|(_, _, class)| of_class.get(class)?.1).next()?;
    Some(Wide { at, start, length, ports: class })
}

fn low_bits(inner: u32) -> u128 {
    1u128.checked_shl(inner).map_or(u128::MAX, |size| size - 1)
}
