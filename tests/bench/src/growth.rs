//! How the cost of a packet grows: with rules, on hosts with ten to 100,000 of
//! them beside each other in the same rounds, and with flows. Beside the
//! measured points stands what is expected of them.

use crate::{
    chart::{Chart, Curve, Point, number},
    flows::Family,
    memory,
    page::{self, Target, put},
    path::MOST_WALKED,
    rounds::{Effort, Ground, Row, measure},
    rules::Rules,
    traffic::Traffic,
    wall::Wall,
};

/// Rules, and flows.
const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const FEW: u32 = 10;
const MANY: u32 = 100_000;
/// What flows are looked at with.
const USUAL: u32 = 1_000;

/// How far 100,000 rules may be from ten, over the whole way.
const GROWTH: f64 = 1.5;

/// Lines of memory that no cache holds: 256 MiB.
const UNCACHED: usize = 1 << 22;

pub(crate) fn run(effort: Effort) -> anyhow::Result<()> {
    let by_family = Family::BOTH.into_iter().map(|family| Ok((family, rules(family, effort)?)));
    let by_family: Vec<(Family, Vec<Row>)> = by_family.collect::<anyhow::Result<_>>()?;
    println!(
        "## Growth with rules\n\n\
         Expected of hostfw with 1,000 established flows: that rules do not count.\n\
         With new flows, which come from all prefixes in turn: one access to memory of a line \
         for each rule.\n\
         Of one rule after the other: as much for each.\n"
    );
    let title = "Established, 1,000 flows: what a packet costs over no firewall";
    println!("{}", over_rules(&by_family, 0, "path-rules-established", title, false)?);
    let title = "Every packet a new flow: what it costs over no firewall";
    println!("{}", over_rules(&by_family, 1, "path-rules-new", title, true)?);
    for (family, rows) in &by_family {
        for target in rows.first().into_iter().flat_map(|row| growth(*family, row)) {
            println!("{target}");
        }
    }
    println!(
        "\n## Growth with flows\n\n\
         Expected of hostfw: that established flows do not count, and that an answer takes one \
         access to memory of a line for each flow.\n\
         What an access takes was measured in the same run.\n"
    );
    println!("{}", over_flows(effort)?);
    Ok(())
}

/// Established flows and new ones, beside every number of rules.
fn rules(family: Family, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let at = |count| Rules { family, count };
    let mut walls = vec![(Wall::None, at(USUAL))];
    for wall in [Wall::Hostfw, Wall::NftSet, Wall::NftLinear] {
        let most = if wall.walks() { MOST_WALKED } else { MANY };
        walls.extend(SIZES.into_iter().filter(|size| *size <= most).map(|size| (wall, at(size))));
    }
    let ground = Ground::new(&format!("bench_rules_{}", family.name()), walls);
    measure(&ground.beds()?, &[Traffic::established(1_000), Traffic::new_flows()], effort)
}

fn over_rules(
    by_family: &[(Family, Vec<Row>)],
    row: usize,
    name: &str,
    title: &str,
    logarithmic: bool,
) -> anyhow::Result<String> {
    let mut curves = Vec::new();
    for wall in [Wall::Hostfw, Wall::NftSet, Wall::NftLinear] {
        for (family, rows) in by_family {
            // What it costs to walk is not a matter of addresses, and not of
            // packets that end the walk at its first step.
            if wall.walks() && (*family == Family::V6 || !logarithmic) {
                continue;
            }
            let Some(row) = rows.get(row) else { continue };
            let points = SIZES.into_iter().filter_map(|size| {
                let (y, spread) = row.added(row.place_of(wall, size))?;
                Some(Point { x: f64::from(size), y, spread })
            });
            let points: Vec<Point> = points.collect();
            let law = if wall == Wall::Hostfw {
                // New flows come from all prefixes, established ones from some.
                if logarithmic { one_access(&points)? } else { flat(&points) }
            } else if wall.walks() {
                straight(&points)
            } else {
                Vec::new()
            };
            let name = format!("{}, {}", wall.name(), family.name());
            curves.push(Curve { name, points, law });
        }
    }
    show(name, Chart { title: title.into(), x: "rules", y: "ns a packet", curves, logarithmic })
}

/// Over the whole way, which is the target, and what that hides.
fn growth(family: Family, row: &Row) -> Vec<Target> {
    let at = |count| row.place_of(Wall::Hostfw, count);
    let times = |many: Option<(f64, f64)>, few: Option<(f64, f64)>| {
        many.zip(few).map_or(f64::NAN, |(many, few)| many.0 / few.0)
    };
    let target = |what: &str, value| {
        let what = format!("{}, 1,000 flows, 100,000 rules over 10, {what}", family.name());
        Target { what, value, bound: GROWTH }
    };
    vec![
        target("the whole way", times(row.cost(at(MANY)), row.cost(at(FEW)))),
        target("what comes on top of nothing", times(row.added(at(MANY)), row.added(at(FEW)))),
    ]
}

