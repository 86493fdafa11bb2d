//! What shall be done. Plain instructions: how they are carried out, and what
//! the answer is, is the shell's part. Every effect that the kernel or the disk
//! carries out is answered by one event.

use std::{net::IpAddr, sync::Arc};

use hostfw_datapath::control_word::ControlWord;
use hostfw_policy::Complaint;

use crate::{
    audit::{AuditSource, StoredAudit},
    device::Device,
    directory::{Ignored, Origin},
    event::Token,
    inputs::Generation,
    report::Reply,
    withdrawal::Withdrawal,
};

/// An instruction to the shell.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Read this again, whole; answered by the event of the same name.
    Read(Origin),
    /// Attach both programs to a device, or renew them where they are attached.
    Attach(Device),
    /// Remove both programs of a device, and their pins.
    Detach {
        /// Index of the device; it may be gone.
        index: u32,
    },
    /// Write down what this host has open, so that replies are recognised.
    Seed {
        /// Where nothing is in force yet: the slot of an image by whose
        /// addresses the programs shall learn from now on.
        learn: Option<u32>,
        /// This host's own addresses.
        addresses: Vec<IpAddr>,
    },
    /// Write an image into an idle slot and verify it there.
    Load(Arc<Generation>),
    /// Put a control word in force.
    Switch(ControlWord),
    /// Before a switch: let connections go on that their policy keeps. Nothing
    /// comes back.
    Keep(Withdrawal),
    /// After a switch: end connections that their policy wants ended. Nothing
    /// comes back.
    End(Withdrawal),
    /// Keep the generation in force on disk.
    StoreGeneration {
        /// The generation.
        generation: Arc<Generation>,
        /// Since when it is in force, on the clock of the events.
        since_ms: u64,
    },
    /// Keep what was asked about audit mode on disk, or that nothing was.
    StoreAudit(Option<StoredAudit>),
    /// Answer a request. Nothing comes back.
    Reply {
        /// The request.
        token: Token,
        /// The answer.
        reply: Box<Reply>,
    },
    /// Tell the service manager. Nothing comes back.
    Notify {
        /// What kind of state this is.
        service: Service,
        /// One line for people.
        status: String,
    },
    /// Log something. Nothing comes back.
    Note(Note),
}

/// What the service manager distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Nothing was decided yet.
    Starting,
    /// Enforcement is as it should be, or as good as the input allows.
    Ready,
    /// An operator asked to read everything again.
    Reloading,
}

/// Something an operator caused or must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A generation of an earlier daemon stays in force.
    Adopted {
        /// Its number.
        number: u32,
        /// Its slot.
        slot: u32,
        /// Its audit mode.
        audit: bool,
    },
    /// A generation is in force, newly or with another audit mode.
    InForce {
        /// Its number.
        number: u32,
        /// Its slot.
        slot: u32,
        /// Its audit mode.
        audit: bool,
        /// Rules in it.
        n_rules: usize,
    },
    /// Audit mode was decided anew.
    Audit {
        /// What it is.
        on: bool,
        /// Who said so.
        source: AuditSource,
    },
    /// A device is filtered.
    Attached {
        /// Its name.
        name: String,
        /// How the programs hang on it.
        how: String,
    },
    /// A device is no longer filtered, because it is gone or excluded.
    Detached {
        /// Its name.
        name: String,
    },
    /// Somebody else removed our programs from a device.
    Lost {
        /// Its name.
        name: String,
    },
    /// A device is up and not filtered.
    Unfiltered {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// The newest state of the files does not count.
    Refused {
        /// Where they are.
        origin: Origin,
        /// Why.
        complaints: Vec<Complaint>,
    },
    /// What was refused is clean again.
    Accepted {
        /// Where the files are.
        origin: Origin,
    },
    /// Files that are not read.
    Ignored(Vec<Ignored>),
    /// An effect failed; nothing else changed.
    Failed {
        /// What was to be done.
        what: String,
        /// Why it was not.
        why: String,
    },
}
