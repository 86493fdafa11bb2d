//! What the kernel's side promises beyond single verdicts: deadlines, growth
//! beside live images, restarts, counters, and a bounded stream of events.

use std::{collections::BTreeSet, net::IpAddr, thread, time::Duration};

use hostfw_daemon::kernel::{Capacity, Kernel, KernelError};
use hostfw_datapath::{
    ABI_VERSION, Action, Direction, Reason,
    control_word::{ControlWord, InForce, SLOTS},
    image::{AT_CHECKSUM, AT_GENERATION},
    packet::Layer,
    sketch::{self, Content},
};
use hostfw_parity::{packets, policies, sandbox::Sandbox, size};

const SSH: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: ssh}
spec:
  nodeSelector: {}
  ingress:
  - {fromCIDR: [198.51.100.0/24], toPorts: [{ports: [{port: \"22\", protocol: TCP}]}]}
";

const NOTHING: &str = "
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nothing}
spec: {nodeSelector: {}, ingress: [{}]}
";

fn image(text: &str, generation: u32) -> Vec<u32> {
    policies::compile_text(text, generation).expect("a valid policy").words.to_vec()
}

fn syn(from: [u8; 4], to: u16) -> Vec<u8> {
    let content = Content::Tcp { from: 40_000, to, flags: 2 };
    sketch::ethernet(IpAddr::from(from), IpAddr::V4(packets::OWN_V4[0]), content)
}

const FRIEND: [u8; 4] = [198, 51, 100, 7];
const STRANGER: [u8; 4] = [203, 0, 113, 4];

fn load(kernel: &mut Kernel, text: &str, generation: u32) -> InForce {
    let slot = kernel.load(&image(text, generation), &packets::own()).expect("the image loads");
    InForce { slot, audit: false }
}

#[track_caller]
fn judge(kernel: &mut Kernel, frame: &[u8], expect: (Action, Reason)) {
    let seen = kernel.test_run(false, Layer::Ethernet, false, frame).expect("a run");
    assert_eq!((seen.action, seen.reason), (expect.0 as u8, expect.1 as u8));
}

const PASSES: (Action, Reason) = (Action::Pass, Reason::Rule);
const FALLS: (Action, Reason) = (Action::Drop, Reason::DefaultDeny);

#[test]
fn an_unconfirmed_generation_rolls_back_in_the_kernel_at_its_deadline() {
    let sandbox = Sandbox::enter("deadline").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let old = load(&mut kernel, SSH, 1);
    kernel.switch(ControlWord::confirmed(old)).expect("switch");
    let new = load(&mut kernel, NOTHING, 2);
    assert_ne!(new.slot, old.slot);
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    let deadline_ms = Kernel::monotonic_ms() + 300;
    kernel.switch(ControlWord::until(new, deadline_ms, old)).expect("switch");
    judge(&mut kernel, &syn(FRIEND, 22), FALLS);
    // Neither slot may be taken while the deadline runs.
    let third = load(&mut kernel, NOTHING, 3);
    assert!(third.slot != new.slot && third.slot != old.slot);
    thread::sleep(Duration::from_millis(350));
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
}

#[test]
fn a_larger_image_loads_beside_the_live_one_and_changes_no_verdict() {
    let sandbox = Sandbox::enter("growth").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 1);
    kernel.switch(ControlWord::confirmed(live)).expect("switch");
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    let many = load(&mut kernel, &policies::many_rules(20_000), 2);
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    judge(&mut kernel, &syn(STRANGER, 22), FALLS);
    kernel.switch(ControlWord::confirmed(many)).expect("switch");
    let peer = policies::many_peer(19_990).octets();
    let seen = kernel
        .test_run(false, Layer::Ethernet, false, &syn(peer, policies::MANY_PORTS[0]))
        .expect("a run");
    assert_eq!((seen.action, seen.rule), (Action::Pass as u8, 19_990));
    let counts = kernel.rule_counts(many.slot).expect("counters");
    assert_eq!(counts.get(19_990).map(|counts| counts.packets), Some(1));
}

#[test]
fn a_second_start_finds_what_the_first_has_left() {
    let sandbox = Sandbox::enter("restart").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 41);
    let word = ControlWord::confirmed(InForce { audit: true, ..live });
    kernel.switch(word).expect("switch");
    let words = image(SSH, 41);
    drop(kernel);
    let config = sandbox.config("pins", Capacity::SMALL);
    let (mut kernel, adopted) = Kernel::open(config).expect("a second start");
    assert_eq!(adopted.control, word);
    assert_eq!(adopted.slots.get(&live.slot).map(|slot| slot.generation), Some(41));
    assert_eq!(kernel.image(live.slot).expect("the image"), words);
    judge(&mut kernel, &syn(STRANGER, 22), (Action::Audit, Reason::DefaultDeny));
}

#[test]
fn a_slot_that_is_prepared_holds_no_image_until_one_is_proven_there() {
    let sandbox = Sandbox::enter("prepared").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    // Every slot has held an image once.
    for generation in 1..=SLOTS {
        let live = load(&mut kernel, SSH, generation);
        kernel.switch(ControlWord::confirmed(live)).expect("switch");
    }
    let all: BTreeSet<u32> = kernel.slots().keys().copied().collect();
    kernel.prepare().expect("room");
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    judge(&mut kernel, &syn(STRANGER, 22), FALLS);
    let prepared: Vec<u32> =
        all.into_iter().filter(|slot| !kernel.slots().contains_key(slot)).collect();
    let [slot] = prepared.as_slice() else { panic!("one slot, not {prepared:?}") };
    let word = ControlWord::confirmed(InForce { slot: *slot, audit: false });
    assert!(kernel.switch(word).is_err(), "nothing is proven there");
    drop(kernel);
    let config = sandbox.config("pins", Capacity::SMALL);
    let (mut kernel, _) = Kernel::open(config).expect("a second start");
    assert!(!kernel.slots().contains_key(slot), "an empty map is no image");
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    kernel.prepare().expect("room");
    assert_eq!(load(&mut kernel, NOTHING, SLOTS + 1).slot, *slot);
    kernel.switch(word).expect("switch");
    judge(&mut kernel, &syn(FRIEND, 22), FALLS);
}

#[test]
fn an_image_that_waits_to_be_switched_to_makes_room_for_none() {
    let sandbox = Sandbox::enter("pending").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    // Where nothing is in force, and where something is.
    for generation in [1, 3] {
        let next = load(&mut kernel, NOTHING, generation);
        kernel.prepare().expect("room");
        kernel.switch(ControlWord::confirmed(next)).expect("it is still there");
        judge(&mut kernel, &syn(FRIEND, 22), FALLS);
        // One that nobody waits for any more takes part of the turn again.
        let superseded = load(&mut kernel, NOTHING, generation);
        let next = load(&mut kernel, SSH, generation + 1);
        assert_ne!(next.slot, superseded.slot);
        kernel.prepare().expect("room");
        kernel.switch(ControlWord::confirmed(next)).expect("it is still there");
        judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    }
}

#[test]
fn a_start_with_a_larger_capacity_keeps_what_is_in_force() {
    // As after a daemon that died while it grew: larger maps, no image in them.
    let sandbox = Sandbox::enter("regrowth").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 5);
    kernel.switch(ControlWord::confirmed(live)).expect("switch");
    drop(kernel);
    let Capacity { pairs, rules } = Capacity::SMALL;
    let config = sandbox.config("pins", Capacity { pairs: pairs * 2, rules: rules * 2 });
    let (mut kernel, adopted) = Kernel::open(config.clone()).expect("a second start");
    assert_eq!(adopted.slots.get(&live.slot).map(|slot| slot.generation), Some(5));
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    judge(&mut kernel, &syn(STRANGER, 22), FALLS);
    drop(kernel);
    // Without the image that is in force no program may be replaced.
    let pin = sandbox.pins("pins").join(format!("maps{ABI_VERSION}/image_{}", live.slot));
    std::fs::remove_file(pin).expect("the pin is there");
    let lost = Kernel::open(config).err();
    assert!(matches!(lost, Some(KernelError::LostImage { .. })), "{lost:?}");
}

#[test]
fn a_damaged_image_is_refused_before_it_touches_a_slot() {
    let sandbox = Sandbox::enter("damage").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 1);
    kernel.switch(ControlWord::confirmed(live)).expect("switch");
    let mut words = image(SSH, 2);
    let last = words.len() - 1;
    words[last] ^= 1;
    let refused = kernel.load(&words, &packets::own());
    assert!(matches!(refused, Err(KernelError::Damaged { .. })), "{refused:?}");
    let short = kernel.load(&words[..100], &packets::own());
    assert!(matches!(short, Err(KernelError::Damaged { .. })), "{short:?}");
    let empty = kernel.switch(ControlWord::confirmed(InForce { slot: 3, audit: false }));
    assert!(matches!(empty, Err(KernelError::EmptySlot { slot: 3 })), "{empty:?}");
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    assert_ne!(words[AT_CHECKSUM as usize], 0);
    assert_eq!(words[AT_GENERATION as usize], 2);
}

