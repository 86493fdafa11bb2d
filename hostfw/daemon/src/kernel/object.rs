//! The programs: embedded object in, loaded programs out, bound to pinned maps.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
    programs::{Program, ProgramError, SchedClassifier},
};
use hostfw_datapath::{Direction, control_word::SLOTS, packet::Layer, report};

use super::{KernelError, sys};

/// The object that `cargo xtask bpf` builds; empty when it was not built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("HOSTFW_BPF_OBJECT_PATH"));

/// How much the programs and their maps are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Pairs of words in an image. A power of two.
    pub pairs: u32,
    /// Rules with a counter. A power of two.
    pub rules: u32,
}

impl Capacity {
    /// Enough for most hosts: 2 MiB of image, 1,024 rules.
    pub const SMALL: Self = Self { pairs: 1 << 18, rules: 1 << 10 };

    /// The smallest capacity not below `self` that holds an image.
    pub fn for_image(self, words: usize, rules: usize) -> Self {
        let pairs = u32::try_from(words.div_ceil(2)).unwrap_or(u32::MAX / 2);
        let rules = u32::try_from(rules).unwrap_or(u32::MAX / 2);
        Self {
            pairs: self.pairs.max(pairs.next_power_of_two()),
            rules: self.rules.max(rules.next_power_of_two()),
        }
    }
}

/// What a set of programs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// On the hooks.
    Enforce,
    /// Under the test runner: an idle slot is judged, nothing is touched.
    Rehearse,
}

/// Name of the program for a direction and a kind of device.
pub(super) const fn name(direction: Direction, layer: Layer) -> &'static str {
    match (direction, layer) {
        (Direction::Ingress, Layer::Ethernet) => "hostfw_in_eth",
        (Direction::Egress, Layer::Ethernet) => "hostfw_out_eth",
        (Direction::Ingress, Layer::Ip) => "hostfw_in_ip",
        (Direction::Egress, Layer::Ip) => "hostfw_out_ip",
    }
}

/// All of them.
pub(super) const NAMES: [&str; 4] = [
    name(Direction::Ingress, Layer::Ethernet),
    name(Direction::Egress, Layer::Ethernet),
    name(Direction::Ingress, Layer::Ip),
    name(Direction::Egress, Layer::Ip),
];

/// Maps that outlive the daemon under their own name.
const KEPT: [&str; 10] = [
    "CONTROL",
    "PLACES",
    "OWN",
    "ADMITTED",
    "ADMITTED_TCP",
    "MADE",
    "OPENED",
    "REASONS",
    "EVENTS",
    "GATES",
];

/// Path of the map of images for a capacity.
pub(super) fn images_pin(maps: &Path, capacity: Capacity) -> PathBuf {
    maps.join(format!("slots_{}", capacity.pairs))
}

/// Path of the counters of rules for a capacity.
pub(super) fn hits_pin(maps: &Path, capacity: Capacity) -> PathBuf {
    maps.join(format!("rule_hits_{}", capacity.rules))
}

/// Path of the counts that wait for those counters.
pub(super) fn waiting_pin(maps: &Path, capacity: Capacity) -> PathBuf {
    maps.join(format!("waiting_{}", capacity.rules))
}

/// The capacity whose maps are pinned, if any: the programs of the last start
/// use it.
pub(super) fn pinned_capacity(maps: &Path) -> Option<Capacity> {
    let largest = |prefix: &str| {
        std::fs::read_dir(maps)
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok())
            .max()
    };
    Some(Capacity { pairs: largest("slots_")?, rules: largest("rule_hits_")? })
}

/// The programs for both purposes.
pub(super) struct Programs {
    pub(super) enforcing: Ebpf,
    pub(super) rehearsing: Ebpf,
}

/// Loads the programs that rehearse, and those that enforce on devices of some
/// kinds; those of other kinds are loaded when [`loaded`] asks for them. Maps are
/// taken from their pins, or made and pinned.
pub(super) fn load(
    maps: &Path,
    capacity: Capacity,
    layers: &[Layer],
    reports_per_s: u32,
) -> Result<Programs, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NoObject);
    }
    let images = images_pin(maps, capacity);
    if !images.exists() {
        let made = sys::create_words(capacity.pairs)
            .and_then(|template| sys::create_slots(SLOTS, std::os::fd::AsFd::as_fd(&template)))
            .map_err(KernelError::map("IMAGES"))?;
        MapData::from_fd(made)
            .map_err(KernelError::map("IMAGES"))?
            .pin(&images)
            .map_err(|source| KernelError::Pin { path: images.clone(), source: source.into() })?;
    }
    let cpus = sys::cpus().map_err(KernelError::map("REASONS"))?;
    let ticks = sys::ticks_per_s();
    let window = sys::window(capacity.pairs);
    let window_bits = window.ilog2() + 1;
    let windows = capacity.pairs / window;
    // One loader for both: it reads the kernel's types when it is made, which
    // takes longer than all else that it does.
    let mut loader = EbpfLoader::new();
    loader
        .override_global("TICKS_PER_S", &ticks, true)
        .override_global("CPUS", &cpus, true)
        .override_global("RULES", &capacity.rules, true)
        .override_global("WINDOW_BITS", &window_bits, true)
        .override_global("WINDOWS", &windows, true)
        .override_global("REPORTS_PER_S", &reports_per_s, true)
        .map_max_entries("REASONS", report::reason_at(cpus, 0, 0))
        .map_max_entries("RULE_HITS", report::rules_at(SLOTS, 0, cpus, capacity.rules))
        .map_max_entries("WAITING", cpus)
        .map_pin_path("IMAGES", images)
        .map_pin_path("WAITING", waiting_pin(maps, capacity))
        .map_pin_path("RULE_HITS", hits_pin(maps, capacity));
    for map in KEPT {
        loader.map_pin_path(map, maps.join(map.to_lowercase()));
    }
    let mut prepare = |purpose: Purpose| {
        let mode = match purpose {
            Purpose::Enforce => &0_u32,
            Purpose::Rehearse => &1_u32,
        };
        loader
            .override_global("MODE", mode, true)
            .load(OBJECT)
            .map_err(|source| KernelError::Object { source: source.into() })
    };
    let mut enforcing = prepare(Purpose::Enforce)?;
    let mut rehearsing = prepare(Purpose::Rehearse)?;
    // A rehearsal asks the image alone, so one kind of device is enough.
    let mut wanted = of_layer(&mut rehearsing, &[Layer::Ethernet]);
    wanted.extend(of_layer(&mut enforcing, layers));
    verify(wanted)?;
    Ok(Programs { enforcing, rehearsing })
}

