//! A bar for each server: the median, and a line from the least to the most. Or a curve for each.

use crate::common::case::Measure;
use crate::common::figures::{Figures, Spread, number};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 58.0;
const ROW: f64 = 26.0;

// Text and lines follow what the reader's page is, light or dark; the bars are legible on both.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}\
    .page{fill:#fff}.unit{fill:#57606a;font-size:12px}.bar{fill:#8c96a3}.ours{fill:#2f81f7}\
    .spread{stroke:#24292f;stroke-width:1.5}@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}\
    .unit{fill:#9aa4af}.spread{stroke:#e6edf3}}";

pub(crate) fn draw(name: &str, title: &str, measure: &Measure, figures: &Figures) -> String {
    let of = |server: &str| figures.spread(name, server, measure.key);
    let mut rows: Vec<(&str, Spread)> =
        figures.servers(name).into_iter().filter_map(|server| Some((server, of(server)?))).collect();
    rows.sort_by(|a, b| b.1.median.total_cmp(&a.1.median));
    if measure.less_is_better {
        rows.reverse();
    }
    let most = rows.iter().map(|(_, spread)| spread.most).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + ROW * rows.len() as f64 + 12.0;
    let better = if measure.less_is_better { "less is better" } else { "more is better" };
    let mut svg = head(title, &format!("{}; {better}; the line goes from the least to the most", measure.unit), height);
    for (i, (server, spread)) in rows.iter().enumerate() {
        let (y, length) = (TOP + ROW * i as f64, spread.median * scale);
        let class = if server.starts_with("landline") { "bar ours" } else { "bar" };
        let (middle, text) = (y + ROW / 2.0 - 2.0, y + ROW / 2.0 + 2.5);
        let (from, to) = (LEFT + spread.least * scale, LEFT + spread.most * scale);
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{server}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" rx=\"2\"/>\n\
             <line class=\"spread\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\n\
             <text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            ROW - 5.0,
            WIDTH - 12.0,
            number(spread.median),
        );
    }
    svg + "</svg>\n"
}

fn head(title: &str, under: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n\
         <text class=\"unit\" x=\"12\" y=\"43\">{under}</text>\n"
    )
}

const CURVE_STYLE: &str = ".curve{fill:none;stroke:#8c96a3;stroke-width:2}\
    .first{stroke:#2f81f7;stroke-width:3}.third{stroke:#d4762c}.fourth{stroke:#d4762c;stroke-dasharray:6 4}";

/// A server's points, from the least x on.
pub(crate) type Curve<'a> = (&'a str, Vec<(f64, Spread)>);

/// Four curves at most, over x in steps of equal ratios. Each ends at its server's name.
pub(crate) fn curves(title: &str, under: &str, curves: &[Curve<'_>]) -> String {
    const HEIGHT: f64 = 320.0;
    const BOTTOM: f64 = HEIGHT - 32.0;
    const CLASSES: [&str; 4] = ["first", "second", "third", "fourth"];
    let points = || curves.iter().flat_map(|(_, points)| points);
    let (least, most) = points().fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
    let top = points().map(|(_, spread)| spread.median).fold(f64::MIN_POSITIVE, f64::max);
    let across = |x: f64| 60.0 + (WIDTH - 60.0 - 170.0) * (x / least).ln() / (most / least).ln().max(f64::MIN_POSITIVE);
    let up = |y: f64| BOTTOM - (BOTTOM - TOP - 8.0) * y / top;
    let mut svg = head(title, under, HEIGHT) + &format!("<style>{CURVE_STYLE}</style>\n");
    for y in [0.0, top / 2.0, top] {
        svg += &format!("<text class=\"unit\" x=\"50\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n", up(y), number(y));
    }
    for (x, _) in curves.first().map_or(&[][..], |(_, points)| points) {
        let (at, x) = (across(*x), number(*x));
        svg += &format!(
            "<text class=\"unit\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>\n",
            HEIGHT - 10.0
        );
    }
    let mut ends = Vec::new();
    for ((server, points), class) in curves.iter().zip(CLASSES) {
        let path: Vec<_> =
            points.iter().map(|(x, spread)| format!("{:.1},{:.1}", across(*x), up(spread.median))).collect();
        svg += &format!("<polyline class=\"curve {class}\" points=\"{}\"/>\n", path.join(" "));
        ends.extend(points.last().map(|(x, spread)| (up(spread.median), across(*x), *server, spread.median)));
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut above = 0.0_f64;
    for (y, x, server, value) in ends {
        // Names that would lie on each other stand below each other.
        above = y.max(above + 17.0);
        svg += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{server}: {}</text>\n", x + 8.0, above + 4.0, number(value));
    }
    svg + "</svg>\n"
}
