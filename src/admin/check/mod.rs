//! MAINTENANCE CHECK: what would be in the way of a maintenance now. Nothing is changed by it.
//!
//! What this process knows by itself is judged in [`local`], what the primary has to be asked for in [`primary`], whether the
//! servers let everybody in in [`logins`], what hides in the database's own functions in [`unseen`]. Each check gives at least
//! one row, so that a person sees that it was made.

mod guarantees;
mod local;
mod logins;
mod primary;
mod unseen;

use super::commands::Caller;
use super::rehearse::targets;
use super::show::seen;
use super::table::{Column, Table, columns};
use crate::gate::{Gate, Target};
use crate::protocol::Report;
use std::sync::Arc;

/// Columns of the answer.
pub(super) const COLUMNS: &[Column] = columns![database Text, check Text, status Text, detail Text, remedy Text];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Nothing in the way.
    Ok,
    /// It would make the maintenance slower, or worse for somebody.
    Warn,
    /// MAINTENANCE ON would fail, or not hold what it promises.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A row.
struct Finding {
    check: &'static str,
    status: Status,
    detail: String,
    remedy: &'static str,
}

/// The rows of one database.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.0.push(Finding { check, status: Status::Ok, detail: detail.into(), remedy: "" });
    }

    fn warn(&mut self, check: &'static str, detail: impl Into<String>, remedy: &'static str) {
        self.0.push(Finding { check, status: Status::Warn, detail: detail.into(), remedy });
    }

    fn fail(&mut self, check: &'static str, detail: impl Into<String>, remedy: &'static str) {
        self.0.push(Finding { check, status: Status::Fail, detail: detail.into(), remedy });
    }

    /// `ok` with `none` if there is nothing, else a warning that names the first few.
    fn warn_of(&mut self, check: &'static str, found: &[String], none: &str, remedy: &'static str) {
        match found {
            [] => self.ok(check, none),
            found => self.warn(check, some(found), remedy),
        }
    }
}

/// The first few of a list, and how many more there are.
fn some(all: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if all.len() > SHOWN {
        text.push_str(&format!("; and {} more", all.len() - SHOWN));
    }
    text
}

/// Runs MAINTENANCE CHECK.
pub(super) async fn run(caller: &Caller, target: &Target) -> Result<Table, Report> {
    let proxy = caller.proxy.clone();
    let databases = targets(&proxy, target)?;
    let mut table = Table::new(COLUMNS);
    let seen = seen::gather(&proxy).await;
    let mut seen_gates: Vec<Arc<Gate>> = Vec::new();
    for database in databases {
        let gate = Arc::clone(&database.gate);
        if seen_gates.iter().any(|other| Arc::ptr_eq(other, &gate)) {
            continue;
        }
        let names = proxy.databases.of_gate(&gate);
        seen_gates.push(gate);
        let mut findings = Findings::default();
        crate::admin::check::local::names(&proxy, &database, &names, &mut findings);
        crate::admin::check::local::state_file(&proxy, &mut findings).await;
        crate::admin::check::local::fleet(&proxy, &mut findings);
        crate::admin::check::local::gate(&proxy, &database, &mut findings);
        let primary = crate::admin::check::local::servers(&database, &mut findings);
        if let Some(at) = primary {
            crate::admin::check::unseen::check(&proxy, &database, &mut findings).await;
            crate::admin::check::guarantees::check(&proxy, &database, &mut findings).await;
            crate::admin::check::primary::check(&proxy, &database, at, &seen, &mut findings).await;
        }
        crate::admin::check::logins::check(&database, &mut findings).await;
        crate::admin::check::local::sessions(&names, &seen, &mut findings);
        for finding in findings.0 {
            table.push([
                (*database.name).into(),
                finding.check.into(),
                finding.status.word().into(),
                finding.detail.into(),
                finding.remedy.into(),
            ]);
        }
    }
    Ok(table)
}
