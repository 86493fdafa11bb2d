//! Nanoseconds per packet over an empty program, measured with the kernel's
//! test runner: allowed, denied and reply packets with 10 to 100,000 rules, all
//! in one run. Prints a Markdown table and says whether the bound holds.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Capacity, Kernel};
use hostfw_datapath::{
    Direction, Reason,
    control_word::{ControlWord, InForce},
    packet::Layer,
    sketch::{self, Content},
};
use hostfw_parity::{packets, policies, sandbox::Sandbox};

/// Packets in one sample, samples of each kind, and how far 100,000 rules may
/// be from 10.
const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 7;
const BOUND: f64 = 1.5;

const SIZES: [u32; 3] = [10, 1_000, 100_000];

/// A kind of packet and what must happen to it.
struct Traffic {
    name: &'static str,
    frame: Vec<u8>,
    reason: Reason,
}

/// One size of policy, loaded.
struct Bench {
    kernel: Kernel,
    traffic: Vec<Traffic>,
    samples: Vec<Vec<f64>>,
}

impl Bench {
    fn new(sandbox: &Sandbox, rules: u32) -> anyhow::Result<Self> {
        let started = Instant::now();
        let compiled = policies::compile_text(&policies::many_rules(rules), 1)?;
        let compiled_in = started.elapsed();
        let capacity = Capacity::SMALL.for_image(compiled.words.len(), compiled.rules.len());
        let mut kernel = sandbox.kernel(&format!("rules_{rules}"), capacity)?;
        let started = Instant::now();
        let slot = kernel.load(&compiled.words, &packets::own())?;
        let loaded_in = started.elapsed();
        kernel.switch(ControlWord::confirmed(InForce { slot, audit: false }))?;
        println!(
            "{rules} rules: read and compiled in {compiled_in:.0?}, image {} KiB, loaded and rehearsed in {loaded_in:.0?}",
            compiled.words.len() / 256
        );
        let traffic = traffic(rules);
        let samples = vec![Vec::new(); traffic.len() + 1];
        let mut bench = Self { kernel, traffic, samples };
        bench.check()?;
        // What the host has opened, so that the answer below finds it.
        let syn =
            sketch::ethernet(own(), stranger(), Content::Tcp { from: 50_000, to: 443, flags: 2 });
        bench.kernel.repeat_run(Some(Direction::Egress), &syn, 1)?;
        Ok(bench)
    }

    /// Each packet must take the path that its row is named after.
    fn check(&mut self) -> anyhow::Result<()> {
        let syn =
            sketch::ethernet(own(), stranger(), Content::Tcp { from: 50_000, to: 443, flags: 2 });
        self.kernel.test_run(true, Layer::Ethernet, false, &syn)?;
        for traffic in &self.traffic {
            let seen = self.kernel.test_run(false, Layer::Ethernet, false, &traffic.frame)?;
            ensure!(
                seen.reason == traffic.reason as u8,
                "{} was judged {:?}",
                traffic.name,
                Reason::from_number(seen.reason)
            );
        }
        Ok(())
    }

    /// One sample of every kind.
    fn round(&mut self) -> anyhow::Result<()> {
        let frame = self.traffic.first().context("there is traffic")?.frame.clone();
        let floor = sample(|| self.kernel.repeat_run(None, &frame, REPEAT))?;
        let mut row = vec![floor];
        for traffic in &self.traffic {
            let kernel = &mut self.kernel;
            row.push(sample(|| {
                kernel.repeat_run(Some(Direction::Ingress), &traffic.frame, REPEAT)
            })?);
        }
        for (samples, value) in self.samples.iter_mut().zip(row) {
            samples.push(value);
        }
        Ok(())
    }

    /// Median nanoseconds over the empty program.
    fn over_floor(&self, kind: usize) -> f64 {
        let value = |index: usize| self.samples.get(index).map_or(f64::NAN, |list| median(list));
        value(kind + 1) - value(0)
    }
}

fn own() -> IpAddr {
    IpAddr::V4(packets::OWN_V4[0])
}

fn stranger() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 4))
}

fn traffic(rules: u32) -> Vec<Traffic> {
    // A rule in the middle of the list: no place in it is nearer than another.
    let middle = rules / 2;
    let peer = IpAddr::V4(policies::many_peer(middle));
    let port = policies::MANY_PORTS[middle as usize % policies::MANY_PORTS.len()];
    let to = |from, to, flags| Content::Tcp { from, to, flags };
    vec![
        Traffic {
            name: "allowed",
            frame: sketch::ethernet(peer, own(), to(40_000, port, 0x10)),
            reason: Reason::Rule,
        },
        Traffic {
            name: "denied SYN",
            frame: sketch::ethernet(stranger(), own(), to(40_000, port, 0x02)),
            reason: Reason::DefaultDeny,
        },
        Traffic {
            name: "reply",
            frame: sketch::ethernet(stranger(), own(), to(443, 50_000, 0x10)),
            reason: Reason::Reply,
        },
    ]
}

/// Nanoseconds of this thread's processor time for one packet.
fn sample<E>(run: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let before = thread_time();
    run()?;
    let spent = thread_time().saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e9 / f64::from(REPEAT))
}

fn thread_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let sandbox = Sandbox::enter("bench")?;
    let mut benches = SIZES
        .iter()
        .map(|rules| Bench::new(&sandbox, *rules))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for round in 0..=ROUNDS {
        for bench in &mut benches {
            bench.round()?;
            if round == 0 {
                // The first round warms caches and clocks.
                bench.samples.iter_mut().for_each(Vec::clear);
            }
        }
    }
    println!(
        "\n| ns per packet over an empty program | 10 rules | 1,000 | 100,000 | 100,000 / 10 |"
    );
    println!("|---|---|---|---|---|");
    let mut missed = Vec::new();
    let kinds = benches.first().map_or(0, |bench| bench.traffic.len());
    for kind in 0..kinds {
        let values: Vec<f64> = benches.iter().map(|bench| bench.over_floor(kind)).collect();
        let [first, middle, last] = values.as_slice() else { continue };
        let name = benches.first().and_then(|bench| bench.traffic.get(kind)).map_or("", |t| t.name);
        let ratio = last / first;
        println!("| {name} | {first:.1} | {middle:.1} | {last:.1} | {ratio:.2} |");
        if ratio > BOUND {
            missed.push(name);
        }
    }
    let floors: Vec<String> = benches
        .iter()
        .map(|bench| format!("{:.1}", bench.samples.first().map_or(f64::NAN, |list| median(list))))
        .collect();
    println!("| the empty program itself | {} | |", floors.join(" | "));
    println!(
        "\nBound: at most {BOUND} times from 10 to 100,000 rules: {}.",
        if missed.is_empty() {
            "met".to_owned()
        } else {
            format!("MISSED for {}", missed.join(", "))
        }
    );
    Ok(())
}
