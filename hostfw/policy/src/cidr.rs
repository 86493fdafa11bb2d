//! Prefixes as policies write them: `fromCIDR`, `fromCIDRSet` with `except`,
//! references to groups. It does not know which addresses a prefix matches.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    complaint::Report,
    fields::{self, Fields},
    selector::{self, Selector},
    text::{Node, Position, Value},
};

/// One entry of a list of prefixes.
#[derive(Clone, Debug)]
pub struct PrefixTerm {
    /// Where it stands; it has no part in what the term means.
    pub at: Position,
    /// The addresses it names.
    pub from: PrefixSource,
    /// The addresses it leaves out again; other entries may still name them.
    pub except: Vec<IpNet>,
}

impl PrefixTerm {
    fn meaning(&self) -> (&PrefixSource, &[IpNet]) {
        (&self.from, &self.except)
    }
}

impl PartialEq for PrefixTerm {
    fn eq(&self, other: &Self) -> bool {
        self.meaning() == other.meaning()
    }
}

impl Eq for PrefixTerm {}

impl std::hash::Hash for PrefixTerm {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.meaning().hash(state);
    }
}

/// Where the addresses of an entry come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PrefixSource {
    /// A prefix; host bits are zero.
    Cidr(IpNet),
    /// The CiliumCIDRGroup of a name.
    Group(String),
    /// Every CiliumCIDRGroup whose labels match.
    Groups(Selector),
}

/// Reads `fromCIDR`: a list of prefixes.
pub fn read_list(node: &Node, name: &str, report: &mut Report<'_>) -> Vec<PrefixTerm> {
    let items = fields::list(node, name, report).unwrap_or_default();
    items.iter().filter_map(|item| read_item(item, report)).collect()
}

/// Reads one item of such a list.
pub fn read_item(node: &Node, report: &mut Report<'_>) -> Option<PrefixTerm> {
    let from = PrefixSource::Cidr(read(node, "cidr", report)?);
    Some(PrefixTerm { at: node.at, from, except: Vec::new() })
}

/// Reads `fromCIDRSet`: a list of prefixes with exceptions, or of groups.
pub fn read_set(node: &Node, name: &str, report: &mut Report<'_>) -> Vec<PrefixTerm> {
    let items = fields::list(node, name, report).unwrap_or_default();
    items.iter().filter_map(|item| term(item, report)).collect()
}

fn term(node: &Node, report: &mut Report<'_>) -> Option<PrefixTerm> {
    let mut fields = Fields::new(node, "an entry of a CIDR set", report)?;
    // An empty text counts as missing.
    let mut text = |name| fields.take(name).filter(|node| node.value != Value::Text(String::new()));
    let (cidr, group) = (text("cidr"), text("cidrGroupRef"));
    let groups = fields.take("cidrGroupSelector");
    let except_node = fields.take("except");
    fields.finish(report, |_| None);

    if [cidr, group, groups].iter().flatten().count() != 1 {
        let what = "an entry names exactly one of cidr, cidrGroupRef and cidrGroupSelector";
        report.error(node.at, "bad-cidr", what, "- cidr: 10.0.0.0/8");
        return None;
    }
    let from = if let Some(cidr) = cidr {
        PrefixSource::Cidr(read(cidr, "cidr", report)?)
    } else if let Some(group) = group {
        PrefixSource::Group(fields::text(group, "cidrGroupRef", report)?.to_owned())
    } else {
        PrefixSource::Groups(selector::read(groups?, "cidrGroupSelector", report)?)
    };
    let mut except = Vec::new();
    if let Some(list) = except_node {
        for item in fields::list(list, "except", report).unwrap_or_default() {
            let Some(left_out) = read(item, "except", report) else { continue };
            if let PrefixSource::Cidr(cidr) = &from
                && !cidr.contains(&left_out)
            {
                let what = format!("the exception {left_out} does not lie inside {cidr}");
                let instead = format!("a prefix inside {cidr}, or remove it");
                report.error(item.at, "bad-cidr", what, instead);
            }
            except.push(left_out);
        }
    }
    Some(PrefixTerm { at: node.at, from, except })
}

