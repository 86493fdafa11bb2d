//! The places of own flows from outside: seen all, or closed one by one. They are
//! mapped in parts, so that a listing does not hold sixteen megabytes.

use std::{os::fd::AsFd, path::Path, sync::atomic::Ordering};

use aya::maps::MapData;
use hostfw_datapath::{
    flow::FlowKey,
    place::{PLACES, Place},
};
use zerocopy::transmute;

use super::{KernelError, sys::Shared};

/// Places that are mapped at once: a megabyte.
const AT_ONCE: u32 = 1 << 14;
/// Cells of a place, and the one that closes it.
const CELLS: usize = size_of::<Place>() / size_of::<u64>();
const CLOSED: usize = std::mem::offset_of!(Place, closed) / size_of::<u64>();

/// All places.
pub(super) struct Places(MapData);

impl Places {
    /// Those of a folder of pins.
    pub(super) fn open(maps: &Path) -> Result<Self, KernelError> {
        MapData::from_pin(maps.join("places")).map(Self).map_err(KernelError::map("PLACES"))
    }

    /// Shows every place that a flow has. One that changes hands meanwhile may be
    /// missed.
    pub(super) fn each(&self, mut found: impl FnMut(&Place)) -> Result<(), KernelError> {
        for first in (0..PLACES).step_by(AT_ONCE as usize) {
            let part = self.map(first, AT_ONCE, false)?;
            for number in 0..AT_ONCE {
                let place = read(&part, number as usize);
                // Where two halves of a change were read, the flow belongs elsewhere.
                if place.closed == 0
                    && place.entry.last_s != 0
                    && Place::of(&place.flow) == first + number
                {
                    found(&place);
                }
            }
        }
        Ok(())
    }

    /// Leaves a flow to the hash: what its place says counts no more, and programs
    /// that see the flow meanwhile do not undo that.
    pub(super) fn close(&self, flow: &FlowKey) -> Result<(), KernelError> {
        let part = self.map(Place::of(flow), 1, true)?;
        if read(&part, 0).flow == *flow {
            part.cell(CLOSED).store(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn map(&self, first: u32, count: u32, writable: bool) -> Result<Shared, KernelError> {
        let (first, count) = (first as usize * CELLS, count as usize * CELLS);
        Shared::map_part(self.0.fd().as_fd(), first, count, writable)
            .map_err(KernelError::map("PLACES"))
    }
}

fn read(part: &Shared, number: usize) -> Place {
    let cells: [u64; CELLS] =
        std::array::from_fn(|cell| part.cell(number * CELLS + cell).load(Ordering::Relaxed));
    transmute!(cells)
}
