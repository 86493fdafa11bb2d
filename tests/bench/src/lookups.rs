//! What a look-up in an image costs in the kernel: from an address to its word,
//! and from a peer and a port to the verdict, by the number of prefixes and of
//! rules. Under the test runner; what it takes to draw the questions is measured
//! beside it and subtracted. Every answer is checked, by the program itself. Beside
//! each stands the least that memory of that size takes: one word of it, at as many
//! places as there are answers.

use std::fmt::Write;

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Capacity, Kernel};
use hostfw_datapath::{
    Address, Direction, drawn,
    image::{self, CLASS, Question},
};
use hostfw_parity::{policies, sandbox::Sandbox};
use hostfw_policy::image_of_addresses;

use crate::{
    page::Target,
    time::{median, stay_on_last_processor, thread_time},
};

/// Runs of a program in a sample, look-ups in a run, and samples of each kind.
const RUNS: u32 = 50_000;
const TURNS: u32 = 16;
const ROUNDS: usize = 9;

/// Sources that are seen where only some of many prefixes are.
const HOT: u32 = 1_000;

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    V4,
    V6,
    Rule,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4 address, prefixes",
            Self::V6 => "IPv6 address, prefixes",
            Self::Rule => "verdict, rules",
        }
    }

    /// The program that looks up, and the one that only draws what to look up.
    const fn programs(self) -> [&'static str; 2] {
        match self {
            Self::V4 => ["hostfw_look_v4", "hostfw_draw_v4"],
            Self::V6 => ["hostfw_look_v6", "hostfw_draw_v6"],
            Self::Rule => ["hostfw_look_rule", "hostfw_draw_rule"],
        }
    }

    /// The most nanoseconds for so many entries, where there is a bound.
    fn bound(self, size: u32) -> Option<f64> {
        match (self, size) {
            (Self::V4, 1_000) => Some(3.0),
            (Self::V6, 1_000) | (Self::Rule, 100_000) => Some(10.0),
            (Self::V4 | Self::V6, 1_000_000) => Some(100.0),
            (Self::V4 | Self::V6 | Self::Rule, _) => None,
        }
    }
}

/// An image in the kernel, and how long it takes to find something in it.
struct Table {
    what: What,
    size: u32,
    kernel: Kernel,
    slot: u32,
    bytes: usize,
    first_class: u32,
    samples: Vec<Samples>,
}

/// Nanoseconds of look-ups of so many different entries, and of one access to each of
/// as many places in the same image.
struct Samples {
    count: u32,
    state: u64,
    ns: Vec<f64>,
    access_ns: Vec<f64>,
}

/// The program that reads a word of an image, and the one that only draws which.
const TOUCH: [&str; 2] = ["hostfw_touch", "hostfw_draw_touch"];

impl Table {
    fn new(sandbox: &Sandbox, what: What, size: u32) -> anyhow::Result<Self> {
        let (words, first_class) = match what {
            What::V4 => (image_of_addresses(&segments_v4(size), &[(0, 0)])?, 0),
            What::V6 => (image_of_addresses(&[(0, 0)], &segments_v6(size)?)?, 0),
            What::Rule => {
                let words = policies::compile_text(&policy(size), 1)?.words.to_vec();
                let first_class = image::peer(&words.as_slice(), &peer(0)) & CLASS;
                (words, first_class)
            }
        };
        for number in 0..size {
            let found = expected(what, &words, first_class, number);
            ensure!(found, "{} {size}: entry {number} is not found", what.name());
        }
        let capacity = Capacity::SMALL.for_image(words.len(), 0);
        let mut kernel = sandbox.kernel(&format!("{what:?}_{size}"), capacity)?;
        let slot = kernel.load(&words, &[])?;
        let counts =
            if what != What::Rule && size > HOT * 100 { vec![size, HOT] } else { vec![size] };
        let samples = counts.into_iter().map(Samples::new).collect();
        let bytes = words.len() * 4;
        let mut table = Self { what, size, kernel, slot, bytes, first_class, samples };
        let wrong = table.ask(what.programs()[0], first_class, 1, size * 2 + 100, 1_000)?.2;
        ensure!(wrong > 0, "{}: what is not there was found", what.name());
        Ok(table)
    }

