//! What happens. Sources send whole snapshots; every effect that can fail is
//! answered here.

use std::collections::BTreeSet;

use hostfw_policy::Source;

use crate::{
    directory::{ReadFailure, Snapshot},
    link::Link,
};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The configuration file, whole.
    Config(Result<Source, ReadFailure>),
    /// The directory of policies, whole.
    Policies(Result<Snapshot, ReadFailure>),
    /// The directory of nodes, pods, namespaces and CIDR groups, whole.
    World(Result<Snapshot, ReadFailure>),
    /// Every link with its addresses, so that what is missing has gone, or why
    /// the kernel did not tell.
    Links(Result<Vec<Link>, String>),
    /// Devices on which the kernel confirms both programs, or why it did not.
    Proof(Result<BTreeSet<u32>, String>),
    /// Answer to an attachment: how the programs hang on the device.
    Attached {
        /// The device.
        index: u32,
        /// How, or why not.
        result: Result<String, String>,
    },
    /// Answer to a detachment.
    Detached {
        /// The device.
        index: u32,
        /// Whether it worked.
        result: Result<(), String>,
    },
    /// Answer to seeding: what is missing and not needed, one sentence each.
    Seeded(Result<Vec<String>, String>),
    /// Answer to a load: the slot.
    Loaded {
        /// Number of the generation.
        number: u32,
        /// The slot, or why not.
        result: Result<u32, String>,
    },
    /// Answer to a switch.
    Switched(Result<(), String>),
    /// Answer to storing a generation.
    GenerationStored(Result<(), String>),
    /// Answer to storing audit mode.
    AuditStored(Result<(), String>),
    /// Somebody asks through the API.
    Request {
        /// Given back with the reply.
        token: Token,
        /// What is asked.
        request: Request,
    },
    /// The service manager asks to read everything again.
    Reload,
    /// Time passed.
    Tick,
}

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The state of the node.
    Status,
    /// The rules in force.
    Rules,
    /// Devices, filtered and not.
    Links,
    /// Audit mode.
    Audit,
    /// Switch audit mode; answered once it is in force and stored, or failed.
    SetAudit(bool),
    /// Read everything again; answered once the result is in force, or failed.
    Reload,
}
