//! From YAML and the world to an image: what the operator wrote, who is who,
//! and the tables that answer for both. Pure: it knows no files, no clock and
//! no kernel; everything comes in as values and goes out as values.
//!
//! ```text
//! policies.d --read_policies--> [Policy] --+
//! cluster.d  --read_world-----> World -----+--compile--> Compiled { image, rules, ... }
//! netlink    -----------------> ThisNode --+
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::as_conversions)]

pub mod complaint;
pub mod fields;
pub mod file_name;
pub mod fqdn;
pub mod l7;
pub mod text;

pub mod cidr;
pub mod entity;
pub mod icmp;
pub mod label;
pub mod policy;
pub mod ports;
pub mod selector;
pub mod service_ref;
pub mod what;
pub mod world;

pub mod atlas;
pub mod cases;
pub mod diff;
pub mod explain;
pub mod fmt;
pub mod guardrails;

mod annotations;
mod builtin;
mod cilium;
mod cluster_network_policy;
mod compilation;
mod compile;
mod compiled;
mod conflict;
mod document;
mod edited;
mod encode;
mod enforceable;
mod existing;
mod identity;
mod lint;
mod matrix;
mod neighbours;
mod network_policy;
mod node;
mod outcome;
mod parts;
mod peers;
mod readings;
mod rows;
mod rule;
mod rule_set;
mod select;
mod selected_pods;
mod selector_index;
mod services;
mod shared_map;
mod standing;
mod summary;
mod terms;
mod world_reader;
mod world_readings;

pub use crate::{
    compile::{CompileError, MAX_IMAGE_WORDS, compile},
    compiled::{Compiled, MatchingRules, PolicyStatus, Rule, RuleKind, Subject, SubjectName},
    complaint::{Complaint, Severity, Source},
    conflict::conflicts,
    document::read_policies,
    encode::image_of_addresses,
    enforceable::read_enforceable,
    existing::{EXISTING_CONNECTIONS, ExistingConnections},
    file_name::FileName,
    identity::node_labels,
    lint::{IGNORE, WARNINGS, lint},
    node::{Dialect, Enforcement, Options, ThisNode, Tunnel, TunnelKind},
    policy::Policy,
    readings::Readings,
    selected_pods::{PodName, selected_pods},
    shared_map::SharedMap,
    standing::{Changes, NodeChange, PodChange, Standing, changes},
    summary::service as service_in_words,
    world::World,
    world_reader::read_world,
    world_readings::WorldReadings,
};
pub use hostfw_datapath::Direction;
