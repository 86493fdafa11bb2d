//! What a packet's fate is: one source, compiled for the kernel and for user
//! space. It parses a packet, asks the image of the generation in force, and,
//! where the image says no, whether the packet answers something this host
//! started. It knows no maps, no files, no clock and no YAML: every question to
//! the outside goes through the traits [`Packet`], [`Image`] and [`Tables`].
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::as_conversions)]

#[cfg(any(test, feature = "model"))]
extern crate std;

pub mod address;
pub mod packet;

pub mod checksum;
pub mod image;
pub mod verdict;

pub mod control_word;
pub mod flow;
pub mod place;
pub mod tables;

pub mod forward;
pub mod icmp;
pub mod judge;
pub mod memory;
pub mod parse;
pub mod plain;
pub mod report;

pub mod drawn;

#[cfg(any(test, feature = "model"))]
pub mod blueprint;
#[cfg(any(test, feature = "model"))]
pub mod model;
#[cfg(any(test, feature = "model"))]
pub mod sketch;

#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod tests;

pub use crate::{
    address::{Address, Be16, Be32, Be64},
    flow::{FlowEntry, FlowKey},
    image::Image,
    judge::{Direction, judge},
    packet::{Facts, Packet},
    tables::Tables,
    verdict::{Action, Reason, Verdict},
};

/// Version of everything that kernel and user space share: image layout, map
/// values, event record, control word. A pinned state of another version is
/// replaced, never read.
pub const ABI_VERSION: u32 = 6;
