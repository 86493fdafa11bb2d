//! Images in their slots: written through shared memory, read back, rehearsed
//! by the test runner, frozen. The live image is never touched.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    path::Path,
};

use aya::{
    Ebpf,
    maps::MapData,
    programs::{TestRun, TestRunOptions},
};
use hostfw_datapath::{
    ABI_VERSION, Action, Direction, Image, Reason, checksum,
    control_word::{ControlWord, SLOTS},
    image, judge,
    model::{Bytes, Model},
    packet::Layer,
    sketch::{self, Content},
};

use zerocopy::IntoBytes;

use super::{
    Capacity, Kernel, KernelError, maps_dir, object,
    sys::{self, PAIR_BYTES, Shared},
};

/// What is known of the image in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number of the generation.
    pub generation: u32,
    /// Checksum over the image.
    pub checksum: u32,
    /// Words of the image.
    pub words: u32,
    /// Rules in the image.
    pub rules: u32,
}

impl Slot {
    /// Reads the header of an image, and proves the whole.
    ///
    /// # Errors
    /// Words that are no image of this ABI version, or a damaged one.
    pub fn read(words: &[u32]) -> Result<Self, KernelError> {
        let slot = Self::header(words)?;
        slot.proven(checksum::of(words))
    }

    /// Reads the header; the rest is not proven.
    fn header(words: &[u32]) -> Result<Self, KernelError> {
        let damaged = |what| KernelError::Damaged { what };
        if words.len() < image::HEADER_WORDS as usize || words.word(image::AT_MAGIC) != image::MAGIC
        {
            return Err(damaged("it does not start like one"));
        }
        if words.word(image::AT_ABI) != ABI_VERSION {
            return Err(damaged("it is of another version"));
        }
        if words.word(image::AT_WORDS) as usize != words.len() {
            return Err(damaged("its length is wrong"));
        }
        Ok(Self {
            generation: words.word(image::AT_GENERATION),
            checksum: words.word(image::AT_CHECKSUM),
            words: words.word(image::AT_WORDS),
            rules: words.word(image::AT_N_RULES),
        })
    }

    fn proven(self, checksum: u32) -> Result<Self, KernelError> {
        if self.checksum == checksum {
            Ok(self)
        } else {
            Err(KernelError::Damaged { what: "its checksum is wrong" })
        }
    }
}

impl Kernel {
    /// Puts an image into an idle slot and proves it there. What is in force
    /// does not change; [`Kernel::switch`] does that. `addresses` are this
    /// host's own, for the rehearsal.
    ///
    /// # Errors
    /// A damaged image, a kernel without memory for it, or a rehearsal that
    /// went wrong.
    pub fn load(&mut self, words: &[u32], addresses: &[IpAddr]) -> Result<u32, KernelError> {
        let slot = Slot::header(words)?;
        let capacity = self.capacity.for_image(words.len(), slot.rules as usize);
        if capacity != self.capacity {
            self.grow(capacity)?;
        }
        // Programs that lag behind would not see what is loaded now.
        if self.links_lag {
            self.replace_programs()?;
        }
        self.prepare()?;
        // Whatever goes wrong with it, it is used once.
        let blank = self.blank.take().ok_or(KernelError::Missing { what: "image" })?;
        let index = blank.slot;
        let slot = slot.proven(blank.fill(words)?)?;
        self.forget_hits(index, slot.rules)?;
        rehearse(&mut self.rehearsing, index, words, addresses)?;
        self.slots.insert(index, slot);
        self.pending = Some(index);
        Ok(index)
    }

    /// Puts an empty map into the slot of the next image, unless there is one.
    /// Most of a load is this, the room and the wait until no program reads what
    /// was in the slot; whoever prepares has it done before the next image is
    /// there.
    ///
    /// # Errors
    /// A kernel without memory for it.
    pub fn prepare(&mut self) -> Result<(), KernelError> {
        let slot = self.idle_slot();
        if self.blank.as_ref().is_some_and(|blank| blank.slot == slot) {
            return Ok(());
        }
        self.slots.remove(&slot);
        self.forget_waiting(slot)?;
        let maps = maps_dir(&self.config.bpf_dir);
        let blank = Blank::put(&self.rehearsing, &maps, self.capacity, slot)?;
        self.blank = Some(blank);
        Ok(())
    }

    /// Whether an image can be loaded without programs for larger ones.
    pub fn has_room(&self, words: &[u32]) -> bool {
        let n_rules = words.word(image::AT_N_RULES) as usize;
        self.capacity.for_image(words.len(), n_rules) == self.capacity
    }

