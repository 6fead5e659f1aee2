//! What the API says of things, as JSON.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type as Kind};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::admin::commands::{quoted_name, words_of};
use crate::admin::table::{Cell, Column, Table, Type};
use crate::gate::{OnTimeout, OpenTransaction, Reads, Row, Step, Target, Terms, Who, Writes};
use crate::http::health::DatabaseReadiness;
use crate::http::operations::{Operation, State};
use crate::http::problem::Problem;
use crate::log::millis;
use crate::protocol::{Report, Severity};
use crate::shared::ProxyState;

/// Transactions that are named of those that are waited for.
const SHOWN: usize = 100;

/// What may be said to a request of any kind.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub enum Refused {
    /// The request is not understood
    #[response(status = 400, content_type = "application/problem+json")]
    NotUnderstood(Problem),
    /// There is no token or certificate that is known
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(Problem),
    /// The role does not allow it
    #[response(status = 403, content_type = "application/problem+json")]
    NotAllowed(Problem),
    /// Too many wrong tokens have come from the address
    #[response(status = 429, content_type = "application/problem+json")]
    Barred(Problem),
}

/// What may be said to whoever asks for what may be public, and is not.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub enum Tokened {
    /// The request is not understood
    #[response(status = 400, content_type = "application/problem+json")]
    NotUnderstood(Problem),
    /// It is not public, and there is no token or certificate that is known
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(Problem),
    /// Too many wrong tokens have come from the address
    #[response(status = 429, content_type = "application/problem+json")]
    Barred(Problem),
}

/// What may be said to a request about a database or an operation.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub enum Missing {
    /// It does not exist
    #[response(status = 404, content_type = "application/problem+json")]
    Missing(Problem),
}

/// What may be said to a command.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document")]
pub enum Commanded {
    /// It is done
    #[response(status = 200)]
    Done(OperationView),
    /// It goes on: follow the operation
    #[response(status = 202)]
    GoesOn(OperationView),
    /// The database does not exist
    #[response(status = 404, content_type = "application/problem+json")]
    Missing(Problem),
    /// The body has not come in time
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Problem),
    /// Another command is in the way, or it was given up or called off
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
    /// The Idempotency-Key was used for another command
    #[response(status = 422, content_type = "application/problem+json")]
    OtherCommand(Problem),
    /// It cannot be done now
    #[response(status = 503, content_type = "application/problem+json")]
    NotNow(Problem),
}

/// Somebody.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WhoView {
    /// A role, or the name of a token or certificate.
    user: String,
    /// Where from; null for pgsluice itself.
    address: Option<String>,
}

impl From<&Who> for WhoView {
    fn from(who: &Who) -> Self {
        Self { user: who.user.clone(), address: who.address.clone() }
    }
}

/// A transaction that is waited for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TransactionView {
    user: String,
    application_name: String,
    client_address: String,
    /// Since its begin.
    age_ms: u64,
    /// What runs, without its constants; null between two statements.
    statement: Option<String>,
    /// Its server cannot be reached.
    unreachable: bool,
}

impl From<&OpenTransaction> for TransactionView {
    fn from(one: &OpenTransaction) -> Self {
        Self {
            user: one.user.clone(),
            application_name: one.application_name.clone(),
            client_address: one.client_address.clone(),
            age_ms: millis(one.age),
            statement: one.statement.clone(),
            unreachable: one.unreachable,
        }
    }
}

/// A command that changes the mode, while it goes on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnderWay {
    /// `MAINTENANCE ON`, for instance.
    command: String,
    by: WhoView,
    /// `draining`, `cancelling`, `settling` or `disconnecting`.
    step: Option<&'static str>,
    waited_ms: Option<u64>,
    /// How long open transactions may take to end.
    drain_timeout_ms: Option<u64>,
    /// Transactions that are waited for.
    in_flight: usize,
    /// The first hundred of them.
    waits_for: Vec<TransactionView>,
}

/// The mode of a database, and what goes with it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DatabaseView {
    /// As clients name it; `*` stands for databases that are not there yet.
    pub database: String,
    /// `read_write`, `draining`, `read_only` or `offline`.
    pub mode: &'static str,
    /// Whether MAINTENANCE is ON; OFFLINE hides it.
    pub maintenance: bool,
    /// Grows with each change of the mode.
    epoch: u64,
    /// Since when the mode holds; null for a database that was never closed.
    since: Option<String>,
    /// Why it is not read_write: `operator`, `state_lost` (nobody knows what was said), or by itself and until the servers say
    /// otherwise: `primary_lost`, `no_primary`, `own_setting`, `writes_fail`.
    cause: Option<&'static str>,
    /// The same in a sentence.
    reason: Option<String>,
    message: Option<String>,
    /// When writes are expected back.
    until: Option<String>,
    /// When the gate opens by itself.
    expire_at: Option<String>,
    /// `reject` or `hold`.
    writes: Option<&'static str>,
    /// `any`, `replica` or `primary`.
    reads: Option<&'static str>,
    /// `cancel` or `revert`.
    on_timeout: Option<&'static str>,
    drain_timeout_ms: Option<u64>,
    hold_timeout_ms: Option<u64>,
    /// From when on nothing changes.
    quiesced_at: Option<String>,
    /// The primary's position in the WAL, asked after that.
    quiesced_lsn: Option<String>,
    /// Who closed it.
    by: Option<WhoView>,
    /// Transactions that may write.
    in_flight: usize,
    /// Writes that wait for the gate.
    held: usize,
    /// Writes that rules have discarded and let through since the start of the process.
    discarded: u64,
    allowed: u64,
    under_way: Option<UnderWay>,
}

