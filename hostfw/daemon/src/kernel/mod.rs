//! The kernel's side of the daemon: programs, maps, links and their pins. It
//! does what it is told and reports what it finds; which image, which device
//! and which mode is decided elsewhere.

mod batch;
mod sys;

mod error;
mod filter;
mod object;
mod probe;

mod images;
mod links;
mod pins;
mod predecessor;

mod counters;
mod events;
mod flows;
mod listing;
mod places;
mod size;
mod waiting;

use std::{collections::BTreeMap, fs, os::fd::AsFd, path::PathBuf, sync::atomic::Ordering};

use aya::{Ebpf, maps::MapData};
use hostfw_datapath::{
    Direction,
    control_word::{ControlWord, InForce},
    packet::Layer,
};

pub use self::{
    counters::Counts,
    error::KernelError,
    events::Events,
    flows::{Connection, Fill, Socket, SocketState, Tracked},
    images::{Seen, Slot},
    links::{AttachMode, Attached, Hook, How},
    listing::Listing,
    object::Capacity,
    probe::Feature,
    size::Size,
};
use self::{pins::maps_dir, predecessor::Predecessor, sys::Shared};

/// Reads a value that the data path declares as plain old data.
///
/// The library asks for `Pod`; the data path's types prove the same with
/// zerocopy: any bytes are a value, and there is no padding.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Raw<T>(T);

// SAFETY: `FromBytes + IntoBytes` means any bytes are a value and every byte of
// a value is initialised; `Copy + 'static` is required by `Pod` itself.
// JUSTIFICATION: the library has no other way to accept a type of ours.
unsafe impl<T> aya::Pod for Raw<T> where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy + 'static
{
}

/// Where the kernel's state is kept and how devices are attached.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// A folder on a BPF file system.
    pub bpf_dir: PathBuf,
    /// How programs are attached.
    pub attach: AttachMode,
    /// The least capacity to load with.
    pub capacity: Capacity,
    /// How many events a second each processor tells of first packets, and how
    /// many of denied ones; 0 for none at all.
    pub reports_per_s: u32,
}

impl KernelConfig {
    /// Events of each kind that a processor tells in a second: a flood shows,
    /// and costs nobody anything.
    pub const REPORTS_PER_S: u32 = 1000;
}

/// What an earlier daemon left in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// The control word as found.
    pub control: ControlWord,
    /// Slots that hold an image, with its header.
    pub slots: BTreeMap<u32, Slot>,
}

/// The loaded programs and everything pinned around them.
pub struct Kernel {
    config: KernelConfig,
    capacity: Capacity,
    enforcing: Ebpf,
    rehearsing: Ebpf,
    control: Shared,
    slots: BTreeMap<u32, Slot>,
    /// Where the next image goes.
    blank: Option<images::Blank>,
    /// The slot of an image that is proven and was not switched to yet.
    pending: Option<u32>,
    links: BTreeMap<u32, links::Links>,
    predecessor: Predecessor,
    lacks: Vec<Feature>,
    /// Programs were loaded that are not on every link yet.
    links_lag: bool,
}

impl Kernel {
    /// Loads the programs, and takes over what an earlier daemon has pinned.
    /// Enforcement does not change.
    ///
    /// # Errors
    /// No BPF file system, no privilege, or a kernel that refuses: nothing was
    /// attached.
    pub fn open(config: KernelConfig) -> Result<(Self, Adopted), KernelError> {
        let maps = maps_dir(&config.bpf_dir);
        error::check_bpf_folder(&config.bpf_dir)?;
        sys::lift_memory_limit();
        for dir in [maps.as_path(), &pins::links_dir(&config.bpf_dir)] {
            fs::create_dir_all(dir)
                .map_err(|source| KernelError::Folder { path: dir.to_owned(), source })?;
        }
        let predecessor = Predecessor::find(&config);
        let (wanted, reports_per_s) = (config.capacity, config.reports_per_s);
        let capacity = object::pinned_capacity(&maps).map_or(wanted, |pinned| Capacity {
            pairs: pinned.pairs.max(wanted.pairs),
            rules: pinned.rules.max(wanted.rules),
        });
        // Nearly every host has devices of this kind only.
        let object::Programs { enforcing, rehearsing } =
            object::load(&maps, capacity, &[Layer::Ethernet], reports_per_s)
                .map_err(probe::explain)?;
        object::unpin_others(&maps, capacity);
        let control =
            MapData::from_pin(maps.join("control")).map_err(KernelError::map("CONTROL"))?;
        let control =
            Shared::map(control.fd().as_fd(), 1, true).map_err(KernelError::map("CONTROL"))?;
        let slots = images::adopt(&maps)?;
        // The new programs must find what is in force before they are used.
        let word = ControlWord(control.cell(0).load(Ordering::Acquire));
        if word.is_loaded() {
            for slot in [word.in_force(0).slot, word.in_force(u64::MAX).slot] {
                if !slots.contains_key(&slot) {
                    return Err(KernelError::LostImage { slot });
                }
                images::restore(&rehearsing, &maps, capacity, slot)?;
            }
        }
        let mut kernel = Self {
            config,
            capacity,
            enforcing,
            rehearsing,
            control,
            slots,
            blank: None,
            pending: None,
            links: BTreeMap::new(),
            predecessor,
            lacks: Feature::lacking(),
            links_lag: false,
        };
        kernel.links = links::adopt(&mut kernel.enforcing, &kernel.config)?;
        kernel.retire_predecessor();
        let adopted = Adopted { control: kernel.control_word(), slots: kernel.slots.clone() };
        Ok((kernel, adopted))
    }

