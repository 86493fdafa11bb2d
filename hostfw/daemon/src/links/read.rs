//! What the kernel's messages about links and addresses say, as far as it is
//! used: bytes in, links out. Names are whatever bytes somebody chose, and what
//! is of no interest, such as an alias, is not looked at: no text of an
//! administrator hides a device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostfw_control::{Link, LinkAddress};

use hostfw_daemon::netlink::attributes;

/// The link of a message (`struct ifinfomsg`), if it is whole.
pub(super) fn link(body: &[u8]) -> Option<Link> {
    let header: &[u8; LINK_HEADER] = body.first_chunk()?;
    let flags = word(header, 8)?;
    let mut link = Link {
        index: word(header, 4)?,
        link_layer: u16::from_ne_bytes(*header.get(2..)?.first_chunk()?),
        loopback: flags & LOOPBACK != 0,
        up: flags & UP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            NAME => link.name = text(value),
            MASTER => link.master = word(value, 0).filter(|master| *master != 0),
            LINK_INFO => (link.kind, link.tunnel_port) = kind_and_port(value),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// What a device is, and on which UDP port it listens if it is a tunnel.
fn kind_and_port(info: &[u8]) -> (Option<String>, Option<u16>) {
    let inside =
        |wanted| attributes(info).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let kind = inside(INFO_KIND).map(text);
    let port = match kind.as_deref() {
        Some("vxlan") => VXLAN_PORT,
        Some("geneve") => GENEVE_PORT,
        Some(_) | None => return (kind, None),
    };
    let mut found = attributes(inside(INFO_DATA).unwrap_or_default());
    let found = found.find(|(kind, _)| *kind == port);
    let number = found.and_then(|(_, value)| value.first_chunk().copied());
    (kind, number.map(u16::from_be_bytes))
}

/// The index of a device and an address on it (`struct ifaddrmsg`); `None` for
/// one of another family.
pub(super) fn address(body: &[u8]) -> Option<(u32, LinkAddress)> {
    let header: &[u8; ADDRESS_HEADER] = body.first_chunk()?;
    let [family, prefix_length, ..] = *header;
    let (mut local, mut any) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_HEADER..)?) {
        match kind {
            // On a point-to-point device `ADDRESS` is the other end.
            LOCAL => local = ip(family, value),
            ADDRESS => any = ip(family, value),
            _ => {}
        }
    }
    Some((word(header, 4)?, LinkAddress { address: local.or(any)?, prefix_length }))
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => <[u8; 4]>::try_from(bytes).ok().map(|four| Ipv4Addr::from(four).into()),
        INET6 => <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into()),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A text up to its end; bytes that are no UTF-8 are shown as such.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

// include/uapi/linux/{if,if_link,if_addr}.h
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const UP: u32 = 1;
const LOOPBACK: u32 = 8;
const NAME: u16 = 3;
const MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VXLAN_PORT: u16 = 15;
const GENEVE_PORT: u16 = 5;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const INET: u8 = 2;
const INET6: u8 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use hostfw_daemon::netlink::attribute;

    const ALIAS: u16 = 20;

    #[test]
    fn a_link_is_what_its_message_says() {
        let info = [attribute(INFO_KIND, b"vlan"), attribute(INFO_DATA, &[1, 2, 3])].concat();
        let bytes = message(UP, &[(NAME, b"eth0.7\0"), (MASTER, &word_of(9)), (LINK_INFO, &info)]);
        let wanted = Link {
            index: 7,
            name: "eth0.7".into(),
            kind: Some("vlan".into()),
            link_layer: 1,
            loopback: false,
            up: true,
            master: Some(9),
            ..Link::default()
        };
        assert_eq!(link(&bytes), Some(wanted));
        let loopback = link(&message(LOOPBACK, &[(NAME, b"lo\0"), (MASTER, &word_of(0))]));
        assert!(loopback.is_some_and(|link| link.loopback && !link.up && link.master.is_none()));
    }

    #[test]
    fn no_text_of_an_administrator_hides_a_device() {
        let bytes = message(UP, &[(ALIAS, b"b\xfcro\0"), (NAME, b"eth\xfc\0"), (99, b"\xff")]);
        assert_eq!(link(&bytes).map(|link| link.name), Some("eth\u{fffd}".into()));
        // A message that names no device is none that can be left out.
        assert_eq!(link(&message(UP, &[(ALIAS, b"uplink\0")])), None);
        assert_eq!(link(&bytes[..LINK_HEADER - 1]), None);
    }

    #[test]
    fn a_tunnel_listens_where_its_own_kind_says() {
        for (kind, number, port) in [
            (&b"vxlan\0"[..], VXLAN_PORT, Some(8_472)),
            (b"geneve\0", GENEVE_PORT, Some(8_472)),
            (b"vxlan\0", GENEVE_PORT, None),
            (b"vlan\0", VXLAN_PORT, None),
        ] {
            let inside = attribute(number, &8_472_u16.to_be_bytes());
            let info = [attribute(INFO_KIND, kind), attribute(INFO_DATA, &inside)].concat();
            let link = link(&message(UP, &[(NAME, b"x0\0"), (LINK_INFO, &info)])).expect("whole");
            assert_eq!(link.tunnel_port, port, "{:?}", link.kind);
        }
    }

    #[test]
    fn an_address_is_that_of_this_end() {
        let (own, far) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        let header = |family: u8| [&[family, 24, 0, 0][..], &word_of(7)].concat();
        let both = [header(INET), attribute(ADDRESS, &far), attribute(LOCAL, &own)].concat();
        let wanted = |text: &str| {
            let address = text.parse().expect("an address");
            Some((7, LinkAddress { address, prefix_length: 24 }))
        };
        assert_eq!(address(&both), wanted("192.0.2.1"));
        assert_eq!(
            address(&[header(INET), attribute(ADDRESS, &own)].concat()),
            wanted("192.0.2.1")
        );
        let v6 = Ipv6Addr::LOCALHOST.octets();
        assert_eq!(address(&[header(INET6), attribute(ADDRESS, &v6)].concat()), wanted("::1"));
        assert_eq!(address(&[header(INET6), attribute(ADDRESS, &own)].concat()), None);
        assert_eq!(address(&[header(35), attribute(LOCAL, &[1])].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(link(&bytes).is_none_or(|link| !link.name.is_empty()));
            prop_assert!(address(&bytes).is_none_or(|_| bytes.len() > ADDRESS_HEADER));
        }
    }

    fn message(flags: u32, inside: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0];
        bytes.extend([word_of(7), word_of(flags), word_of(0)].concat());
        bytes.extend(inside.iter().flat_map(|(kind, value)| attribute(*kind, value)));
        bytes
    }

    fn word_of(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }
}
