//! Which devices carry host traffic and are therefore filtered, and why the
//! others are not. Decides from one snapshot of all links and the patterns of
//! the configuration; whether a program could be attached is not known here.

use std::collections::BTreeMap;

use crate::{config::DevicePatterns, link::Link};

/// A device that is to be filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Where its packets start.
    pub layer: Layer,
}

/// Where the packets of a device start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// At an Ethernet header.
    Ethernet,
    /// At an IP header.
    Ip,
}

/// A device that is not filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfiltered {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Why, as a lowercase fragment.
    pub why: String,
    /// True when it is up: packets may come in unjudged.
    pub up: bool,
    /// True for `lo`, whose packets never leave this host.
    pub loopback: bool,
}

/// Every link, sorted into filtered and not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// By index.
    pub(crate) filtered: BTreeMap<u32, Device>,
    /// In the order of the snapshot.
    pub(crate) unfiltered: Vec<Unfiltered>,
}

impl Choice {
    /// Sorts all links. A pattern that excludes wins over one that includes,
    /// and both win over the automatic choice, so a device is left unfiltered
    /// by mistake only when somebody wrote its name down.
    pub(crate) fn new(links: &[Link], patterns: &DevicePatterns) -> Self {
        let mut choice = Self::default();
        for link in links {
            match judge(link, links, patterns) {
                Ok(layer) => {
                    let name = link.name.clone();
                    choice.filtered.insert(link.index, Device { index: link.index, name, layer });
                }
                Err(why) => choice.unfiltered.push(Unfiltered {
                    index: link.index,
                    name: link.name.clone(),
                    why,
                    up: link.up,
                    loopback: link.loopback,
                }),
            }
        }
        choice
    }
}

fn judge(link: &Link, links: &[Link], patterns: &DevicePatterns) -> Result<Layer, String> {
    if link.loopback {
        return Err("loopback: carries only what this host sends to itself".into());
    }
    if let Some(pattern) = first_match(&patterns.exclude, &link.name) {
        return Err(format!("excluded by the pattern \"{pattern}\""));
    }
    let layer = layer_of(link.link_layer)
        .ok_or_else(|| format!("link-layer type {} is not supported", link.link_layer))?;
    if first_match(&patterns.include, &link.name).is_none() {
        carries_host_traffic(link, links)?;
    }
    Ok(layer)
}

/// The automatic choice: everything through which packets for this host arrive,
/// judged once, on the device where the host's own address belongs.
fn carries_host_traffic(link: &Link, links: &[Link]) -> Result<(), String> {
    let addressed = link.addresses.iter().any(|address| !address.is_link_local());
    if let Some(master) = link.master {
        match links.iter().find(|other| other.index == master) {
            // A VRF routes; its members keep their addresses and their traffic.
            Some(master) if master.kind.as_deref() == Some("vrf") => {}
            Some(master) => return Err(format!("port of {}", master.name)),
            // A veth end may have its master in another namespace; so may not
            // a port. The next snapshot will show the master.
            None => return Err(format!("port of device {master}, which is not listed")),
        }
    }
    match link.kind.as_deref() {
        Some("bridge" | "openvswitch") if !addressed => {
            Err("bridge without an address of this host".into())
        }
        Some("veth" | "netkit") if !addressed => {
            Err("pair device without an address of this host: the end of a pod".into())
        }
        Some("vrf") => Err("VRF: its members are filtered".into()),
        Some("dummy" | "ifb" | "nlmon") => Err("no packet arrives from outside on it".into()),
        Some(_) | None => Ok(()),
    }
}

/// Only these link layers put an Ethernet or an IP header first.
fn layer_of(link_layer: u16) -> Option<Layer> {
    match link_layer {
        ETHERNET => Some(Layer::Ethernet),
        NONE | PPP | RAW_IP | TUNNEL | TUNNEL6 | SIT | GRE | GRE6 => Some(Layer::Ip),
        _ => None,
    }
}

fn first_match<'a>(patterns: &'a [String], name: &str) -> Option<&'a String> {
    patterns.iter().find(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *pattern == name,
    })
}

