//! Links and addresses as the kernel lists them. A message on a multicast group
//! is only a reason to list everything again: a lost message then costs
//! nothing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use futures_util::{FutureExt, StreamExt, TryStreamExt, pin_mut};
use hostfw_control::{Event, Link, LinkAddress};
use netlink_packet_route::{
    address::AddressAttribute,
    link::{InfoData, InfoGeneve, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::{Handle, MulticastGroup};
use tokio::{sync::mpsc::Sender, time::sleep};

use crate::{shell::Input, wireguard};

/// Sends a snapshot at the start and after every change, for ever.
pub(crate) async fn follow(inputs: Sender<Input>) {
    loop {
        let Err(error) = follow_once(&inputs).await else { return };
        let event = Event::Links(Err(format!("{error:#}")));
        if inputs.send(Input::Event(event)).await.is_err() {
            return;
        }
        sleep(RECONNECT).await;
    }
}

async fn follow_once(inputs: &Sender<Input>) -> anyhow::Result<()> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, messages) =
        rtnetlink::new_multicast_connection(&groups).context("open netlink")?;
    let connection = tokio::spawn(connection);
    pin_mut!(messages);
    let outcome = async {
        loop {
            let links = list(&handle).await?;
            if inputs.send(Input::Event(Event::Links(Ok(links)))).await.is_err() {
                return Ok(());
            }
            messages.next().await.context("netlink closed")?;
            // One change causes several messages; a new device must not wait.
            sleep(SETTLE).await;
            while messages.next().now_or_never().flatten().is_some() {}
        }
    }
    .await;
    connection.abort();
    outcome
}

async fn list(handle: &Handle) -> anyhow::Result<Vec<Link>> {
    let mut links = BTreeMap::new();
    let listed = handle.link().get().execute();
    pin_mut!(listed);
    while let Some(message) = listed.try_next().await.context("list links")? {
        let link = link(&message);
        links.insert(link.index, link);
    }
    let listed = handle.address().get().execute();
    pin_mut!(listed);
    while let Some(message) = listed.try_next().await.context("list addresses")? {
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            // On a point-to-point device `Address` is the other end.
            if let AddressAttribute::Local(own) = attribute {
                local = Some(*own);
            }
            if let AddressAttribute::Address(any) = attribute {
                address = Some(*any);
            }
        }
        if let (Some(address), Some(link)) =
            (local.or(address), links.get_mut(&message.header.index))
        {
            let prefix_length = message.header.prefix_len;
            link.addresses.push(LinkAddress { address, prefix_length });
        }
    }
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

fn link(message: &LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        link_layer: header.link_layer_type.into(),
        loopback: header.flags.contains(LinkFlags::Loopback),
        up: header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        }
        if let LinkAttribute::Controller(master) = attribute {
            link.master = Some(*master).filter(|master| *master != 0);
        }
        if let LinkAttribute::LinkInfo(infos) = attribute {
            for info in infos {
                if let LinkInfo::Kind(kind) = info {
                    link.kind = Some(kind.to_string());
                }
                if let LinkInfo::Data(data) = info {
                    link.tunnel_port = tunnel_port(data);
                }
            }
        }
    }
    link
}

fn tunnel_port(data: &InfoData) -> Option<u16> {
    if let InfoData::Vxlan(attributes) = data {
        return attributes.iter().find_map(|attribute| {
            if let InfoVxlan::Port(port) = attribute { Some(*port) } else { None }
        });
    }
    if let InfoData::Geneve(attributes) = data {
        return attributes.iter().find_map(|attribute| {
            if let InfoGeneve::Port(port) = attribute { Some(*port) } else { None }
        });
    }
    None
}

const SETTLE: Duration = Duration::from_millis(5);
const RECONNECT: Duration = Duration::from_secs(1);
