//! Every generated packet gets the same action, reason, rule and verdict from
//! the kernel's program and from the native build, with the state that earlier
//! packets have left (host-behaviour A3 to A8, design section 2).

#![expect(clippy::print_stdout, reason = "the counts say what was covered")]

use hostfw_daemon::kernel::Capacity;
use hostfw_datapath::Reason;
use hostfw_parity::{
    agreement::{Coverage, Extent, agree},
    host::Host,
    sandbox::Sandbox,
};

#[test]
fn the_kernel_and_the_native_build_agree_on_every_packet() {
    let sandbox = Sandbox::enter("verdicts").expect("namespaces");
    let host = Host::new().expect("a host");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("the programs load");
    let extent = Extent { sets: 60, packets: 4_000 };
    let Coverage { judged, refused, refused_forwarded, reasons } =
        agree(&mut kernel, &host, extent).expect("agreement");
    let refused = refused + refused_forwarded;
    println!("{judged} packets judged alike, {refused} refused by the test runner");
    for (reason, count) in &reasons {
        println!("{count:>8} {reason}");
    }
    assert!(judged >= 200_000, "only {judged} packets were judged");
    assert!(refused * 20 < judged, "the runner refused {refused} of {judged}");
    for reason in Reason::ALL {
        let untestable = [Reason::NoPolicy, Reason::BrokenImage, Reason::NoProxy];
        assert!(
            untestable.contains(reason) || reasons.contains_key(reason),
            "no packet was judged {reason}"
        );
    }
}
