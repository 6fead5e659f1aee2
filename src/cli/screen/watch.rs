//! The screen of a maintenance: modes, drains, what is refused and held, servers, the last events.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::data::{Data, Named};
use super::progress;
use crate::config::parse_duration;

/// Databases that are open, of which only a line is shown.
const MOST_OPEN: usize = 6;
/// Lines of those for whom a drain waits.
const MOST_WAITED_FOR: usize = 8;
const MOST_EVENTS: usize = 6;

pub(super) fn lines(data: &Data) -> Vec<Line<'static>> {
    let mut lines =
        vec![Line::styled("pgsluice maintenance    q ends", Style::new().add_modifier(Modifier::DIM)), Line::default()];
    let (open, closed): (Vec<_>, Vec<_>) = data.maintenance.rows().partition(|row| row.text("mode") == "read_write");
    closed.iter().for_each(|row| database(&mut lines, data, *row));
    for row in open.iter().take(MOST_OPEN) {
        lines.push(Line::from(vec![
            Span::raw(format!("{:<20.20} ", row.text("database"))),
            Span::styled("read_write", color("read_write")),
            Span::raw(format!("  {}", rates(data, row.text("database")))),
        ]));
    }
    if let Some(more) = open.len().checked_sub(MOST_OPEN).filter(|more| *more > 0) {
        lines.push(Line::raw(format!("and {more} more that are open")));
    }
    lines.push(Line::default());
    lines.extend(servers(data));
    lines.push(Line::default());
    lines.extend(events(data));
    lines
}

fn color(mode: &str) -> Style {
    Style::new().fg(match mode {
        "read_write" => Color::Green,
        "draining" => Color::Yellow,
        _ => Color::Red,
    })
}

fn database(lines: &mut Vec<Line<'static>>, data: &Data, row: Named<'_>) {
    let (name, mode) = (row.text("database"), row.text("mode"));
    lines.push(Line::from(vec![
        Span::styled(format!("{name:<20.20} "), Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(mode.to_uppercase(), color(mode).add_modifier(Modifier::BOLD)),
        Span::raw(format!("  since {} by {}", row.text("since"), row.text("who"))),
    ]));
    let mut add = |label: &str, text: String| {
        if !text.is_empty() {
            lines.push(Line::raw(format!("  {label:<10} {text}")));
        }
    };
    add("message", row.text("message").to_owned());
    add("until", moment(row.text("until")));
    add("expires", moment(row.text("expire_at")));
    add("quiesced", format!("{} {}", row.text("quiesced_at"), row.text("quiesced_lsn")).trim().to_owned());
    if let Some(progress) = Some(row.text("progress")).filter(|text| !text.is_empty() && mode == "draining") {
        if let (Some(waited), Ok(patience)) = (progress::waited(progress), parse_duration(row.text("drain_timeout"))) {
            lines.push(Line::styled(format!("  {}", progress::drawn(waited, patience)), color(mode)));
        }
        for line in progress.lines().take(MOST_WAITED_FOR) {
            lines.push(Line::raw(format!("  {line}")));
        }
    }
    let held = format!("{} in flight, {} held", row.text("in_flight"), row.text("held"));
    lines.push(Line::raw(format!("  {} {held}", rates(data, name))));
    lines.push(Line::default());
}

fn rates(data: &Data, database: &str) -> String {
    let rate = data.rate(database);
    format!("{:.1} queries/s, {:.1} on replicas/s, {:.1} refused/s,", rate.queries, rate.replica, rate.refused)
}

/// A time with how far it is away.
fn moment(text: &str) -> String {
    // As PostgreSQL prints it: without the minutes of the zone.
    let full = text.strip_suffix("+00").map(|text| format!("{text}Z"));
    let Some(at) = full.and_then(|text| text.parse::<Timestamp>().ok()) else { return text.to_owned() };
    let left = at.as_second() - Timestamp::now().as_second();
    let words = clock(Duration::from_secs(left.unsigned_abs()));
    if left >= 0 { format!("{text}, in {words}") } else { format!("{text}, OVERDUE for {words}") }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

pub(super) fn servers(data: &Data) -> Vec<Line<'static>> {
    let line = |row: Named<'_>| {
        let role = row.text("role");
        let style = match role {
            "primary" | "replica" => Style::new(),
            _ => Style::new().fg(Color::Red),
        };
        let lag = if role == "replica" { format!("{} ms behind", row.text("lag_ms")) } else { String::new() };
        Line::styled(format!("{:<30.30} {role:<10} {lag}{}", row.text("upstream"), row.text("error")), style)
    };
    data.upstreams.rows().map(line).collect()
}

fn events(data: &Data) -> Vec<Line<'static>> {
    let all: Vec<_> = data.events.rows().collect();
    let line = |row: &Named<'_>| {
        let style = match row.text("severity") {
            "error" => Style::new().fg(Color::Red),
            "warning" => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let at: String = row.text("at").chars().skip(11).take(8).collect();
        Line::styled(
            format!("{at} {:<22.22} {:<14.14} {}", row.text("event"), row.text("database"), row.text("message")),
            style,
        )
    };
    all.iter().rev().take(MOST_EVENTS).rev().map(line).collect()
}
