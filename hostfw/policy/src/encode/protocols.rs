//! The protocol words of an image: from a protocol and its port or type to a
//! port class.

use hostfw_datapath::image::{AT_PROTOCOLS, AT_TCP, AT_UDP, PORTS, TYPES};

use super::Writer;
use crate::{
    compile::CompileError,
    ports::{TCP, UDP},
    services::{PortClasses, UNNAMED, class_at},
};

/// Writes them.
pub(crate) fn write(writer: &mut Writer, classes: &PortClasses) -> Result<(), CompileError> {
    let mut table = vec![UNNAMED; 256];
    for (protocol, starts) in &classes.ports {
        let mut pages = Vec::with_capacity(256);
        for page in 0..=255u16 {
            let block: Vec<u32> = (0..=255).map(|low| class_at(starts, page << 8 | low)).collect();
            pages.push(writer.block(&block)?);
        }
        table[usize::from(*protocol)] = PORTS | writer.block(&pages)?;
    }
    for (protocol, types) in &classes.types {
        table[usize::from(*protocol)] = TYPES | writer.block(types)?;
    }
    for (protocol, class) in &classes.whole {
        table[usize::from(*protocol)] = *class;
    }
    let at = writer.block(&table)?;
    writer.set(AT_PROTOCOLS, at);
    writer.set(AT_TCP, table[usize::from(TCP)]);
    writer.set(AT_UDP, table[usize::from(UDP)]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hostfw_datapath::image::port_class;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        ports::{ICMP, ICMPV6, SCTP, Service, TCP, UDP},
        services::classify,
    };

    fn service() -> impl Strategy<Value = Service> {
        let port = || prop_oneof![0..4u16, 250..260u16, any::<u16>(), 65_533..=65_535u16];
        let ports =
            (select(&[TCP, UDP, SCTP][..]), port(), port()).prop_map(|(protocol, one, other)| {
                Service { protocol, first: one.min(other), last: one.max(other) }
            });
        prop_oneof![
            6 => ports,
            2 => (select(&[ICMP, ICMPV6][..]), any::<u8>())
                .prop_map(|(protocol, number)| Service::icmp(protocol, number)),
            2 => select(&[2u8, 47, 50, 112, 255][..])
                .prop_map(|protocol| Service { protocol, first: 0, last: 0 }),
        ]
    }

    /// The lists that name each port of a protocol, one bit a list.
    fn named(lists: &[Vec<Service>], protocol: u8) -> Vec<u32> {
        let has_ports = [TCP, UDP, SCTP, ICMP, ICMPV6].contains(&protocol);
        let mut named = vec![0u32; 1 << 16];
        for (list, services) in lists.iter().enumerate() {
            for service in services.iter().filter(|service| service.protocol == protocol) {
                let (first, last) = (usize::from(service.first), usize::from(service.last));
                let ports = if has_ports { first..=last } else { 0..=usize::from(u16::MAX) };
                for bits in &mut named[ports] {
                    *bits |= 1 << list;
                }
            }
        }
        named
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_protocol_and_port_has_the_class_of_the_lists_that_name_it(
            lists in vec(vec(service(), 0..8), 0..6),
        ) {
            let borrowed: Vec<&[Service]> = lists.iter().map(Vec::as_slice).collect();
            let classes = classify(&borrowed);
            let mut writer = Writer::new();
            write(&mut writer, &classes).expect("a small table");
            let image = writer.all();
            // Two services are of one class when the same lists name them.
            let mut class_of = BTreeMap::from([(0, UNNAMED)]);
            let mut last_seen = (0, UNNAMED);
            for protocol in 0..=u8::MAX {
                let last = if [ICMP, ICMPV6].contains(&protocol) { 255 } else { u16::MAX };
                for (port, bits) in (0..=last).zip(named(&lists, protocol)) {
                    let class = port_class(&image, protocol, port);
                    if last_seen != (bits, class) {
                        let known = *class_of.entry(bits).or_insert(class);
                        prop_assert_eq!(class, known, "{}/{}", protocol, port);
                        last_seen = (bits, class);
                    }
                }
            }
            let mut numbers: Vec<u32> = class_of.values().copied().collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), class_of.len(), "one class for different lists");
            prop_assert!(numbers.iter().all(|class| *class < classes.n_classes));
            for (list, of_list) in classes.of_list.iter().enumerate() {
                let bit = 1u32 << list;
                let mut expected: Vec<u32> = class_of
                    .iter()
                    .filter(|(bits, _)| *bits & bit != 0)
                    .map(|(_, class)| *class)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(of_list, &expected);
            }
        }
    }
}
