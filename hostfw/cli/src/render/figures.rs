//! Numbers as people read them: counts, bytes, time spans, protocols, ends of
//! connections. All of them short, because eighty columns are few.

use std::{fmt::Write, net::IpAddr};

/// `1234567` as `1,234,567`; from ten million on `12.3M`.
pub(crate) fn count(number: u64) -> String {
    if number >= 10_000_000 {
        return scaled(number, &["", "k", "M", "G", "T", "P", "E"]);
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12345` as `12.3 kB`, in powers of ten.
pub(crate) fn bytes(number: u64) -> String {
    scaled(number, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// Three digits at least, one of them behind the point, and a unit of 1000^n.
fn scaled(number: u64, units: &[&str]) -> String {
    let (mut whole, mut tenths, mut unit) = (number, 0, 0);
    while whole >= 1000 && unit + 1 < units.len() {
        tenths = whole % 1000 / 100;
        whole /= 1000;
        unit += 1;
    }
    let unit_name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{whole}{unit_name}") } else { format!("{whole}.{tenths}{unit_name}") }
}

/// "1 rule", "2 rules".
pub(crate) fn counted(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{} {stem}ies", count(number)),
        (_, None) => format!("{} {noun}s", count(number)),
    }
}

/// A time span in words: "45 s", "12 min", "5 h 12 min", "3 d 4 h".
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min")
    } else {
        format!("{seconds} s")
    }
}

/// A time span in at most four characters for a column: "45s", "12m", "5h",
/// "3d".
pub(crate) fn short_span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago a moment was; a moment in the future is now, because clocks
/// are set back.
pub(crate) fn since(now_unix_s: u64, moment_unix_s: u64) -> String {
    span(now_unix_s.saturating_sub(moment_unix_s))
}

/// The name of an IP protocol as policies and commands write it, else its
/// number as `policy trace` takes it.
pub(crate) fn protocol(number: u8) -> String {
    let name = match number {
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        89 => "ospf",
        112 => "vrrp",
        132 => "sctp",
        _ => return format!("protocol/{number}"),
    };
    name.to_owned()
}

/// "tcp/22", "icmp/8"; the bare protocol where there is nothing to add.
pub(crate) fn protocol_and_port(number: u8, port: u16) -> String {
    let mut text = protocol(number);
    if has_ports(number) || matches!(number, 1 | 58) {
        write!(text, "/{port}").expect("writing to a string never fails");
    }
    text
}

/// One end of a connection: `192.0.2.1:22`, `[2001:db8::1]:22`; the address
/// alone for protocols without ports.
pub(crate) fn end(protocol: u8, address: IpAddr, port: u16) -> String {
    match address {
        _ if !has_ports(protocol) => address.to_string(),
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
}

/// "file:line", or "built-in" for a rule that stands in no file.
pub(crate) fn place(path: &str, line: u32) -> String {
    if path.is_empty() { "built-in".to_owned() } else { format!("{path}:{line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_until_they_are_too_long_for_a_column() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(9_999_999), "9,999,999");
        assert_eq!(count(12_345_678), "12.3M");
        assert_eq!(count(u64::MAX), "18.4E");
    }

    #[test]
    fn bytes_are_scaled_by_a_thousand() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345), "12.3 kB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(counted(1, "policy"), "1 policy");
        assert_eq!(counted(2, "policy"), "2 policies");
        assert_eq!(counted(0, "rule"), "0 rules");
    }

    #[test]
    fn spans_show_two_units_in_words_and_one_in_columns() {
        assert_eq!([span(0), span(59), span(60)], ["0 s", "59 s", "1 min"]);
        assert_eq!([span(18_720), span(273_600)], ["5 h 12 min", "3 d 4 h"]);
        assert_eq!([short_span(119), short_span(120)], ["119s", "2m"]);
        assert_eq!([short_span(7_200), short_span(172_800)], ["2h", "2d"]);
    }

    #[test]
    fn ports_are_shown_only_where_there_are_any() {
        assert_eq!(protocol_and_port(6, 22), "tcp/22");
        assert_eq!(protocol_and_port(58, 128), "icmpv6/128");
        assert_eq!(protocol_and_port(112, 0), "vrrp");
        assert_eq!(protocol_and_port(253, 0), "protocol/253");
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        assert_eq!(end(17, v6, 53), "[2001:db8::1]:53");
        assert_eq!(end(58, v6, 7), "2001:db8::1");
    }
}
