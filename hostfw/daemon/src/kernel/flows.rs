//! The connection tables from outside: listing them, and filling in what was
//! opened before the programs ran.

use std::{collections::BTreeSet, net::IpAddr, os::fd::AsFd, path::Path};

use aya::maps::{HashMap, Map, MapData};
use hostfw_datapath::{
    Address,
    flow::{FORWARDED, FlowEntry, FlowKey, Table},
    parse::protocol,
};

use super::{Kernel, KernelError, Raw, counters::Ticks, maps_dir, sys::Shared};

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
    /// Live entries of both tables. An entry that changes meanwhile may be
    /// missed.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn connections(&self) -> Result<Vec<Connection>, KernelError> {
        let now_s = Ticks::now().seconds();
        let mut found = Vec::new();
        for table in [Table::Own, Table::Admitted] {
            let map = open_table(&maps_dir(&self.config.bpf_dir), table)?;
            for entry in map.iter() {
                // A concurrent eviction ends one step, not the listing.
                let Ok((Raw(flow), Raw(entry))) = entry else { continue };
                if !entry.is_live(flow.protocol, now_s) {
                    continue;
                }
                found.push(Connection {
                    table,
                    flow,
                    age_s: now_s.wrapping_sub(entry.first_s),
                    idle_s: now_s.wrapping_sub(entry.last_s),
                    generation: entry.generation,
                    forwarded: entry.flags & FORWARDED != 0,
                });
            }
        }
        found.sort_by_key(|connection| (connection.table, connection.flow));
        Ok(found)
    }

    /// Notes what sockets have opened before the egress programs ran: their
    /// ports, and the flows of connected UDP. Must be called after the programs
    /// are attached and before anything is enforced; then an unmarked port is
    /// proof. Returns how many sockets were noted.
    ///
    /// # Errors
    /// A map that cannot be written: enforcement must not begin.
    pub fn seed(&mut self, sockets: &[Socket], generation: u32) -> Result<usize, KernelError> {
        let failed = KernelError::map("OPENED");
        let maps = maps_dir(&self.config.bpf_dir);
        let opened = MapData::from_pin(maps.join("opened")).map_err(failed)?;
        let opened = Shared::map(opened.fd().as_fd(), OPENED_PAIRS, true)
            .map_err(KernelError::map("OPENED"))?;
        let mut own = open_table(&maps, Table::Own)?;
        let now_s = Ticks::now().seconds();
        let mut noted = 0;
        // Whoever is connected at a port that also listens was let in: such a
        // port is no proof of anything that this host has opened.
        let listening: BTreeSet<u16> = sockets
            .iter()
            .filter(|socket| socket.state == SocketState::Listening)
            .map(|socket| socket.local_port)
            .collect();
        for socket in sockets {
            let base = match socket.protocol {
                protocol::TCP => 0,
                protocol::UDP => 65_536,
                _ => continue,
            };
            let serves = socket.protocol == protocol::TCP && listening.contains(&socket.local_port);
            if serves || socket.state == SocketState::Listening {
                continue;
            }
            opened.mark(base + usize::from(socket.local_port));
            noted += 1;
            if socket.protocol == protocol::UDP && socket.state == SocketState::Connected {
                let entry = FlowEntry { generation, last_s: now_s, first_s: now_s, flags: 0 };
                own.insert(Raw(flow_of(socket)), Raw(entry), 0).map_err(KernelError::map("OWN"))?;
            }
        }
        Ok(noted)
    }
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
    let (pin, name) = match table {
        Table::Own => ("own", "OWN"),
        Table::Admitted => ("admitted", "ADMITTED"),
    };
    let failed = KernelError::map(name);
    let map = MapData::from_pin(maps.join(pin)).map_err(failed)?;
    Map::LruHashMap(map).try_into().map_err(failed)
}