/// Established flows and answers, in every number.
fn over_flows(effort: Effort) -> anyhow::Result<String> {
    let at = |count| Rules { family: Family::V4, count };
    let ours = [(Wall::Hostfw, at(USUAL)), (Wall::Hostfw, at(MANY))];
    let others = [(Wall::None, at(USUAL)), (Wall::Empty, at(MANY)), (Wall::NftSet, at(USUAL))];
    let ground = Ground::new("bench_flows", [&others[..], &ours].concat());
    let beds = ground.beds()?;
    let established = measure(&beds, &SIZES.map(Traffic::established), effort)?;
    let answers = measure(&beds, &SIZES.map(Traffic::answers), effort)?;
    let curve = |rows: &[Row], wall: Wall, n_rules: u32| {
        let points = SIZES.iter().zip(rows).filter_map(|(size, row)| {
            let (y, spread) = row.added(row.place_of(wall, n_rules))?;
            Some(Point { x: f64::from(*size), y, spread })
        });
        let name = format!("{}, {} rules", wall.name(), number(f64::from(n_rules)));
        Curve { name, points: points.collect(), law: Vec::new() }
    };
    let chart = |title: &str, curves| Chart {
        title: title.into(),
        x: "flows",
        y: "ns a packet",
        curves,
        logarithmic: false,
    };

    let mut ours = curve(&established, Wall::Hostfw, USUAL);
    ours.law = flat(&ours.points);
    let many = curve(&established, Wall::Hostfw, MANY);
    let nftables = curve(&established, Wall::NftSet, USUAL);
    let title = "Established: what a packet costs over no firewall";
    let mut text = show("path-flows-established", chart(title, vec![ours, many, nftables]))?;

    let mut ours = curve(&answers, Wall::Hostfw, USUAL);
    ours.law = one_access(&ours.points)?;
    let nftables = curve(&answers, Wall::NftSet, USUAL);
    let title = "Answers to own flows: what a packet costs over no firewall";
    put(&mut text, &show("path-flows-answers", chart(title, vec![ours, nftables]))?);

    let missed = memory::access(UNCACHED)?;
    let over = established.last().and_then(|row| {
        row.over(row.place_of(Wall::Hostfw, MANY), row.place(Wall::Empty)).map(|over| over.0)
    });
    let target = Target {
        what: "100,000 flows over 100,000 rules, ns over an empty program, beside one access to \
               memory that no cache holds"
            .into(),
        value: over.unwrap_or(f64::NAN),
        bound: missed.round(),
    };
    put(&mut text, &format!("{target}\n"));
    Ok(text)
}

/// The figures, and the chart of them.
fn show(name: &str, chart: Chart) -> anyhow::Result<String> {
    let mut text = page::chart(name, &chart.title, &chart.svg())?;
    put(&mut text, &chart.table());
    Ok(text)
}

/// Nothing is looked at that there is more of.
fn flat(points: &[Point]) -> Vec<(f64, f64)> {
    points
        .first()
        .map_or_else(Vec::new, |first| points.iter().map(|one| (one.x, first.y)).collect())
}

/// As much for each as the last one shows.
fn straight(points: &[Point]) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let slope = (last.y - first.y) / (last.x - first.x);
    points.iter().map(|one| (one.x, first.y + slope * (one.x - first.x))).collect()
}

/// One access to a table with a line of memory for each.
fn one_access(points: &[Point]) -> anyhow::Result<Vec<(f64, f64)>> {
    let Some(first) = points.first() else { return Ok(Vec::new()) };
    let least = memory::access(first.x as usize)?;
    let expect = |one: &Point| Ok((one.x, first.y + memory::access(one.x as usize)? - least));
    points.iter().map(expect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_start_at_the_first_point() {
        let point = |x, y| Point { x, y, spread: 0.0 };
        let points = [point(10.0, 100.0), point(100.0, 500.0), point(1_000.0, 10_000.0)];
        assert_eq!(flat(&points), [(10.0, 100.0), (100.0, 100.0), (1_000.0, 100.0)]);
        assert_eq!(straight(&points), [(10.0, 100.0), (100.0, 1_000.0), (1_000.0, 10_000.0)]);
        assert_eq!(flat(&[]), []);
    }
}
