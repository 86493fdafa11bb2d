//! Random stories against a small reference model. After every step: what is
//! in force was compiled from one complete and clean state of the directory, a
//! refused state changed nothing, audit mode is what was asked last, and saying
//! the same thing twice does nothing.

mod stand;

use std::collections::{BTreeMap, BTreeSet};

use hostfw_control::{Event, Reply, Request, read_config};
use hostfw_policy::{Source, ThisNode, compile, read_enforceable, read_world};
use proptest::{collection::vec, prelude::*};
use stand::{
    BROKEN, Faults, SSH, Stand, WEB, World, config, ethernet, loopback, snapshot, unreadable,
};

#[derive(Clone, Debug)]
enum Step {
    /// One of [`STATES`], or an unreadable directory.
    Files(usize),
    /// Last byte of the address of `eth0`.
    Address(u8),
    SetAudit(bool),
    ConfigureAudit(bool),
    Break(Breakage),
    RepairEverything,
    Pass(u64),
    Drift,
    Restart,
}

#[derive(Clone, Debug)]
enum Breakage {
    Attach,
    Seed,
    Load,
    Switch,
    Disk,
}

const STATES: [&[&str]; 6] = [&[], &[SSH], &[WEB], &[SSH, WEB], &[SSH, BROKEN], &[BROKEN]];

/// States of [`STATES`] from here on are refused.
const FIRST_REFUSED: usize = 4;

/// What the reference says.
struct Model {
    /// Files and addresses that a generation may stem from.
    clean: BTreeSet<(usize, u8)>,
    newest_clean: Option<usize>,
    files: usize,
    address: u8,
    configured: bool,
    runtime: Option<bool>,
    /// The request that the disk holds.
    stored: Option<(bool, bool)>,
    /// False while an adopted generation is left exactly as it was found.
    audit_applies: bool,
}

impl Model {
    fn audit(&self) -> bool {
        self.runtime.unwrap_or(self.configured)
    }