    /// Nanoseconds for one question, the state of the generator, and how many
    /// answers were wrong.
    fn ask(
        &mut self,
        program: &'static str,
        parameter: u32,
        state: u64,
        count: u32,
        runs: u32,
    ) -> anyhow::Result<(f64, u64, u32)> {
        let half = |shift: u32| u32::try_from(state >> shift & 0xffff_ffff).unwrap_or(0);
        let block = [half(0), half(32), 0, count, parameter];
        let begin = thread_time();
        let [low, high, wrong, ..] =
            self.kernel.repeat_unhooked(program, self.slot, block, runs)?;
        let spent = thread_time().saturating_sub(begin);
        let ns = spent.as_secs_f64() * 1e9 / f64::from(runs * TURNS);
        Ok((ns, u64::from(high) << 32 | u64::from(low), wrong))
    }

    /// Nanoseconds that the first of two programs takes longer than the second, which
    /// asks the same and does not look; and the state of the generator behind both.
    fn difference(
        &mut self,
        [look, draw]: [&'static str; 2],
        parameter: u32,
        state: u64,
        count: u32,
    ) -> anyhow::Result<(f64, u64)> {
        let (all, after, wrong) = self.ask(look, parameter, state, count, RUNS)?;
        ensure!(wrong == 0, "{} {}: {wrong} wrong answers", self.what.name(), self.size);
        let (drawing, drawn, _) = self.ask(draw, parameter, state, count, RUNS)?;
        ensure!(after == drawn, "both programs must ask the same");
        Ok((all - drawing, after))
    }

    /// One sample of each kind.
    fn sample(&mut self) -> anyhow::Result<()> {
        let words = u32::try_from(self.bytes / size_of::<u32>())?;
        for kind in 0..self.samples.len() {
            let Some(Samples { count, state, .. }) = self.samples.get(kind) else { continue };
            let (count, state) = (*count, *state);
            let (ns, after) =
                self.difference(self.what.programs(), self.first_class, state, count)?;
            let (access_ns, _) = self.difference(TOUCH, words / count, state, count)?;
            if let Some(samples) = self.samples.get_mut(kind) {
                samples.ns.push(ns);
                samples.access_ns.push(access_ns);
                samples.state = after;
            }
        }
        Ok(())
    }
}

impl Samples {
    const fn new(count: u32) -> Self {
        Self { count, state: 1, ns: Vec::new(), access_ns: Vec::new() }
    }

