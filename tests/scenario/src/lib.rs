//! A laboratory of network namespaces for real daemons and real packets.
//!
//! A test makes a [`Lab`], puts [`Host`]s into it, connects them with links,
//! runs `hostfwd` and other servers on them, and probes one from another.
//! Everything a lab makes carries a name derived from the test, so that a run
//! that was killed is cleaned away by the next one. Nothing outside the lab's
//! own namespaces and its own folder is touched. What hostfw should answer is
//! known to the tests, not here.
#![allow(clippy::print_stderr, reason = "a failing test shows what it saw")]

mod another_version;
mod crowd;
mod dhcp;
mod firewall;
mod foreign;
mod full_hooks;
mod host;
mod lab;
mod link_socket;
mod ping;
mod probe;
mod process;
mod server;
mod syscall;
mod traffic;
mod tun;
mod wait;

pub mod demo;
pub mod packet;
pub mod scene;

pub use crate::{
    another_version::as_of_another_version,
    crowd::Crowd,
    dhcp::{DhcpServer, Dhcpcd, Udhcpc},
    firewall::{Answer, Firewall, FirewallFiles, binary},
    foreign::{ForeignProgram, Place},
    full_hooks::FullHooks,
    host::Host,
    lab::Lab,
    link_socket::{LinkSocket, contains},
    ping::ping,
    probe::{Reach, http_get, reaches, reaches_from, tcp, udp},
    process::Process,
    server::{Echo, Etcd, Nginx, Session, Sshd},
    traffic::{Connections, Datagrams, Stream},
    tun::Tun,
    wait::{eventually, never_within, wait_until},
};

/// A lab named after the test function that calls this.
#[macro_export]
macro_rules! lab {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        $crate::Lab::new(path.trim_end_matches("::here"))
    }};
}
