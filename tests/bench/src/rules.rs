//! One set of rules, written for each firewall as well as it can be.

use crate::{
    flows::{FIRST_PORT, Family, PORTS, rule_port},
    page::put,
};

/// So many rules, each a prefix of its own with one port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) family: Family,
    pub(crate) count: u32,
}

impl Rules {
    /// Prefix and port of each.
    fn each(self) -> impl Iterator<Item = (String, u16)> {
        (0..self.count).map(move |rule| (self.family.prefix(rule), rule_port(rule)))
    }

    /// As nftables names the header and the type of addresses.
    const fn nft_words(self) -> (&'static str, &'static str) {
        match self.family {
            Family::V4 => ("ip", "ipv4_addr"),
            Family::V6 => ("ip6", "ipv6_addr"),
        }
    }

    /// A policy of ours.
    pub(crate) fn policy(self) -> String {
        self.document("bench", 0)
    }

    /// A policy of ours with the rules from `first` on; its list of them is the
    /// last thing in it.
    pub(crate) fn document(self, name: &str, first: u32) -> String {
        let mut text = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
             metadata: {{name: {name}}}\nspec:\n  nodeSelector: {{}}\n  ingress:\n",
        );
        let Self { family, count } = self;
        for (prefix, port) in
            (first..first + count).map(|rule| (family.prefix(rule), rule_port(rule)))
        {
            put(
                &mut text,
                &format!(
                    "  - fromCIDR: [\"{prefix}\"]\n    \
                     toPorts: [{{ports: [{{port: \"{port}\", protocol: UDP}}]}}]\n"
                ),
            );
        }
        text
    }

    /// nftables with one set of prefixes with ports.
    pub(crate) fn nft_set(self) -> String {
        let (ip, kind) = self.nft_words();
        let elements: Vec<String> =
            self.each().map(|(prefix, port)| format!("{prefix} . {port}")).collect();
        input(
            &format!(
                "set allowed {{ type {kind} . inet_service; flags interval; \
                 elements = {{ {} }}; }}\n",
                elements.join(", ")
            ),
            &format!("{ip} saddr . udp dport @allowed accept\n"),
        )
    }

    /// nftables with a map from the port to a chain with a set of prefixes.
    pub(crate) fn nft_map(self) -> String {
        let (ip, kind) = self.nft_words();
        let mut sets = String::new();
        let mut ports = Vec::new();
        for port in (0..PORTS.min(self.count)).filter_map(|port| u16::try_from(port).ok()) {
            let port = FIRST_PORT + port;
            let prefixes: Vec<String> =
                self.each().filter(|rule| rule.1 == port).map(|(prefix, _)| prefix).collect();
            put(
                &mut sets,
                &format!(
                    "set of_{port} {{ type {kind}; flags interval; elements = {{ {} }}; }}\n\
                     chain to_{port} {{\n {ip} saddr @of_{port} accept\n}}\n",
                    prefixes.join(", ")
                ),
            );
            ports.push(format!("{port} : jump to_{port}"));
        }
        input(&sets, &format!("udp dport vmap {{ {} }}\n", ports.join(", ")))
    }

    /// nftables with one rule after the other.
    pub(crate) fn nft_linear(self) -> String {
        let (ip, _) = self.nft_words();
        let rules: String = self
            .each()
            .map(|(prefix, port)| format!("{ip} saddr {prefix} udp dport {port} accept\n"))
            .collect();
        input("", &rules)
    }

    /// nftables before the network stack, without connections: all prefixes are
    /// of one length, so that a hash of the masked address does. It knows no
    /// answers; nothing of nftables drops a packet sooner.
    pub(crate) fn nft_ingress(self) -> String {
        let (ip, kind) = self.nft_words();
        let mask = match self.family {
            Family::V4 => "255.255.255.192",
            Family::V6 => "ffff:ffff:ffff:ffff::",
        };
        let elements: Vec<String> = self
            .each()
            .filter_map(|(prefix, port)| Some(format!("{} . {port}", prefix.split_once('/')?.0)))
            .collect();
        format!(
            "table netdev bench {{\nset allowed {{ type {kind} . inet_service; \
             elements = {{ {} }}; }}\nchain ingress {{\n\
             type filter hook ingress device eth0 priority filter; policy drop;\n\
             {ip} saddr & {mask} . udp dport @allowed accept\n}}\n}}\n",
            elements.join(", ")
        )
    }

    /// What `iptables-restore` reads, one rule after the other.
    pub(crate) fn iptables(self) -> String {
        let mut text = String::from(
            "*filter\n:INPUT DROP [0:0]\n\
             -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n",
        );
        for (prefix, port) in self.each() {
            put(
                &mut text,
                &format!("-A INPUT -s {prefix} -p udp -m udp --dport {port} -j ACCEPT\n"),
            );
        }
        text + "COMMIT\n"
    }
}

fn input(before: &str, rules: &str) -> String {
    format!(
        "table inet bench {{\n{before}chain input {{\n\
         type filter hook input priority filter; policy drop;\n\
         ct state vmap {{ established : accept, related : accept, invalid : drop }}\n\
         {rules}}}\n}}\n"
    )
}
