//! The demonstration: a control-plane node, an infrastructure node, a worker
//! and a jump host, one real `hostfwd` per node, and the three host policies of
//! `etc/demo`, first audited, then enforced, then edited.
//!
//! Expectations stand in [`script`], the hosts in [`stage`]; this module plays
//! one on the other and writes the table.

mod script;
mod stage;

use std::time::Instant;

use self::{
    script::{Phase, Probe},
    stage::{Seen, Stage},
};
use crate::Lab;

/// Runs all of it and returns how many probes went otherwise than expected.
///
/// # Panics
/// When a host, a server or a daemon cannot be brought up.
pub fn run(say: &mut dyn FnMut(&str)) -> usize {
    let begin = Instant::now();
    let lab = Lab::new("demo");
    let stage = Stage::build(&lab);
    say("cp-1, infra-1, worker-1 and jump on one wire, an overlay between the nodes;");
    say("sshd, etcd, nginx and kubelet ports are up.");
    let mut table = Table { say, n_probes: 0, differences: Vec::new() };
    let firewalls = stage.start_firewalls();
    for phase in [Phase::Audit, Phase::Enforcing, Phase::Edited] {
        stage.enter(phase, &firewalls);
        table.head(phase);
        for probe in script::probes().iter().filter(|probe| probe.belongs_to(phase)) {
            table.row(phase, probe, &stage.play(probe, &firewalls));
        }
    }
    let Table { say, n_probes, differences } = table;
    say("");
    for difference in &differences {
        say(difference);
    }
    let n_different = differences.len();
    say(&format!("{n_probes} probes, {n_different} different from what was expected"));
    say(&format!("took {} s", begin.elapsed().as_secs()));
    n_different
}

struct Table<'a> {
    say: &'a mut dyn FnMut(&str),
    n_probes: usize,
    differences: Vec<String>,
}

impl Table<'_> {
    fn head(&mut self, phase: Phase) {
        (self.say)("");
        (self.say)(phase.title());
        (self.say)(&columns(["from", "to", "what", "expected", "seen", "decided by"]));
    }

    fn row(&mut self, phase: Phase, probe: &Probe, seen: &Seen) {
        let expected = probe.expected(phase);
        let reach = |open: bool| if open { "open" } else { "closed" };
        let to = format!("{}:{}", probe.to, probe.port_name());
        let by = seen.decision.text();
        let what = probe.what.name();
        let expected_reach = reach(expected.reached());
        (self.say)(&columns([probe.from, &to, what, expected_reach, reach(seen.open), &by]));
        self.n_probes += 1;
        if seen.open != expected.reached() || seen.decision != expected {
            self.differences.push(format!(
                "different: {} -> {to}: expected {expected_reach} by {}, seen {} by {by}",
                probe.from,
                expected.text(),
                reach(seen.open)
            ));
        }
    }
}

/// One line of at most 80 characters.
fn columns([from, to, what, expected, seen, by]: [&str; 6]) -> String {
    format!("{from:<9}{to:<19}{what:<8}{expected:<9}{seen:<7}{by}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{script::Decision, *};

    #[test]
    fn the_widest_row_fits_a_terminal() {
        for probe in script::probes() {
            for phase in [Phase::Audit, Phase::Enforcing, Phase::Edited] {
                let to = format!("{}:{}", probe.to, probe.port_name());
                assert!(to.len() < 19, "{to}");
                let by = probe.expected(phase).text();
                let row = columns([probe.from, &to, probe.what.name(), "expected", "closed", &by]);
                assert!(row.len() <= 80, "{row}");
            }
        }
        assert_eq!(Decision::NoRule { audited: true }.text(), "no rule; audited");
    }
}