    fn clear(&mut self) {
        self.ns.clear();
        self.access_ns.clear();
    }
}

/// Whether an entry of an image is found as it should be, outside the kernel.
fn expected(what: What, words: &[u32], first_class: u32, number: u32) -> bool {
    match what {
        What::V4 => {
            let address = Address::v4(drawn::prefix_v4(number).0);
            image::peer(&words, &address) == number + 1
        }
        What::V6 => image::peer(&words, &drawn::prefix_v6(number).0) == number + 1,
        What::Rule => {
            let (which, port) = drawn::rule(number);
            let peer_class = image::peer(&words, &peer(which)) & CLASS;
            let direction = Direction::Ingress;
            let question =
                Question { subject: image::HOST, direction, peer_class, protocol: 6, port };
            let (answer, rule) = image::verdict(&words, image::walk(&words, question));
            peer_class == first_class + which && answer.allows() && rule == number
        }
    }
}

/// Where the word of an address changes, for prefixes that lie apart.
fn segments<A: Copy + Ord + Default>(
    prefixes: impl Iterator<Item = (A, Option<A>)>,
) -> Vec<(A, u32)> {
    let mut numbered: Vec<_> = prefixes.zip(1u32..).collect();
    numbered.sort_unstable();
    let mut segments = vec![(A::default(), 0)];
    for ((first, behind), word) in numbered {
        // Prefixes may touch, and one may begin with address 0.
        if segments.last().is_some_and(|(at, _)| *at == first) {
            segments.pop();
        }
        segments.push((first, word));
        segments.extend(behind.map(|behind| (behind, 0)));
    }
    segments
}

fn segments_v4(count: u32) -> Vec<(u32, u32)> {
    segments((0..count).map(|number| {
        let (inside, length) = drawn::prefix_v4(number);
        let size = 1u32 << (32 - length);
        let first = inside & !(size - 1);
        (first, first.checked_add(size))
    }))
}

fn segments_v6(count: u32) -> anyhow::Result<Vec<(u128, u32)>> {
    let segments = segments((0..count).map(|number| {
        let (inside, length) = drawn::prefix_v6(number);
        let size = 1u128 << (128 - length);
        let inside = u128::from(inside.high) << 64 | u128::from(inside.low);
        let first = inside & !(size - 1);
        (first, first.checked_add(size))
    }));
    ensure!(segments.is_sorted_by(|one, next| one.0 < next.0), "two prefixes meet");
    Ok(segments)
}

/// The address of a peer of rules, the first of its prefix.
fn peer(number: u32) -> Address {
    Address::v4(PEERS + (number << 6))
}

/// Where no other address of the policies' world lies.
const PEERS: u32 = 0x0b00_0000;

/// A policy of so many rules, each for one prefix and one port. Two more are about all
/// of the prefixes, with the first and the last services that there are: so the classes
/// of peers are numbered by their addresses alone, as the program takes them to be.
fn policy(count: u32) -> String {
    let mut text = String::from(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n\
         metadata: {name: bench}\nspec:\n  nodeSelector: {}\n  ingress:\n",
    );
    for (which, port) in (0..count).map(drawn::rule) {
        let prefix = std::net::Ipv4Addr::from(PEERS + (which << 6));
        let ports = format!("[{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]");
        let written = writeln!(text, "  - {{fromCIDR: [{prefix}/26], toPorts: {ports}}}");
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    text + "  - {fromCIDR: [11.0.0.0/8], toPorts: [{ports: [{port: \"65000\"}]}]}\n  \
            egress:\n  - {toCIDR: [11.0.0.0/8]}\n"
}

/// Measures all of it; arguments are the most entries that a table may have.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let most = match arguments.first() {
        Some(word) => word.parse().context("the argument is the most entries of a table")?,
        None => u32::MAX,
    };
    let sandbox = Sandbox::enter("lookups")?;
    let mut tables = Vec::new();
    for (what, sizes) in [
        (What::V4, [10, 1_000, 100_000, 1_000_000]),
        (What::V6, [10, 1_000, 100_000, 1_000_000]),
        (What::Rule, [10, 1_000, 10_000, 100_000]),
    ] {
        for size in sizes.into_iter().filter(|size| *size <= most) {
            let table = Table::new(&sandbox, what, size);
            tables.push(table.with_context(|| format!("{} {size}", what.name()))?);
        }
    }
    stay_on_last_processor().context("choose a processor")?;
    for round in 0..=ROUNDS {
        for table in &mut tables {
            table.sample()?;
            if round == 0 {
                // The first round warms caches and clocks.
                table.samples.iter_mut().for_each(Samples::clear);
            }
        }
    }
    print(&tables);
    Ok(())
}

fn print(tables: &[Table]) {
    println!(
        "\nNanoseconds of processor time for one look-up, each waiting for the last; median of \
         {ROUNDS} rounds, and how far every second one is from it. *One access* reads a word \
         at one of as many places, spread over the same image, and waits for it likewise: the \
         least that an answer from memory of that size takes on this machine.\n\n\
         | what | entries | of them asked for | ns | one access, ns | image, KiB |\n\
         |---|---|---|---|---|---|"
    );
    let mut targets = Vec::new();
    for Table { what, size, bytes, samples, .. } in tables {
        for Samples { count, ns, access_ns, .. } in samples {
            let (name, kib, (middle, spread)) = (what.name(), bytes / 1024, median(ns));
            let (access, access_spread) = median(access_ns);
            println!(
                "| {name} | {size} | {count} | {middle:.1} ±{spread:.1} | {access:.1} \
                 ±{access_spread:.1} | {kib} |"
            );
            if let Some(bound) = what.bound(*size).filter(|_| count == size) {
                let what = format!("{name}: {size}, ns (one access {access:.1})");
                targets.push(Target { what, value: middle, bound });
            }
        }
    }
    println!();
    for target in targets {
        println!("{target}");
    }
}