    /// Loads what no device has needed yet, so that the first one that does need
    /// not wait for the verifier.
    ///
    /// # Errors
    /// A program that the kernel refuses; a device that needs it is not filtered.
    pub fn complete(&mut self) -> Result<(), KernelError> {
        object::loaded(&mut self.enforcing, Direction::Ingress, Layer::Ip).map(drop)
    }

    /// The control word in force, as the programs see it.
    pub fn control_word(&self) -> ControlWord {
        ControlWord(self.control.cell(0).load(Ordering::Acquire))
    }

    /// What applies at this moment; `None` when nothing is enforced.
    pub fn in_force(&self) -> Option<InForce> {
        let word = self.control_word();
        (word.is_loaded() && !word.is_learning()).then(|| word.in_force(sys::monotonic_ms()))
    }

    /// Lets the programs write down what this host opens, by the addresses of
    /// the image in a slot, where nothing is in force. Nothing is enforced.
    ///
    /// # Errors
    /// A slot without an image: nothing was changed.
    pub fn learn(&mut self, slot: u32) -> Result<(), KernelError> {
        match self.in_force() {
            Some(_) => Ok(()),
            None => self.switch(ControlWord::learning(slot)),
        }
    }

    /// Puts a control word in force for every device at once, with one store.
    ///
    /// # Errors
    /// A word that names a slot without an image: nothing was changed.
    pub fn switch(&mut self, word: ControlWord) -> Result<(), KernelError> {
        if word.is_loaded() {
            for now_ms in [0, u64::MAX] {
                let slot = word.in_force(now_ms).slot;
                if !self.slots.contains_key(&slot) {
                    return Err(KernelError::EmptySlot { slot });
                }
            }
        }
        self.control.cell(0).store(word.0, Ordering::Release);
        if !word.is_learning() && self.pending.is_some_and(|slot| images::names(word, slot)) {
            self.pending = None;
        }
        self.retire_predecessor();
        Ok(())
    }

    /// What the kernel was tried for and does not have.
    pub fn lacks(&self) -> &[Feature] {
        &self.lacks
    }

    /// The kernel's own name of its version, such as `6.12.43-amd64`.
    pub fn release() -> String {
        sys::release()
    }

    /// The programs' clock: seconds, never 0.
    pub fn now_s(&self) -> u32 {
        counters::Ticks::now().seconds()
    }

    /// The same when it is certain: the programs' clock may be a little behind, so
    /// at the begin of a second nobody knows theirs, and at its end it is about to
    /// change. Waits meanwhile.
    pub fn certain_now_s(&self) -> u32 {
        loop {
            let ticks = counters::Ticks::now();
            if (200..950).contains(&ticks.past_ms()) {
                return ticks.seconds();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The clock of deadlines: milliseconds of `CLOCK_MONOTONIC`.
    pub fn monotonic_ms() -> u64 {
        sys::monotonic_ms()
    }

    /// Slots that hold an image.
    pub fn slots(&self) -> &BTreeMap<u32, Slot> {
        &self.slots
    }

    /// Detaches everything and removes the pins: the host is open afterwards.
    /// Needs no program and no sound state, so it works when nothing else does.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest was still tried.
    pub fn cleanup(config: &KernelConfig) -> Result<(), KernelError> {
        let mut first = Ok(());
        for programs in pins::on_devices(&config.bpf_dir) {
            first = first.and(links::take_off(&programs));
        }
        for folder in pins::folders(&config.bpf_dir) {
            let outcome = match fs::remove_dir_all(&folder) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(KernelError::Folder { path: folder, source })
                }
                Ok(()) | Err(_) => Ok(()),
            };
            first = first.and(outcome);
        }
        first
    }
}
