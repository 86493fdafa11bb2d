//! The protocol table of an image: from a protocol and its port or type to a
//! port class.

use hostfw_datapath::image::{PORTS, TYPES};

use super::Writer;
use crate::{
    compile::CompileError,
    services::{PortClasses, UNNAMED, class_at},
};

/// Writes the table and gives its offset.
pub(crate) fn write(writer: &mut Writer, classes: &PortClasses) -> Result<u32, CompileError> {
    let mut table = vec![UNNAMED; 256];
    for (protocol, starts) in &classes.ports {
        let mut pages = Vec::with_capacity(256);
        for page in 0..=255u16 {
            let block: Vec<u32> = (0..=255).map(|low| class_at(starts, page << 8 | low)).collect();
            pages.push(writer.block(&block)?);
        }
        table[usize::from(*protocol)] = PORTS | writer.block(&pages)?;
    }
    for (protocol, types) in &classes.types {
        table[usize::from(*protocol)] = TYPES | writer.block(types)?;
    }
    for (protocol, class) in &classes.whole {
        table[usize::from(*protocol)] = *class;
    }
    writer.block(&table)
}
