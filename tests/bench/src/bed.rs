//! A host with one firewall: it receives what the generator makes, and drops it
//! at a socket, so that a packet's whole way through the stack is paid for.

use std::{
    fs, io,
    net::UdpSocket,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, ensure};
use hostfw_scenario::{Firewall, ForeignProgram, Host, Place};

use crate::{
    bpf::{Cell, Xdp},
    flows::{self, FIRST_PORT, Flows, OWN_PORT, PORTS},
    page::Kind,
    rules,
    time::{stay_on_last_processor, thread_time},
};

/// What stands between the device and the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Nothing.
    None,
    /// A program at tcx that has no word about any frame.
    Empty,
    /// A program at tcx that drops every frame.
    Drop,
    /// Ours, with its daemon and its policy files.
    Hostfw,
    /// nftables, as a set of prefixes with ports.
    NftSet,
    /// nftables, as a map from ports to sets of prefixes.
    NftMap,
    /// nftables, one rule after the other.
    NftLinear,
}

impl Wall {
    pub(crate) const ALL: [Self; 7] = [
        Self::None,
        Self::Empty,
        Self::Drop,
        Self::Hostfw,
        Self::NftSet,
        Self::NftMap,
        Self::NftLinear,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Empty => "an empty program",
            Self::Drop => "an immediate drop",
            Self::Hostfw => "hostfw",
            Self::NftSet => "nftables, set",
            Self::NftMap => "nftables, map",
            Self::NftLinear => "nftables, linear",
        }
    }

    /// Whether it has a table of connections that must be filled and emptied.
    pub(crate) const fn tracks(self) -> bool {
        matches!(self, Self::NftSet | Self::NftMap | Self::NftLinear)
    }

    /// The share of packets that must reach a socket. None where it says nothing:
    /// no wall hinders a packet to a port that nobody listens at.
    pub(crate) fn lets_through(self, kind: Kind) -> Option<f64> {
        match (self, kind) {
            (Self::Drop, _) => Some(0.0),
            (Self::None | Self::Empty, Kind::Denied) => None,
            (_, Kind::Denied) => Some(0.0),
            (_, Kind::Established | Kind::New | Kind::Answer) => Some(1.0),
        }
    }
}

/// A host behind a wall.
pub(crate) struct Bed<'host> {
    pub(crate) wall: Wall,
    host: &'host Host,
    ifindex: u32,
    sockets: Vec<UdpSocket>,
    /// What lives as long as the bed does.
    _firewall: Option<Firewall<'host>>,
    _links: Vec<OwnedFd>,
}

impl<'host> Bed<'host> {
    /// Puts the wall up on a host that has the device `eth0`.
    pub(crate) fn new(host: &'host Host, wall: Wall, n_rules: u32) -> anyhow::Result<Self> {
        host.ip("link set eth0 up\n\
             addr add 192.0.2.1/24 dev eth0\n\
             neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev eth0\n\
             route add 10.0.0.0/8 via 192.0.2.2\n\
             route add 172.16.0.0/12 via 192.0.2.2\n");
        host.sysctl("net/ipv4/conf/eth0/rp_filter", "0");
        let ifindex = host.ifindex("eth0");
        // Any program will do: it makes the device's queue known, which frames
        // of the generator name as theirs.
        let pass = Xdp::load(&[[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]])?;
        let mut links =
            vec![host.inside(|| pass.attach(ifindex)).context("attach a program to the device")?];
        let sockets = host.inside(sockets).context("open the sockets")?;
        let mut firewall = None;
        match wall {
            Wall::None => {}
            Wall::Empty => links.push(ForeignProgram::drops(1).chain(host, "eth0", Place::First)),
            Wall::Drop => links.push(ForeignProgram::drops(64).chain(host, "eth0", Place::First)),
            Wall::Hostfw => {
                let mut ours = Firewall::new(host);
                ours.configure("devices: {include: [eth0]}\n");
                ours.policy("bench.yaml", &rules::policy(n_rules));
                ours.start();
                firewall = Some(ours);
            }
            Wall::NftSet => host.nft(&rules::set(n_rules)),
            Wall::NftMap => host.nft(&rules::map(n_rules)),
            Wall::NftLinear => host.nft(&rules::linear(n_rules)),
        }
        Ok(Self { wall, host, ifindex, sockets, _firewall: firewall, _links: links })
    }

    /// Makes flows known as this firewall knows them: from both sides, or as
    /// those that the host has begun.
    pub(crate) fn acquaint(&self, flows: &Flows, begun_here: bool) -> anyhow::Result<()> {
        if !begun_here && !self.wall.tracks() {
            return Ok(());
        }
        if !begun_here {
            // Each of them once, in order.
            let each = Flows { count: 0, ..*flows };
            let program = each.program(&Cell::new()?)?;
            self.host
                .inside(|| program.send(&flows::frame(), self.ifindex, flows.count))
                .context("begin the flows")?;
        }
        for flow in 0..flows.count {
            let port = flows.port(flow);
            let socket = self
                .sockets
                .iter()
                .find(|socket| socket.local_addr().is_ok_and(|address| address.port() == port));
            let socket = socket.context("there is a socket for each port")?;
            socket.send_to(&[0], flows.peer(flow)).context("answer a flow")?;
        }
        Ok(())
    }

    /// Forgets what a table of connections holds: its memory is shared by all
    /// namespaces, and the others would pay for it.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        if !self.wall.tracks() {
            return Ok(());
        }
        let mut conntrack = self.host.command("conntrack");
        let output = conntrack.arg("--flush").output().context("run conntrack")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Nanoseconds of processor time for one packet, and the share of them that
    /// reached a socket.
    pub(crate) fn sample(&self, program: &Xdp, count: u32) -> anyhow::Result<(f64, f64)> {
        let frame = flows::frame();
        self.host.inside(|| {
            stay_on_last_processor().context("choose a processor")?;
            let before = arrived()?;
            let begin = thread_time();
            program.send(&frame, self.ifindex, count).context("run the generator")?;
            let spent = thread_time().saturating_sub(begin);
            let share = (arrived()? - before) as f64 / f64::from(count);
            Ok((spent.as_secs_f64() * 1e9 / f64::from(count), share))
        })
    }
}

/// One for each port. Each refuses everything, after the stack has done its work.
fn sockets() -> io::Result<Vec<UdpSocket>> {
    let ports = (0..PORTS).filter_map(|port| u16::try_from(port).ok());
    let ports = ports.map(|port| FIRST_PORT + port).chain([OWN_PORT]);
    ports
        .map(|port| {
            let socket = UdpSocket::bind(("0.0.0.0", port))?;
            // BPF_RET with the constant 0: no byte of any packet.
            let nothing = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };
            let filter =
                libc::sock_fprog { len: 1, filter: std::ptr::from_ref(&nothing).cast_mut() };
            let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
                .map_err(io::Error::other)?;
            // SAFETY: the kernel copies the filter, which lives for the call.
            let answer = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_ATTACH_FILTER,
                    (&raw const filter).cast(),
                    length,
                )
            };
            if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
        })
        .collect()
}

/// Datagrams that sockets of the calling thread's namespace have refused.
fn arrived() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").context("read the counters")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let place = names.split(' ').position(|name| name == "InErrors");
    let value = place.and_then(|place| values.split(' ').nth(place));
    value.and_then(|value| value.parse().ok()).context("a count of refused datagrams")
}
