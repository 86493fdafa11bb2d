//! One question, many times: does the kernel's program give a packet the same
//! action, reason, rule and verdict as the native build, with the state that
//! earlier packets have left? How many packets that takes is for the caller.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Kernel, Seen};
use hostfw_datapath::{
    Direction, Facts, Reason,
    control_word::{ControlWord, InForce},
    judge,
    model::{Bytes, Model},
    packet::Layer,
};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    host::Host,
    packets::{self, Case},
    policies,
};

/// How many policy sets, and how many packets for each.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Policy sets, grown from the seeds 0, 1, 2 and on.
    pub sets: u8,
    /// Packets for each, beside those of the host's own connection.
    pub packets: usize,
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Packets judged alike.
    pub judged: usize,
    /// Packets that the test runner does not take: frames shorter than the
    /// header that their ethertype promises.
    pub refused: usize,
    /// Packets that were sent on for somebody else, and refused: runners of
    /// some kernels do not take them.
    pub refused_forwarded: usize,
    /// How often each reason was given.
    pub reasons: BTreeMap<Reason, usize>,
}

/// Lets both sides judge the same packets against the same policies. The kernel
/// must be opened with `show` in the namespace of the host.
///
/// # Errors
/// The first packet that is judged differently, or what the kernel said.
pub fn agree(kernel: &mut Kernel, host: &Host, extent: Extent) -> anyhow::Result<Coverage> {
    let mut coverage = Coverage::default();
    kernel.seed(&host.sockets)?;
    let model = host.model();
    let set_strategy = policies::policy_set();
    let packet_strategy = vec(packets::case(), extent.packets..=extent.packets);
    for set in 0..extent.sets {
        let mut runner = runner(set);
        let drawn = set_strategy.new_tree(&mut runner);
        let policies = drawn.map_err(|why| anyhow::anyhow!("{why}"))?.current();
        let compiled = policies.compile(u32::from(set) + 1)?;
        let audit = set % 4 == 3;
        let slot = kernel.load(&compiled.words, &packets::own()).context("load an image")?;
        kernel.switch(ControlWord::confirmed(InForce { slot, audit }))?;
        let mut cases = host.talk();
        let drawn = packet_strategy.new_tree(&mut runner);
        cases.extend(drawn.map_err(|why| anyhow::anyhow!("{why}"))?.current());
        for case in cases {
            // An entry is written again once a second, with the flags of the packet
            // that does it.
            model.now_s.set(kernel.certain_now_s());
            // The kernel first: what its runner does not take must not leave a
            // memory on the other side.
            match kernel.test_run(case.egress, case.layer, case.forwarded, &case.bytes) {
                Ok(seen) => {
                    let expected = native(&case, &compiled.words, &model, audit);
                    coverage.judged += 1;
                    if let Some(reason) = Reason::from_number(seen.reason) {
                        *coverage.reasons.entry(reason).or_default() += 1;
                    }
                    ensure!(
                        seen == expected,
                        "set {set}, audit {audit}, packet {}: {case:02x?}\n\
                         kernel {seen:?}, native {expected:?}\nasked: {:#?}\n{}",
                        coverage.judged,
                        model.take_questions(),
                        policies.text()
                    );
                    model.take_questions();
                }
                Err(_) if case.forwarded => coverage.refused_forwarded += 1,
                Err(_) => coverage.refused += 1,
            }
        }
    }
    Ok(coverage)
}

/// A runner whose values depend on nothing but this number.
fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(Config::default(), rng)
}

fn native(case: &Case, words: &[u32], model: &Model, audit: bool) -> Seen {
    // The test runner takes the frame for one on loopback, whose hardware
    // address is zero.
    let for_other = !case.egress
        && case.layer == Layer::Ethernet
        && case.bytes.get(..6).is_some_and(|to| to != [0; 6] && to[0] & 1 == 0);
    let facts = Facts { layer: case.layer, vlan: 0, forwarded: case.forwarded, for_other };
    let packet = Bytes { bytes: &case.bytes, facts };
    let direction = if case.egress { Direction::Egress } else { Direction::Ingress };
    let verdict = judge(direction, &packet, &words, model, audit).verdict;
    Seen {
        action: verdict.action as u8,
        reason: verdict.reason as u8,
        rule: verdict.rule,
        verdict: verdict.verdict,
    }
}
