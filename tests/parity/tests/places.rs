//! Where the kernel keeps own flows: a connection in its place alone, other flows in
//! the table until they have lasted; who has a place keeps it while he is busy, and
//! nobody is lost; and what the daemon decides about a flow holds against what its
//! place says.

use std::{net::IpAddr, thread, time::Duration};

use hostfw_daemon::kernel::{Capacity, Kernel};
use hostfw_datapath::{
    Action, Address, FlowKey, Reason,
    control_word::{ControlWord, InForce},
    flow::Table,
    packet::Layer,
    parse::protocol,
    place::Place,
    sketch::{self, Content},
};
use hostfw_parity::{packets, policies, sandbox::Sandbox};

const REMOTE: [u8; 4] = [203, 0, 113, 4];
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Longer than a flow keeps its place without being seen, counted in whole seconds.
const IDLE: Duration = Duration::from_millis(4_100);
/// Until an entry is written again.
const LASTED: Duration = Duration::from_millis(2_100);

const COMES_IN: (Action, Reason) = (Action::Pass, Reason::Reply);
const FALLS: (Action, Reason) = (Action::Drop, Reason::DefaultDeny);

/// Nothing may come in, and this may leave.
fn policy(egress: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {{name: places}}\nspec:\n  nodeSelector: {{}}\n  \
         ingress: [{{fromCIDR: [198.51.100.7/32], toPorts: [{{ports: [{{port: \"22\"}}]}}]}}]\n  \
         egress: [{{{egress}}}]\n"
    )
}

/// A host with nothing behind it: no packet has a socket.
struct Host {
    kernel: Kernel,
    _sandbox: Sandbox,
}

impl Host {
    fn new(name: &str) -> Self {
        let sandbox = Sandbox::enter(name).expect("namespaces");
        let kernel = sandbox.kernel("pins", Capacity::SMALL).expect("programs");
        let mut host = Self { kernel, _sandbox: sandbox };
        let anywhere = host.load("toCIDR: [0.0.0.0/0]", 1);
        host.enforce(anywhere);
        host
    }

    fn load(&mut self, egress: &str, generation: u32) -> InForce {
        let image = policies::compile_text(&policy(egress), generation).expect("a valid policy");
        let slot = self.kernel.load(&image.words, &packets::own()).expect("the image loads");
        InForce { slot, audit: false }
    }

    fn enforce(&mut self, what: InForce) {
        self.kernel.switch(ControlWord::confirmed(what)).expect("a switch");
    }

    #[track_caller]
    fn sends(&mut self, flow: &FlowKey) {
        let (from, to) = (flow.local_port, flow.remote_port);
        let content = content(flow, from, to, SYN);
        let frame = sketch::ethernet(flow.local.into(), flow.remote.into(), content);
        let seen = self.kernel.test_run(true, Layer::Ethernet, false, &frame).expect("a run");
        assert_eq!(seen.action, Action::Pass as u8, "it may leave");
    }

    #[track_caller]
    fn is_answered(&mut self, flow: &FlowKey, expect: (Action, Reason)) {
        let content = content(flow, flow.remote_port, flow.local_port, ACK);
        let frame = sketch::ethernet(flow.remote.into(), flow.local.into(), content);
        let seen = self.kernel.test_run(false, Layer::Ethernet, false, &frame).expect("a run");
        assert_eq!((seen.action, seen.reason), (expect.0 as u8, expect.1 as u8));
    }

    fn listed(&self) -> Vec<FlowKey> {
        let listed = self.kernel.listing().connections().expect("a listing");
        assert!(listed.iter().all(|one| one.table == Table::Own && one.idle_s < 20));
        listed.into_iter().map(|one| one.flow).collect()
    }

    fn idle_s(&self, flow: &FlowKey) -> u32 {
        let listed = self.kernel.listing().connections().expect("a listing");
        listed.iter().find(|one| one.flow == *flow).expect("it is listed").idle_s
    }

    /// Connections that have nothing but their place, and entries of the table.
    fn kept(&self) -> (u64, u64) {
        let fill = self.kernel.fill().expect("the tables");
        let own = fill.iter().find(|one| one.table == Table::Own).expect("own flows");
        assert_eq!(own.evicted, 0, "{own:?}");
        (self.kernel.count_in_places().expect("the places"), own.entries)
    }
}

fn content(flow: &FlowKey, from: u16, to: u16, flags: u8) -> Content {
    match flow.protocol {
        protocol::TCP => Content::Tcp { from, to, flags },
        _ => Content::Udp { from, to },
    }
}

fn flow(protocol: u8, local_port: u16, remote_port: u16) -> FlowKey {
    FlowKey {
        local: Address::from(IpAddr::V4(packets::OWN_V4[0])),
        remote: Address::from(IpAddr::from(REMOTE)),
        local_port,
        remote_port,
        protocol,
        zero: [0; 3],
    }
}

/// A flow, and connections that have one place with it.
fn of_one_place(protocol: u8) -> [FlowKey; 3] {
    let first = flow(protocol, 40_000, 443);
    let others = (1_000..2_000_u16)
        .flat_map(|remote| (41_000..43_000).map(move |local| flow(protocol::TCP, local, remote)))
        .filter(|other| Place::of(other) == Place::of(&first));
    let others: Vec<FlowKey> = others.take(2).collect();
    let [second, third] = others.as_slice() else { panic!("two of two million: {others:?}") };
    [first, *second, *third]
}

#[test]
fn whoever_has_a_place_keeps_it_while_he_is_busy_and_nobody_is_lost() {
    let mut host = Host::new("places");
    let [first, second, third] = of_one_place(protocol::TCP);
    host.is_answered(&first, FALLS);
    host.sends(&first);
    host.is_answered(&first, COMES_IN);
    assert_eq!(host.kept(), (1, 0));
    host.sends(&second);
    host.is_answered(&second, COMES_IN);
    assert_eq!(host.kept(), (1, 1), "the place is busy");
    host.is_answered(&third, FALLS);
    thread::sleep(IDLE);
    host.is_answered(&second, COMES_IN);
    assert_eq!(host.kept(), (1, 2), "he has the place now, and an old entry");
    thread::sleep(IDLE);
    host.sends(&third);
    assert_eq!(host.kept(), (1, 2), "the place has changed hands");
    assert!(host.idle_s(&second) < 7, "his old entry is not believed");
    for flow in [first, second, third] {
        host.is_answered(&flow, COMES_IN);
    }
    assert_eq!((host.listed().len(), host.kept()), (3, (1, 2)));
}

#[test]
fn what_the_daemon_decides_holds_against_a_place() {
    let mut host = Host::new("decided");
    for (first_port, protocol) in [(50_000, protocol::UDP), (40_000, protocol::TCP)] {
        let flows: Vec<FlowKey> = (0..3).map(|n| flow(protocol, first_port + n, 443)).collect();
        let anywhere = host.load("toCIDR: [0.0.0.0/0]", 2);
        host.enforce(anywhere);
        flows.iter().for_each(|flow| host.sends(flow));
        // What lasts has a place, whatever it is.
        thread::sleep(LASTED);
        flows.iter().for_each(|flow| host.is_answered(flow, COMES_IN));
        let nowhere = host.load("toCIDR: [192.0.2.77/32]", 3);
        let [kept, forgotten, rechecked] = flows.as_slice() else { panic!("three flows") };
        host.kernel.keep(&[*kept, *forgotten], 3).expect("a table");
        host.enforce(nowhere);
        host.is_answered(kept, COMES_IN);
        host.is_answered(rechecked, FALLS);
        host.kernel.forget(&[*forgotten]).expect("a table");
        host.is_answered(forgotten, FALLS);
        assert!(host.listed().contains(kept) && !host.listed().contains(forgotten));
        // It goes on, too, after its entry has been written again.
        thread::sleep(LASTED);
        host.is_answered(kept, COMES_IN);
        host.is_answered(kept, COMES_IN);
        host.kernel.forget(&flows).expect("a table");
        flows.iter().for_each(|flow| host.is_answered(flow, FALLS));
        assert_eq!((host.listed(), host.kept()), (vec![], (0, 0)));
    }
}

#[test]
fn a_lasting_flow_of_datagrams_is_one_though_it_has_a_place() {
    let mut host = Host::new("datagrams");
    let [flow, connection, _] = of_one_place(protocol::UDP);
    host.sends(&flow);
    assert_eq!((host.listed(), host.kept()), (vec![flow], (0, 1)));
    thread::sleep(LASTED);
    host.sends(&flow);
    host.is_answered(&flow, COMES_IN);
    assert_eq!((host.listed(), host.kept()), (vec![flow], (0, 1)));
    host.sends(&connection);
    assert_eq!(host.kept(), (0, 2), "the place is busy");
    thread::sleep(IDLE);
    host.sends(&flow);
    thread::sleep(IDLE);
    host.sends(&connection);
    assert_eq!(host.kept(), (1, 2), "the place has changed hands");
    assert!(host.idle_s(&flow) < 7, "his old entry is not believed");
    host.is_answered(&flow, COMES_IN);
}
