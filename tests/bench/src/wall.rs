//! What may stand between a device and the sockets, and how it is put up.

use std::{io::Write, os::fd::OwnedFd, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use hostfw_scenario::{Firewall, ForeignProgram, Host, Place, wait_until};

use crate::{
    flows::{FRAME_BYTES, Family},
    rules::Rules,
    traffic::Kind,
};

/// The daemon has this long to put 100,000 rules into force.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Nothing.
    None,
    /// A program at tcx that has no word about any frame.
    Empty,
    /// A program at tcx that drops every frame.
    Drop,
    /// Ours, with its daemon and its policy files.
    Hostfw,
    /// nftables, as a set of prefixes with ports.
    NftSet,
    /// nftables, as a map from ports to sets of prefixes.
    NftMap,
    /// nftables, one rule after the other.
    NftLinear,
    /// iptables over nftables, one rule after the other.
    Iptables,
    /// nftables at the device, without connections.
    NftIngress,
}

/// What lives as long as a wall stands.
pub(crate) type Standing<'host> = (Option<Firewall<'host>>, Option<OwnedFd>);

impl Wall {
    pub(crate) const ALL: [Self; 9] = [
        Self::None,
        Self::Empty,
        Self::Drop,
        Self::Hostfw,
        Self::NftSet,
        Self::NftMap,
        Self::NftLinear,
        Self::Iptables,
        Self::NftIngress,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Empty => "an empty program",
            Self::Drop => "an immediate drop",
            Self::Hostfw => "hostfw",
            Self::NftSet => "nftables, set",
            Self::NftMap => "nftables, map",
            Self::NftLinear => "nftables, linear",
            Self::Iptables => "iptables",
            Self::NftIngress => "nftables, ingress",
        }
    }

    /// Whether it has a table of connections that must be filled and emptied.
    pub(crate) const fn tracks(self) -> bool {
        matches!(self, Self::NftSet | Self::NftMap | Self::NftLinear | Self::Iptables)
    }

    /// Whether it asks one rule after the other.
    pub(crate) const fn walks(self) -> bool {
        matches!(self, Self::NftLinear | Self::Iptables)
    }

    /// Whether it can do right by such packets at all.
    pub(crate) fn serves(self, kind: Kind) -> bool {
        self != Self::NftIngress || kind != Kind::Answer
    }

    /// The share of packets that must reach a socket. None where it says nothing:
    /// no wall hinders a packet to a port that nobody listens at.
    pub(crate) fn lets_through(self, kind: Kind) -> Option<f64> {
        match (self, kind) {
            (Self::Drop, _) => Some(0.0),
            (Self::None | Self::Empty, Kind::Denied) => None,
            (_, Kind::Denied) => Some(0.0),
            (_, Kind::Established | Kind::New | Kind::Answer) => Some(1.0),
        }
    }

    /// Puts it up before the device `eth0`.
    pub(crate) fn put_up(self, host: &Host, rules: Rules) -> anyhow::Result<Standing<'_>> {
        match self {
            Self::None => {}
            Self::Empty => {
                let program = ForeignProgram::drops(1);
                return Ok((None, Some(program.chain(host, "eth0", Place::First))));
            }
            Self::Drop => {
                let program = ForeignProgram::drops(u32::try_from(FRAME_BYTES)?);
                return Ok((None, Some(program.chain(host, "eth0", Place::First))));
            }
            Self::Hostfw => {
                let mut ours = Firewall::new(host);
                ours.configure("devices: {include: [eth0]}\n");
                ours.policy("bench.yaml", &rules.policy());
                ours.spawn();
                // Longer than a scenario waits: many rules, on a machine that
                // may be doing other things.
                wait_until("policy in force", PATIENCE, || ours.log().contains("in force"));
                let attached = |log: &str| log.contains("attached device=\"eth0\"");
                ensure!(attached(&ours.log()), "eth0 is filtered:\n{}", ours.log());
                return Ok((Some(ours), None));
            }
            Self::NftSet => host.nft(&rules.nft_set()),
            Self::NftMap => host.nft(&rules.nft_map()),
            Self::NftLinear => host.nft(&rules.nft_linear()),
            Self::NftIngress => host.nft(&rules.nft_ingress()),
            Self::Iptables => iptables(host, rules)?,
        }
        Ok((None, None))
    }
}

fn iptables(host: &Host, rules: Rules) -> anyhow::Result<()> {
    let program = match rules.family {
        Family::V4 => "iptables-nft-restore",
        Family::V6 => "ip6tables-nft-restore",
    };
    let mut child = host
        .command(program)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program} (package iptables)"))?;
    let mut input = child.stdin.take().context("a pipe was asked for")?;
    input.write_all(rules.iptables().as_bytes()).context("hand over the rules")?;
    drop(input);
    ensure!(child.wait()?.success(), "{program} takes the rules");
    Ok(())
}
