//! Links and addresses as the kernel lists them. A message on a multicast group
//! is only a reason to list everything again: a lost message then costs
//! nothing. A list is whole or it is an error, since what is missing in one
//! counts as gone.

mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use anyhow::Context;
use hostfw_control::{Event, Link};
use hostfw_daemon::netlink::{DUMP, Kernel, REQUEST, message};
use rtnetlink::sys::{Socket, SocketAddr};
use tokio::{io::unix::AsyncFd, sync::mpsc::Sender, time::sleep};

use crate::{shell::Input, wireguard};

/// Sends a snapshot at the start and after every change, for ever. `known` are
/// the devices that were there before.
pub(crate) async fn follow(mut known: BTreeSet<u32>, inputs: Sender<Input>) {
    let mut told = String::new();
    loop {
        let Err(error) = follow_once(&mut known, &inputs).await else { return };
        let why = format!("{error:#}");
        if why != told {
            tracing::warn!(why, "devices are not listed");
            told.clone_from(&why);
        }
        if inputs.send(Input::Event(Event::Links(Err(why)))).await.is_err() {
            return;
        }
        sleep(RECONNECT).await;
    }
}

async fn follow_once(known: &mut BTreeSet<u32>, inputs: &Sender<Input>) -> anyhow::Result<()> {
    let changes = Changes::open().context("open netlink")?;
    loop {
        let links = list(known).await?;
        *known = links.iter().map(|link| link.index).collect();
        if inputs.send(Input::Event(Event::Links(Ok(links)))).await.is_err() {
            return Ok(());
        }
        changes.next().await.context("wait for a change of devices")?;
        // One change causes several messages; a new device must not wait.
        sleep(SETTLE).await;
        changes.forget().context("wait for a change of devices")?;
    }
}

/// What the kernel tells of changes.
struct Changes(AsyncFd<Socket>);

impl Changes {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, CHANGES))?;
        socket.set_non_blocking(true)?;
        // SAFETY: the socket owns its descriptor and is not taken out again.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Waits for a change.
    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if is_change(self.0.get_ref())? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Takes what has come as told.
    fn forget(&self) -> io::Result<()> {
        while is_change(self.0.get_ref())? {}
        Ok(())
    }
}

/// Takes one message. What it says does not matter, and one that was lost for
/// want of room is one.
fn is_change(socket: &Socket) -> io::Result<bool> {
    match socket.recv(&mut [0_u8; 16].as_mut_slice(), 0) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every link with its addresses. Where they change all the time, the kernel
/// can make no list that it vouches for, and this fails.
async fn list(known: &BTreeSet<u32>) -> anyhow::Result<Vec<Link>> {
    for _ in 0..TRIES {
        match list_once(known) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => sleep(SETTLE).await,
            listed => return listed.context("list devices and addresses"),
        }
    }
    anyhow::bail!("the kernel's list is never whole, as devices or addresses change all the time")
}

fn list_once(known: &BTreeSet<u32>) -> io::Result<Vec<Link>> {
    let kernel = Kernel::open(NETLINK_ROUTE)?;
    let (mut links, mut is_read) = (BTreeMap::new(), true);
    let ask = message(GET_LINK, REQUEST | DUMP, &[0; LINK_HEADER]);
    kernel.ask(&ask, |answer| match read::link(answer.body) {
        Some(link) => drop(links.insert(link.index, link)),
        None => is_read = false,
    })?;
    if !is_read {
        return Err(io::Error::other("the kernel lists a device in an unknown way"));
    }
    add_missing(&mut links, known, &kernel)?;
    let ask = message(GET_ADDRESS, REQUEST | DUMP, &[0; ADDRESS_HEADER]);
    kernel.ask(&ask, |answer| {
        if let Some((index, address)) = read::address(answer.body)
            && let Some(link) = links.get_mut(&index)
        {
            link.addresses.push(address);
        }
    })?;
    for link in links.values_mut() {
        link.addresses.sort_unstable();
        link.addresses.dedup();
        if link.kind.as_deref() == Some("wireguard") {
            link.tunnel_port = wireguard::listen_port(&link.name).unwrap_or_else(|error| {
                tracing::debug!(device = link.name, %error, "no listening port");
                None
            });
        }
    }
    Ok(links.into_values().collect())
}

/// A known device has gone where the kernel says so of itself, and not because
/// a list is without it: it would be let go of.
fn add_missing(
    links: &mut BTreeMap<u32, Link>,
    known: &BTreeSet<u32>,
    kernel: &Kernel,
) -> io::Result<()> {
    for index in known {
        if !links.contains_key(index)
            && let Some(link) = ask_for(kernel, *index)?
        {
            tracing::warn!(device = link.name, "missing in the kernel's list of devices");
            links.insert(*index, link);
        }
    }
    Ok(())
}

/// One link by itself; none when it has gone.
fn ask_for(kernel: &Kernel, index: u32) -> io::Result<Option<Link>> {
    let mut body = [0; LINK_HEADER];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut link = None;
    let ask = message(GET_LINK, REQUEST, &body);
    match kernel.ask(&ask, |answer| link = read::link(answer.body)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
        Ok(()) if link.is_none() => Err(io::Error::other("the kernel tells nothing of a device")),
        Ok(()) => Ok(link),
    }
}

const SETTLE: Duration = Duration::from_millis(5);
const RECONNECT: Duration = Duration::from_secs(1);
/// A list takes a millisecond; devices seldom come faster than this for long.
const TRIES: u32 = 20;

// include/uapi/linux/{netlink,rtnetlink}.h
const NETLINK_ROUTE: isize = 0;
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const CHANGES: u32 = 0x1 | 0x10 | 0x100;
const GET_LINK: u16 = 18;
const LINK_HEADER: usize = 16;
const GET_ADDRESS: u16 = 22;
const ADDRESS_HEADER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_as_gone_where_the_kernel_says_so_of_itself() {
        const LOOPBACK: u32 = 1;
        const NOBODY: u32 = u32::MAX >> 1;
        let kernel = Kernel::open(NETLINK_ROUTE).expect("netlink");
        let mut links = BTreeMap::new();
        add_missing(&mut links, &BTreeSet::from([LOOPBACK, NOBODY]), &kernel).expect("told");
        assert_eq!(links.keys().copied().collect::<Vec<_>>(), [LOOPBACK]);
        assert!(links[&LOOPBACK].loopback && links[&LOOPBACK].name == "lo", "{links:?}");
    }

    #[test]
    fn loopback_is_listed_once_with_its_address() {
        let links = list_once(&BTreeSet::from([1])).expect("listed");
        let loopback: Vec<_> = links.iter().filter(|link| link.loopback).collect();
        assert_eq!(loopback.len(), 1, "{links:?}");
        let own = loopback[0].addresses.iter().any(|one| one.address.is_loopback());
        assert!(own || !loopback[0].up, "{loopback:?}");
    }
}
