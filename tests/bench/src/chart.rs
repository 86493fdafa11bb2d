//! A chart as SVG: cost over a quantity that grows by tens. Points are medians
//! with their spread, dashed lines what is expected of them. All colours are of
//! a middle brightness, so that it is read on a light and on a dark page.

use crate::page::put;

/// Sizes of the picture in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Room for labels: left, top, right, below.
const MARGIN: [f64; 4] = [64.0, 36.0, 190.0, 48.0];
const GREY: &str = "#7d8590";
const COLOURS: [&str; 6] = ["#2f81f7", "#d9730d", "#2da44e", "#a371f7", "#d6409f", "#9a8c1f"];

pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
    /// By tens upwards too, for what differs by tens.
    pub(crate) logarithmic: bool,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
    /// What is expected at the same places, if there is a law.
    pub(crate) law: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Every second sample is that close.
    pub(crate) spread: f64,
}

/// From a quantity to a place in the picture.
struct Scale {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    fn place(&self, value: f64) -> f64 {
        let turn = |value: f64| if self.logarithmic { value.max(1e-9).log10() } else { value };
        let share = (turn(value) - turn(self.from)) / (turn(self.to) - turn(self.from));
        self.begin + share.clamp(0.0, 1.0) * (self.end - self.begin)
    }

    /// Where lines with labels are: tens, or about five round steps.
    fn steps(&self) -> Vec<f64> {
        if self.logarithmic {
            let (first, last) = (self.from.log10().ceil(), self.to.log10().floor());
            return (first as i32..=last as i32).map(|power| 10_f64.powi(power)).collect();
        }
        let step = round_up((self.to - self.from) / 6.0);
        let first = (self.from / step).ceil() as i32;
        let last = (self.to / step).floor() as i32;
        (first..=last).map(|number| f64::from(number) * step).collect()
    }
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let (x, y) = self.scales();
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n\
             <title>{0}</title>\n<text x=\"{1}\" y=\"20\" font-size=\"14\">{0}</text>\n",
            escape(&self.title),
            MARGIN[0]
        );
        for value in x.steps() {
            let at = x.place(value);
            grid(&mut text, (at, y.begin), (at, y.end));
            label(&mut text, (at, y.begin + 18.0), "middle", &number(value));
        }
        for value in y.steps() {
            let at = y.place(value);
            grid(&mut text, (x.begin, at), (x.end, at));
            label(&mut text, (x.begin - 6.0, at + 4.0), "end", &number(value));
        }
        label(&mut text, ((x.begin + x.end) / 2.0, HEIGHT - 10.0), "middle", self.x);
        put(
            &mut text,
            &format!(
                "<text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                (y.begin + y.end) / 2.0,
                escape(self.y)
            ),
        );
        for (curve, colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            curve.draw(&mut text, (&x, &y), colour);
        }
        self.legend(&mut text);
        text + "</svg>\n"
    }

    /// The same in figures.
    pub(crate) fn table(&self) -> String {
        let mut places: Vec<f64> =
            self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let mut text = format!("{}, {}:\n\n| |", self.title, self.y);
        for place in &places {
            put(&mut text, &format!(" {} {} |", number(*place), self.x));
        }
        put(&mut text, &format!("\n|---|{}\n", "---|".repeat(places.len())));
        for curve in &self.curves {
            put(&mut text, &format!("| {} |", curve.name));
            for place in &places {
                let point = curve.points.iter().find(|point| point.x == *place);
                put(
                    &mut text,
                    &point.map_or_else(
                        || " |".to_owned(),
                        |point| format!(" {:.0} ±{:.0} |", point.y, point.spread),
                    ),
                );
            }
            text.push('\n');
        }
        text + "\n"
    }

    /// From the least to the greatest; upwards from zero, unless by tens.
    fn scales(&self) -> (Scale, Scale) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let laws = || self.curves.iter().flat_map(|curve| &curve.law);
        let xs: Vec<f64> = points().map(|point| point.x).collect();
        let tops = points().map(|point| point.y + point.spread).chain(laws().map(|law| law.1));
        let lows = points().map(|point| point.y - point.spread).chain(laws().map(|law| law.1));
        let (low, top) = (lows.fold(f64::INFINITY, f64::min), tops.fold(1.0, f64::max));
        let (from, to) = if self.logarithmic {
            let tens = |value: f64| value.max(1.0).log10();
            (10_f64.powf(tens(low).floor()), 10_f64.powf(tens(top).ceil()))
        } else {
            (low.min(0.0), top * 1.05)
        };
        let x = Scale {
            from: xs.iter().copied().fold(f64::INFINITY, f64::min),
            to: xs.iter().copied().fold(1.0, f64::max),
            begin: MARGIN[0],
            end: WIDTH - MARGIN[2],
            logarithmic: true,
        };
        let (begin, end) = (HEIGHT - MARGIN[3], MARGIN[1]);
        (x, Scale { from, to, begin, end, logarithmic: self.logarithmic })
    }

    fn legend(&self, text: &mut String) {
        let left = WIDTH - MARGIN[2] + 16.0;
        let mut line = MARGIN[1] + 8.0;
        for (curve, colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            put(
                text,
                &format!("<circle cx=\"{left}\" cy=\"{}\" r=\"4\" fill=\"{colour}\"/>", line - 4.0),
            );
            label(text, (left + 10.0, line), "start", &curve.name);
            line += 18.0;
        }
        if self.curves.iter().any(|curve| !curve.law.is_empty()) {
            label(text, (left - 4.0, line), "start", "- -");
            label(text, (left + 18.0, line), "start", "expected");
        }
    }
}