/// Reads the `ipBlock` of a NetworkPolicy. The API server takes an address
/// without a mask and an exception that excepts nothing, so these only warn.
pub fn read_block(node: &Node, report: &mut Report<'_>) -> Option<PrefixTerm> {
    let mut fields = Fields::new(node, "ipBlock", report)?;
    let cidr = fields.need("cidr", report);
    let except_node = fields.take("except");
    fields.finish(report, |_| None);
    let cidr = cidr?;
    let written = fields::text(cidr, "cidr", report)?;
    let net = if let Ok(address) = written.parse::<IpAddr>() {
        let net = IpNet::from(address);
        let what = format!("`{written}` has no mask; it is taken as one address");
        report.warning(cidr.at, "no-mask", what, net.to_string());
        net
    } else {
        read(cidr, "cidr", report)?
    };
    let mut except = Vec::new();
    if let Some(list) = except_node {
        for item in fields::list(list, "except", report).unwrap_or_default() {
            let Some(left_out) = read(item, "except", report) else { continue };
            if !net.contains(&left_out) {
                let what = format!("the exception {left_out} does not lie inside {net}");
                let instead = format!("a prefix inside {net}, or remove it");
                report.warning(item.at, "except-outside", what, instead);
            }
            except.push(left_out);
        }
    }
    Some(PrefixTerm { at: node.at, from: PrefixSource::Cidr(net), except })
}

/// Reads one prefix. Host bits are cut, with a warning.
pub fn read(node: &Node, name: &str, report: &mut Report<'_>) -> Option<IpNet> {
    let written = fields::text(node, name, report)?;
    match parse(written) {
        Ok(net) => {
            let cut = net.trunc();
            if net.addr() != cut.addr() {
                let what = format!("{written} has bits behind its mask; it means {cut}");
                report.warning(node.at, "cidr-host-bits", what, cut.to_string());
            }
            warn_of_mapped(cut, node.at, report);
            Some(cut)
        }
        Err((fault, instead)) => {
            report.error(node.at, "bad-cidr", format!("`{written}` {fault}"), instead);
            None
        }
    }
}

/// IPv4 addresses that are written as IPv6 ones stand on no wire (rule 11).
fn warn_of_mapped(net: IpNet, at: Position, report: &mut Report<'_>) {
    if let IpAddr::V6(address) = net.addr()
        && let Some(meant) = address.to_ipv4_mapped()
        && let Some(length) = net.prefix_len().checked_sub(96)
    {
        let what = format!("{net} matches no IPv4 address, and nobody has such an IPv6 address");
        report.warning(at, "mapped-ipv4", what, format!("{meant}/{length}"));
    }
}

fn parse(written: &str) -> Result<IpNet, (&'static str, String)> {
    let Some((address, mask)) = written.split_once('/') else {
        return Err(match written.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => ("has no mask", format!("{written}/32")),
            Ok(IpAddr::V6(_)) => ("has no mask", format!("{written}/128")),
            Err(_) => ("is no prefix", "10.0.0.0/8 or fd00::/8".to_owned()),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(("has no IP address before the slash", "10.0.0.0/8 or fd00::/8".to_owned()));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let plain =
        mask.bytes().all(|byte| byte.is_ascii_digit()) && !mask.starts_with('0') || mask == "0";
    let length = mask.parse::<u8>().ok().filter(|length| plain && *length <= longest);
    match length.and_then(|length| IpNet::new(address, length).ok()) {
        Some(net) => Ok(net),
        None => {
            let instead = format!("{address}/ and a number from 0 to {longest}");
            Err(("has no mask that counts bits", instead))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_an_address_and_a_mask_in_plain_numbers() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::1/128", "::ffff:1.2.3.4/128"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "10.0.0/8",
            "fe80::1%eth0/64",
            "::/129",
            "10.0.0.0/255.0.0.0",
            "x",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("192.0.2.1").expect_err("no mask").1, "192.0.2.1/32");
    }
}
