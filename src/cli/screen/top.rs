//! The screen of the traffic: databases, pools, servers.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::data::{Data, Named};
use super::watch::servers;

/// Rows of databases, and of pools.
const MOST: usize = 10;

pub(super) fn lines(data: &Data) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let dim = Style::new().add_modifier(Modifier::DIM);
    let mut lines = vec![Line::styled("pgsluice    q ends", dim), Line::default()];
    let head = format!(
        "{:<20} {:>10} {:>10} {:>10} {:>10} {:>9}",
        "database", "queries/s", "xacts/s", "replica/s", "refused/s", "query ms"
    );
    lines.push(Line::styled(head, bold));
    let mut rates = data.rates.clone();
    rates.sort_by(|one, other| other.queries.total_cmp(&one.queries));
    for rate in rates.iter().take(MOST) {
        lines.push(Line::raw(format!(
            "{:<20.20} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>9.3}",
            rate.database, rate.queries, rate.transactions, rate.replica, rate.refused, rate.query_ms
        )));
    }
    lines.push(Line::default());
    let head = format!(
        "{:<20} {:<16} {:>8} {:>8} {:>8} {:>6} {:>8}",
        "database", "user", "clients", "waiting", "servers", "idle", "maxwait"
    );
    lines.push(Line::styled(head, bold));
    let mut pools: Vec<_> = data.pools.rows().collect();
    let load = |row: &Named<'_>| (row.number("cl_waiting"), row.number("sv_active"));
    pools.sort_by(|one, other| load(other).partial_cmp(&load(one)).unwrap_or(std::cmp::Ordering::Equal));
    for row in pools.iter().take(MOST) {
        let style = if row.number("cl_waiting") > 0.0 { Style::new().fg(Color::Yellow) } else { Style::new() };
        let text = format!(
            "{:<20.20} {:<16.16} {:>8} {:>8} {:>8} {:>6} {:>7}s",
            row.text("database"),
            row.text("user"),
            row.text("cl_active"),
            row.text("cl_waiting"),
            row.text("sv_active"),
            row.text("sv_idle"),
            row.text("maxwait")
        );
        lines.push(Line::styled(text, style));
    }
    lines.push(Line::default());
    lines.extend(servers(data));
    lines
}
