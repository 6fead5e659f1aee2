//! `/v1/databases/NAME/migrate`: the database goes over to another cluster, and back. `/v1/migrations`: those that have two sides.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::admin::commands;
use crate::admin::language::command::{Command, MoveCommand, Show};
use crate::gate::Target;
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::api::asking::{Asked, Given, Paging, flag, given_options};
use crate::http::api::lists::{Filter, Rows, rows};
use crate::http::api::maintenance::Request;
use crate::http::api::views::{Commanded, Refused, page_schema};
use crate::http::problem::Problem;
use crate::proxy::moving::migrate;

/// What becomes of the database, and the options of MIGRATE. What is left out, or null, is as usual.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// The cluster that it goes over to; else `back` or `finish` is given.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 300, pattern = r"^[^\x00-\x1f\x7f]+$")]
    to: Option<String>,
    /// It goes back to where it was.
    #[serde(default)]
    back: Option<bool>,
    /// It stays where it is: what replication left is taken away.
    #[serde(default)]
    finish: Option<bool>,
    /// Only the checks: nothing is changed.
    #[serde(default)]
    dry_run: Option<bool>,
    /// Only replicate: the cut is a command of its own.
    #[serde(default)]
    prepare_only: Option<bool>,
    /// A side that cannot be reached is left as it is.
    #[serde(default)]
    force: Option<bool>,
    /// The database's name there.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 63)]
    dbname: Option<String>,
    /// Checks whose failure is accepted, with commas between them.
    #[serde(default)]
    accept: Option<String>,
    /// How long writes may be held until the other side is used, such as `30s`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    timeout: Option<String>,
    /// How long a held write waits, such as `1min`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    hold_timeout: Option<String>,
    /// How long open transactions may take to end, such as `10s`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    drain_timeout: Option<String>,
    /// `revert` or `cancel`: what happens if they do not.
    #[serde(default)]
    #[schema(pattern = "^(revert|cancel)$")]
    on_timeout: Option<String>,
    /// How long copying and catching up may take, such as `2d`.
    #[serde(default)]
    #[schema(pattern = r"^[1-9][0-9]{0,1}(ms|s|min|h|d)$")]
    copy_timeout: Option<String>,
    /// A share of the reads that is asked on both sides before the cut, such as `1%`; the answers are compared.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]?|100|[1-9]?[0-9]\.[0-9][1-9])%$")]
    mirror: Option<String>,
    /// For how long, before the cut, such as `1min`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    mirror_time: Option<String>,
    /// How far sequences are raised beyond their last value.
    #[serde(default)]
    #[schema(maximum = 1_000_000_000)]
    sequence_margin: Option<u32>,
}

impl Migrate {
    fn way(&self) -> Option<migrate::Where> {
        match (&self.to, self.back.unwrap_or(false), self.finish.unwrap_or(false)) {
            (Some(cluster), false, false) => Some(migrate::Where::There(cluster.clone())),
            (None, true, false) => Some(migrate::Where::Back),
            (None, false, true) => Some(migrate::Where::Finish),
            _ => None,
        }
    }

    /// As they stand in WITH (…).
    fn pairs(self) -> Vec<(String, String)> {
        given_options([
            ("dry_run", flag(self.dry_run)),
            ("prepare_only", flag(self.prepare_only)),
            ("force", flag(self.force)),
            ("dbname", self.dbname),
            ("accept", self.accept),
            ("timeout", self.timeout),
            ("hold_timeout", self.hold_timeout),
            ("drain_timeout", self.drain_timeout),
            ("on_timeout", self.on_timeout),
            ("copy_timeout", self.copy_timeout),
            ("mirror", self.mirror),
            ("mirror_time", self.mirror_time),
            ("sequence_margin", self.sequence_margin.map(|margin| margin.to_string())),
        ])
    }
}

/// MIGRATE
///
/// Leads the database over to another cluster by logical replication, or back, or takes replication away. Breaking the operation off
/// calls the migration off, as long as it can still go back.
#[utoipa::path(post, path = "/v1/databases/{database}/migrate", operation_id = "migrate", tag = "maintenance",
    params(Request),
    request_body = Migrate, responses(Commanded, Refused))]
pub async fn migrate(request: Request, Given(given): Given<Option<Migrate>>) -> Result<Response, Problem> {
    let way = given.as_ref().and_then(Migrate::way);
    let (Some(given), Some(to)) = (given, way) else {
        return Err(Problem::contradictory("the body says one of to, back and finish"));
    };
    let Target::One(database) = request.target() else {
        return Err(Problem::not_found("a migration is of one database"));
    };
    let command = migrate::Request { database, to, options: given.pairs() };
    request.give(Command::Move(MoveCommand::Migrate(command))).await
}

/// Rows of SHOW MIGRATIONS.
pub struct MigrationRow;

impl utoipa::PartialSchema for MigrationRow {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        page_schema(commands::columns_alone(&Command::Show(Show::Migrations)).unwrap_or_default())
    }
}

impl ToSchema for MigrationRow {}

/// Databases that have two sides, from the first MIGRATE until FINISH
#[utoipa::path(get, path = "/v1/migrations", operation_id = "migrations", tag = "process", params(Paging),
    responses((status = 200, description = "Rows of SHOW MIGRATIONS", body = MigrationRow), Refused))]
pub async fn migrations(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Migrations, "/v1/migrations", &paging, &Filter::default()).await
}
