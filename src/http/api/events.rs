//! `/v1/events`: what has happened, in parts or as an event stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::asking::{Asked, wants_stream};
use super::operations::crowded;
use super::views::Refused;
use crate::events::{Event as Happened, KEPT, News};
use crate::http::Api;
use crate::http::access::{Identity, Reader};
use crate::http::problem::Problem;
use crate::shared::ProxyState;

/// A stream says so often that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// Those with a larger id than this one, oldest first; without it, the newest.
    #[param(minimum = 0)]
    after: Option<u64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Those about this database only.
    database: Option<String>,
}

/// What has happened: id, at, event, severity, database, databases, cluster, upstream, message, and fields, which depend on the event.
#[derive(Serialize, ToSchema)]
pub struct Events {
    /// Oldest first.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Box<RawValue>>,
    /// The id to go on from with `after`.
    last: u64,
}

/// What has happened
///
/// The last thousand events are kept. Whoever accepts `text/event-stream` gets those that come, each with its id and name; a client
/// that comes again with Last-Event-ID, or `after`, gets what it has missed.
#[utoipa::path(get, path = "/v1/events", operation_id = "events", tag = "process",
    params(Since, ("Last-Event-ID" = Option<String>, Header, description = "As an event stream's client sends it")),
    responses(
        (status = 200, description = "Events", content((Events = "application/json"), (String = "text/event-stream"))),
        (status = 503, description = "Too many requests wait already", body = Problem, content_type = "application/problem+json"),
        Refused))]
pub async fn list(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(since): Asked<Since>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if since.after.is_some_and(|id| i64::try_from(id).is_err()) {
        return Err(Problem::bad_request("after is the id of an event"));
    }
    if wants_stream(&headers) {
        return follow(api, identity, since, &headers);
    }
    let limit = since.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::bad_request("limit is from 1 to 1000"));
    }
    let bus = &api.proxy.events;
    let mut found = bus.recent(since.after, KEPT);
    found.retain(|event| is_about(event, since.database.as_deref()));
    let skipped = if since.after.is_some() { 0 } else { found.len().saturating_sub(limit) };
    let shown: Vec<_> = found.into_iter().skip(skipped).take(limit).collect();
    let last = shown.last().map_or_else(|| since.after.unwrap_or_else(|| bus.last_id()), |event| event.id);
    let items = shown.iter().filter_map(|event| raw(event)).collect();
    Ok(Json(Events { items, last }).into_response())
}

fn raw(event: &Happened) -> Option<Box<RawValue>> {
    RawValue::from_string(event.json()).ok()
}

/// The last events about a database, oldest first.
pub fn recent(proxy: &ProxyState, database: Option<&str>, most: usize) -> Vec<Box<RawValue>> {
    let mut found = proxy.events.recent(None, KEPT);
    found.retain(|event| is_about(event, database));
    found.iter().skip(found.len().saturating_sub(most)).filter_map(|event| raw(event)).collect()
}

/// What is about no database is about all.
fn is_about(event: &Happened, database: Option<&str>) -> bool {
    database.is_none_or(|name| event.databases.is_empty() || event.databases.iter().any(|one| **one == *name))
}

fn follow(api: Arc<Api>, identity: Identity, since: Since, headers: &HeaderMap) -> Result<Response, Problem> {
    let place = api.long.clone().try_acquire_owned().map_err(|_| crowded())?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|id| id.parse().ok());
    let mut news = match last.or(since.after) {
        Some(id) => api.proxy.events.subscribe_after(id),
        None => api.proxy.events.subscribe(),
    };
    let (events, read) = mpsc::channel::<Result<Event, Infallible>>(64);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let next = tokio::select! {
                next = timeout(ALIVE, news.next()) => next,
                // Nobody listens any more: the place is somebody else's.
                () = events.closed() => return,
            };
            // Whose token was taken away is told nothing more.
            if identity.role_now(&api).is_none() {
                return;
            }
            let event = match next {
                Err(_) => Event::default().comment("alive"),
                Ok(News::Missed(count)) => Event::default().event("missed").data(count.to_string()),
                Ok(News::Event(event)) if is_about(&event, since.database.as_deref()) => {
                    Event::default().id(event.id.to_string()).event(event.kind.name()).data(event.json())
                }
                Ok(News::Event(_)) => continue,
            };
            if events.send(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(read)).into_response())
}
