//! Names under the BPF folder. Each version of the layout of maps and images has
//! folders of its own, so that two of them can be there at the same time.
//!
//! ```text
//! maps<ABI>/          maps, by name
//! maps<ABI>/image_<slot>   the image in a slot, kept open across restarts
//! links<ABI>/<ifindex>_<eth|ip>_<in|out>  tcx links
//! links<ABI>/<ifindex>_<eth|ip>_clsact/   a mark: filters hang on this device
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use hostfw_datapath::{ABI_VERSION, Direction, packet::Layer};

/// What a pin's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinKind {
    Link(Direction),
    Clsact,
}

/// Programs on a device, of whatever version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnDevice {
    pub(super) ifindex: u32,
    pub(super) pin: PathBuf,
    /// Where they are filters: their handle's minor number.
    pub(super) filters: Option<u16>,
}

/// Handles of our filters: "h", and the version of the layout. No other tool
/// picks such numbers by default, and those of two versions differ, so that one
/// never takes the place of the other.
const MINOR_BASE: u16 = 0x6800;
const _: () = assert!(ABI_VERSION <= 0xff);
/// The handle of this version.
pub(super) const CLSACT_MINOR: u16 = MINOR_BASE | ABI_VERSION as u16;
/// The handle in the folder `links`, of before versions had their own.
const FIRST_MINOR: u16 = 0x6866;

const MAPS: &str = "maps";
const LINKS: &str = "links";

/// The folder of the maps of this version.
pub(super) fn maps_dir(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join(format!("{MAPS}{ABI_VERSION}"))
}

/// The folder of the links of this version.
pub(super) fn links_dir(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join(format!("{LINKS}{ABI_VERSION}"))
}

/// The pin of a tcx link of this version.
pub(super) fn link(bpf_dir: &Path, ifindex: u32, layer: Layer, direction: Direction) -> PathBuf {
    let hook = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    links_dir(bpf_dir).join(format!("{ifindex}_{}_{hook}", layer_name(layer)))
}

/// The mark of filters of this version.
pub(super) fn clsact_mark(bpf_dir: &Path, ifindex: u32, layer: Layer) -> PathBuf {
    links_dir(bpf_dir).join(format!("{ifindex}_{}_clsact", layer_name(layer)))
}

/// What a pin of this version stands for.
pub(super) fn parse(name: &str) -> Option<(u32, Layer, PinKind)> {
    let mut parts = name.split('_');
    let ifindex = parts.next()?.parse().ok()?;
    let layer = match parts.next()? {
        "eth" => Layer::Ethernet,
        "ip" => Layer::Ip,
        _ => return None,
    };
    let kind = match parts.next()? {
        "in" => PinKind::Link(Direction::Ingress),
        "out" => PinKind::Link(Direction::Egress),
        "clsact" => PinKind::Clsact,
        _ => return None,
    };
    Some((ifindex, layer, kind))
}

/// The folders of every version.
pub(super) fn folders(bpf_dir: &Path) -> Vec<PathBuf> {
    let is_ours = |name: &str| is_of(name, MAPS) || filters_of(name).is_some();
    let entries = fs::read_dir(bpf_dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours));
    ours.map(|entry| entry.path()).collect()
}

/// Programs of every version on devices, as far as pins tell. Of other versions no
/// more is believed than that a file is a link, and a folder the mark of filters.
pub(super) fn on_devices(bpf_dir: &Path) -> Vec<OnDevice> {
    let mut found = Vec::new();
    for folder in folders(bpf_dir) {
        let Some(minor) = folder.file_name().and_then(|name| filters_of(name.to_str()?)) else {
            continue;
        };
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let ifindex = name.to_str().and_then(|name| name.split('_').next()?.parse().ok());
            let Some(ifindex) = ifindex else { continue };
            let filters = entry.path().is_dir().then_some(minor);
            found.push(OnDevice { ifindex, pin: entry.path(), filters });
        }
    }
    found
}

/// The handle of filters whose marks are in a folder.
fn filters_of(folder: &str) -> Option<u16> {
    match folder.strip_prefix(LINKS)? {
        "" => Some(FIRST_MINOR),
        version => Some(MINOR_BASE | u16::from(version.parse::<u8>().ok()?)),
    }
}

fn is_of(folder: &str, kind: &str) -> bool {
    folder.strip_prefix(kind).is_some_and(|version| version.parse::<u32>().is_ok())
}

const fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Ethernet => "eth",
        Layer::Ip => "ip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_pinned_under_it() {
        let folder = Path::new("bpf");
        for layer in [Layer::Ethernet, Layer::Ip] {
            let mark = clsact_mark(folder, 7, layer);
            let of =
                |pin: &Path| parse(pin.file_name().and_then(|name| name.to_str()).expect("text"));
            assert_eq!(of(&mark), Some((7, layer, PinKind::Clsact)));
            for direction in [Direction::Ingress, Direction::Egress] {
                let pin = link(folder, 7, layer, direction);
                assert_eq!(of(&pin), Some((7, layer, PinKind::Link(direction))));
            }
        }
        for other in ["", "7", "x_eth_in", "7_eth_up", "7_arp_in"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn filters_of_two_versions_never_have_one_handle() {
        let folders: Vec<String> = std::iter::once(LINKS.to_owned())
            .chain((1..=20).map(|n| format!("{LINKS}{n}")))
            .collect();
        let handles: std::collections::BTreeSet<_> =
            folders.iter().map(|folder| filters_of(folder).expect("a folder of links")).collect();
        assert_eq!(handles.len(), folders.len());
        let ours = links_dir(Path::new("")).display().to_string();
        assert_eq!(filters_of(&ours), Some(CLSACT_MINOR));
        for other in ["linksx", "maps6", "links6.old", "link"] {
            assert_eq!(filters_of(other), None, "{other}");
        }
    }
}
