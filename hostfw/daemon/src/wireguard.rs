//! The port on which a WireGuard device listens. The link list does not carry
//! it, so the device's own generic netlink family is asked. Nothing else of
//! WireGuard is known here.

use std::io;

use hostfw_daemon::netlink::{DUMP, Kernel, REQUEST, attribute, attributes, message};

/// The listening port of a device; `None` when it has none.
///
/// # Errors
/// The kernel does not tell, for want of the family, the device or privilege.
pub(crate) fn listen_port(device: &str) -> io::Result<Option<u16>> {
    let kernel = Kernel::open(NETLINK_GENERIC)?;
    let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, "wireguard");
    let family = find(&kernel, &ask, FAMILY_ID)?;
    let family = family.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let ask = request(family, REQUEST | DUMP, GET_DEVICE, DEVICE_NAME, device);
    let port = find(&kernel, &ask, LISTEN_PORT)?;
    Ok(port.filter(|port| *port != 0))
}

/// Sends a request and looks for one attribute of 16 bits in the answers.
fn find(kernel: &Kernel, ask: &[u8], wanted: u16) -> io::Result<Option<u16>> {
    let mut found = None;
    let told = kernel.ask(ask, |answer| found = found.or_else(|| value(answer.body, wanted)));
    match told {
        // A peer came or went meanwhile; what is wanted is the device's own.
        Err(error) if error.kind() == io::ErrorKind::Interrupted && found.is_some() => Ok(found),
        told => told.map(|()| found),
    }
}

/// An attribute of 16 bits in an answer without its header.
fn value(answer: &[u8], wanted: u16) -> Option<u16> {
    let mut attributes = attributes(answer.get(GENERIC_HEADER..)?);
    let (_, value) = attributes.find(|(kind, _)| *kind == wanted)?;
    Some(u16::from_ne_bytes(*value.first_chunk()?))
}

fn request(kind: u16, flags: u16, command: u8, about: u16, name: &str) -> Vec<u8> {
    let header: [u8; GENERIC_HEADER] = [command, 1, 0, 0];
    let name = [name.as_bytes(), b"\0"].concat();
    message(kind, flags, &[header.as_slice(), &attribute(about, &name)].concat())
}

// include/uapi/linux/{netlink,genetlink,wireguard}.h
const NETLINK_GENERIC: isize = 16;
const GENERIC_HEADER: usize = 4;
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GET_DEVICE: u8 = 0;
const DEVICE_NAME: u16 = 2;
const LISTEN_PORT: u16 = 6;

#[cfg(test)]
mod tests {
    use hostfw_daemon::netlink::messages;

    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others() {
        let port = attribute(LISTEN_PORT, &51_820_u16.to_ne_bytes());
        let answer = [[0; GENERIC_HEADER].as_slice(), &attribute(2, b"wg0\0"), &port].concat();
        assert_eq!(value(&answer, LISTEN_PORT), Some(51_820));
        for end in 0..answer.len() {
            let port = value(&answer[..end], LISTEN_PORT);
            // Only the padding may be missing.
            assert_eq!(port, (end + 2 >= answer.len()).then_some(51_820), "cut at {end}");
        }
    }

    #[test]
    fn a_request_names_what_it_is_about() {
        let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, "nlctrl");
        let [only] = messages(&ask).collect::<Vec<_>>()[..] else { panic!("one message") };
        let (kind, name) = attributes(&only.body[GENERIC_HEADER..]).next().expect("a name");
        assert_eq!((kind, name), (FAMILY_NAME, b"nlctrl\0".as_slice()));
        assert_eq!((only.kind, only.body[0]), (CONTROL, GET_FAMILY));
    }

    #[test]
    fn a_family_that_always_exists_can_be_asked() {
        let kernel = Kernel::open(NETLINK_GENERIC).expect("netlink");
        let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, "nlctrl");
        assert_eq!(find(&kernel, &ask, FAMILY_ID).expect("told"), Some(CONTROL));
        let ask = request(CONTROL, REQUEST, GET_FAMILY, FAMILY_NAME, "no such one");
        let error = find(&kernel, &ask, FAMILY_ID).expect_err("there is none");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