// The kernel's ARPHRD_ numbers (include/uapi/linux/if_arp.h).
const ETHERNET: u16 = 1;
const PPP: u16 = 512;
const RAW_IP: u16 = 519;
const TUNNEL: u16 = 768;
const TUNNEL6: u16 = 769;
const SIT: u16 = 776;
const GRE: u16 = 778;
const GRE6: u16 = 823;
const NONE: u16 = 65534;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkAddress;

    #[test]
    fn hardware_vlan_bond_and_tunnels_are_filtered() {
        for kind in
            [None, Some("vlan"), Some("bond"), Some("vxlan"), Some("geneve"), Some("macvlan")]
        {
            assert_eq!(alone(link("x0", kind)), Ok(Layer::Ethernet), "{kind:?}");
        }
        for (kind, link_layer) in
            [("wireguard", NONE), ("tun", NONE), ("gre", GRE), ("ipip", TUNNEL), ("sit", SIT)]
        {
            assert_eq!(
                alone(Link { link_layer, ..link("x0", Some(kind)) }),
                Ok(Layer::Ip),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_device_is_filtered_before_it_is_up_and_before_it_has_an_address() {
        assert_eq!(alone(Link { up: false, ..link("eth1", None) }), Ok(Layer::Ethernet));
    }

    #[test]
    fn loopback_is_never_filtered_even_when_included() {
        let lo = Link { loopback: true, link_layer: 772, ..link("lo", None) };
        let choice = Choice::new(&[lo], &patterns(&["lo"], &[]));
        assert!(choice.filtered.is_empty() && choice.unfiltered[0].loopback);
    }

    #[test]
    fn a_port_is_left_to_its_master_but_a_vrf_member_is_not() {
        let links = [
            Link { index: 10, ..link("bond0", Some("bond")) },
            Link { index: 11, master: Some(10), ..link("eth0", None) },
            Link { index: 20, ..link("red", Some("vrf")) },
            Link { index: 21, master: Some(20), ..link("eth1", None) },
        ];
        let choice = Choice::new(&links, &patterns(&[], &[]));
        assert_eq!(choice.filtered.keys().copied().collect::<Vec<_>>(), [10, 21]);
        assert_eq!(choice.unfiltered[0].why, "port of bond0");
    }

    #[test]
    fn a_bridge_or_a_pair_device_counts_once_it_has_an_address_of_its_own() {
        for kind in ["bridge", "veth"] {
            let mut device = link("x0", Some(kind));
            assert!(alone(device.clone()).is_err());
            device.addresses = vec![address("fe80::1"), address("169.254.3.4")];
            assert!(alone(device.clone()).is_err());
            device.addresses.push(address("192.0.2.1"));
            assert_eq!(alone(device), Ok(Layer::Ethernet));
        }
    }

    #[test]
    fn patterns_win_over_the_automatic_choice_and_exclusion_over_inclusion() {
        let links = [
            Link { index: 1, ..link("lxc1", Some("veth")) },
            Link { index: 2, ..link("eth0", None) },
        ];
        let choice = Choice::new(&links, &patterns(&["lxc*", "eth0"], &["eth*"]));
        assert_eq!(choice.filtered.keys().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(choice.unfiltered[0].why, "excluded by the pattern \"eth*\"");
    }

    #[test]
    fn an_unknown_link_layer_is_named_rather_than_guessed() {
        let infiniband = Link { link_layer: 32, ..link("ib0", None) };
        assert_eq!(alone(infiniband), Err("link-layer type 32 is not supported".into()));
    }

    fn alone(device: Link) -> Result<Layer, String> {
        judge(&device, std::slice::from_ref(&device), &patterns(&[], &[]))
    }

    fn link(name: &str, kind: Option<&str>) -> Link {
        Link {
            index: 1,
            name: name.into(),
            kind: kind.map(Into::into),
            link_layer: ETHERNET,
            up: true,
            ..Link::default()
        }
    }

    fn address(text: &str) -> LinkAddress {
        LinkAddress { address: text.parse().expect("literal"), prefix_length: 24 }
    }

    fn patterns(include: &[&str], exclude: &[&str]) -> DevicePatterns {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        DevicePatterns { include: own(include), exclude: own(exclude) }
    }
}
