//! The ring buffer's reading end. Records never wake anybody: whoever wants
//! them drains the ring on a timer.

use aya::maps::{Map, MapData, RingBuf};
use hostfw_datapath::report::Record;
use zerocopy::FromBytes;

use super::{Kernel, KernelError, maps_dir};

/// Reads event records.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Kernel {
    /// Opens the reading end. There should be one reader.
    ///
    /// # Errors
    /// A ring that cannot be opened.
    pub fn events(&self) -> Result<Events, KernelError> {
        let failed = KernelError::map("EVENTS");
        let map =
            MapData::from_pin(maps_dir(&self.config.bpf_dir).join("events")).map_err(failed)?;
        Ok(Events { ring: Map::RingBuf(map).try_into().map_err(failed)? })
    }
}

impl Iterator for Events {
    type Item = Record;

    /// The next record that is there now; a record of unknown length is
    /// skipped.
    fn next(&mut self) -> Option<Record> {
        loop {
            let record = self.ring.next()?;
            if let Ok(record) = Record::read_from_bytes(&record) {
                return Some(record);
            }
        }
    }
}
