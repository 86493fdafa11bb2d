//! What the kernel says of the filters on a clsact hook: a dump over route
//! netlink.

use std::io;

use crate::netlink::{DUMP, Kernel, Message, REQUEST, attributes, message};

/// Length of `struct tcmsg`.
const TRAFFIC_CONTROL: usize = 20;
/// `RTM_NEWTFILTER`, `RTM_GETTFILTER`, `NETLINK_ROUTE`.
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;
const NETLINK_ROUTE: isize = 0;
/// `TC_H_CLSACT` with the minor number of each hook (linux/pkt_sched.h).
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// `TCA_OPTIONS`, and `TCA_BPF_ID` inside it.
const OPTIONS: u16 = 2;
const PROGRAM_ID: u16 = 11;

/// A filter of a clsact hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Id of the program behind it.
    pub(super) program: u32,
    /// How many filters of this hook are asked before.
    pub(super) position: usize,
}

/// One filter of a device's clsact hook; `None` when there is no such filter.
///
/// # Errors
/// What the kernel said, for example that the device has gone.
pub(super) fn program(
    ifindex: u32,
    egress: bool,
    priority: u16,
    handle: u32,
) -> io::Result<Option<Filter>> {
    let request = request(ifindex, if egress { EGRESS } else { INGRESS });
    let mut dump = Dump::default();
    Kernel::open(NETLINK_ROUTE)?.ask(&request, |answer| dump.take(&answer, priority, handle))?;
    Ok(dump.found)
}

fn request(ifindex: u32, parent: u32) -> Vec<u8> {
    // Family, device, handle, parent, info.
    let about = [0, ifindex, 0, parent, 0].map(u32::to_ne_bytes);
    message(GET_FILTER, REQUEST | DUMP, about.as_flattened())
}

/// What a dump has shown so far. The kernel lists filters in the order in which
/// it asks them.
#[derive(Debug, Default)]
struct Dump {
    n_others: usize,
    found: Option<Filter>,
}

impl Dump {
    fn take(&mut self, answer: &Message<'_>, priority: u16, handle: u32) {
        if answer.kind != NEW_FILTER {
            return;
        }
        let (found, info) = (u32_at(answer.body, 8), u32_at(answer.body, 16));
        let is_ours =
            found == Some(handle) && info.is_some_and(|info| info >> 16 == u32::from(priority));
        let about = answer.body.get(TRAFFIC_CONTROL..).unwrap_or_default();
        let id = find(about, OPTIONS).and_then(|options| find(options, PROGRAM_ID));
        match id.and_then(|id| u32_at(id, 0)) {
            Some(program) if is_ours => {
                self.found = Some(Filter { program, position: self.n_others });
            }
            // Each priority is introduced by a message without a handle.
            Some(_) | None => self.n_others += usize::from(found.unwrap_or(0) != 0),
        }
    }
}

/// The first attribute of a kind.
fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{attribute, messages};

    const HANDLE: u32 = 0x6866;
    const PRIORITY: u16 = 7;

    /// A filter as the kernel lists it.
    fn listed(handle: u32, priority: u16, program: Option<u32>) -> Vec<u8> {
        let about = [0, 3, handle, INGRESS, u32::from(priority) << 16].map(u32::to_ne_bytes);
        let id = program.map(|id| attribute(PROGRAM_ID, &id.to_ne_bytes())).unwrap_or_default();
        let options = attribute(OPTIONS, &id);
        message(NEW_FILTER, 0, &[about.as_flattened(), &options].concat())
    }

    fn read(answers: &[Vec<u8>]) -> Dump {
        let mut dump = Dump::default();
        let bytes = answers.concat();
        messages(&bytes).for_each(|answer| dump.take(&answer, PRIORITY, HANDLE));
        dump
    }

    #[test]
    fn ours_is_found_behind_those_that_are_asked_before() {
        let introduction = listed(0, 1, None);
        let foreign = listed(1, 1, Some(90));
        let same_handle = listed(HANDLE, 1, Some(91));
        let ours = listed(HANDLE, PRIORITY, Some(92));
        let behind = listed(2, PRIORITY, Some(93));
        let dump = read(&[introduction.clone(), foreign.clone(), same_handle.clone()]);
        assert_eq!((dump.found, dump.n_others), (None, 2));
        let dump = read(&[introduction, foreign, same_handle, ours.clone(), behind]);
        assert_eq!(dump.found, Some(Filter { program: 92, position: 2 }));
        assert_eq!(read(&[ours]).found, Some(Filter { program: 92, position: 0 }));
    }

    #[test]
    fn a_device_without_the_hook_has_no_filter_and_one_that_is_not_there_none_either() {
        // Loopback, and an index that no device has.
        for ifindex in [1, 0x7fff_fff0] {
            for egress in [false, true] {
                let found = program(ifindex, egress, PRIORITY, HANDLE);
                assert_eq!(found.expect("the kernel answers"), None, "{ifindex}");
            }
        }
    }

    #[test]
    fn a_filter_without_a_program_is_another_one() {
        let dump = read(&[listed(HANDLE, PRIORITY, None), message(NEW_FILTER + 1, 0, &[0; 40])]);
        assert_eq!((dump.found, dump.n_others), (None, 1));
    }
}