    /// The words of the image in a slot, as the kernel holds them.
    ///
    /// # Errors
    /// An empty slot, or one that cannot be read.
    pub fn image(&self, slot: u32) -> Result<Vec<u32>, KernelError> {
        if !self.slots.contains_key(&slot) {
            return Err(KernelError::EmptySlot { slot });
        }
        read_slot(&maps_dir(&self.config.bpf_dir), slot)
    }

    /// A slot that neither is in force, nor will be at a deadline, nor waits to be
    /// switched to; the one after the active slot, so that the last generations
    /// stay as long as possible.
    fn idle_slot(&self) -> u32 {
        let word = self.control_word();
        let is_taken = |slot: u32| names(word, slot) || self.pending == Some(slot);
        let first = if word.is_loaded() { word.in_force(0).slot + 1 } else { 0 };
        // Three are taken at most.
        (first..first + SLOTS).map(|slot| slot % SLOTS).find(|slot| !is_taken(*slot)).unwrap_or(0)
    }

    /// Loads programs for larger images beside the running ones, with the same
    /// images in the same slots, and puts them on every link. No verdict
    /// changes; the new room is used afterwards.
    fn grow(&mut self, capacity: Capacity) -> Result<(), KernelError> {
        let maps = maps_dir(&self.config.bpf_dir);
        let kept: Vec<(u32, Vec<u32>)> = self
            .slots
            .keys()
            .map(|slot| self.image(*slot).map(|words| (*slot, words)))
            .collect::<Result<_, _>>()?;
        let layers: Vec<Layer> =
            self.links.values().map(|links| links.layer).chain([Layer::Ethernet]).collect();
        let object::Programs { enforcing, rehearsing } =
            object::load(&maps, capacity, &layers, self.config.reports_per_s)?;
        // One that is prepared is too small.
        self.blank = None;
        for (slot, words) in &kept {
            Blank::put(&rehearsing, &maps, capacity, *slot)?.fill(words)?;
        }
        self.capacity = capacity;
        self.enforcing = enforcing;
        self.rehearsing = rehearsing;
        self.links_lag = true;
        self.replace_programs()?;
        object::unpin_others(&maps, capacity);
        Ok(())
    }
}

/// True when a slot is in force, or will be at the deadline.
pub(super) fn names(word: ControlWord, slot: u32) -> bool {
    word.is_loaded() && [0, u64::MAX].into_iter().any(|now_ms| word.in_force(now_ms).slot == slot)
}

/// An empty map in a slot that is not in force, for one image.
pub(super) struct Blank {
    slot: u32,
    pairs: u32,
    map: MapData,
}

impl Blank {
    /// Creates the map and puts it into its slot.
    fn put(
        object: &Ebpf,
        maps: &Path,
        Capacity { pairs, .. }: Capacity,
        slot: u32,
    ) -> Result<Self, KernelError> {
        let failed = KernelError::map("image");
        let map = MapData::from_fd(sys::create_words(pairs).map_err(failed)?)
            .map_err(KernelError::map("image"))?;
        // Pinned beside and renamed: at no moment is the image of a slot without a
        // pin, even when this program dies here.
        let (pin, beside) = (image_pin(maps, slot), maps.join(format!("image_{slot}_new")));
        let folder = |source| KernelError::Folder { path: beside.clone(), source };
        if beside.exists() {
            fs::remove_file(&beside).map_err(folder)?;
        }
        map.pin(&beside)
            .map_err(|source| KernelError::Pin { path: beside.clone(), source: source.into() })?;
        fs::rename(&beside, &pin).map_err(folder)?;
        set(object, slot, &map)?;
        Ok(Self { slot, pairs, map })
    }

    /// Writes an image, reads it back, and freezes it for good. Gives its
    /// checksum: each part is summed up, written and read while it is in a near
    /// cache.
    fn fill(self, words: &[u32]) -> Result<u32, KernelError> {
        let failed = KernelError::map("image");
        let map = self.map.fd().as_fd();
        let (header, parts) = checksum::split(words);
        let checksum = {
            let memory = Shared::map(map, self.pairs, true).map_err(failed)?;
            let (mut is_held, mut first) = (memory.takes(0, header), header.len());
            let sums = parts.map(|part| {
                is_held &= memory.takes(first, part);
                first += part.len();
                checksum::part(part)
            });
            let checksum = checksum::of_parts(header, sums);
            if !is_held {
                return Err(KernelError::ReadBack { slot: self.slot });
            }
            checksum
        };
        sys::freeze(map).map_err(failed)?;
        Ok(checksum)
    }
}

/// Puts the map of an image into a slot.
fn set(object: &Ebpf, slot: u32, image: &MapData) -> Result<(), KernelError> {
    let slots = object::images(object)?.fd().as_fd();
    sys::set_slot(slots, slot, image.fd().as_fd()).map_err(KernelError::map("image"))
}

