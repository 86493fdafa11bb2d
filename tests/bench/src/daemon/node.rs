//! A node with a real daemon, a peer at the other end of a cable, and files that
//! are put in place whole.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Instant,
};

use anyhow::Context;
use hostfw_scenario::{Firewall, Host, Lab};

/// The port that is opened and closed; no rule that only makes up the number
/// names it.
pub(crate) const PORT: u16 = 7777;
/// Who knocks.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where packets are sent to.
pub(crate) fn target() -> SocketAddr {
    (NODE, PORT).into()
}

/// Two hosts and the cable between them.
pub(crate) struct Pair {
    lab: Lab,
    pub(crate) node: Host,
    pub(crate) peer: Host,
}

impl Pair {
    pub(crate) fn new(what: &str, node: &str) -> Self {
        let lab = Lab::new(&format!("bench-daemon-{what}"));
        let (node, peer) = (lab.host(node), lab.host("peer"));
        let (one, other) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        lab.cable((&node, "eth0", one), (&peer, "eth0", other));
        node.ip(&format!("link set eth0 up\naddr add {NODE}/24 dev eth0\n"));
        peer.ip(&format!(
            "link set eth0 up\naddr add {PEER}/24 dev eth0\n\
             neigh add {NODE} lladdr {one} nud permanent dev eth0\n"
        ));
        Self { lab, node, peer }
    }

    /// A daemon that is not started yet.
    pub(crate) fn firewall(&self, lines: &str) -> Firewall<'_> {
        let firewall = Firewall::new(&self.node);
        firewall.configure(&format!("devices: {{include: [eth0]}}\n{lines}"));
        firewall
    }

    /// Puts a file in place by a rename; says when.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn put(&self, place: &Path, text: &str) -> anyhow::Result<Instant> {
        // Nobody watches the folder of the lab itself.
        let beside = self.lab.folder().join("next");
        fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
        let now = Instant::now();
        fs::rename(&beside, place).with_context(|| format!("replace {}", place.display()))?;
        Ok(now)
    }
}