#[test]
fn every_packet_is_counted_once_by_its_reason_and_once_by_its_rule() {
    let sandbox = Sandbox::enter("counts").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 1);
    kernel.switch(ControlWord::confirmed(live)).expect("switch");
    for _ in 0..7 {
        judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    }
    for _ in 0..5 {
        judge(&mut kernel, &syn(STRANGER, 22), FALLS);
    }
    let length = syn(FRIEND, 22).len() as u64;
    let mut counted: Vec<_> = kernel
        .reason_counts()
        .expect("counters")
        .into_iter()
        .map(|(direction, reason, counts)| (direction, reason, counts.packets, counts.bytes))
        .collect();
    counted.sort_unstable();
    assert_eq!(
        counted,
        [
            (Direction::Ingress, Reason::Rule, 7, 7 * length),
            (Direction::Ingress, Reason::DefaultDeny, 5, 5 * length),
        ]
    );
    let rules = kernel.rule_counts(live.slot).expect("counters");
    assert_eq!(rules.first().map(|counts| (counts.packets, counts.bytes)), Some((7, 7 * length)));
    assert!(rules.first().and_then(|counts| counts.idle_s).is_some_and(|idle_s| idle_s < 5));
    assert!(rules.iter().skip(1).all(|counts| counts.packets == 0 && counts.idle_s.is_none()));
}