fn image_pin(maps: &Path, slot: u32) -> std::path::PathBuf {
    maps.join(format!("image_{slot}"))
}

/// A pinned image map, and how many pairs of words it and each of its elements
/// have.
fn open_slot(maps: &Path, slot: u32) -> Result<(MapData, u32, u32), KernelError> {
    let failed = KernelError::map("image");
    let map = MapData::from_pin(image_pin(maps, slot)).map_err(failed)?;
    let info = map.info().map_err(failed)?;
    let window = info.value_size() / PAIR_BYTES as u32;
    let pairs = window * info.max_entries();
    Ok((map, pairs, window))
}

/// The words of a pinned image, as long as its header says, within its map.
fn read_slot(maps: &Path, slot: u32) -> Result<Vec<u32>, KernelError> {
    let (map, pairs, _) = open_slot(maps, slot)?;
    let memory = Shared::map(map.fd().as_fd(), pairs, false).map_err(KernelError::map("image"))?;
    let header = memory.read(image::HEADER_WORDS as usize);
    Ok(memory.read(header.as_slice().word(image::AT_WORDS) as usize))
}

/// Finds the images that an earlier daemon has left. A damaged one is left
/// alone: it is not offered, and its slot is used again.
pub(super) fn adopt(maps: &Path) -> Result<BTreeMap<u32, Slot>, KernelError> {
    let mut found = BTreeMap::new();
    for slot in 0..SLOTS {
        if !image_pin(maps, slot).exists() {
            continue;
        }
        let words = read_slot(maps, slot)?;
        if let Ok(known) = Slot::read(&words) {
            found.insert(slot, known);
        }
    }
    Ok(found)
}

/// Puts an adopted image back into its slot. The pin and the slot may differ
/// when an earlier daemon died while it grew.
pub(super) fn restore(
    object: &Ebpf,
    maps: &Path,
    capacity: Capacity,
    slot: u32,
) -> Result<(), KernelError> {
    let (map, pairs, window) = open_slot(maps, slot)?;
    if pairs == capacity.pairs && window == sys::window(pairs) {
        return set(object, slot, &map);
    }
    let words = read_slot(maps, slot)?;
    Blank::put(object, maps, capacity, slot)?.fill(&words)?;
    Ok(())
}

/// Ports that the rehearsal tries.
const PORTS: [u16; 10] = [1, 22, 53, 80, 443, 2379, 6443, 8472, 10250, 65535];

/// Lets the kernel judge packets by the slot, with the test runner and without
/// any effect, and compares with our own judgement of the same words.
fn rehearse(
    object: &mut Ebpf,
    slot: u32,
    words: &[u32],
    addresses: &[IpAddr],
) -> Result<(), KernelError> {
    let own = |v4: bool| addresses.iter().copied().find(|address| address.is_ipv4() == v4);
    let pairs = [
        own(true).map(|own| (own, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))),
        own(true).map(|own| (own, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))),
        own(false).map(|own| (own, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)))),
    ];
    let contents: Vec<Content> = PORTS
        .iter()
        .flat_map(|port| {
            let (from, to) = (40_000, *port);
            [Content::Tcp { from, to, flags: 2 }, Content::Udp { from, to }]
        })
        .chain([8, 13, 128, 137].map(|kind| Content::Icmp { kind, code: 0, id: 7 }))
        .chain([47, 50, 112].map(|protocol| Content::Other { protocol }))
        .collect();
    for (own, peer) in pairs.into_iter().flatten() {
        for content in &contents {
            for direction in [Direction::Ingress, Direction::Egress] {
                let (from, to) = match direction {
                    Direction::Ingress => (peer, own),
                    Direction::Egress => (own, peer),
                };
                let frame = sketch::ethernet(from, to, *content);
                let native =
                    judge(direction, &Bytes::ethernet(&frame), &words, &Model::default(), false)
                        .verdict;
                let name = object::name(direction, Layer::Ethernet);
                let kernel = run(object, name, slot, false, &frame, 1)?;
                let native = Seen {
                    action: native.action as u8,
                    reason: native.reason as u8,
                    rule: native.rule,
                    verdict: native.verdict,
                };
                if kernel != native {
                    return Err(KernelError::Rehearsal {
                        slot,
                        packet: format!("{from} -> {to} {content:?}"),
                        kernel: in_words(kernel),
                        native: in_words(native),
                    });
                }
            }
        }
    }
    Ok(())
}

fn in_words(Seen { action, reason, rule, .. }: Seen) -> String {
    let action = [Action::Pass, Action::Drop, Action::Audit]
        .into_iter()
        .find(|known| *known as u8 == action);
    let reason = Reason::from_number(reason).map_or("an unknown reason", Reason::name);
    format!("{action:?} ({reason}, rule {rule})")
}

