//! What the console tells at one moment, and what that makes of the moment before.

use std::time::Instant;

use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::remote::Link;
use crate::server::own_query::{Answer, Row};
use crate::sql::lex::quote;

/// See the module.
pub(super) struct Data {
    pub(super) maintenance: Table,
    pub(super) totals: Table,
    pub(super) upstreams: Table,
    pub(super) pools: Table,
    pub(super) events: Table,
    pub(super) rates: Vec<Rate>,
    pub(super) read_at: Instant,
}

/// What a database does in a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    pub(super) database: String,
    pub(super) queries: f64,
    pub(super) transactions: f64,
    pub(super) replica: f64,
    pub(super) refused: f64,
    /// Milliseconds of a query on average.
    pub(super) query_ms: f64,
}

/// An answer by the names of its columns.
pub(super) struct Table(Answer);

impl Table {
    pub(super) fn rows(&self) -> impl Iterator<Item = Named<'_>> {
        self.0.rows.iter().map(|row| Named { table: self, row })
    }

    fn of(&self, database: &str) -> Option<Named<'_>> {
        self.rows().find(|row| row.text("database") == database)
    }
}

/// A row by the names of its columns.
#[derive(Clone, Copy)]
pub(super) struct Named<'t> {
    table: &'t Table,
    row: &'t Row,
}

impl<'t> Named<'t> {
    /// The text; nothing for NULL.
    pub(super) fn text(&self, column: &str) -> &'t str {
        let at = self.table.0.columns.iter().position(|name| name == column);
        at.and_then(|at| self.row.get(at)?.as_deref()).unwrap_or_default()
    }

    pub(super) fn number(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap_or(0.0)
    }
}

impl Data {
    pub(super) fn of(maintenance: Answer, totals: Answer, upstreams: Answer, pools: Answer, events: Answer) -> Self {
        Self {
            maintenance: Table(maintenance),
            totals: Table(totals),
            upstreams: Table(upstreams),
            pools: Table(pools),
            events: Table(events),
            rates: Vec::new(),
            read_at: Instant::now(),
        }
    }

    pub(super) async fn read(link: &mut Link, database: Option<&str>, before: Option<&Self>) -> Result<Self, Failure> {
        let of = |what: &str| match database {
            Some(name) if name != "*" => format!("{what} {}", quote::ident(name)),
            _ => what.to_owned(),
        };
        let maintenance = link.ask(&of("SHOW MAINTENANCE")).await?;
        let totals = link.ask("SHOW STATS_TOTALS").await?;
        let upstreams = link.ask("SHOW UPSTREAMS").await?;
        let pools = link.ask("SHOW POOLS").await?;
        let events = link.ask(&of("SHOW EVENTS")).await?;
        let now = Self::of(maintenance, totals, upstreams, pools, events);
        Ok(match before {
            Some(before) => now.after(before),
            None => now,
        })
    }

    /// With the rates since that moment.
    pub(super) fn after(mut self, before: &Self) -> Self {
        let seconds = self.read_at.duration_since(before.read_at).as_secs_f64().max(0.001);
        let rate = |row: Named<'_>| {
            let name = row.text("database");
            let was = before.totals.of(name);
            let grown = |column: &str| (row.number(column) - was.map_or(0.0, |was| was.number(column))).max(0.0);
            let queries = grown("query_count");
            Rate {
                database: name.to_owned(),
                queries: queries / seconds,
                transactions: grown("xact_count") / seconds,
                replica: grown("replica_xact_count") / seconds,
                refused: grown("refused_count") / seconds,
                query_ms: if queries > 0.0 { grown("query_time") / queries / 1000.0 } else { 0.0 },
            }
        };
        self.rates = self.totals.rows().map(rate).collect();
        self
    }

    pub(super) fn rate(&self, database: &str) -> Rate {
        self.rates.iter().find(|rate| rate.database == database).cloned().unwrap_or_default()
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let list = |table: &Table| {
            let text = crate::cli::screen::output::written(&table.0, crate::cli::Output::Json);
            serde_json::from_str::<Value>(&text).unwrap_or(Value::Null)
        };
        serde_json::json!({
            "maintenance": list(&self.maintenance),
            "totals": list(&self.totals),
            "upstreams": list(&self.upstreams),
            "pools": list(&self.pools),
            "events": list(&self.events),
        })
    }
}
