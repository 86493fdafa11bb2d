//! A host behind a wall: it receives what the generator makes, and drops it at a
//! socket, so that a packet's whole way through the stack is paid for.

use std::{
    fs, io,
    net::{IpAddr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    sync::Barrier,
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use hostfw_scenario::Host;

use crate::{
    bpf::{Cell, Xdp},
    flows::{FIRST_PORT, Family, Flows, OWN_PORT, PORTS},
    rules::Rules,
    time::{stay_on_processor, thread_time},
    wall::{Standing, Wall},
};

/// A host behind a wall.
pub(crate) struct Bed<'host> {
    pub(crate) wall: Wall,
    pub(crate) rules: Rules,
    host: &'host Host,
    ifindex: u32,
    sockets: Vec<(u16, UdpSocket)>,
    /// What lives as long as the bed does.
    _wall: Standing<'host>,
    _link: OwnedFd,
}

impl<'host> Bed<'host> {
    /// Puts the wall up on a host that has the device `eth0`.
    pub(crate) fn new(host: &'host Host, wall: Wall, rules: Rules) -> anyhow::Result<Self> {
        host.ip(match rules.family {
            Family::V4 => {
                "link set eth0 up\n\
                 addr add 192.0.2.1/24 dev eth0\n\
                 neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev eth0\n\
                 route add 10.0.0.0/8 via 192.0.2.2\n\
                 route add 172.16.0.0/12 via 192.0.2.2\n"
            }
            Family::V6 => {
                "link set eth0 up\n\
                 addr add 2001:db8:ffff:ffff::1/64 dev eth0 nodad\n\
                 neigh add 2001:db8:ffff:ffff::2 lladdr 02:00:00:00:00:02 nud permanent dev eth0\n\
                 route add 2001:db8::/32 via 2001:db8:ffff:ffff::2\n"
            }
        });
        host.sysctl("net/ipv4/conf/eth0/rp_filter", "0");
        let ifindex = host.ifindex("eth0");
        // Any program will do: it makes the device's queue known, which frames
        // of the generator name as theirs.
        let pass = Xdp::load(&[[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]])?;
        let link =
            host.inside(|| pass.attach(ifindex)).context("attach a program to the device")?;
        let sockets = host.inside(|| sockets(rules.family.node())).context("open the sockets")?;
        let standing = wall.put_up(host, rules)?;
        Ok(Self { wall, rules, host, ifindex, sockets, _wall: standing, _link: link })
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
            let program = each.program(&Cell::new()?, 0)?;
            self.host
                .inside(|| program.send(&flows.frame(), self.ifindex, flows.count))
                .context("begin the flows")?;
        }
        for flow in 0..flows.count {
            let port = flows.port(flow);
            let socket = self.sockets.iter().find(|socket| socket.0 == port);
            let (_, socket) = socket.context("there is a socket for each port")?;
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
    /// reached a socket. Each program runs on a processor of its own, all at once.
    pub(crate) fn sample(
        &self,
        programs: &[Xdp],
        frame: &[u8],
        count: u32,
    ) -> anyhow::Result<(f64, f64)> {
        // What the bed before has left in the caches is not this one's.
        let warm = count / 5;
        let start = Barrier::new(programs.len());
        let one = |(place, program): (usize, &Xdp)| -> anyhow::Result<Duration> {
            let send = |count| program.send(frame, self.ifindex, count);
            let ready = stay_on_processor(place).and_then(|()| send(warm));
            // Nobody waits for one that has failed.
            start.wait();
            ready.context("run the generator")?;
            let begin = thread_time();
            send(count).context("run the generator")?;
            Ok(thread_time().saturating_sub(begin))
        };
        self.host.inside(|| {
            let family = self.rules.family;
            let before = arrived(family)?;
            let spent: Duration = thread::scope(|scope| {
                let threads: Vec<_> = programs
                    .iter()
                    .enumerate()
                    .map(|task| scope.spawn(move || one(task)))
                    .collect();
                let ends = threads.into_iter().map(|thread| match thread.join() {
                    Ok(spent) => spent,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                ends.sum::<anyhow::Result<_>>()
            })?;
            let arrived = (arrived(family)? - before) as f64;
            let all = programs.len() as f64;
            let share = arrived / (all * f64::from(warm + count));
            Ok((spent.as_secs_f64() * 1e9 / (all * f64::from(count)), share))
        })
    }
}

/// One for each port.
fn sockets(node: IpAddr) -> io::Result<Vec<(u16, UdpSocket)>> {
    let ports = (0..PORTS).filter_map(|port| u16::try_from(port).ok());
    let ports = ports.map(|port| FIRST_PORT + port).chain([OWN_PORT]);
    ports.map(|port| Ok((port, refusing_socket(node, port)?))).collect()
}

/// One that refuses everything, after the stack has done its work.
pub(crate) fn refusing_socket(node: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((node, port))?;
    // BPF_RET with the constant 0: no byte of any packet.
    let nothing = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: std::ptr::from_ref(&nothing).cast_mut() };
    let length =
        libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(io::Error::other)?;
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
}

/// Datagrams that sockets of the calling thread's namespace have refused; those
/// with a wrong sum, which the kernel counts among them, came to no socket.
pub(crate) fn arrived(family: Family) -> anyhow::Result<u64> {
    let (file, prefix) = match family {
        Family::V4 => ("snmp", "Udp"),
        Family::V6 => ("snmp6", "Udp6"),
    };
    let path = format!("/proc/thread-self/net/{file}");
    let text = fs::read_to_string(path).context("read the counters")?;
    let count = |name: &str| {
        let value = match family {
            Family::V4 => {
                // A line of names, then one of values.
                let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
                let names = lines.next().unwrap_or_default();
                let place = names.split(' ').position(|word| word == name);
                place.and_then(|place| lines.next()?.split(' ').nth(place))
            }
            Family::V6 => {
                let mut lines = text.lines().map(|line| line.split_once(char::is_whitespace));
                lines
                    .find_map(|line| line.filter(|(key, _)| *key == format!("{prefix}{name}")))
                    .map(|(_, value)| value.trim())
            }
        };
        let value = value.and_then(|value| value.parse::<u64>().ok());
        value.with_context(|| format!("a counter {name}"))
    };
    Ok(count("InErrors")? - count("InCsumErrors")?)
}
