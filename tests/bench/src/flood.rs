//! A million requests for connections from forged sources, beside 100,000 flows
//! that live: what the flood costs, what the live ones still get through, and
//! how many of them are left when it is over.
//!
//! Some flows are datagrams, whose state is nowhere but in tables. They are begun
//! well: both ends have spoken twice, more than two seconds apart, so that
//! netfilter counts them as assured. Others are real TCP connections, which a
//! wall that has lost them may heal from their sockets.

mod connections;
mod siege;
mod syn;

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hostfw_scenario::Lab;

use crate::{
    bpf::Cell,
    flood::siege::{CLOSED_PORT, Guard, OPEN_PORT, Pair, Siege, Toll},
    flows::{Family, Flows, OWN_PORT},
    page::Target,
    wall::Wall,
};

const RULES: u32 = 1_000;
const LIVE: u32 = 100_000;
/// Packets of a flood, and those among them that follow each other closely.
const FLOOD: u32 = 1_000_000;
const WAVE: u32 = 6_400;
/// Packets of the flood for each one of a live flow.
const P: u32 = 10;

/// After so long netfilter takes datagrams for a conversation.
const CONVERSATION: Duration = Duration::from_millis(2_200);

/// A flow of datagrams that is silent for so long has ended, for ours.
const AGE: Duration = Duration::from_secs(180);

const GUARDS: [Guard; 4] = [
    Guard { wall: Wall::None, egress: false },
    Guard { wall: Wall::Hostfw, egress: false },
    Guard { wall: Wall::Hostfw, egress: true },
    Guard { wall: Wall::NftSet, egress: false },
];

/// What has become of the flows behind one wall.
#[derive(Default)]
struct Fate {
    quiet: Toll,
    live: Toll,
    flood: Toll,
    /// Those whose packet to the host, and from the host, still arrives.
    heard: u64,
    told: Option<u64>,
    /// Entries that had to go, of own and of admitted flows; connections that
    /// netfilter knows.
    evicted: Option<(u64, u64)>,
    tracked: Option<u64>,
}

impl Fate {
    /// Live packets a second that a processor delivers which does nothing else.
    fn quiet_goodput(&self) -> f64 {
        self.quiet.share() * 1e9 / self.quiet.cost().0
    }

    /// The same where each of them comes with its part of the flood.
    fn goodput(&self) -> f64 {
        let cost = self.live.cost().0 + f64::from(P) * self.flood.cost().0;
        self.live.share() * 1e9 / cost
    }

    /// The part of it that the flood leaves.
    fn kept(&self) -> f64 {
        self.goodput() / self.quiet_goodput()
    }

    fn survivors(&self) -> u64 {
        self.told.map_or(self.heard, |told| told.min(self.heard))
    }
}

/// Measures; the argument may be the one of `datagrams` and `connections` that is
/// wanted.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let wanted = |what: &str| arguments.is_empty() || arguments.iter().any(|word| word == what);
    let inbound = Flows { family: Family::V4, named: true, rules: RULES, port: 0, count: LIVE };
    let own = Flows { named: false, port: OWN_PORT, ..inbound };
    println!(
        "## A flood beside {LIVE} live flows\n\n{FLOOD} SYNs, one packet of a live flow for {P} of \
         them, {RULES} rules.\nNanoseconds of processor time for one packet, median of the waves, \
         and how far every second one is from it; packets a second for goodput.\n"
    );
    let kinds = [("begun by others", inbound, false), ("begun by the host", own, true)];
    for (kind, flows, begun_here) in kinds.into_iter().filter(|_| wanted("datagrams")) {
        for (name, port) in [("open", OPEN_PORT), ("closed", CLOSED_PORT)] {
            let title = format!("flows {kind}, SYNs to the {name} port");
            let (fates, taken) = on_fresh_hosts(&flows, begun_here, port).context(title.clone())?;
            println!("{}", page(&title, &fates));
            if taken < AGE {
                println!("{}", targets(&fates));
            } else {
                println!("This took {taken:.0?}: flows have aged, and no target is judged.\n");
            }
        }
    }
    if wanted("connections") {
        connections()?;
    }
    let limit = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    println!("netfilter knew {} connections at most.", limit.unwrap_or_default().trim());
    Ok(())
}

