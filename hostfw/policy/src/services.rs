//! Port classes: every protocol, port and ICMP type, divided into as few
//! classes as the services of all rules can tell apart. It knows no rules, only
//! their lists of services.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::{
    ports::{ICMP, ICMPV6, SCTP, Service, TCP, UDP},
    rule_set::{EMPTY, RuleSets, SetId},
};

/// The class of what no rule names.
pub(crate) const UNNAMED: u32 = 0;

/// The division of all services.
#[derive(Debug, Default)]
pub(crate) struct PortClasses {
    /// Number of classes, the unnamed one included.
    pub(crate) n_classes: u32,
    /// Per protocol with ports: where a class starts; the first entry is port 0.
    pub(crate) ports: BTreeMap<u8, Vec<(u16, u32)>>,
    /// Per ICMP protocol: the class of every type.
    pub(crate) types: BTreeMap<u8, Vec<u32>>,
    /// Protocols without ports that some rule names.
    pub(crate) whole: BTreeMap<u8, u32>,
    /// Per list of services: its classes, ascending.
    pub(crate) of_list: Vec<Vec<u32>>,
}

/// Divides the services that the lists name.
pub(crate) fn classify(lists: &[&[Service]]) -> PortClasses {
    let mut division = Division {
        sets: RuleSets::default(),
        numbers: FxHashMap::from_iter([(EMPTY, UNNAMED)]),
        classes: PortClasses { n_classes: 1, ..PortClasses::default() },
        order: vec![EMPTY],
    };
    for protocol in [TCP, UDP, SCTP] {
        let starts = division.sweep(lists, protocol);
        division.classes.ports.insert(protocol, starts);
    }
    for protocol in [ICMP, ICMPV6] {
        let starts = division.sweep(lists, protocol);
        let types = (0..256).map(|number| class_at(&starts, number)).collect();
        division.classes.types.insert(protocol, types);
    }
    let mut named: Vec<u8> = lists.iter().copied().flatten().map(|one| one.protocol).collect();
    named.sort_unstable();
    named.dedup();
    for protocol in named {
        if ![TCP, UDP, SCTP, ICMP, ICMPV6].contains(&protocol) {
            let starts = division.sweep(lists, protocol);
            division.classes.whole.insert(protocol, class_at(&starts, 0));
        }
    }
    division.finish(lists.len())
}

/// The class of a port, given where classes start.
pub(crate) fn class_at(starts: &[(u16, u32)], port: u16) -> u32 {
    let after = starts.partition_point(|(start, _)| *start <= port);
    after.checked_sub(1).and_then(|at| starts.get(at)).map_or(UNNAMED, |(_, class)| *class)
}

struct Division {
    /// Sets of lists: two services are alike when the same lists name them.
    sets: RuleSets,
    numbers: FxHashMap<SetId, u32>,
    classes: PortClasses,
    /// The set of each class.
    order: Vec<SetId>,
}

impl Division {
    /// Walks the ports of one protocol and notes where the class changes.
    fn sweep(&mut self, lists: &[&[Service]], protocol: u8) -> Vec<(u16, u32)> {
        let mut changes: BTreeMap<u32, Vec<(u32, bool)>> = BTreeMap::new();
        for (list, services) in (0u32..).zip(lists) {
            for (first, last) in merged(services, protocol) {
                changes.entry(first.into()).or_default().push((list, true));
                changes.entry(u32::from(last) + 1).or_default().push((list, false));
            }
        }
        let mut set = EMPTY;
        let mut starts = vec![(0, UNNAMED)];
        for (port, lists) in changes {
            for (list, begins) in lists {
                set = if begins { self.sets.with(set, list) } else { self.sets.without(set, list) };
            }
            // Port 65536 ends the last range; there is no service behind it.
            if let Ok(port) = u16::try_from(port) {
                let class = self.class(set);
                if starts.last().is_some_and(|(start, _)| *start == port) {
                    starts.pop();
                }
                starts.push((port, class));
            }
        }
        starts
    }

    fn class(&mut self, set: SetId) -> u32 {
        let next = self.classes.n_classes;
        let class = *self.numbers.entry(set).or_insert(next);
        if class == next {
            self.classes.n_classes += 1;
            self.order.push(set);
        }
        class
    }

    fn finish(mut self, n_lists: usize) -> PortClasses {
        self.classes.of_list = vec![Vec::new(); n_lists];
        for (class, set) in (0u32..).zip(&self.order) {
            for list in self.sets.ids(*set) {
                let list = usize::try_from(list).ok();
                if let Some(classes) = list.and_then(|list| self.classes.of_list.get_mut(list)) {
                    classes.push(class);
                }
            }
        }
        self.classes
    }
}

/// The ranges of one protocol in a list, ascending and without overlap.
fn merged(services: &[Service], protocol: u8) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = services
        .iter()
        .filter(|service| service.protocol == protocol)
        .map(|service| (service.first, service.last))
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_no_list_tells_apart_share_a_class() {
        let tcp = |first, last| Service { protocol: TCP, first, last };
        let any = [TCP, UDP, SCTP].map(|protocol| Service { protocol, first: 53, last: 53 });
        let lists: [&[Service]; 3] = [&[tcp(80, 90), tcp(85, 95)], &[tcp(95, 95)], &any];
        let classes = classify(&lists);
        let at = |protocol, port| class_at(&classes.ports[&protocol], port);
        assert_eq!(at(TCP, 79), UNNAMED);
        assert_eq!(at(TCP, 80), at(TCP, 94));
        assert_ne!(at(TCP, 94), at(TCP, 95));
        assert_eq!(at(TCP, 53), at(UDP, 53));
        assert_eq!(classes.n_classes, 4);
        assert_eq!(classes.of_list[0], {
            let mut both = vec![at(TCP, 80), at(TCP, 95)];
            both.sort_unstable();
            both
        });
    }

    #[test]
    fn the_last_port_ends_a_range() {
        let list = [Service { protocol: UDP, first: 60000, last: 65535 }];
        let classes = classify(&[&list]);
        assert_eq!(class_at(&classes.ports[&UDP], 59999), UNNAMED);
        assert_eq!(class_at(&classes.ports[&UDP], 65535), 1);
        assert_eq!(classes.types[&ICMP], vec![UNNAMED; 256]);
    }
}
