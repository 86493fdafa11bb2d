//! What the daemon knows and wants. Everything that happens comes in as an
//! [`Event`], everything that shall be done goes out as an [`Effect`], and time
//! is an argument. Sources send whole snapshots, so start, reload and recovery
//! are one path.
//!
//! Three words keep apart what is easily confused: the *spec* is what was asked
//! (files, configuration, devices that are there), the *record* is what this
//! program stored of it (the generation that compiled, the audit mode), and the
//! *status* is what the kernel confirmed (attached programs, generation in
//! force). Nothing here knows how a file is read, a program attached or a
//! request transported.
#![forbid(unsafe_code)]
#![warn(clippy::as_conversions)]

mod control;

mod event;

mod effect;

mod config;

mod link;

mod device;

mod attachment;

mod directory;

mod generation;

mod inputs;

mod audit;

mod report;

mod retry;

mod withdrawal;

pub use crate::{
    audit::{AuditSource, AuditState, StoredAudit},
    config::{Attach, Config, DevicePatterns, Paths, read_config},
    control::{Control, Start},
    device::{Device, Layer, Unfiltered},
    directory::{Ignored, Origin, ReadFailure, Snapshot},
    effect::{Effect, Note, Service},
    event::{Event, Request, Token},
    generation::Adopted,
    inputs::Generation,
    link::{Link, LinkAddress},
    report::{
        DeviceReport, GenerationReport, LinksReport, Refused, Reply, RulesReport, StatusReport,
    },
    withdrawal::{LiveConnection, Withdrawal},
};
