//! Judges the flows of scenarios, on all cores.

use std::{collections::BTreeMap, thread};

use anyhow::Context;
use hostfw_policy::{Policy, World};

use crate::{
    intended::{self, Intended},
    judge,
    report::Tally,
    scene::{self, Scene},
    vectors::{self, Expect, Flow, Scenario},
};

/// Which verdict of a file is the right one.
#[derive(Clone, Copy)]
pub(crate) enum Expecting {
    /// The recorded one.
    Recorded,
    /// The one that the flow's note names: the recorded one is a defect (V8).
    WithoutAggregates,
}

/// Judges every flow of every scenario.
pub(crate) fn judge_all(
    scenarios: &[Scenario],
    worlds: &BTreeMap<String, vectors::World>,
    intended: &Intended,
    expecting: Expecting,
) -> anyhow::Result<Tally> {
    let known: anyhow::Result<BTreeMap<&str, World>> =
        worlds.iter().map(|(name, world)| Ok((name.as_str(), scene::world(world)?))).collect();
    let known = known?;
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let share = scenarios.len().div_ceil(n_threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = scenarios
            .chunks(share)
            .map(|chunk| {
                let known = &known;
                scope.spawn(move || -> anyhow::Result<Tally> {
                    let mut tally = Tally::default();
                    for scenario in chunk {
                        let name = scenario.world.as_str();
                        let written = worlds.get(name).with_context(|| format!("world {name}"))?;
                        let world = known.get(name).with_context(|| format!("world {name}"))?;
                        let scene = Scene::of(scenario, written, world)
                            .with_context(|| scenario.id.clone())?;
                        judge_one(scenario, &scene, intended, expecting, &mut tally);
                    }
                    Ok(tally)
                })
            })
            .collect();
        let mut sum = Tally::default();
        for part in parts {
            let tally =
                part.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a scenario made us panic")));
            sum.add(tally?);
        }
        Ok(sum)
    })
}

fn judge_one(
    scenario: &Scenario,
    scene: &Scene<'_>,
    intended: &Intended,
    expecting: Expecting,
    tally: &mut Tally,
) {
    // A document that only we refuse changes the verdicts of its scenario.
    let mut refused_as = None;
    for (number, (reading, text)) in scene.readings.iter().zip(&scenario.policies).enumerate() {
        let recorded = scenario.policy_results.get(number);
        let accepted = recorded.is_none_or(|result| result.accepted);
        let ours = reading.errors.is_empty();
        if accepted == ours {
            tally.pass();
        } else if let Some(v) = accepted.then(|| intended::refusal(text, &reading.errors)).flatten()
            && intended.takes(&scenario.id, v)
        {
            refused_as = Some(v);
            tally.intend(&scenario.id, v);
        } else {
            let unknown = recorded.map(|result| result.unknown_fields.clone());
            tally.fail(|| {
                let verb = if accepted { "accepts" } else { "refuses" };
                format!(
                    "  {} {}: the reference {verb} document {number}, we differ\n    {:?} {:?}\n{}",
                    scenario.id,
                    scenario.title,
                    reading.errors,
                    unknown,
                    indented(text)
                )
            });
        }
    }
    for (name, recorded) in &scenario.subjects {
        let Some(subject) = scene::subject_of(name) else { continue };
        let ours = scene.image_of(&subject).ok().and_then(|(compiled, number)| {
            let subject = compiled.subjects.get(usize::try_from(number).ok()?)?;
            Some((subject.ingress_in_force, subject.egress_in_force))
        });
        if ours == Some((recorded.ingress_enforced, recorded.egress_enforced)) {
            tally.pass();
        } else if let Some(v) = refused_as {
            tally.intend(&scenario.id, v);
        } else {
            tally.fail(|| format!("  {}: {name} is {ours:?}, recorded {recorded:?}", scenario.id));
        }
    }
    let policies: Vec<Policy> =
        scene.readings.iter().flat_map(|reading| &reading.policies).cloned().collect();
    for (number, flow) in scenario.flows.iter().enumerate() {
        let expected = expected(flow, expecting);
        let got = judge::judge(scene, flow);
        let difference = match &got {
            Ok(got) => judge::difference(&expected, got),
            // The reference cannot compute this subject's policy, nor can we.
            Err(_) if flow.expect.error.is_some() => None,
            Err(_) => Some("nothing"),
        };
        let Some(what) = difference else {
            if flow.expect.error.is_some() && got.is_ok() {
                tally.fail(|| format!("  {} flow {number}: the conflict is not seen", scenario.id));
            } else {
                tally.pass();
            }
            continue;
        };
        let looks_like = || intended::outcome(&policies, flow, &expected, got.as_ref().ok()?, what);
        let v = refused_as.or_else(looks_like);
        if let Some(v) = v.filter(|v| intended.takes(&scenario.id, v)) {
            tally.intend(&scenario.id, v);
        } else {
            tally.fail(|| described(scenario, number, flow, &expected, &got, what));
        }
    }
}

/// The right outcome of a flow.
fn expected(flow: &Flow, expecting: Expecting) -> Expect {
    let note = flow.note.as_deref().unwrap_or_default();
    match expecting {
        Expecting::Recorded => flow.expect.clone(),
        Expecting::WithoutAggregates => {
            let verdict = if note.contains("deny without") { "deny" } else { "allow" };
            Expect { verdict: Some(verdict.to_owned()), ..Expect::default() }
        }
    }
}

fn described(
    scenario: &Scenario,
    number: usize,
    flow: &Flow,
    expected: &Expect,
    got: &anyhow::Result<Expect>,
    what: &str,
) -> String {
    let Flow { subject, direction, peer, protocol, port, icmp_type, .. } = flow;
    let documents: String =
        scenario.policies.iter().map(|text| indented(text) + "    ---\n").collect();
    format!(
        "  {} `{}` flow {number} differs in {what}\n    {subject:?} {direction} {peer:?} {protocol} \
         {port} type {icmp_type:?}\n    expected {expected:?}\n    got      {got:?}\n{documents}",
        scenario.id, scenario.title
    )
}

pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect()
}
