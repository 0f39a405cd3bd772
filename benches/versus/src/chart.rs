//! A bar for each server: the median, and a line from the least to the most.

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
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n\
         <text class=\"unit\" x=\"12\" y=\"43\">{}; {better}; the line goes from the least to the most</text>\n",
        measure.unit
    );
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
