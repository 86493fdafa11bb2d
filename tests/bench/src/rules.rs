//! One set of rules, written for each firewall as well as it can be.

use std::{fmt::Write, net::Ipv4Addr};

use crate::flows::{ALLOWED, FIRST_PORT, PORTS};

/// Prefix and port of each rule.
fn rules(count: u32) -> impl Iterator<Item = (String, u16)> {
    (0..count).map(|rule| {
        let prefix = format!("{}/26", Ipv4Addr::from(ALLOWED + rule * 64));
        (prefix, FIRST_PORT + u16::try_from(rule % PORTS).unwrap_or(0))
    })
}

/// A policy of ours.
pub(crate) fn policy(count: u32) -> String {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {name: bench}\nspec:\n  nodeSelector: {}\n  ingress:\n",
    );
    for (prefix, port) in rules(count) {
        write(
            &mut text,
            &format!(
                "  - fromCIDR: [{prefix}]\n    \
                 toPorts: [{{ports: [{{port: \"{port}\", protocol: UDP}}]}}]\n"
            ),
        );
    }
    text
}

/// nftables with one set of prefixes with ports.
pub(crate) fn set(count: u32) -> String {
    let elements: Vec<String> =
        rules(count).map(|(prefix, port)| format!("{prefix} . {port}")).collect();
    ruleset(
        &format!(
            "set allowed {{ type ipv4_addr . inet_service; flags interval; \
             elements = {{ {} }}; }}\n",
            elements.join(", ")
        ),
        "ip saddr . udp dport @allowed accept\n",
    )
}

/// nftables with a map from the port to a chain with a set of prefixes.
pub(crate) fn map(count: u32) -> String {
    let mut sets = String::new();
    let mut ports = Vec::new();
    for port in (0..PORTS).filter_map(|port| u16::try_from(port).ok()) {
        let port = FIRST_PORT + port;
        let prefixes: Vec<String> =
            rules(count).filter(|rule| rule.1 == port).map(|(prefix, _)| prefix).collect();
        if prefixes.is_empty() {
            continue;
        }
        write(
            &mut sets,
            &format!(
                "set of_{port} {{ type ipv4_addr; flags interval; elements = {{ {} }}; }}\n\
                 chain to_{port} {{\n ip saddr @of_{port} accept\n}}\n",
                prefixes.join(", ")
            ),
        );
        ports.push(format!("{port} : jump to_{port}"));
    }
    ruleset(&sets, &format!("udp dport vmap {{ {} }}\n", ports.join(", ")))
}

/// nftables with one rule after the other.
pub(crate) fn linear(count: u32) -> String {
    let rules: String = rules(count)
        .map(|(prefix, port)| format!("ip saddr {prefix} udp dport {port} accept\n"))
        .collect();
    ruleset("", &rules)
}

fn ruleset(before: &str, rules: &str) -> String {
    format!(
        "table inet bench {{\n{before}chain input {{\n\
         type filter hook input priority filter; policy drop;\n\
         ct state vmap {{ established : accept, related : accept, invalid : drop }}\n\
         {rules}}}\n}}\n"
    )
}

fn write(text: &mut String, more: &str) {
    // A string takes everything.
    let written = text.write_str(more);
    debug_assert!(written.is_ok(), "a string takes everything");
}
