//! What the user may type. Values are checked for their form here; nothing is
//! opened or asked.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use hostfw_api::DEFAULT_SOCKET;
use hostfw_policy::TunnelKind;

/// The host firewall of this node.
#[derive(Debug, Parser)]
#[command(name = "hostfw", version, disable_help_subcommand = true, max_term_width = 80)]
#[command(after_help = "Exit codes: 0 yes, 1 no, 2 error, 64 usage, 69 daemon not reachable, \
                        77 not permitted.")]
pub(crate) struct Arguments {
    /// Where the daemon listens
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Form of the answer
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people, at eighty columns.
    Text,
    /// For programs.
    Json,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Is this node protected, by what, and what is wrong?
    Status,
    /// Check policies or follow a packet through them, without daemon and root
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Rules in force, with hit counters and last hit
    Rules(RulesWanted),
    /// Devices, with what the kernel has attached to them
    Links,
    /// Connections that this host opened, or admitted where replies need it
    Connections(ConnectionsWanted),
    /// Report what no rule allows instead of dropping it
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
}

/// Which rules.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RulesWanted {
    /// Only rules that have decided no packet
    #[arg(long)]
    pub(crate) unused: bool,
}

/// Which connections.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ConnectionsWanted {
    /// Only those with this remote address
    #[arg(long, value_name = "IP")]
    pub(crate) peer: Option<IpAddr>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// What to do about audit mode.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// What no rule allows passes and is reported; deny rules stay enforced
    On,
    /// What no rule allows is dropped
    Off,
    /// What was denied, or would have been
    Report,
}

/// What to do with files.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Would the daemon take these policies, and whom do they select?
    Check(CheckWanted),
    /// What happens to a packet, by which rule in which file?
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(TraceWanted),
}

const TRACE_EXAMPLES: &str = "\
Examples:
  hostfw policy trace policies.d --node cp-1 ingress 192.0.2.7 tcp/22
  hostfw policy trace policies.d --node cp-1 egress 198.51.100.4 udp/53
  hostfw policy trace policies.d --node cp-1 ingress 2001:db8::7 ping
  hostfw policy trace policies.d --world cluster.d --node cp-1 \
      ingress monitoring/prometheus-0 tcp/9100";

/// Files and the circumstances under which they are compiled.
#[derive(Args, Debug)]
pub(crate) struct Circumstances {
    /// Directory of policies, or one file
    #[arg(value_name = "DIR")]
    pub(crate) policies: PathBuf,
    /// Directory of the objects that policies speak of: Node, Pod, Namespace,
    /// CiliumCIDRGroup
    #[arg(long, value_name = "DIR")]
    pub(crate) world: Option<PathBuf>,
    /// Label of the node, added to those of its Node object
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,
    /// Address of the node, added to those of its Node object
    #[arg(long = "address", value_name = "IP")]
    pub(crate) addresses: Vec<IpAddr>,
    /// Tunnel that ends on the node, such as vxlan/8472; the daemon finds its
    /// own
    #[arg(long = "tunnel", value_name = "KIND/PORT")]
    pub(crate) tunnels: Vec<TunnelEnd>,
    /// What CIDR rules match beside the outside, as `cidrMatch` in hostfw.yaml
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub(crate) cidr_match: Vec<CidrMatch>,
    /// As `compatibility` in hostfw.yaml
    #[arg(long, value_name = "PRODUCT", value_enum)]
    pub(crate) compatibility: Option<Compatibility>,
    /// As `enforcement` in hostfw.yaml
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Enforcement::Default)]
    pub(crate) enforcement: Enforcement,
}

/// What CIDR rules match beside the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CidrMatch {
    /// Addresses of nodes.
    Nodes,
    /// Addresses of pods.
    Pods,
}

/// Whose reading of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compatibility {
    /// That of Cilium: some labels are not seen by selectors.
    Cilium,
}

/// When a direction is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Enforcement {
    /// When a rule selects the node.
    Default,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct CheckWanted {
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
    /// Also compile the policies for this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// Which packet to follow.
#[derive(Args, Debug)]
pub(crate) struct TraceWanted {
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
    /// The node that receives or sends the packet
    #[arg(long, value_name = "NAME")]
    pub(crate) node: String,
    /// Towards the node, or from it
    #[arg(value_enum)]
    pub(crate) direction: Way,
    /// The other end: an address, or a node or NAMESPACE/POD of the world
    #[arg(value_name = "PEER")]
    pub(crate) peer: String,
    /// tcp/PORT, udp/PORT, sctp/PORT, icmp/TYPE, icmpv6/TYPE, ping, or a
    /// protocol by name or number
    #[arg(value_name = "WHAT")]
    pub(crate) what: What,
    /// Place of a TCP packet in its connection
    #[arg(long, value_enum, default_value_t = Flags::Syn)]
    pub(crate) flags: Flags,
}

/// Towards the node, or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Towards the node.
    Ingress,
    /// From the node.
    Egress,
}