/// The same with connections, one host after the other: what is counted is how
/// many are left.
fn connections() -> anyhow::Result<()> {
    println!(
        "### {LIVE} TCP connections, SYNs to the open port\n\n| | begun | left | packets sent again | \
         notes |\n|---|---|---|---|---|"
    );
    let mut targets = String::new();
    for guard in GUARDS {
        for (begun, begun_here) in [("by others", false), ("by the host", true)] {
            let lab = Lab::new("bench_flood");
            let pair = Pair::new(&lab, 0);
            let siege = Siege::new(&pair, guard, RULES)?;
            let crowd = siege.connect(usize::try_from(LIVE)?, begun_here)?;
            let connections = &crowd.connections;
            let mut next = 0;
            let before = evicted(&siege);
            for _ in 0..FLOOD.div_ceil(WAVE) {
                siege.flood(OPEN_PORT, WAVE)?;
                let some = usize::try_from(WAVE / P)?;
                connections.speak(next..next + some)?;
                next += some;
            }
            let tracked = siege.tracked()?;
            connections.speak(0..usize::try_from(LIVE)?)?;
            let (left, repeated) = connections.alive()?;
            let notes = notes(evicted_since(&siege, before), tracked);
            let name = guard.name();
            println!("| {name} | {begun} | {left} | {repeated} | {notes} |");
            if guard.wall == Wall::Hostfw {
                let what = format!("{name}, connections begun {begun} that are lost");
                let value = f64::from(LIVE) - left as f64;
                targets.push_str(&format!("{}\n", Target { what, value, bound: 0.0 }));
            }
            siege.forget()?;
        }
    }
    println!("\n{targets}");
    Ok(())
}

/// One flood over hosts that have seen none: what it leaves in tables is not
/// the next one's.
fn on_fresh_hosts(
    flows: &Flows,
    begun_here: bool,
    port: u16,
) -> anyhow::Result<([Fate; GUARDS.len()], Duration)> {
    let lab = Lab::new("bench_flood");
    let pairs: Vec<Pair> = (0..GUARDS.len()).map(|number| Pair::new(&lab, number)).collect();
    let sieges = pairs.iter().zip(GUARDS).map(|(pair, guard)| Siege::new(pair, guard, RULES));
    let sieges: Vec<Siege<'_>> = sieges.collect::<anyhow::Result<_>>()?;
    besiege(&sieges, flows, begun_here, port)
}

