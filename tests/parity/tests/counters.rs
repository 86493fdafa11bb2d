//! Counters of rules: exact although the last count of a CPU waits until the next one
//! comes, for whoever reads them meanwhile, too, and across generations.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use hostfw_daemon::kernel::{Capacity, Kernel};
use hostfw_datapath::{
    Action,
    control_word::{ControlWord, InForce, SLOTS},
    packet::Layer,
    sketch::{self, Content},
};
use hostfw_parity::{packets, policies, sandbox::Sandbox};

/// Rules of the policy, each with a prefix of its own.
const RULES: u32 = 3;

/// Puts a generation in force and says in which slot.
fn load(kernel: &mut Kernel, generation: u32) -> u32 {
    let text = policies::many_rules(RULES);
    let image = policies::compile_text(&text, generation).expect("a valid policy");
    let slot = kernel.load(&image.words, &packets::own()).expect("the image loads");
    kernel.switch(ControlWord::confirmed(InForce { slot, audit: false })).expect("a switch");
    slot
}

/// Has one packet pass by a rule.
fn hit(kernel: &mut Kernel, rule: u32) {
    let (from, to) = (policies::many_peer(rule), policies::MANY_PORTS[rule as usize]);
    let content = Content::Tcp { from: 40_000, to, flags: 2 };
    let frame = sketch::ethernet(IpAddr::V4(from), IpAddr::V4(packets::OWN_V4[0]), content);
    let seen = kernel.test_run(false, Layer::Ethernet, false, &frame).expect("a run");
    assert_eq!((seen.action, seen.rule), (Action::Pass as u8, rule));
}

fn packets(kernel: &Kernel, slot: u32) -> Vec<u64> {
    let counts = kernel.rule_counts(slot).expect("counters");
    assert!(counts.iter().all(|count| count.idle_s.is_some() == (count.packets != 0)));
    let mut packets: Vec<u64> = counts.iter().map(|count| count.packets).collect();
    // The others are of egress, which nothing here uses.
    assert!(packets.drain(RULES as usize..).all(|packets| packets == 0));
    packets
}

#[test]
fn every_packet_is_counted_by_its_rule_before_another_comes() {
    let sandbox = Sandbox::enter("exact").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let slot = load(&mut kernel, 1);
    assert_eq!(packets(&kernel, slot), [0, 0, 0]);
    for (rule, expected) in [(0, [1, 0, 0]), (0, [2, 0, 0]), (2, [2, 0, 1]), (1, [2, 1, 1])] {
        hit(&mut kernel, rule);
        assert_eq!(packets(&kernel, slot), expected);
        assert_eq!(packets(&kernel, slot), expected, "reading changes nothing");
    }
}

#[test]
fn a_generation_counts_its_own_packets_and_no_others() {
    let sandbox = Sandbox::enter("generations").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let first = load(&mut kernel, 1);
    hit(&mut kernel, 2);
    let second = load(&mut kernel, 2);
    assert_ne!(first, second);
    assert_eq!((packets(&kernel, first), packets(&kernel, second)), (vec![0, 0, 1], vec![0; 3]));
    hit(&mut kernel, 2);
    assert_eq!(packets(&kernel, first), packets(&kernel, second));
    // Its last packet still waits when the slot is used again.
    let again = (3..).take(2 * SLOTS as usize).find(|next| load(&mut kernel, *next) == second);
    assert!(again.is_some(), "slots are used again");
    assert_eq!(packets(&kernel, second), [0, 0, 0]);
    hit(&mut kernel, 1);
    hit(&mut kernel, 0);
    assert_eq!(packets(&kernel, second), [1, 1, 0]);
}

#[test]
fn counters_that_are_read_while_packets_come_are_never_ahead_nor_go_back() {
    const TIME: Duration = Duration::from_secs(2);
    let sandbox = Sandbox::enter("reading").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let slot = load(&mut kernel, 1);
    let config = sandbox.config("pins", Capacity::SMALL);
    let is_over = AtomicBool::new(false);
    let mut sent = [0_u64; RULES as usize];
    let readings = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (reader, _) = Kernel::open(config).expect("a second start");
            let mut last = vec![0; RULES as usize];
            let mut readings = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                let now = packets(&reader, slot);
                assert!(now.iter().zip(&last).all(|(now, last)| now >= last), "{last:?}, {now:?}");
                last = now;
                readings += 1;
            }
            readings
        });
        let start = Instant::now();
        for rule in [0, 1, 1, 2, 0, 2, 2].into_iter().cycle() {
            hit(&mut kernel, rule);
            sent[rule as usize] += 1;
            if start.elapsed() > TIME {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        reading.join().expect("no reading goes back")
    });
    assert_eq!(packets(&kernel, slot), sent);
    assert!(readings > 100 && sent.iter().all(|sent| *sent > 1_000), "{readings}, {sent:?}");
}