/// Place of a TCP packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flags {
    /// The first packet.
    Syn,
    /// Any later one.
    Ack,
}

/// A label as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bare key is a label with an empty value, as role labels have.
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err("a label needs a key: KEY=VALUE".to_owned());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// A tunnel as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelEnd {
    pub(crate) kind: TunnelKind,
    pub(crate) port: u16,
}

impl FromStr for TunnelEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write KIND/PORT with vxlan, geneve or wireguard: vxlan/8472";
        let (kind, port) = text.split_once('/').ok_or(FORM)?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "vxlan" => TunnelKind::Vxlan,
            "geneve" => TunnelKind::Geneve,
            "wireguard" => TunnelKind::WireGuard,
            _ => return Err(FORM.to_owned()),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(FORM)?;
        Ok(Self { kind, port })
    }
}

/// Protocol and port of a packet as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An echo request of the peer's address family.
    Ping,
    /// Protocol number, and its port or ICMP type where it has one.
    Protocol(u8, Option<u16>),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        if lower == "ping" {
            return Ok(Self::Ping);
        }
        let (name, port) = match lower.split_once('/') {
            Some((name, port)) => (name, Some(port)),
            None => (lower.as_str(), None),
        };
        let number = protocol_number(name).ok_or_else(|| {
            format!("unknown protocol `{name}`: write tcp, udp, sctp, icmp, icmpv6 or a number")
        })?;
        let (noun, highest) = match number {
            6 | 17 | 132 => ("port", u16::MAX),
            1 | 58 => ("type", 255),
            _ if port.is_some() => return Err(format!("`{name}` has no ports: write `{name}`")),
            _ => return Ok(Self::Protocol(number, None)),
        };
        let example = if noun == "port" { 22 } else { 8 };
        let port = port.ok_or_else(|| format!("write {name} with its {noun}: {name}/{example}"))?;
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port <= highest)
            .ok_or_else(|| format!("a {noun} is a number from 0 to {highest}, not `{port}`"))?;
        Ok(Self::Protocol(number, Some(port)))
    }
}

fn protocol_number(name: &str) -> Option<u8> {
    let number = match name {
        "icmp" | "icmpv4" => 1,
        "igmp" => 2,
        "ipip" => 4,
        "tcp" => 6,
        "udp" => 17,
        "ipv6" => 41,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" => 58,
        "ospf" => 89,
        "vrrp" => 112,
        "sctp" => 132,
        _ => return name.parse().ok(),
    };
    Some(number)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_contradict_nothing() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_packet_is_typed_as_protocol_and_port() {
        assert_eq!("tcp/22".parse(), Ok(What::Protocol(6, Some(22))));
        assert_eq!("ICMPv6/128".parse(), Ok(What::Protocol(58, Some(128))));
        assert_eq!("vrrp".parse(), Ok(What::Protocol(112, None)));
        assert_eq!("112".parse(), Ok(What::Protocol(112, None)));
        assert_eq!("ping".parse(), Ok(What::Ping));
    }

    #[test]
    fn a_wrong_packet_is_answered_with_the_right_form() {
        let complaint = |text: &str| text.parse::<What>().expect_err("it is wrong");
        assert_eq!(complaint("tcp"), "write tcp with its port: tcp/22");
        assert_eq!(complaint("icmp/256"), "a type is a number from 0 to 255, not `256`");
        assert_eq!(complaint("udp/dns"), "a port is a number from 0 to 65535, not `dns`");
        assert_eq!(complaint("gre/1"), "`gre` has no ports: write `gre`");
        assert!(complaint("ssh").starts_with("unknown protocol `ssh`"));
    }

    #[test]
    fn a_tunnel_is_typed_as_kind_and_port() {
        let vxlan = TunnelEnd { kind: TunnelKind::Vxlan, port: 8472 };
        assert_eq!("VXLAN/8472".parse(), Ok(vxlan));
        for wrong in ["vxlan", "gre/1", "geneve/0", "wireguard/70000"] {
            assert!(wrong.parse::<TunnelEnd>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_without_a_value_has_an_empty_one() {
        let label = |key: &str, value: &str| Label { key: key.to_owned(), value: value.to_owned() };
        assert_eq!("a.b/c=d=e".parse(), Ok(label("a.b/c", "d=e")));
        assert_eq!("role".parse(), Ok(label("role", "")));
        assert!("=x".parse::<Label>().is_err());
    }
}
