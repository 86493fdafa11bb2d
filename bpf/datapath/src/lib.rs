//! What a packet's fate is: one source, compiled for the kernel and for user
//! space.
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod control_word;
pub mod image;
pub mod verdict;

pub use crate::{
    address::{Address, Be16, Be32},
    image::Image,
    verdict::{Action, Reason, Verdict},
};

/// Version of everything that kernel and user space share: image layout, map
/// values, event record, control word. A pinned state of another version is
/// replaced, never read.
pub const ABI_VERSION: u32 = 1;

/// Which way a packet goes, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Towards this host.
    Ingress = 0,
    /// From this host.
    Egress = 1,
}