/// Words of `struct __sk_buff` that are passed, up to and with the control
/// block (include/uapi/linux/bpf.h), and the places of some of them.
const CONTEXT_WORDS: usize = 17;
/// The kernel hands back the whole structure, of whatever length it has there.
const ANSWER_WORDS: usize = 64;
const MARK: usize = 2;
const INGRESS_IFINDEX: usize = 9;
const CONTROL_BLOCK: usize = 12;
/// Words of the control block, the last that are passed.
const CONTROL_BLOCK_WORDS: usize = CONTEXT_WORDS - CONTROL_BLOCK;

/// What the kernel's program said of a test packet, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// [`hostfw_datapath::Action`] as a number.
    pub action: u8,
    /// [`Reason`] as a number.
    pub reason: u8,
    /// The deciding rule.
    pub rule: u32,
    /// Index of the image's verdict.
    pub verdict: u32,
}

impl Kernel {
    /// Lets the program for a hook judge one packet, with all its effects.
    ///
    /// # Errors
    /// A packet that the test runner does not take.
    pub fn test_run(
        &mut self,
        egress: bool,
        layer: Layer,
        forwarded: bool,
        bytes: &[u8],
    ) -> Result<Seen, KernelError> {
        let direction = if egress { Direction::Egress } else { Direction::Ingress };
        object::loaded(&mut self.enforcing, direction, layer)?;
        let name = object::name(direction, layer);
        run(&mut self.enforcing, name, 0, forwarded, bytes, 1)
    }

    /// Lets the program for a hook judge one frame many times over; the caller
    /// measures. `None` runs the empty program instead.
    ///
    /// # Errors
    /// A packet that the test runner does not take.
    pub fn repeat_run(
        &mut self,
        direction: Option<Direction>,
        frame: &[u8],
        times: u32,
    ) -> Result<(), KernelError> {
        let name = direction.map_or(object::FLOOR, |one| object::name(one, Layer::Ethernet));
        if direction.is_none() {
            object::load_unhooked(&mut self.enforcing, name)?;
        }
        run(&mut self.enforcing, name, 0, false, frame, times)?;
        Ok(())
    }

    /// Runs a program that asks the image in a slot, and that no hook has, many
    /// times over; the caller measures. It finds its words in the control block
    /// and leaves them there.
    ///
    /// # Errors
    /// A name that no program has, or a kernel that does not load it.
    pub fn repeat_unhooked(
        &mut self,
        program: &'static str,
        slot: u32,
        block: [u32; CONTROL_BLOCK_WORDS],
        times: u32,
    ) -> Result<[u32; CONTROL_BLOCK_WORDS], KernelError> {
        object::load_unhooked(&mut self.enforcing, program)?;
        let mut context = [0; CONTEXT_WORDS];
        context[MARK] = slot;
        context[CONTROL_BLOCK..].copy_from_slice(&block);
        // The least that is a frame.
        let answer = run_raw(&mut self.enforcing, program, &context, &[0; 14], times)?;
        Ok(std::array::from_fn(|word| answer[CONTROL_BLOCK + word]))
    }
}

/// One packet through the test runner.
fn run(
    object: &mut Ebpf,
    name: &'static str,
    mark: u32,
    forwarded: bool,
    bytes: &[u8],
    times: u32,
) -> Result<Seen, KernelError> {
    let mut context = [0u32; CONTEXT_WORDS];
    context[MARK] = mark;
    context[INGRESS_IFINDEX] = u32::from(forwarded);
    let answer = run_raw(object, name, &context, bytes, times)?;
    let [_, reason, action, _] = answer[CONTROL_BLOCK].to_le_bytes();
    let (rule, verdict) = (answer[CONTROL_BLOCK + 1], answer[CONTROL_BLOCK + 2]);
    Ok(Seen { action, reason, rule, verdict })
}

/// A program under the test runner: what it leaves in the context.
fn run_raw(
    object: &mut Ebpf,
    name: &'static str,
    context: &[u32; CONTEXT_WORDS],
    bytes: &[u8],
    times: u32,
) -> Result<[u32; ANSWER_WORDS], KernelError> {
    let mut answer = [0u32; ANSWER_WORDS];
    let options = TestRunOptions {
        data_in: Some(bytes),
        ctx_in: Some(context.as_bytes()),
        ctx_out: Some(answer.as_mut_bytes()),
        repeat: times,
        ..TestRunOptions::default()
    };
    object::program(object, name)?.test_run(options).map_err(KernelError::program(name))?;
    Ok(answer)
}
