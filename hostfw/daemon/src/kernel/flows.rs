//! The connection tables from outside: how full they are, and filling in what was
//! opened before the programs ran.

use std::{collections::BTreeSet, net::IpAddr, os::fd::AsFd, path::Path};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use hostfw_datapath::{
    Address,
    flow::{FORWARDED, FlowEntry, FlowKey, KEPT, Table},
    parse::protocol,
    place::{self, Place},
};

use super::{
    Kernel, KernelError, Raw, batch, counters::Ticks, maps_dir, places::Places, sys::Shared,
};

/// One byte for each TCP and each UDP port, eight to a pair.
const OPENED_PAIRS: u32 = 2 * 65_536 / 8;

/// An entry of a connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who opened it: this host, or a peer that policy admitted.
    pub table: Table,
    /// Both ends.
    pub flow: FlowKey,
    /// Seconds since it was first seen.
    pub age_s: u32,
    /// Seconds since it was last seen.
    pub idle_s: u32,
    /// Generation that last admitted it.
    pub generation: u32,
    /// Masqueraded through this host.
    pub forwarded: bool,
}

/// A flow that the kernel's own tracking knows, and whose answers come to this
/// host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Both ends, as the answers show them.
    pub flow: FlowKey,
    /// Masqueraded through this host, not opened by it.
    pub forwarded: bool,
}

/// How full a connection table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Which one.
    pub table: Table,
    /// Entries in it, those that no longer count included.
    pub entries: u64,
    /// How many there can be.
    pub capacity: u64,
    /// Entries that had to make room for newer ones.
    pub evicted: u64,
}

/// A socket of this host, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP or UDP, as a protocol number.
    pub protocol: u8,
    /// Local address, possibly unspecified.
    pub local: IpAddr,
    /// Local port.
    pub local_port: u16,
    /// Remote address, unspecified when there is none.
    pub remote: IpAddr,
    /// Remote port, 0 when there is none.
    pub remote_port: u16,
    /// What it is doing.
    pub state: SocketState,
}

/// What matters of a socket's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Waits for others.
    Listening,
    /// Has, or had, a peer.
    Connected,
    /// UDP without a peer: it may have sent to anyone.
    Unconnected,
}

impl Kernel {
    /// Notes what sockets have opened before the egress programs ran: their
    /// ports, and the flows of connected UDP. Must be called after the programs
    /// are attached and before anything is enforced; then an unmarked port is
    /// proof. What an unconnected UDP socket asks from then on the programs see, and
    /// what it has asked before is in no table that could be looked into. Returns how
    /// many sockets were noted.
    ///
    /// # Errors
    /// A map that cannot be written: enforcement must not begin.
    pub fn seed(&mut self, sockets: &[Socket]) -> Result<usize, KernelError> {
        let maps = maps_dir(&self.config.bpf_dir);
        let opened = open_marks(&maps)?;
        let mut connected = Vec::new();
        let mut noted = 0;
        for socket in opened_here(sockets) {
            let base = match socket.protocol {
                protocol::TCP => 0,
                protocol::UDP => 65_536,
                _ => continue,
            };
            opened.mark(base + usize::from(socket.local_port));
            noted += 1;
            if socket.protocol == protocol::UDP {
                connected.push((flow_of(socket), 0));
            }
        }
        self.write(connected.into_iter(), UNJUDGED, Over::TheDead)?;
        Ok(noted)
    }

    /// Notes flows that the kernel tracks, where the programs have not seen them
    /// themselves. Returns how many there are.
    ///
    /// # Errors
    /// A map that cannot be written.
    pub fn note(&mut self, tracked: &[Tracked]) -> Result<usize, KernelError> {
        let flows = tracked.iter().map(|one| (one.flow, if one.forwarded { FORWARDED } else { 0 }));
        self.write(flows, UNJUDGED, Over::TheDead)
    }

    /// Lets connections pass, both ways and whatever policy says, until they
    /// have been idle for the limit of their protocol.
    ///
    /// # Errors
    /// A map that cannot be written.
    pub fn keep(&mut self, flows: &[FlowKey], generation: u32) -> Result<usize, KernelError> {
        let flows_kept = flows.iter().map(|flow| (*flow, KEPT));
        let written = self.write(flows_kept, generation, Over::All)?;
        // Behind it: between the two, the place lets them pass.
        close(&maps_dir(&self.config.bpf_dir), flows)?;
        Ok(written)
    }