#[test]
fn events_are_bounded_for_each_flow_and_for_each_second() {
    let sandbox = Sandbox::enter("events").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let live = load(&mut kernel, SSH, 9);
    kernel.switch(ControlWord::confirmed(live)).expect("switch");
    let mut events = kernel.events().expect("the ring");
    // One flow: one event in a second, however many packets; a second may
    // begin while the packets run.
    for _ in 0..500 {
        judge(&mut kernel, &syn(STRANGER, 22), FALLS);
    }
    judge(&mut kernel, &syn(FRIEND, 22), PASSES);
    let told: Vec<_> = events.by_ref().collect();
    let denied: Vec<_> = told.iter().filter(|told| told.action == Action::Drop as u8).collect();
    assert!((1..=3).contains(&denied.len()), "{} events", denied.len());
    let first = denied[0];
    assert_eq!(first.generation, 9);
    assert_eq!((first.flow.local_port, first.flow.remote_port), (22, 40_000));
    assert_eq!(IpAddr::from(first.flow.remote), IpAddr::from(STRANGER));
    assert!(first.time_ns > 0 && first.length as usize == syn(STRANGER, 22).len());
    assert_eq!(told.iter().filter(|told| told.action == Action::Pass as u8).count(), 1);
    // A flood of different flows: the budget of each second on each processor
    // bounds it, and the rest is counted.
    let cpus = thread::available_parallelism().expect("processors").get();
    let before_s = kernel.now_s();
    let lost = |kernel: &Kernel| kernel.lost_reports().expect("the counter");
    let mut judged = 0;
    // What a busy tick does not look at spends nothing, so it takes several of them.
    while lost(&kernel) == 0 && judged < 1_000_000 {
        for number in 0..20_000u16 {
            let [high, low] = number.to_be_bytes();
            judge(&mut kernel, &syn([203, 0, high, low], 22), FALLS);
        }
        judged += 20_000;
    }
    let seconds = (kernel.now_s() - before_s) as usize + 1;
    let told = events.count();
    assert!(told <= 1_000 * cpus * seconds, "{told} events in {seconds} seconds");
    let lost = lost(&kernel);
    assert!(told as u64 + lost <= judged && lost > 0, "{told} told, {lost} lost of {judged}");
}

#[test]
fn programs_stay_within_their_bounds() {
    let sandbox = Sandbox::enter("size").expect("namespaces");
    let mut kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
    let sizes = kernel.sizes().expect("the kernel describes them");
    let version = size::kernel_version().expect("a version");
    size::bounded(&sizes, version).expect("within the bounds");
}
