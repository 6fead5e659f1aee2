//! `/v1/databases`: modes, drains, and what the gate keeps out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::asking::{Asked, Name, Paging};
use super::views::{DatabaseDetail, DatabasePage, DatabaseView, Missing, Page, Refused};
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::problem::Problem;
use crate::shared::ProxyState;
use crate::shared::maintenance::kept_out::{FATES, Summary};

/// Which databases.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Those in this mode only: `read_write`, `draining`, `read_only` or `offline`.
    mode: Option<String>,
}

/// Databases and their modes
#[utoipa::path(get, path = "/v1/databases", operation_id = "databases", tag = "databases", params(Paging, Which), responses(
    (status = 200, description = "A part of them, in the order of their names", body = DatabasePage),
    Refused,
))]
pub async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(which): Asked<Which>,
) -> Result<Json<Page<DatabaseView>>, Problem> {
    let part = paging.read()?;
    let mut rows = api.proxy.gates.show();
    rows.retain(|row| which.mode.as_deref().is_none_or(|mode| row.mode.as_str() == mode));
    let items = rows.iter().skip(part.0).take(part.1).map(DatabaseView::of).collect();
    let filters: Vec<_> = which.mode.iter().map(|mode| ("mode", mode.as_str())).collect();
    Ok(Json(Page::new(items, rows.len(), part, "/v1/databases", &filters)))
}

/// One database, its mode, and what it is ready for
#[utoipa::path(get, path = "/v1/databases/{database}", operation_id = "database", tag = "databases",
    params(("database" = String, Path, description = "A database, as clients name it")),
    responses((status = 200, description = "As it is now", body = DatabaseDetail), Missing, Refused))]
pub async fn get(_: Reader, State(api): State<Arc<Api>>, name: Name) -> Result<Json<DatabaseDetail>, Problem> {
    DatabaseDetail::find(&api.proxy, &name.0).map(Json).ok_or_else(|| Problem::no_database(&name.0))
}

/// Writes of one kind that the gate has kept out, or that rules have let through.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeptOutRow {
    /// `refused`, `held`, `discarded` or `allowed`.
    fate: &'static str,
    user: String,
    application_name: String,
    /// Without its constants; null for all that found no row of its own.
    statement: Option<String>,
    count: u64,
    first: String,
    last: String,
}

/// What the gate keeps out.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeptOut {
    /// The epoch of the mode that it is counted for: the last one that was not read_write.
    epoch: u64,
    refused: u64,
    held: u64,
    discarded: u64,
    allowed: u64,
    /// Errors other than those of refused writes that clients were sent meanwhile, by SQLSTATE.
    errors: Vec<ErrorCount>,
    /// Clients whose connection was ended meanwhile, and not by themselves.
    dropped: u64,
    /// Most often first.
    rows: Vec<KeptOutRow>,
}

/// Errors of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorCount {
    sqlstate: String,
    count: u64,
}

impl KeptOut {
    /// Of a database, by whatever name clients have for it; at most so many rows.
    pub fn of(proxy: &ProxyState, name: &str, most: usize) -> Option<Self> {
        let gate = proxy.gates.get(name)?;
        let names = proxy.databases.of_gate(&gate);
        let mut sum = Summary::default();
        names.iter().for_each(|database| sum.add(database.kept_out.summary()));
        let [refused, held, discarded, allowed] = sum.totals;
        sum.rows.sort_by(|(a, n), (b, m)| m.count.cmp(&n.count).then_with(|| a.cmp(b)));
        let rows = sum.rows.into_iter().take(most).map(|(write, count)| KeptOutRow {
            fate: FATES.get(write.fate as usize).copied().unwrap_or_default(),
            user: write.user.to_string(),
            application_name: write.application_name,
            statement: write.statement,
            count: count.count,
            first: count.first.to_string(),
            last: count.last.to_string(),
        });
        let errors = sum.errors.into_iter().map(|(sqlstate, count)| ErrorCount { sqlstate, count });
        Some(Self {
            epoch: sum.epoch.0,
            refused,
            held,
            discarded,
            allowed,
            errors: errors.collect(),
            dropped: sum.dropped,
            rows: rows.collect(),
        })
    }
}

/// What the gate has kept out since it closed
///
/// By user, application and statement without constants: refused, held, discarded and let through.
#[utoipa::path(get, path = "/v1/databases/{database}/kept-out", operation_id = "kept_out", tag = "databases",
    params(("database" = String, Path, description = "A database, as clients name it")),
    responses((status = 200, description = "The 1,000 most frequent", body = KeptOut), Missing, Refused))]
pub async fn kept_out(_: Reader, State(api): State<Arc<Api>>, name: Name) -> Result<Json<KeptOut>, Problem> {
    KeptOut::of(&api.proxy, &name.0, 1000).map(Json).ok_or_else(|| Problem::no_database(&name.0))
}