/// One flood over all hosts, wave by wave.
fn besiege(
    sieges: &[Siege<'_>],
    flows: &Flows,
    begun_here: bool,
    port: u16,
) -> anyhow::Result<([Fate; GUARDS.len()], Duration)> {
    let mut fates: [Fate; GUARDS.len()] = Default::default();
    for _ in 0..2 {
        for siege in sieges {
            let all = u64::from(flows.count);
            let (heard, told) = if begun_here {
                let told = siege.tell_all(flows)?;
                (siege.hear_all(flows)?, told)
            } else {
                (siege.hear_all(flows)?, siege.tell_all(flows)?)
            };
            let name = siege.guard.name();
            ensure!(heard == all && told == all, "{name}: {heard} and {told} of {all} flows begin");
        }
        std::thread::sleep(CONVERSATION);
    }
    let (cells, waves) = ([(); GUARDS.len()].map(|()| Cell::new()), FLOOD.div_ceil(WAVE));
    let mut programs = Vec::new();
    for cell in cells {
        programs.push(flows.program(&cell?, 0)?);
    }
    let evicted: Vec<_> = sieges.iter().map(evicted).collect();
    let mut begin = Instant::now();
    for under_attack in [false, true] {
        begin = Instant::now();
        for _ in 0..waves {
            for ((siege, program), fate) in sieges.iter().zip(&programs).zip(&mut fates) {
                if under_attack {
                    fate.flood.add(siege.flood(port, WAVE)?);
                    fate.live.add(siege.live(program, &flows.frame(), WAVE / P)?);
                } else {
                    fate.quiet.add(siege.live(program, &flows.frame(), WAVE / P)?);
                }
            }
        }
    }
    for ((siege, fate), before) in sieges.iter().zip(&mut fates).zip(evicted) {
        fate.tracked = siege.tracked()?;
        // Whoever has not begun a flow speaks first: nothing may begin it anew.
        if begun_here {
            fate.heard = siege.hear_all(flows)?;
        } else {
            fate.told = Some(siege.tell_all(flows)?);
            fate.heard = siege.hear_all(flows)?;
        }
        fate.evicted = evicted_since(siege, before);
        siege.forget()?;
    }
    // In that time each flow has had a packet, some at its beginning.
    Ok((fates, begin.elapsed()))
}

/// Entries of own and of admitted flows that had to make room so far.
fn evicted(siege: &Siege<'_>) -> Option<(u64, u64)> {
    let tables = siege.firewall.as_ref()?.status().tables;
    Some((tables.own.evicted, tables.admitted.evicted))
}

fn evicted_since(siege: &Siege<'_>, before: Option<(u64, u64)>) -> Option<(u64, u64)> {
    let ((own, admitted), before) = (evicted(siege)?, before?);
    Some((own.saturating_sub(before.0), admitted.saturating_sub(before.1)))
}

/// What explains how many are left.
fn notes(evicted: Option<(u64, u64)>, tracked: Option<u64>) -> String {
    let evicted = evicted.map(|(own, other)| format!("evicted: {own} own, {other} admitted"));
    let tracked = tracked.map(|tracked| format!("{tracked} connections tracked"));
    evicted.into_iter().chain(tracked).collect::<Vec<_>>().join(", ")
}

fn page(title: &str, fates: &[Fate; GUARDS.len()]) -> String {
    let mut text = format!(
        "### {title}\n\n| | ns a live packet, before | in the flood | ns a SYN | SYNs answered | \
         live packets delivered | goodput of a processor, before | in the flood | flows left | \
         notes |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (guard, fate) in GUARDS.iter().zip(fates) {
        let cost = |toll: &Toll| {
            let (middle, spread) = toll.cost();
            format!("{middle:.0} ±{spread:.0}")
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {:.3} | {} of {} | {:.0} | {:.0} | {} | {} |\n",
            guard.name(),
            cost(&fate.quiet),
            cost(&fate.live),
            cost(&fate.flood),
            fate.flood.share(),
            fate.live.arrived,
            fate.live.sent,
            fate.quiet_goodput(),
            fate.goodput(),
            fate.survivors(),
            notes(fate.evicted, fate.tracked)
        ));
    }
    text
}

fn targets(fates: &[Fate; GUARDS.len()]) -> String {
    let mut text = String::new();
    let [nothing, ..] = fates;
    for (guard, fate) in GUARDS.iter().zip(fates).filter(|(guard, _)| guard.wall == Wall::Hostfw) {
        let target = |what: &str, value, bound| {
            let what = format!("{}, {what}", guard.name());
            format!("{}\n", Target { what, value, bound })
        };
        let (live, lost) = (u64::from(LIVE), fate.live.sent - fate.live.arrived);
        text.push_str(&target("live flows lost", (live - fate.survivors()) as f64, 0.0));
        text.push_str(&target("live packets lost in the flood", lost as f64, 0.0));
        let fall = nothing.kept() / fate.kept();
        text.push_str(&target("goodput that nothing keeps, over what it keeps", fall, 1.0));
    }
    text
}
