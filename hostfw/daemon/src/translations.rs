//! Flows that the kernel's own tracking knows from before the programs ran: what
//! this host opened without a socket of one peer, and what it masquerades for
//! others, whose answers come to an address of this host. Netlink in, flows out;
//! nothing is decided about them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use hostfw_daemon::kernel::Tracked;
use hostfw_datapath::{Address, flow::FlowKey, parse::protocol};

use hostfw_daemon::netlink::{DUMP, Kernel, REQUEST, attributes, message};

/// Flows whose answers come to one of `addresses`; `None` where the kernel
/// tracks nothing.
///
/// # Errors
/// What the kernel says.
pub(crate) fn list(addresses: &BTreeSet<IpAddr>) -> io::Result<Option<Vec<Tracked>>> {
    // To ask would load the module, where it is one.
    if Path::new("/proc/sys").is_dir() && !Path::new(COUNT).exists() {
        return Ok(None);
    }
    let mut flows = Vec::new();
    let ask = message(GET, REQUEST | DUMP, &[0, 0, 0, 0]); // of every family
    let told = Kernel::open(NETLINK_NETFILTER)
        .and_then(|kernel| kernel.ask(&ask, |answer| flows.extend(read(answer.body, addresses))));
    match told {
        Ok(()) => Ok(Some(flows)),
        Err(error) if error.raw_os_error().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The flow of one entry, if its answers come here and it was opened from here
/// or through here.
fn read(body: &[u8], addresses: &BTreeSet<IpAddr>) -> Option<Tracked> {
    let (mut original, mut reply, mut is_over) = (None, None, false);
    for (kind, value) in attributes(body.get(FAMILY_HEADER..)?) {
        match kind {
            ORIGINAL => original = End::read(value),
            REPLY => reply = End::read(value),
            PROTOCOL_STATE => is_over = is_closed(value),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    if is_over || !addresses.contains(&reply.to) || addresses.contains(&reply.from) {
        return None;
    }
    let (local_port, remote_port) = match reply.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => (reply.to_port, reply.from_port),
        protocol::ICMP | protocol::ICMPV6 => (reply.echo, 0),
        _ => (0, 0),
    };
    let flow = FlowKey {
        local: Address::from(reply.to),
        remote: Address::from(reply.from),
        local_port,
        remote_port,
        protocol: reply.protocol,
        zero: [0; 3],
    };
    Some(Tracked { flow, forwarded: !addresses.contains(&original.from) })
}

/// One direction of an entry.
struct End {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    from_port: u16,
    to_port: u16,
    echo: u16,
}

impl End {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (mut from, mut to, mut protocol) = (None, None, None);
        let (mut from_port, mut to_port, mut echo) = (0, 0, 0);
        for (kind, value) in attributes(bytes) {
            match kind {
                TUPLE_ADDRESSES => {
                    for (kind, value) in attributes(value) {
                        match kind {
                            V4_FROM | V6_FROM => from = address(value),
                            V4_TO | V6_TO => to = address(value),
                            _ => {}
                        }
                    }
                }
                TUPLE_PROTOCOL => {
                    for (kind, value) in attributes(value) {
                        let number = || value.first_chunk().map(|two| u16::from_be_bytes(*two));
                        match kind {
                            NUMBER => protocol = value.first().copied(),
                            FROM_PORT => from_port = number()?,
                            TO_PORT => to_port = number()?,
                            ECHO | ECHO_V6 => echo = number()?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self { from: from?, to: to?, protocol: protocol?, from_port, to_port, echo })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

/// True for a TCP connection that has ended.
fn is_closed(protocol: &[u8]) -> bool {
    let states = attributes(protocol).filter(|(kind, _)| *kind == TCP).map(|(_, value)| value);
    let mut states = states.flat_map(attributes).filter(|(kind, _)| *kind == TCP_STATE);
    states.any(|(_, value)| value.first().is_some_and(|state| [TIME_WAIT, CLOSE].contains(state)))
}

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// What a kernel says that has no such table.
const ABSENT: [i32; 3] = [libc::EPROTONOSUPPORT, libc::EINVAL, libc::EOPNOTSUPP];

// include/uapi/linux/{netlink,netfilter/nfnetlink,netfilter/nfnetlink_conntrack}.h
const NETLINK_NETFILTER: isize = 12;
const FAMILY_HEADER: usize = 4;
const GET: u16 = 0x0101;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const PROTOCOL_STATE: u16 = 4;
const TCP: u16 = 1;
const TCP_STATE: u16 = 1;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_FROM: u16 = 1;
const V4_TO: u16 = 2;
const V6_FROM: u16 = 3;
const V6_TO: u16 = 4;
const NUMBER: u16 = 1;
const FROM_PORT: u16 = 2;
const TO_PORT: u16 = 3;
const ECHO: u16 = 4;
const ECHO_V6: u16 = 7;
// include/uapi/linux/netfilter/nf_conntrack_tcp.h
const TIME_WAIT: u8 = 7;
const CLOSE: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use hostfw_daemon::netlink::attribute;

    const HOST: &str = "192.0.2.1";
    const FAR: &str = "198.51.100.7";
    const CONTAINER: &str = "172.17.0.2";

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("literal")
    }

    fn octets(address: &str) -> Vec<u8> {
        match ip(address) {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }

    fn end(kind: u16, (from, from_port): (&str, u16), (to, to_port): (&str, u16)) -> Vec<u8> {
        let v6 = if from.contains(':') { 2 } else { 0 };
        let nested = 0x8000;
        let addresses =
            [attribute(V4_FROM + v6, &octets(from)), attribute(V4_TO + v6, &octets(to))];
        let protocol = [
            attribute(NUMBER, &[protocol::TCP]),
            attribute(FROM_PORT, &from_port.to_be_bytes()),
            attribute(TO_PORT, &to_port.to_be_bytes()),
        ];
        let addresses = attribute(TUPLE_ADDRESSES | nested, &addresses.concat());
        let protocol = attribute(TUPLE_PROTOCOL | nested, &protocol.concat());
        attribute(kind | nested, &[addresses, protocol].concat())
    }

    fn entry(original: Vec<u8>, reply: Vec<u8>, state: u8) -> Vec<u8> {
        let state = attribute(PROTOCOL_STATE, &attribute(TCP, &attribute(TCP_STATE, &[state])));
        [vec![2, 0, 0, 0], original, reply, state].concat()
    }

    fn from_host(bytes: &[u8]) -> Option<Tracked> {
        read(bytes, &BTreeSet::from([ip(HOST), ip("2001:db8::1")]))
    }

    #[test]
    fn a_masqueraded_connection_is_known_by_where_its_answers_come() {
        let bytes = entry(
            end(ORIGINAL, (CONTAINER, 40_000), (FAR, 443)),
            end(REPLY, (FAR, 443), (HOST, 50_000)),
            3,
        );
        let Tracked { flow, forwarded } = from_host(&bytes).expect("ours");
        assert!(forwarded);
        assert_eq!((IpAddr::from(flow.local), flow.local_port), (ip(HOST), 50_000));
        assert_eq!((IpAddr::from(flow.remote), flow.remote_port), (ip(FAR), 443));
    }

    #[test]
    fn what_the_host_opened_itself_is_not_forwarded() {
        let bytes = entry(
            end(ORIGINAL, ("2001:db8::1", 40_000), ("2001:db8::7", 443)),
            end(REPLY, ("2001:db8::7", 443), ("2001:db8::1", 40_000)),
            3,
        );
        assert!(!from_host(&bytes).expect("ours").forwarded);
    }

    #[test]
    fn inbound_forwarded_local_and_ended_connections_are_left_out() {
        let (own, far) = ((HOST, 22), (FAR, 40_000));
        let inbound = entry(end(ORIGINAL, far, own), end(REPLY, own, far), 3);
        let container = (CONTAINER, 80);
        let translated = entry(end(ORIGINAL, far, own), end(REPLY, container, far), 3);
        let transit = entry(end(ORIGINAL, container, far), end(REPLY, far, container), 3);
        let looped = entry(end(ORIGINAL, (HOST, 1), own), end(REPLY, own, (HOST, 1)), 3);
        let ended = entry(end(ORIGINAL, own, far), end(REPLY, far, own), TIME_WAIT);
        for bytes in [inbound, translated, transit, looped, ended] {
            assert_eq!(from_host(&bytes), None);
        }
    }

    #[test]
    fn this_kernel_tells_or_has_no_such_table() {
        match list(&BTreeSet::new()) {
            Ok(flows) => assert_eq!(flows.unwrap_or_default(), []),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    proptest! {
        #[test]
        fn damaged_entries_are_skipped_and_never_make_up_an_address(
            at in 0..200_usize, byte in any::<u8>(), cut in 0..200_usize
        ) {
            let mut bytes = entry(
                end(ORIGINAL, (CONTAINER, 40_000), (FAR, 443)),
                end(REPLY, (FAR, 443), (HOST, 50_000)),
                3,
            );
            if let Some(damaged) = bytes.get_mut(at) {
                *damaged = byte;
            }
            bytes.truncate(cut);
            if let Some(Tracked { flow, .. }) = from_host(&bytes) {
                prop_assert_eq!(IpAddr::from(flow.local), ip(HOST));
            }
        }

        #[test]
        fn any_bytes_are_an_entry_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let own = [ip(HOST), ip("2001:db8::1")];
            let flow = from_host(&bytes);
            prop_assert!(flow.is_none_or(|one| own.contains(&IpAddr::from(one.flow.local))));
        }
    }
}