    /// Forgets flows.
    ///
    /// # Errors
    /// A table that cannot be opened.
    pub fn forget(&mut self, flows: &[FlowKey]) -> Result<(), KernelError> {
        let maps = maps_dir(&self.config.bpf_dir);
        // First: a place that is open would be written into the table again.
        close(&maps, flows)?;
        for table in Table::ALL {
            let mut map = open_table(&maps, table)?;
            let removed = flows.iter().filter(|flow| map.remove(&Raw(**flow)).is_ok()).count();
            self.count_made(table, removed as u64, true)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        flows: impl Iterator<Item = (FlowKey, u32)>,
        generation: u32,
        over: Over,
    ) -> Result<usize, KernelError> {
        let maps = maps_dir(&self.config.bpf_dir);
        let opened = open_marks(&maps)?;
        let mut own = open_table(&maps, Table::Own)?;
        let now_s = Ticks::now().certain_seconds();
        let (mut written, mut made) = (0, 0);
        for (flow, flags) in flows {
            match flow.protocol {
                protocol::TCP => opened.mark(usize::from(flow.local_port)),
                protocol::UDP => opened.mark(65_536 + usize::from(flow.local_port)),
                _ => {}
            }
            written += 1;
            let found = own.get(&Raw(flow), 0).ok();
            let is_live = found.is_some_and(|Raw(entry)| entry.is_live(flow.protocol, now_s));
            if over == Over::TheDead && is_live {
                continue;
            }
            let entry = FlowEntry { generation, last_s: now_s, first_s: now_s, flags };
            own.insert(Raw(flow), Raw(entry), 0).map_err(KernelError::map("OWN"))?;
            made += u64::from(found.is_none());
        }
        self.count_made(Table::Own, made, false)?;
        Ok(written)
    }

    /// How full the tables are, and what they had to give up.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn fill(&self) -> Result<Vec<Fill>, KernelError> {
        let maps = maps_dir(&self.config.bpf_dir);
        let made = open_made(&maps)?;
        let of = |table: Table| {
            let (pin, name) = named(table);
            let failed = KernelError::map(name);
            let map = MapData::from_pin(maps.join(pin)).map_err(failed)?;
            let capacity = map.info().map_err(failed)?.max_entries();
            let entries = batch::count_entries(
                map.fd().as_fd(),
                size_of::<FlowKey>(),
                size_of::<FlowEntry>(),
            )
            .map_err(KernelError::map(name))?;
            let sum = |index: u32| -> Result<u64, KernelError> {
                let counts = made.get(&index, 0).map_err(KernelError::map("MADE"))?;
                Ok(counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count)))
            };
            let made = sum(table as u32)?.wrapping_add(sum(table as u32 + BY_DAEMON)?);
            let evicted = made.saturating_sub(entries);
            Ok(Fill { table, entries, capacity: u64::from(capacity), evicted })
        };
        Table::ALL.into_iter().map(of).collect()
    }

    /// TCP connections of this host that have a place and no entry in a table, those that
    /// no longer count included.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn count_in_places(&self) -> Result<u64, KernelError> {
        let mut count = 0;
        Places::open(&maps_dir(&self.config.bpf_dir))?.each(|Place { flow, entry, .. }| {
            // Whatever else has a place is counted where it began.
            let is_tcp = flow.protocol == protocol::TCP;
            count += u64::from(is_tcp && place::suffices(flow, entry));
        })?;
        Ok(count)
    }

    /// Adds to, or takes from, what the daemon wrote into a table.
    fn count_made(&mut self, table: Table, n: u64, removed: bool) -> Result<(), KernelError> {
        let failed = KernelError::map("MADE");
        let mut made = open_made(&maps_dir(&self.config.bpf_dir))?;
        let index = table as u32 + BY_DAEMON;
        let mut counts: Vec<u64> = made.get(&index, 0).map_err(failed)?.iter().copied().collect();
        if let Some(first) = counts.first_mut() {
            *first = if removed { first.wrapping_sub(n) } else { first.wrapping_add(n) };
        }
        let counts = PerCpuValues::try_from(counts).map_err(KernelError::map("MADE"))?;
        made.set(index, counts, 0).map_err(failed)
    }
}

