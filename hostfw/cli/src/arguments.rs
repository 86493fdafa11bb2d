//! What the user may type. Values are checked for their form here; nothing is
//! opened or asked.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use hostfw_api::DEFAULT_SOCKET;
use hostfw_policy::{
    TunnelKind,
    what::{What, WhatError},
};

use crate::failure::Failure;

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
    #[arg(short, long, global = true, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Form of an answer that every command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people, at eighty columns.
    Text,
    /// For programs.
    Json,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people, at eighty columns
    Text,
    /// For programs
    Json,
    /// `policy check`: SARIF 2.1.0, for code scanning
    Sarif,
    /// `policy check`: annotations in a GitHub workflow
    Github,
    /// `policy test`: JUnit XML, for CI
    Junit,
}

impl Form {
    /// The form, where it is one that every command has.
    pub(crate) fn everywhere(self) -> Result<Output, Failure> {
        match self {
            Self::Text => Ok(Output::Text),
            Self::Json => Ok(Output::Json),
            Self::Sarif | Self::Github => {
                Err(Failure::Usage("only `policy check` has this form".to_owned()))
            }
            Self::Junit => Err(Failure::Usage("only `policy test` has this form".to_owned())),
        }
    }
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Is this node protected, by what, and what is wrong?
    Status,
    /// Read every file again: yes once the result is in force, no if it is
    /// refused
    Reload,
    /// Check policies or follow a packet through them, without daemon and root
    Policy {
        #[command(subcommand)]
        verb: Box<PolicyVerb>,
    },
    /// Rules in force, with hit counters and last hit
    Rules(RulesWanted),
    /// Devices, with what the kernel has attached to them
    Links,
    /// The state and the counters for Prometheus, in its text format
    Metrics,
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
    /// Do the policies do what the cases beside them (*.test.yaml) expect?
    Test(TestWanted),
    /// Whom does a change let in or shut out? Exact, computed on both images
    Diff(DiffWanted),
    /// What do the policies say, in plain sentences?
    Explain(ExplainWanted),
    /// Put files into the canonical form and keep their comments
    Fmt(FmtWanted),
    /// The JSON Schema of a kind, for editors
    Schema {
        /// The kind; without it one schema for all kinds of policies
        #[arg(value_name = "KIND")]
        kind: Option<String>,
    },
}

const TRACE_EXAMPLES: &str = "\
Examples:
  hostfw policy trace policies.d --node cp-1 ingress 192.0.2.7 tcp/22
  hostfw policy trace policies.d --node cp-1 egress 198.51.100.4 udp/53
  hostfw policy trace policies.d --node cp-1 ingress 2001:db8::7 ping
  hostfw policy trace policies.d --world cluster.d --node cp-1 \
      ingress monitoring/prometheus-0 tcp/9100
Both ends at once, each by the policy of its own node:
  hostfw policy trace policies.d --world cluster.d \
      --from monitoring/prometheus-0 --to cp-1 tcp/10250
What a node forwards, under the addresses before or behind a translation:
  hostfw policy trace policies.d --world cluster.d --through cp-1 \
      --from 192.0.2.7 --to shop/web-0 tcp/8080";

/// Files and the circumstances under which they are compiled.
#[derive(Args, Clone, Debug)]
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
    /// Guardrails to hold the policies against, beside those in the directory
    /// (*.guardrails.yaml)
    #[arg(long = "guardrails", value_name = "FILE")]
    pub(crate) guardrails: Vec<PathBuf>,
}

/// Which packet to follow.
#[derive(Args, Debug)]
pub(crate) struct TraceWanted {
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
    /// The node that receives or sends the packet
    #[arg(long, value_name = "NAME", required_unless_present = "from")]
    pub(crate) node: Option<String>,
    /// Where a connection leaves: an address, a node, NAMESPACE/POD,
    /// KEY=VALUE for a pod, or an entity
    #[arg(long, value_name = "END", requires = "to")]
    pub(crate) from: Option<String>,
    /// Where it arrives
    #[arg(long, value_name = "END", requires = "from")]
    pub(crate) to: Option<String>,
    /// The node that forwards the connection: ask its policy about that
    #[arg(long, value_name = "NAME", requires = "from", conflicts_with = "node")]
    pub(crate) through: Option<String>,
    /// WHAT is tcp/PORT, udp/PORT, sctp/PORT, icmp/TYPE, icmpv6/TYPE, ping, or
    /// a protocol such as vrrp or protocol/112; without --from and --to it
    /// comes behind ingress or egress (as the node sees the packet) and the
    /// PEER, an address, a node or NAMESPACE/POD
    #[arg(value_name = "[DIRECTION PEER] WHAT", num_args = 1..=3, required = true)]
    pub(crate) packet: Vec<String>,
    /// Place of a TCP packet in its connection [default: syn]
    #[arg(long, value_enum)]
    pub(crate) flags: Option<Flags>,
}

/// What `policy trace` is about.
#[derive(Clone, Debug)]
pub(crate) enum Tuple {
    /// A packet at one node.
    Packet(Way, String, What),
    /// A connection at both of its ends.
    Connection(What),
}

impl TraceWanted {
    /// The words behind the directory.
    pub(crate) fn tuple(&self) -> Result<Tuple, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let read =
            |what: &String| what.parse().map_err(|fault: WhatError| usage(fault.to_string()));
        match (self.packet.as_slice(), &self.from) {
            ([_], Some(_)) if self.flags.is_some() => {
                Err(usage("--flags is for a packet, not for --from and --to".to_owned()))
            }
            ([what], Some(_)) => Ok(Tuple::Connection(read(what)?)),
            ([way, peer, what], None) => {
                let way = Way::from_str(way, true).map_err(|_what| {
                    Failure::Usage(format!("`{way}` is no direction: write ingress or egress"))
                })?;
                Ok(Tuple::Packet(way, peer.clone(), read(what)?))
            }
            (_, Some(_)) => {
                Err(usage("with --from and --to only WHAT is left, such as tcp/443".to_owned()))
            }
            (_, None) => {
                Err(usage("write DIRECTION PEER WHAT, such as ingress 192.0.2.7 tcp/22".to_owned()))
            }
        }
    }
}

/// Which cases to try.
#[derive(Args, Debug)]
pub(crate) struct TestWanted {
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
    /// The node that `host` means in a case
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// What to explain.
#[derive(Args, Debug)]
pub(crate) struct ExplainWanted {
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
}

/// What to format.
#[derive(Args, Debug)]
pub(crate) struct FmtWanted {
    /// Files, directories of policies, or - for the standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Write nothing, and name the files that would change
    #[arg(long)]
    pub(crate) check: bool,
}

/// What to compare.
#[derive(Args, Debug)]
pub(crate) struct DiffWanted {
    /// Directory of policies as they are, or one file
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    #[command(flatten)]
    pub(crate) new: Circumstances,
    /// Only this node and its pods; without it every node of the world
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_contradict_nothing() {
        Arguments::command().debug_assert();
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
