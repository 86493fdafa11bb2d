//! Connections of this host's sockets, and ending one of them: the kernel's own
//! socket list over netlink. It decides nothing about them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hostfw_control::LiveConnection;
use hostfw_datapath::{Address, Direction, flow::FlowKey, parse::protocol};

use hostfw_daemon::netlink::{ACKNOWLEDGE, DUMP, Kernel, REQUEST, message};

/// A socket with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Both ends, and who opened it.
    pub(crate) connection: LiveConnection,
    /// The same for the tables.
    pub(crate) flow: FlowKey,
    socket: SocketId,
}

/// What names a socket: its family and its identity, as the kernel wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketId {
    family: u8,
    bytes: [u8; ID_BYTES],
}

/// Every TCP socket and every UDP socket that has a peer. At whose port somebody
/// listens was opened by the other end.
///
/// # Errors
/// What the kernel says.
pub(crate) fn list() -> io::Result<Vec<Live>> {
    let kernel = Kernel::open(NETLINK_SOCK_DIAG)?;
    let mut live = Vec::new();
    for number in [protocol::TCP, protocol::UDP] {
        let states = if number == protocol::TCP { TCP_STATES } else { 1 << ESTABLISHED };
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let ask = request(BY_FAMILY, REQUEST | DUMP, (family, number, states), [0; ID_BYTES]);
            kernel.ask(&ask, |answer| found.extend(Seen::read(answer.body)))?;
        }
        let listening: BTreeSet<u16> =
            found.iter().filter(|one| one.state == LISTEN).map(|one| one.local.1).collect();
        let connected = found.iter().filter(|one| one.state != LISTEN);
        live.extend(connected.map(|one| one.live(number, listening.contains(&one.local.1))));
    }
    Ok(live)
}

/// Ends a connection: whoever reads or writes here is told at once, and a TCP
/// peer gets a reset.
///
/// # Errors
/// What the kernel says; `ENOENT` when it has ended by itself.
pub(crate) fn end(live: &Live) -> io::Result<()> {
    let SocketId { family, bytes } = live.socket;
    let of = (family, live.connection.protocol, u32::MAX);
    let ask = request(DESTROY, REQUEST | ACKNOWLEDGE, of, bytes);
    Kernel::open(NETLINK_SOCK_DIAG)?.ask(&ask, |_| {})
}

/// `struct inet_diag_req_v2`.
fn request(
    kind: u16,
    flags: u16,
    (family, number, states): (u8, u8, u32),
    id: [u8; ID_BYTES],
) -> Vec<u8> {
    let mut body = vec![family, number, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend(id);
    message(kind, flags, &body)
}

/// `struct inet_diag_msg`, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    state: u8,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    socket: SocketId,
}

impl Seen {
    fn read(body: &[u8]) -> Option<Self> {
        let [family, state, ..] = *body.first_chunk::<4>()?;
        let bytes: [u8; ID_BYTES] = *body.get(4..)?.first_chunk()?;
        let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let address = |at: usize| {
            let v6: [u8; 16] = *bytes.get(at..)?.first_chunk()?;
            match family {
                AF_INET => Some(IpAddr::from(Ipv4Addr::from(*v6.first_chunk::<4>()?))),
                // A socket of both families shows IPv4 peers in mapped form.
                AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(v6)).to_canonical()),
                _ => None,
            }
        };
        Some(Self {
            state,
            local: (address(4)?, port(0)?),
            remote: (address(20)?, port(2)?),
            socket: SocketId { family, bytes },
        })
    }

    fn live(&self, number: u8, serves: bool) -> Live {
        let Self { local: (local, local_port), remote: (remote, remote_port), socket, .. } = *self;
        let (direction, port) = if serves {
            (Direction::Ingress, local_port)
        } else {
            (Direction::Egress, remote_port)
        };
        let connection = LiveConnection { direction, local, remote, protocol: number, port };
        let flow = FlowKey {
            local: Address::from(local),
            remote: Address::from(remote),
            local_port,
            remote_port,
            protocol: number,
            zero: [0; 3],
        };
        Live { connection, flow, socket }
    }
}

// include/uapi/linux/{netlink,sock_diag,inet_diag}.h
const NETLINK_SOCK_DIAG: isize = 4;
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// `struct inet_diag_sockid`: ports, addresses, device, cookie.
const ID_BYTES: usize = 48;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
// include/net/tcp_states.h; UDP uses the first for "connected".
const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
const NEW_SYN_RECV: u8 = 12;
/// Every state with somebody behind it.
const TCP_STATES: u32 = !(1 << TIME_WAIT | 1 << CLOSE | 1 << NEW_SYN_RECV);

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_listed_with_who_opened_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (_server, _) = listener.accept().expect("accepted");
        let port = client.local_addr().expect("bound").port();
        let served = listener.local_addr().expect("bound").port();
        let live = list().expect("listed");
        let of = |local: u16, remote: u16| {
            let flow = |one: &&Live| (one.flow.local_port, one.flow.remote_port) == (local, remote);
            live.iter().find(flow).expect("listed").connection
        };
        let (client, server) = (of(port, served), of(served, port));
        assert_eq!((client.direction, client.port), (Direction::Egress, served));
        assert_eq!((server.direction, server.port), (Direction::Ingress, served));
    }

    #[test]
    fn ending_a_connection_tells_both_ends() {
        let listener = TcpListener::bind("[::1]:0").expect("a port");
        let at = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(at).expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        let live = list().expect("listed");
        let served = live.iter().find(|one| one.flow.local_port == at.port()).expect("listed");
        match end(served) {
            Ok(()) => {
                assert!(client.read(&mut [0]).is_err(), "reset");
                assert!(server.read(&mut [0]).is_err(), "aborted");
                let again = end(served).expect_err("gone");
                assert_eq!(again.raw_os_error(), Some(libc::ENOENT));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_socket_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let seen = Seen::read(&bytes);
            prop_assert!(seen.is_none() || bytes.len() >= 4 + ID_BYTES);
        }
    }
}