/// In the map of counts: how far behind the programs' the daemon's stand.
const BY_DAEMON: u32 = Table::ALL.len() as u32;
/// A generation that never is in force. Who is said to have opened a flow was not
/// judged: the first answer asks whether this host may send there.
const UNJUDGED: u32 = 0;

/// Which entries give way to what the daemon writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    All,
    /// Those that no longer count: of the others the programs know better.
    TheDead,
}

fn open_made(maps: &Path) -> Result<PerCpuArray<MapData, u64>, KernelError> {
    let map = MapData::from_pin(maps.join("made")).map_err(KernelError::map("MADE"))?;
    Map::PerCpuArray(map).try_into().map_err(KernelError::map("MADE"))
}

/// Leaves flows to the hash, wherever they have a place.
fn close(maps: &Path, flows: &[FlowKey]) -> Result<(), KernelError> {
    let places = Places::open(maps)?;
    flows.iter().try_for_each(|flow| places.close(flow))
}

/// The marks of ports from which something was opened.
fn open_marks(maps: &Path) -> Result<Shared, KernelError> {
    let opened = MapData::from_pin(maps.join("opened")).map_err(KernelError::map("OPENED"))?;
    Shared::map(opened.fd().as_fd(), OPENED_PAIRS, true).map_err(KernelError::map("OPENED"))
}

/// The sockets with a peer that this host has asked for. Whoever has one at a port
/// where another socket waits for anyone was let in: such a port proves nothing.
fn opened_here(sockets: &[Socket]) -> impl Iterator<Item = &Socket> {
    let at = |socket: &Socket| (socket.protocol, socket.local_port);
    let (connected, waiting): (Vec<&Socket>, Vec<&Socket>) =
        sockets.iter().partition(|socket| socket.state == SocketState::Connected);
    let served: BTreeSet<(u8, u16)> = waiting.into_iter().map(at).collect();
    connected.into_iter().filter(move |socket| !served.contains(&at(socket)))
}

fn flow_of(socket: &Socket) -> FlowKey {
    FlowKey {
        local: Address::from(socket.local),
        remote: Address::from(socket.remote),
        local_port: socket.local_port,
        remote_port: socket.remote_port,
        protocol: socket.protocol,
        zero: [0; 3],
    }
}

type TableMap = HashMap<MapData, Raw<FlowKey>, Raw<FlowEntry>>;

fn open_table(maps: &Path, table: Table) -> Result<TableMap, KernelError> {
    let (pin, name) = named(table);
    let failed = KernelError::map(name);
    let map = MapData::from_pin(maps.join(pin)).map_err(failed)?;
    Map::LruHashMap(map).try_into().map_err(failed)
}

/// Pin and name of a table.
pub(super) const fn named(table: Table) -> (&'static str, &'static str) {
    match table {
        Table::Own => ("own", "OWN"),
        Table::Admitted => ("admitted", "ADMITTED"),
        Table::AdmittedTcp => ("admitted_tcp", "ADMITTED_TCP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_at_a_port_where_somebody_waits_was_let_in() {
        let socket = |protocol, local_port, state| Socket {
            protocol,
            local: IpAddr::from([192, 0, 2, 1]),
            local_port,
            remote: IpAddr::from([192, 0, 2, 2]),
            remote_port: 40_000,
            state,
        };
        let sockets = [
            socket(protocol::TCP, 22, SocketState::Listening),
            socket(protocol::TCP, 22, SocketState::Connected),
            socket(protocol::TCP, 50_000, SocketState::Connected),
            // A server with a socket of its own for each client.
            socket(protocol::UDP, 5684, SocketState::Connected),
            socket(protocol::UDP, 5684, SocketState::Unconnected),
            socket(protocol::UDP, 22, SocketState::Connected),
        ];
        let ports: Vec<(u8, u16)> =
            opened_here(&sockets).map(|socket| (socket.protocol, socket.local_port)).collect();
        assert_eq!(ports, [(protocol::TCP, 50_000), (protocol::UDP, 22)]);
    }
}
