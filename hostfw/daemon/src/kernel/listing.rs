//! A listing of the connection tables. It takes a second where they are full, so
//! it needs nothing of the kernel's side that others wait for: it can be made on
//! a thread of its own.

use std::{os::fd::AsFd, path::PathBuf};

use aya::maps::MapData;
use hostfw_datapath::flow::{FORWARDED, FlowEntry, FlowKey, Table};
use zerocopy::FromBytes;

use super::{
    Connection, Kernel, KernelError, batch, counters::Ticks, flows::named, maps_dir, places::Places,
};

/// The tables, to be listed whenever somebody asks.
#[derive(Clone, Debug)]
pub struct Listing {
    maps: PathBuf,
}

impl Kernel {
    /// What a listing needs.
    pub fn listing(&self) -> Listing {
        Listing { maps: maps_dir(&self.config.bpf_dir) }
    }
}

impl Listing {
    /// Live entries of all tables. An entry that changes meanwhile may be
    /// missed.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn connections(&self) -> Result<Vec<Connection>, KernelError> {
        let now_s = Ticks::now().seconds();
        let mut found = Vec::new();
        let mut add = |table: Table, flow: FlowKey, entry: FlowEntry| {
            if entry.is_live(flow.protocol, now_s) {
                found.push(Connection {
                    table,
                    flow,
                    age_s: now_s.wrapping_sub(entry.first_s),
                    idle_s: now_s.wrapping_sub(entry.last_s),
                    generation: entry.generation,
                    forwarded: entry.flags & FORWARDED != 0,
                });
            }
        };
        Places::open(&self.maps)?.each(|place| add(Table::Own, place.flow, place.entry))?;
        for table in Table::ALL {
            let (pin, name) = named(table);
            let map = MapData::from_pin(self.maps.join(pin)).map_err(KernelError::map(name))?;
            let sizes = (size_of::<FlowKey>(), size_of::<FlowEntry>());
            batch::each(map.fd().as_fd(), sizes, |key, value| {
                if let (Ok(flow), Ok(entry)) =
                    (FlowKey::read_from_bytes(key), FlowEntry::read_from_bytes(value))
                {
                    add(table, flow, entry);
                }
            })
            .map_err(KernelError::map(name))?;
        }
        // What a flow's place says is what the programs believe; it came first.
        found.sort_by_key(|one| (one.table, one.flow));
        found.dedup_by_key(|one| (one.table, one.flow));
        Ok(found)
    }
}
