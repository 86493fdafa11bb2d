//! `hostfw links`, and the devices of `hostfw status`.

use hostfw_api::{Attachment, HookReport, Layer, LinkReport, LinksReport, UnfilteredLink};

use crate::render::{
    page::{Page, Paint},
    status::heading,
    table::{Cell, Table, left, right, shrinking, wrapping},
};

/// The whole report.
pub(crate) fn render(report: &LinksReport, page: &Page) -> String {
    let mut text = filtered(&report.links, 0, page);
    for link in report.links.iter().filter(|link| !link.problem.is_empty()) {
        text.push_str(&page.words(&format!("! {}: ", link.device), 2, &link.problem));
    }
    if report.links.is_empty() {
        text.push_str("No device is filtered.\n");
    }
    if !report.unfiltered.is_empty() {
        text.push_str(&heading("Up and not filtered", page));
        text.push_str(&unfiltered(&report.unfiltered, 2, page));
    }
    text
}

/// Devices that are to be filtered; a hook that is missing stands out.
pub(crate) fn filtered(links: &[LinkReport], indent: usize, page: &Page) -> String {
    let mut table = Table::new(
        indent,
        [
            shrinking("DEVICE"),
            right("INDEX"),
            left("LAYER"),
            left("HOOK"),
            left("INGRESS"),
            left("EGRESS"),
        ],
    );
    for link in links {
        let layer = match link.layer {
            Layer::Ethernet => "ethernet",
            Layer::Ip => "ip",
        };
        let attachment = match link.attachment {
            Some(Attachment::Tcx) => "tcx",
            Some(Attachment::Clsact) => "clsact",
            None => "-",
        };
        table.row([
            link.device.clone().into(),
            link.ifindex.to_string().into(),
            layer.into(),
            attachment.into(),
            hook(link.ingress.as_ref()),
            hook(link.egress.as_ref()),
        ]);
        for address in &link.addresses {
            table.line(indent + 4, address.as_str());
        }
    }
    table.render(page)
}

/// "#112" with a word when another program sees the packets before.
fn hook(hook: Option<&HookReport>) -> Cell {
    match hook {
        None => Cell::painted("MISSING", Paint::Bad),
        Some(HookReport { program_id, first: true }) => {
            Cell::painted(format!("#{program_id}"), Paint::Good)
        }
        Some(HookReport { program_id, first: false }) => {
            Cell::painted(format!("#{program_id} behind"), Paint::Notice)
        }
    }
}

/// Devices that are not filtered, with the reason.
pub(crate) fn unfiltered(links: &[UnfilteredLink], indent: usize, page: &Page) -> String {
    let mut table = Table::new(indent, [left(""), wrapping("")]);
    for link in links {
        table.row([link.name.clone().into(), link.why.clone().into()]);
    }
    table.render(page)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{fits, links};

    #[test]
    fn every_device_shows_what_the_kernel_has_attached() {
        let text = render(&links(), &Page::PLAIN);
        expect![[r#"
            DEVICE           INDEX  LAYER     HOOK    INGRESS  EGRESS
            eth0                 2  ethernet  tcx     #112     #113
                192.0.2.1/24
                2001:db8::1/64
            eth1                 3  ethernet  -       MISSING  MISSING
            wg-a-long-name0   1007  ip        clsact  #112     #214 behind
                2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128
            ! eth1: no such device

            Up and not filtered
              docker0  excluded in hostfw.yaml
              eth2     port of bond0
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_host_without_filtered_devices() {
        let none = LinksReport { links: Vec::new(), unfiltered: Vec::new() };
        assert_eq!(render(&none, &Page::PLAIN), "No device is filtered.\n");
    }
}
