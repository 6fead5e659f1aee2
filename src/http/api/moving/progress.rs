//! One move: which step is taken, since when, and what was done before.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use crate::admin::commands::find_move;
use crate::gate::ServerDatabase;
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::api::asking::{Name, wants_stream};
use crate::http::api::operations::crowded;
use crate::http::api::views::{Missing, Refused};
use crate::http::problem::Problem;
use crate::moving::{Entry, Line, Progress};
use crate::shared::ProxyState;

/// Between two words on a move that goes on.
const TICK: Duration = Duration::from_millis(500);
/// Names of databases that are told of.
const NAMES: usize = 100;
/// For how long one that is over is shown.
const SHOWN: SignedDuration = SignedDuration::from_mins(10);

/// What was found or done.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepView {
    /// The step that it belongs to, such as `promote`.
    step: &'static str,
    /// What was looked at; the step's own name for what was done.
    name: String,
    /// `ok`, `warn` or `fail`
    status: &'static str,
    /// When it was done.
    at: String,
    /// How long it took.
    took_ms: u64,
    detail: String,
    /// What a person can do about it.
    remedy: Option<String>,
}

/// A move, as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoveView {
    id: u64,
    /// As it would be typed.
    command: String,
    from: String,
    to: String,
    /// The step that is taken, or was taken last.
    step: &'static str,
    /// What is done in it.
    aim: &'static str,
    /// Since when, if it goes on.
    step_since: Option<String>,
    /// `running`, `done` or `failed`
    state: &'static str,
    user: String,
    address: Option<String>,
    began: String,
    ended: Option<String>,
    /// Why it has failed.
    why: Option<String>,
    sqlstate: Option<String>,
    /// The databases, as clients name them; at most a hundred.
    databases: Vec<String>,
    /// In the order in which they were told.
    steps: Vec<StepView>,
}

impl MoveView {
    fn of(proxy: &ProxyState, entry: Entry) -> Self {
        let here = proxy.databases.all().into_iter().filter(|database| entry.scope.has(database.gate.place()));
        let databases = here.map(|database| database.name.to_string()).take(NAMES).collect();
        let step = |line: Line| StepView {
            step: line.step.word(),
            name: line.name,
            status: line.status.word(),
            at: line.at.to_string(),
            took_ms: line.took_ms,
            detail: line.detail,
            remedy: line.remedy,
        };
        let failed = entry.end.as_ref().filter(|end| !end.done);
        Self {
            id: entry.id,
            command: entry.what.to_string(),
            from: entry.what.from().to_owned(),
            to: entry.what.to().to_owned(),
            step: entry.what.step().word(),
            aim: entry.what.step().aim(),
            step_since: entry.running_since().map(|at| at.to_string()),
            state: entry.progress().word(),
            began: entry.began.to_string(),
            ended: entry.end.as_ref().map(|end| end.at.to_string()),
            why: failed.and_then(|end| end.why.clone()),
            sqlstate: failed.map(|end| end.sqlstate.clone()),
            databases,
            user: entry.who.user,
            address: entry.who.address,
            steps: entry.lines.into_iter().map(step).collect(),
        }
    }

    /// The move that a database takes part in now, or took part in a moment ago.
    pub fn concerning(proxy: &ProxyState, database: &ServerDatabase) -> Option<Self> {
        let last = proxy.moves.all().into_iter().find(|entry| entry.scope.has(database))?;
        let is_news = last.end.as_ref().is_none_or(|end| Timestamp::now().duration_since(end.at) < SHOWN);
        is_news.then(|| Self::of(proxy, last))
    }
}

/// How far a move has come
///
/// Whoever accepts `text/event-stream` gets an event `progress` with it as data as long as it goes on, and then one that is called
/// `done` or `failed`.
#[utoipa::path(get, path = "/v1/moves/{move}", operation_id = "move", tag = "process",
    params(("move" = String, Path, description = "Its number, as in the list; the name of a database stands for its last one")),
    responses(
        (status = 200, description = "As it is now", content((MoveView = "application/json"), (String = "text/event-stream"))),
        (status = 503, description = "Too many requests wait already", body = Problem, content_type = "application/problem+json"),
        Missing, Refused))]
pub async fn get(_: Reader, State(api): State<Arc<Api>>, which: Name, headers: HeaderMap) -> Result<Response, Problem> {
    let entry = find(&api, &which.0)?;
    if !wants_stream(&headers) {
        return Ok(Json(MoveView::of(&api.proxy, entry)).into_response());
    }
    let place = api.long.clone().try_acquire_owned().map_err(|_| crowded())?;
    let (told, read) = mpsc::channel::<Result<Event, Infallible>>(2);
    tokio::spawn(async move {
        let _place = place;
        let id = entry.id.to_string();
        let mut next = Some(entry);
        while let Some(entry) = next {
            let progress = entry.progress();
            let name = if progress == Progress::Running { "progress" } else { progress.word() };
            let text = serde_json::to_string(&MoveView::of(&api.proxy, entry)).unwrap_or_default();
            // Whoever has gone is not told.
            if told.send(Ok(Event::default().event(name).data(text))).await.is_err() || progress != Progress::Running {
                return;
            }
            sleep(TICK).await;
            next = find(&api, &id).ok();
        }
    });
    Ok(Sse::new(ReceiverStream::new(read)).into_response())
}

fn find(api: &Api, which: &str) -> Result<Entry, Problem> {
    let found = find_move(&api.proxy, which).map_err(|report| Problem::not_found(report.message))?;
    found.ok_or_else(|| Problem::not_found("there is no such move"))
}
