//! The figures of one number of rules as a table, and the targets below it.

use crate::{
    page::{Target, put},
    rounds::Row,
    traffic::Kind,
    wall::Wall,
};

pub(crate) fn table(walls: &[Wall], rows: &[Row]) -> String {
    let mut text = String::from("| traffic |");
    for wall in walls {
        put(&mut text, &format!(" {} |", wall.name()));
    }
    put(&mut text, &format!("\n|---|{}\n", "---|".repeat(walls.len())));
    for row in rows {
        put(&mut text, &format!("| {} |", row.traffic.name));
        for wall in walls {
            let bed = row.place(*wall);
            let beside_nothing = row.traffic.kind != Kind::Denied && *wall != Wall::None;
            let cell = if beside_nothing { row.added(bed) } else { row.cost(bed) };
            put(
                &mut text,
                &match cell {
                    Some((middle, spread)) if beside_nothing => {
                        format!(" {middle:+.0} ±{spread:.0} |")
                    }
                    Some((middle, spread)) => format!(" {middle:.0} ±{spread:.0} |"),
                    None => " cannot |".to_owned(),
                },
            );
        }
        text.push('\n');
    }
    text.push('\n');
    for target in rows.iter().flat_map(targets) {
        put(&mut text, &format!("{target}\n"));
    }
    text
}

/// What is to be held by a kind of packets; by how much is in the issue of each
/// bound: a table of figures that nobody promised has none.
fn targets(row: &Row) -> Vec<Target> {
    let bed = |wall| row.place(wall);
    let ours = bed(Wall::Hostfw);
    let added = row.added(ours).map_or(f64::NAN, |added| added.0);
    let best = row.best_tracker().unwrap_or(f64::NAN);
    let times = |wall| {
        let (ours, other) = (row.cost(ours), row.cost(bed(wall)));
        ours.zip(other).map_or(f64::NAN, |(ours, other)| ours.0 / other.0)
    };
    let over_empty = row.over(ours, bed(Wall::Empty)).map_or(f64::NAN, |over| over.0);
    let target = |what, value, bound| {
        let what = format!("{}, {what}", row.traffic.name);
        Target { what, value, bound }
    };
    match row.traffic.kind {
        Kind::Established => vec![
            target("part of the best nftables", added / best, 0.2),
            target("ns over an empty program", over_empty, 25.0),
        ],
        Kind::New => vec![target("part of the best nftables", added / best, 0.05)],
        Kind::Answer => vec![target("part of the best nftables", added / best, 0.33)],
        Kind::Denied => vec![
            target("times an immediate drop", times(Wall::Drop), 1.15),
            target("times nftables at ingress", times(Wall::NftIngress), 1.0),
        ],
    }
}