    fn offer(&mut self) {
        if self.files < FIRST_REFUSED {
            self.newest_clean = Some(self.files);
        }
        if let Some(files) = self.newest_clean {
            self.clean.insert((files, self.address));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_is_in_force_was_always_one_clean_state(steps in vec(step(), 1..40)) {
        run(&steps);
    }
}

fn run(steps: &[Step]) {
    let mut stand = Stand::start(World::default(), 1_000);
    let mut model = Model {
        clean: BTreeSet::new(),
        newest_clean: None,
        files: 0,
        address: 1,
        configured: false,
        runtime: None,
        stored: None,
        audit_applies: true,
    };
    snapshots(&mut stand, &mut model);
    let mut images = BTreeMap::new();
    for step in steps {
        let before = stand.in_force();
        take(&mut stand, &mut model, step);
        let after = stand.in_force();
        assert!(before.is_none() || after.is_some(), "enforcement never ends by itself");
        if matches!(step, Step::Files(state) if *state >= FIRST_REFUSED) {
            assert_eq!(before, after, "a refused state changes nothing");
        }
        check(&mut stand, &model, &mut images);
        say_it_again(&mut stand, &model);
    }
    take(&mut stand, &mut model, &Step::RepairEverything);
    stand.pass(200_000);
    check(&mut stand, &model, &mut images);
    if let Some(files) = model.newest_clean {
        let (number, _) = stand.in_force().expect("everything works again");
        assert!(is_compiled_from(&mut images, &stand, number, (files, model.address)));
        assert!(stand.status().problems.is_empty(), "{:?}", stand.status().problems);
        assert_eq!(stand.world.attached, BTreeSet::from([2]));
    }
}

fn take(stand: &mut Stand, model: &mut Model, step: &Step) {
    match step {
        Step::Files(state) => {
            model.files = *state;
            model.offer();
            stand.event(files(*state));
        }
        Step::Address(byte) => {
            model.address = *byte;
            model.offer();
            stand.event(links(*byte));
        }
        Step::SetAudit(on) => {
            let changes = model.runtime != Some(*on);
            model.runtime = Some(*on);
            model.audit_applies = true;
            let reply = stand.ask(Request::SetAudit(*on));
            assert!(matches!(reply, Reply::Audit { audit, .. } if audit.on == *on));
            if changes && !stand.faults.disk {
                model.stored = Some((*on, model.configured));
            }
        }
        Step::ConfigureAudit(on) => {
            stand.event(Event::Config(Ok(config(&format!("audit: {on}\n")))));
            if *on != model.configured {
                model.configured = *on;
                model.runtime = None;
                model.audit_applies = true;
            }
        }
        Step::Break(Breakage::Attach) => drop(stand.faults.attach.insert(2)),
        Step::Break(Breakage::Seed) => stand.faults.seed = true,
        Step::Break(Breakage::Load) => stand.faults.load = true,
        Step::Break(Breakage::Switch) => stand.faults.switch = true,
        Step::Break(Breakage::Disk) => stand.faults.disk = true,
        Step::RepairEverything => stand.faults = Faults::default(),
        Step::Pass(ms) => stand.pass(*ms),
        Step::Drift => {
            stand.world.attached.clear();
            stand.event(Event::Proof(Ok(BTreeSet::new())));
        }
        Step::Restart => restart(stand, model),
    }
}

fn restart(stand: &mut Stand, model: &mut Model) {
    let stored = stand.world.audit;
    let replaced = std::mem::replace(stand, Stand::start(World::default(), 0));
    let faults = replaced.faults.clone();
    *stand = replaced.restart();
    stand.faults = faults;
    // A request that never reached the disk is lost with the daemon; one that
    // did is kept, unless the configuration has changed since.
    model.runtime =
        stored.filter(|stored| stored.configured == model.configured).map(|stored| stored.on);
    // The new daemon knows only what is there now.
    model.newest_clean = None;
    model.audit_applies = false;
    snapshots(stand, model);
}

fn snapshots(stand: &mut Stand, model: &mut Model) {
    model.offer();
    stand.event(links(model.address));
    stand.event(Event::World(Ok(hostfw_control::Snapshot::default())));
    stand.event(files(model.files));
}

fn check(stand: &mut Stand, model: &Model, images: &mut Images) {
    let status = stand.status();
    assert_eq!(status.audit.on, model.audit(), "audit mode is what was asked last");
    let Some((number, audit)) = stand.in_force() else { return };
    assert!(
        model.clean.iter().any(|state| is_compiled_from(images, stand, number, *state)),
        "generation {number} stems from no clean state"
    );
    let live = status.generation.expect("the kernel enforces one");
    assert_eq!((live.number, live.audit), (number, audit), "the status says what the kernel does");
    // A failed switch is tried again later; until then the old mode holds.
    let settled = status.problems.iter().all(|problem| !problem.starts_with("switching failed"));
    if settled && model.audit_applies {
        assert_eq!(audit, model.audit(), "an asked mode is in force");
    }
    if let (Some((on, configured)), false) = (model.stored, stand.faults.disk)
        && model.runtime == Some(on)
        && configured == model.configured
        && status.problems.iter().all(|problem| !problem.starts_with("audit mode"))
    {
        assert_eq!(stand.world.audit.map(|stored| stored.on), Some(on), "and kept on disk");
    }
}

/// Sources may send the same snapshot again at any moment.
fn say_it_again(stand: &mut Stand, model: &Model) {
    // What failed may be due for another attempt; that is not this snapshot's
    // doing.
    stand.event(Event::Tick);
    stand.script();
    stand.event(links(model.address));
    stand.event(Event::Config(Ok(config(&stand.world.config.clone()))));
    assert_eq!(stand.script(), "", "nothing new was said");
}

type Images = BTreeMap<(u32, (usize, u8)), Vec<u32>>;

/// Compares the image in the kernel with what the compiler makes of a state.
fn is_compiled_from(images: &mut Images, stand: &Stand, number: u32, state: (usize, u8)) -> bool {
    let expected = images.entry((number, state)).or_insert_with(|| {
        let (files, address) = state;
        let (policies, _) = read_enforceable(&snapshot(STATES[files]).sources);
        let (world, _) = read_world(&[]);
        let node = ThisNode {
            name: "node-1".into(),
            labels: BTreeMap::new(),
            addresses: vec![format!("192.0.2.{address}").parse().expect("literal")],
            tunnels: Vec::new(),
        };
        let source = Source::new("", "");
        let options = read_config(&source).expect("empty").options;
        compile(&policies, &world, &node, &options, number).expect("clean").words.to_vec()
    });
    let slot = stand.world.word.expect("in force").in_force(0).slot;
    stand.world.slots[&slot].words.as_slice() == expected.as_slice()
}

fn files(state: usize) -> Event {
    Event::Policies(STATES.get(state).map_or(Err(unreadable(true)), |files| Ok(snapshot(files))))
}

fn links(byte: u8) -> Event {
    Event::Links(Ok(vec![loopback(), ethernet(2, "eth0", &format!("192.0.2.{byte}"))]))
}

fn step() -> impl Strategy<Value = Step> {
    let breakage = prop_oneof![
        Just(Breakage::Attach),
        Just(Breakage::Seed),
        Just(Breakage::Load),
        Just(Breakage::Switch),
        Just(Breakage::Disk),
    ];
    prop_oneof![
        6 => (0..=STATES.len()).prop_map(Step::Files),
        2 => (1..4_u8).prop_map(Step::Address),
        2 => any::<bool>().prop_map(Step::SetAudit),
        2 => any::<bool>().prop_map(Step::ConfigureAudit),
        2 => breakage.prop_map(Step::Break),
        2 => Just(Step::RepairEverything),
        3 => (1..100_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Drift),
        2 => Just(Step::Restart),
    ]
}