/// The programs for some kinds of devices, by name.
fn of_layer<'a>(object: &'a mut Ebpf, layers: &[Layer]) -> Vec<(&'static str, &'a mut Program)> {
    let names: Vec<&'static str> = layers
        .iter()
        .flat_map(|layer| [name(Direction::Ingress, *layer), name(Direction::Egress, *layer)])
        .collect();
    let programs = object.programs_mut();
    let wanted = |(found, program)| {
        names.iter().copied().find(|name| *name == found).map(|name| (name, program))
    };
    programs.filter_map(wanted).collect()
}

/// Has the kernel take programs, all at the same time: the verifier is most of
/// a start, and it is busy with one program on one processor.
fn verify(programs: Vec<(&'static str, &mut Program)>) -> Result<(), KernelError> {
    thread::scope(|scope| {
        let start = |(name, program): (&'static str, _)| {
            let verify = move || {
                let program: &mut Program = program;
                let program = <&mut SchedClassifier>::try_from(program);
                load_one(program.map_err(KernelError::program(name))?)
                    .map_err(KernelError::program(name))
            };
            (name, thread::Builder::new().spawn_scoped(scope, verify))
        };
        let running: Vec<_> = programs.into_iter().map(start).collect();
        let outcomes = running.into_iter().map(|(name, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(source) => Err(KernelError::program(name)(source)),
        });
        outcomes.fold(Ok(()), Result::and)
    })
}

/// The program for a direction and a kind of device. The first device of a kind
/// has both loaded.
pub(super) fn loaded(
    object: &mut Ebpf,
    direction: Direction,
    layer: Layer,
) -> Result<&mut SchedClassifier, KernelError> {
    let name = name(direction, layer);
    if program(object, name)?.fd().is_err() {
        verify(of_layer(object, &[layer]))?;
    }
    program(object, name)
}

/// The verifier gives up when a signal comes while it reads (EAGAIN, kernel
/// 5.2); signals are nothing that a program is to blame for.
const ATTEMPTS: usize = 5;

/// Loads a program into the kernel.
fn load_one(program: &mut SchedClassifier) -> Result<(), ProgramError> {
    for _ in 1..ATTEMPTS {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
    program.load()
}

/// The empty program: benchmarks subtract what it costs.
pub(super) const FLOOR: &str = "hostfw_floor";

/// Loads a program that no hook has, once: those that benchmarks run.
pub(super) fn load_unhooked(object: &mut Ebpf, name: &'static str) -> Result<(), KernelError> {
    let unhooked = program(object, name)?;
    if unhooked.fd().is_err() {
        load_one(unhooked).map_err(KernelError::program(name))?;
    }
    Ok(())
}

/// One program of an object.
pub(super) fn program<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, KernelError> {
    object
        .program_mut(name)
        .ok_or(KernelError::Missing { what: name })?
        .try_into()
        .map_err(KernelError::program(name))
}

/// The map of images of an object.
pub(super) fn images(object: &Ebpf) -> Result<&MapData, KernelError> {
    match object.map("IMAGES") {
        Some(Map::ArrayOfMaps(images)) => Ok(images),
        _ => Err(KernelError::Missing { what: "IMAGES" }),
    }
}

/// Removes the pins of every other capacity: their programs are replaced.
pub(super) fn unpin_others(maps: &Path, capacity: Capacity) {
    let kept = [images_pin(maps, capacity), hits_pin(maps, capacity), waiting_pin(maps, capacity)];
    let sized = |name: &str| {
        ["slots_", "rule_hits_", "waiting_"].into_iter().any(|prefix| name.starts_with(prefix))
    };
    for entry in std::fs::read_dir(maps).into_iter().flatten().flatten() {
        let pin = entry.path();
        if entry.file_name().to_str().is_some_and(sized)
            && !kept.contains(&pin)
            && let Err(error) = std::fs::remove_file(&pin)
        {
            tracing::warn!(pin = %pin.display(), %error, "an old map stays pinned");
        }
    }
}
