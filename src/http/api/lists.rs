//! `/v1/pools`, `/v1/clients`, `/v1/servers`, `/v1/upstreams`, `/v1/fleet`: the tables of SHOW, in parts.
//!
//! A table is made by the command of the console, away from the workers; what does not belong to the page is not put into JSON.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::asking::{Asked, Paging};
use super::views::{Page, Refused, object, page_schema};
use crate::admin::commands;
use crate::admin::commands::Caller;
use crate::admin::language::command::{Command, Show};
use crate::admin::table::{Cell, Table};
use crate::http::Api;
use crate::http::access::{Identity, Reader};
use crate::http::problem::Problem;

/// Which rows. Each list has the columns that its entry in the document names.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    database: Option<String>,
    user: Option<String>,
    state: Option<String>,
    cluster: Option<String>,
}

impl Filter {
    fn wanted(&self) -> Vec<(&'static str, &str)> {
        let all =
            [("database", &self.database), ("user", &self.user), ("state", &self.state), ("cluster", &self.cluster)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// A part of a list.
pub(super) type Rows = Json<Page<Map<String, Value>>>;

/// The rows of a SHOW command that are wanted.
pub(super) async fn rows(
    api: &Arc<Api>,
    identity: Identity,
    show: Show,
    path: &str,
    paging: &Paging,
    filter: &Filter,
) -> Result<Rows, Problem> {
    let part = paging.read()?;
    let (caller, _) = Caller::new(api.proxy.clone(), identity.who);
    let Some(Table { columns, mut rows }) = commands::run(&caller, &Command::Show(show)).await? else {
        return Err(Problem::not_found("there is no such list"));
    };
    let wanted = filter.wanted();
    for (name, value) in &wanted {
        let Some(at) = columns.iter().position(|column| column.name == *name) else {
            return Err(Problem::bad_request(format!("the list has no column {name}")));
        };
        rows.retain(|row| matches!(row.get(at), Some(Cell::Text(text)) if text == value));
    }
    let total = rows.len();
    let items = rows.iter().skip(part.0).take(part.1).map(|row| object(columns, row)).collect();
    Ok(Json(Page::new(items, total, part, path, &wanted)))
}

/// The schema of a list is made from the columns of its table.
macro_rules! list {
    ($row:ident, $show:expr) => {
        #[doc = concat!("A part of ", stringify!($row), ".")]
        pub struct $row;

        impl PartialSchema for $row {
            fn schema() -> RefOr<Schema> {
                page_schema(commands::columns_alone(&Command::Show($show)).unwrap_or_default())
            }
        }

        impl ToSchema for $row {
            fn name() -> Cow<'static, str> {
                stringify!($row).into()
            }
        }
    };
}

list!(Pools, Show::Pools);
list!(Clients, Show::Clients);
list!(Servers, Show::Servers);
list!(Upstreams, Show::Upstreams);
list!(Fleet, Show::Fleet);

/// Pools: a row for each pair of database and user
#[utoipa::path(get, path = "/v1/pools", operation_id = "pools", tag = "process",
    params(
        Paging,
        ("database" = Option<String>, Query, description = "Those of this database only"),
        ("user" = Option<String>, Query, description = "Those of this user only"),
    ),
    responses((status = 200, description = "Rows of SHOW POOLS", body = Pools), Refused))]
pub async fn pools(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(filter): Asked<Filter>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Pools, "/v1/pools", &paging, &filter).await
}

/// Clients
#[utoipa::path(get, path = "/v1/clients", operation_id = "clients", tag = "process",
    params(
        Paging,
        ("database" = Option<String>, Query, description = "Those of this database only"),
        ("user" = Option<String>, Query, description = "Those of this user only"),
        ("state" = Option<String>, Query, description = "Those in this state only"),
    ),
    responses((status = 200, description = "Rows of SHOW CLIENTS", body = Clients), Refused))]
pub async fn clients(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(filter): Asked<Filter>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Clients, "/v1/clients", &paging, &filter).await
}

/// Server connections
#[utoipa::path(get, path = "/v1/servers", operation_id = "servers", tag = "process",
    params(
        Paging,
        ("database" = Option<String>, Query, description = "Those of this database only"),
        ("user" = Option<String>, Query, description = "Those of this user only"),
        ("state" = Option<String>, Query, description = "Those in this state only"),
    ),
    responses((status = 200, description = "Rows of SHOW SERVERS", body = Servers), Refused))]
pub async fn servers(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(filter): Asked<Filter>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Servers, "/v1/servers", &paging, &filter).await
}

/// The fleet: a row for each member and database
#[utoipa::path(get, path = "/v1/fleet", operation_id = "fleet", tag = "process",
    params(
        Paging,
        ("database" = Option<String>, Query, description = "Rows of this database only, as CLUSTER.DBNAME"),
        ("state" = Option<String>, Query, description = "Members in this state only"),
    ),
    responses((status = 200, description = "Rows of SHOW FLEET", body = Fleet), Refused))]
pub async fn fleet(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(filter): Asked<Filter>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Fleet, "/v1/fleet", &paging, &filter).await
}

/// Servers, as the monitor last saw them
#[utoipa::path(get, path = "/v1/upstreams", operation_id = "upstreams", tag = "process",
    params(
        Paging,
        ("state" = Option<String>, Query, description = "Those in this state only"),
        ("cluster" = Option<String>, Query, description = "Those of this cluster only"),
    ),
    responses((status = 200, description = "Rows of SHOW UPSTREAMS", body = Upstreams), Refused))]
pub async fn upstreams(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
    Asked(filter): Asked<Filter>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Upstreams, "/v1/upstreams", &paging, &filter).await
}
