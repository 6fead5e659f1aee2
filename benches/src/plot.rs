//! Ratios as bars, in SVG.

use std::fmt::Write as _;

use crate::figures::Ratio;

const BAR: f64 = 13.0;
const GAP: f64 = 10.0;
const TITLE: f64 = 34.0;
const LABELS: f64 = 160.0;
const WIDTH: f64 = 860.0;
const NUMBERS: f64 = 70.0;
/// Bars that are longer end in their number only.
const LONGEST: f64 = 3.0;
const COLOURS: [&str; 9] =
    ["#9aa0a6", "#8d6e63", "#f4a261", "#e9c46a", "#1d6fa5", "#5aa9d6", "#a3d1ec", "#2a9d8f", "#b56576"];

/// Bars of one metric: a group for each workload, a bar for each contender.
pub struct Panel {
    /// Over it.
    pub title: String,
    /// A workload and, by contender, how it did.
    pub groups: Vec<(String, Vec<(usize, Ratio)>)>,
}

/// The picture: panels below each other, with a colour for each name.
pub fn svg(names: &[String], panels: &[Panel]) -> String {
    let all: Vec<usize> = (0..names.len()).collect();
    svg_of(names, &all, LABELS, panels)
}

/// The same for some of the names, with room for labels of that width.
pub fn svg_of(names: &[String], shown: &[usize], labels: f64, panels: &[Panel]) -> String {
    let colour = |at: usize| COLOURS[at % COLOURS.len()];
    let mut body = String::new();
    let mut y = 24.0;
    let mut x = 12.0;
    for (at, name) in names.iter().enumerate().filter(|(at, _)| shown.contains(at)) {
        let width = 30.0 + 7.0 * name.chars().count() as f64;
        if x + width > WIDTH {
            (x, y) = (12.0, y + 20.0);
        }
        let _ = writeln!(body, "<rect x='{x}' y='{}' width='12' height='12' fill='{}'/>", y - 10.0, colour(at));
        text(&mut body, x + 17.0, y, "", name);
        x += width;
    }
    for panel in panels.iter().filter(|panel| !panel.groups.is_empty()) {
        y += TITLE;
        text(&mut body, 12.0, y, " font-weight='bold'", &panel.title);
        let top = y + 8.0;
        y = top;
        let scale = (WIDTH - labels - NUMBERS) / LONGEST;
        for (label, bars) in &panel.groups {
            y += GAP / 2.0;
            let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
            text(&mut body, labels - 8.0, middle, " text-anchor='end'", label);
            for (at, ratio) in bars {
                let length = |value: f64| labels + value.min(LONGEST) * scale;
                let end = length(ratio.median);
                let _ = writeln!(
                    body,
                    "<rect x='{labels}' y='{y:.1}' width='{:.1}' height='{:.1}' fill='{}'/>",
                    end - labels,
                    BAR - 2.0,
                    colour(*at)
                );
                let (low, high, line) = (length(ratio.low), length(ratio.high), y + BAR / 2.0 - 1.0);
                let _ = writeln!(body, "<path d='M{low:.1} {line:.1}H{high:.1}' stroke='#333'/>");
                text(&mut body, high.max(end) + 4.0, y + BAR - 3.0, " font-size='10'", &format!("{:.2}", ratio.median));
                y += BAR;
            }
            y += GAP / 2.0;
        }
        let one = labels + scale;
        let _ = writeln!(body, "<path d='M{one:.1} {top:.1}V{y:.1}' stroke='#c00' stroke-dasharray='4 3'/>");
    }
    let height = y + 16.0;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0}' width='{WIDTH}' height='{height:.0}' \
         font-family='sans-serif' font-size='12' fill='#222'>\n<rect width='100%' height='100%' fill='#fff'/>\n{body}</svg>\n"
    )
}

fn text(body: &mut String, x: f64, y: f64, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(body, "<text x='{x:.1}' y='{y:.1}'{more}>{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_and_none_beyond_the_edge() {
        let ratio = |median| Ratio { median, low: median * 0.9, high: median * 20.0 };
        let groups = vec![("a & b".to_owned(), vec![(0, ratio(1.0)), (1, ratio(7.0))])];
        let empty = Panel { title: "nothing".into(), groups: Vec::new() };
        let picture = svg(&["one".into(), "two".into()], &[Panel { title: "all".into(), groups }, empty]);
        assert!(picture.contains("a &amp; b") && picture.contains(">7.00<") && !picture.contains("nothing"));
        let ends = picture.match_indices("H").filter_map(|(at, _)| picture[at + 1..].split('\'').next()?.parse().ok());
        assert!(ends.inspect(|end: &f64| assert!(*end <= WIDTH - NUMBERS + 0.1)).count() == 2);
    }
}