impl DatabaseView {
    /// Of a row of SHOW MAINTENANCE.
    pub fn of(row: &Row) -> Self {
        let terms = row.terms.as_ref();
        let time = |at: Timestamp| at.to_string();
        Self {
            database: row.database.clone(),
            mode: row.mode.as_str(),
            maintenance: row.maintenance,
            epoch: row.epoch.0,
            since: (row.epoch.0 > 0).then(|| time(row.since)),
            cause: terms.map(|terms| terms.cause.word()),
            reason: row.reason.clone(),
            message: terms.and_then(|terms| terms.message.clone()),
            until: terms.and_then(|terms| terms.until).map(time),
            expire_at: terms.and_then(|terms| terms.expire_at).map(time),
            writes: terms.map(|terms| match terms.writes {
                Writes::Reject => "reject",
                Writes::Hold => "hold",
            }),
            reads: terms.map(|terms| match terms.reads {
                Reads::Any => "any",
                Reads::Replica => "replica",
                Reads::Primary => "primary",
            }),
            on_timeout: terms.map(|terms| match terms.on_timeout {
                OnTimeout::Cancel => "cancel",
                OnTimeout::Revert => "revert",
            }),
            drain_timeout_ms: terms.map(|terms| millis(terms.drain_timeout)),
            hold_timeout_ms: terms.map(|terms| millis(terms.hold_timeout)),
            quiesced_at: row.quiesced.map(|quiesced| time(quiesced.at)),
            quiesced_lsn: row.quiesced.and_then(|quiesced| quiesced.lsn).map(|lsn| lsn.to_string()),
            by: terms.map(|terms| (&terms.who).into()),
            in_flight: row.in_flight,
            held: row.held,
            discarded: row.discarded,
            allowed: row.allowed,
            under_way: under_way(row, terms),
        }
    }
}

fn under_way(row: &Row, terms: Option<&Terms>) -> Option<UnderWay> {
    let (verb, who) = row.under_way.as_ref()?;
    let progress = row.progress.as_ref();
    let word = |step: Step| match step {
        Step::Draining => "draining",
        Step::Cancelling => "cancelling",
        Step::Settling => "settling",
        Step::Disconnecting => "disconnecting",
    };
    Some(UnderWay {
        command: verb.to_string(),
        by: who.into(),
        step: progress.map(|progress| word(progress.step)),
        waited_ms: progress.map(|progress| millis(progress.waited)),
        drain_timeout_ms: terms.map(|terms| millis(terms.drain_timeout)),
        in_flight: row.in_flight,
        waits_for: progress.into_iter().flat_map(|progress| &progress.open).take(SHOWN).map(Into::into).collect(),
    })
}

/// A database, with what it is ready for.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseDetail {
    #[serde(flatten)]
    pub database: DatabaseView,
    /// What can be done with it; null for `*`.
    pub readiness: Option<DatabaseReadiness>,
}

impl DatabaseDetail {
    /// The database of that name.
    pub fn find(proxy: &ProxyState, name: &str) -> Option<Self> {
        let row = proxy.gates.show_one(name)?;
        let all = proxy.databases.all();
        let readiness = all.iter().find(|one| *one.name == *name).map(|one| DatabaseReadiness::of(one));
        Some(Self { database: DatabaseView::of(&row), readiness })
    }
}

/// What whoever gave a command was told.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoticeView {
    /// `NOTICE` or `WARNING`.
    severity: &'static str,
    sqlstate: &'static str,
    message: String,
    explanation: Option<String>,
}

impl From<&Report> for NoticeView {
    fn from(report: &Report) -> Self {
        let severity = if report.severity == Severity::Notice { "NOTICE" } else { "WARNING" };
        Self { severity, sqlstate: report.code, message: report.message.clone(), explanation: report.detail.clone() }
    }
}

/// A command on its way, or what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationView {
    pub id: String,
    /// As it would be typed on the console, without its options.
    command: String,
    /// `*` for all; null if it is for none.
    database: Option<String>,
    by: WhoView,
    started_at: String,
    ended_at: Option<String>,
    /// `running`, `done` or `failed`.
    pub state: &'static str,
    /// The databases of the command that change now.
    progress: Vec<DatabaseView>,
    notices: Vec<NoticeView>,
    /// What the console would have answered; null while it goes on, and for what has no answer.
    #[schema(value_type = Option<Vec<Object>>)]
    result: Option<Vec<Map<String, Value>>>,
    problem: Option<Problem>,
}