impl Curve {
    fn draw(&self, text: &mut String, (x, y): (&Scale, &Scale), colour: &str) {
        let line = |points: &mut dyn Iterator<Item = (f64, f64)>, more: &str| {
            let places: Vec<String> = points
                .map(|(one, other)| format!("{:.1},{:.1}", x.place(one), y.place(other)))
                .collect();
            let places = places.join(" ");
            format!("<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" {more}/>\n")
        };
        let law =
            line(&mut self.law.iter().copied(), "stroke-dasharray=\"5 5\" stroke-width=\"1.5\"");
        if !self.law.is_empty() {
            put(text, &law);
        }
        let points = &mut self.points.iter().map(|point| (point.x, point.y));
        put(text, &line(points, "stroke-width=\"2\""));
        for Point { x: one, y: other, spread } in &self.points {
            let at = x.place(*one);
            put(
                text,
                &format!(
                    "<circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>\
                     <path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"{colour}\"/>\n",
                    y.place(*other),
                    y.place(other - spread),
                    y.place(other + spread)
                ),
            );
        }
    }
}

fn grid(text: &mut String, from: (f64, f64), to: (f64, f64)) {
    put(
        text,
        &format!(
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.3\"/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn label(text: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let (x, y) = at;
    let words = escape(words);
    put(
        text,
        &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"),
    );
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

/// With a comma at each thousand.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// The next 1, 2 or 5 with zeros.
fn round_up(value: f64) -> f64 {
    let tens = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * tens);
    steps.into_iter().find(|step| *step >= value).unwrap_or(tens * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(from: f64, to: f64, logarithmic: bool) -> Scale {
        Scale { from, to, begin: 100.0, end: 500.0, logarithmic }
    }

    #[test]
    fn tens_are_equally_far_apart() {
        let scale = scale(10.0, 100_000.0, true);
        let places: Vec<f64> = scale.steps().into_iter().map(|step| scale.place(step)).collect();
        assert_eq!(places.len(), 5);
        for (place, expected) in places.iter().zip([100.0, 200.0, 300.0, 400.0, 500.0]) {
            assert!((place - expected).abs() < 1e-6, "{places:?}");
        }
    }

    #[test]
    fn other_steps_are_round_and_inside() {
        let scale = scale(-30.0, 617.0, false);
        assert_eq!(scale.steps(), [0.0, 200.0, 400.0, 600.0]);
        assert!((scale.place(-30.0) - 100.0).abs() < 1e-9);
        assert!((scale.place(617.0) - 500.0).abs() < 1e-9);
        // What is outside is drawn at the edge.
        assert!((scale.place(9_999.0) - 500.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_read_in_thousands() {
        assert_eq!(number(7.0), "7");
        assert_eq!(number(1_000.0), "1,000");
        assert_eq!(number(-1_234_567.0), "-1,234,567");
    }

    #[test]
    fn a_chart_shows_every_point_and_the_law_once() {
        let point = |x, y| Point { x, y, spread: 5.0 };
        let points = vec![point(10.0, 40.0), point(1_000.0, 45.0)];
        let law = vec![(10.0, 40.0), (1_000.0, 40.0)];
        let plain = Curve { name: "a < b".into(), points: points.clone(), law: vec![] };
        let curves = vec![Curve { name: "ours".into(), points, law }, plain];
        let title = "Cost & rules".to_owned();
        let chart = Chart { title, x: "rules", y: "ns", curves, logarithmic: false };
        let svg = chart.svg();
        assert_eq!(svg.matches("<circle").count(), 2 * 2 + 2, "points and legend");
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert!(svg.contains("a &lt; b") && svg.contains("Cost &amp; rules"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