impl OperationView {
    /// As it is now.
    pub fn of(proxy: &ProxyState, operation: &Operation) -> Self {
        let (words, target) = words_of(&operation.command);
        let state = operation.state();
        let (word, ended, result, problem) = match &state {
            State::Running => ("running", None, None, None),
            State::Done(at, table) => ("done", Some(at), table.as_ref().map(|table| objects(table)), None),
            State::Failed(at, report) => {
                ("failed", Some(at), None, Some(Problem::from(Report::clone(report)).of_operation(&operation.id)))
            }
        };
        let progress = match (&state, &target) {
            (State::Running, Some(Target::One(name))) => proxy.gates.show_one(name).into_iter().collect(),
            (State::Running, Some(Target::All)) => {
                proxy.gates.show().into_iter().filter(|row| row.under_way.is_some()).take(SHOWN).collect()
            }
            _ => Vec::new(),
        };
        let database = target.as_ref().map(|target| match target {
            Target::One(name) => name.clone(),
            Target::All => "*".to_owned(),
        });
        Self {
            id: operation.id.clone(),
            command: match &database {
                Some(name) => format!("{words} {}", quoted_name(name)),
                None => words.to_owned(),
            },
            database,
            by: (&operation.who).into(),
            started_at: operation.started_at.to_string(),
            ended_at: ended.map(ToString::to_string),
            state: word,
            progress: progress.iter().map(DatabaseView::of).collect(),
            notices: operation.notices().iter().map(Into::into).collect(),
            result,
            problem,
        }
    }
}

/// Rows of a table as objects.
pub fn objects(table: &Table) -> Vec<Map<String, Value>> {
    table.rows.iter().map(|row| object(table.columns, row)).collect()
}

/// A row as an object.
pub fn object(columns: &[Column], row: &[Cell]) -> Map<String, Value> {
    columns.iter().zip(row).map(|(column, cell)| (column.name.to_owned(), value(cell))).collect()
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => text.as_str().into(),
        Cell::Int(number) => (*number).into(),
        Cell::Bool(value) => (*value).into(),
        Cell::Time(at) => at.to_string().into(),
    }
}

/// A page of rows of a console's table, with `total` and the path of the next page.
pub fn page_schema(columns: &[Column]) -> RefOr<Schema> {
    page_of(row_schema(columns))
}

/// A row of a console's table.
pub fn row_schema(columns: &[Column]) -> RefOr<Schema> {
    let row = columns.iter().fold(ObjectBuilder::new(), |object, column| {
        let kind = match column.kind {
            Type::Text | Type::Time => Kind::String,
            Type::Int4 | Type::Int8 | Type::Numeric => Kind::Integer,
            Type::Bool => Kind::Boolean,
        };
        let nullable = utoipa::openapi::schema::SchemaType::Array(vec![kind, Kind::Null]);
        object.property(column.name, ObjectBuilder::new().schema_type(nullable)).required(column.name)
    });
    row.into()
}

fn page_of(item: RefOr<Schema>) -> RefOr<Schema> {
    let next = utoipa::openapi::schema::SchemaType::Array(vec![Kind::String, Kind::Null]);
    ObjectBuilder::new()
        .property("items", ArrayBuilder::new().items(item))
        .property("total", ObjectBuilder::new().schema_type(Kind::Integer))
        .property("next", ObjectBuilder::new().schema_type(next).description(Some("The path of the next page")))
        .required("items")
        .required("total")
        .required("next")
        .into()
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Rows of the whole list.
    pub total: usize,
    /// The path of the next page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The part of `total` rows that begins with row `offset`, of the list at `path`.
    pub fn new(
        items: Vec<T>,
        total: usize,
        (offset, limit): (usize, usize),
        path: &str,
        filters: &[(&str, &str)],
    ) -> Self {
        let end = offset.saturating_add(limit);
        let next = (end < total).then(|| {
            let filters: String =
                filters.iter().map(|(name, value)| format!("&{name}={}", percent_encoded(value))).collect();
            format!("{path}?limit={limit}&offset={end}{filters}")
        });
        Self { items, total, next }
    }
}

pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// A page of things that have a schema of their own.
macro_rules! page {
    ($page:ident, $item:ident) => {
        #[doc = concat!("A page of ", stringify!($item), ".")]
        pub struct $page;

        impl PartialSchema for $page {
            fn schema() -> RefOr<Schema> {
                page_of(utoipa::openapi::Ref::from_schema_name($item::name()).into())
            }
        }

        impl ToSchema for $page {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($page).into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.push(($item::name().into_owned(), $item::schema()));
                $item::schemas(schemas);
            }
        }
    };
}

page!(DatabasePage, DatabaseView);
page!(OperationPage, OperationView);

/// What an operation is known by.
pub type Shared = Arc<Operation>;
