//! What requests bring: names in the path, questions, bodies, and how long they want to wait. What cannot be read is a
//! [`Problem`], not the text that axum has for it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::IntoParams;

use crate::gate::Target;
use crate::http::Api;
use crate::http::problem::Problem;

/// Bytes of a body.
const LARGEST: usize = 64 * 1024;
/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody is kept waiting for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How long a command is waited for if nobody says: what only takes a moment is answered with its outcome.
const USUAL_WAIT: Duration = Duration::from_secs(1);
/// Rows that a page can have before it.
const LAST_ROW: usize = 2_147_483_647;
/// Characters of an Idempotency-Key.
const LONGEST_KEY: usize = 255;

/// What is given of a command's options, as it stands in WITH (…).
pub fn given_options<const N: usize>(all: [(&str, Option<String>); N]) -> Vec<(String, String)> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A value that is on or off, as an option has it.
pub fn flag(on: Option<bool>) -> Option<String> {
    on.map(|on| if on { "on" } else { "off" }.to_owned())
}

/// The last part of a path that is a name.
pub struct Name(pub String);

impl Name {
    /// The databases that are meant: `*` is all.
    pub fn target(&self) -> Target {
        if self.0 == "*" { Target::All } else { Target::One(self.0.clone()) }
    }
}

impl FromRequestParts<Arc<Api>> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, api).await;
        name.map(|Path(name)| Self(name)).map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// A question, read from the query.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let question = Query::<T>::from_request_parts(parts, api).await;
        question.map(|Query(question)| Self(question)).map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// A JSON body; none is the same as an empty one.
pub struct Given<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Api>> for Given<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &Arc<Api>) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut codings = request.headers().get_all(CONTENT_ENCODING).iter();
        let is_coded = codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let bytes = match timeout(PATIENCE, to_bytes(request.into_body(), LARGEST)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 kB")),
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body has not come in time")),
        };
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        let is_json = kind.is_some_and(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if is_coded {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body has to come without Content-Encoding",
            ));
        }
        if !is_json {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
        }
        // A list would be taken for the fields of an object, in their order.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::bad_request("the body is not understood: it has to be an object, and is a list"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("the body is not understood: {error}")))
    }
}

/// How long to wait for a command.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Patience {
    /// How long the answer may be waited for, at most 10 min: seconds, or a time with its unit such as `500ms` or `2min`. The answer
    /// is 200 or the error if the command is over by then, else 202.
    #[param(pattern = r"^((600|[1-5]?[0-9]{1,2})s?|(600000|[1-5]?[0-9]{1,5})ms|(10|[0-9])min)$")]
    wait: Option<String>,
}

impl Patience {
    /// Whether anybody has said how long.
    pub fn is_given(&self, headers: &HeaderMap) -> bool {
        self.wait.is_some() || headers.contains_key("prefer")
    }

    /// By the query, else by the header Prefer (RFC 7240).
    ///
    /// # Errors
    /// It is no time.
    pub fn read(&self, headers: &HeaderMap) -> Result<Duration, Problem> {
        if let Some(text) = &self.wait {
            return read_wait(text)
                .ok_or_else(|| Problem::bad_request("wait is a time of at most 10 min, such as 30s"));
        }
        let prefer = headers.get("prefer").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let preferences = || prefer.split([',', ';']).map(str::trim);
        let wait = preferences().find_map(|one| one.strip_prefix("wait="));
        if let Some(wait) = wait.and_then(read_wait) {
            return Ok(wait);
        }
        Ok(if preferences().any(|one| one == "respond-async") { Duration::ZERO } else { USUAL_WAIT })
    }
}

fn read_wait(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let wait = match unit {
        "" | "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        "min" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// The key of a request that may be sent twice.
///
/// # Errors
/// It is empty, too long, or not plain text, or there are two.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Problem::bad_request("the header Idempotency-Key is there more than once"));
    }
    let plain = |key: &&str| key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let key = value.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len())).filter(plain);
    let wrong = || Problem::bad_request(format!("Idempotency-Key has 1 to {LONGEST_KEY} plain characters"));
    key.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

/// Whether the client wants an event stream.
pub fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
}

/// A part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Rows before the page.
    #[param(minimum = 0, maximum = 2_147_483_647, default = 0)]
    offset: Option<usize>,
}

impl Paging {
    /// Which part: how many rows come before it, and how many rows it has.
    ///
    /// # Errors
    /// Out of bounds.
    pub fn read(&self) -> Result<(usize, usize), Problem> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(Problem::bad_request("limit is from 1 to 1000"));
        }
        let offset = self.offset.unwrap_or(0);
        if offset > LAST_ROW {
            return Err(Problem::bad_request(format!("offset is from 0 to {LAST_ROW}")));
        }
        Ok((offset, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_read_from_the_query_and_from_prefer() {
        let prefer = |text: &str| HeaderMap::from_iter([("prefer".parse().unwrap(), text.parse().unwrap())]);
        let wait = |text: &str| Patience { wait: Some(text.into()) }.read(&HeaderMap::new());
        assert_eq!(wait("30").unwrap(), Duration::from_secs(30));
        assert_eq!(wait("500ms").unwrap(), Duration::from_millis(500));
        assert!(wait("").is_err() && wait("11min").is_err() && wait("-1").is_err() && wait("soon").is_err());
        assert!(wait("0.5").is_err() && wait(" 5").is_err() && wait("18446744073709551615min").is_err());
        assert_eq!((wait("10min").unwrap(), wait("600").unwrap()), (LONGEST_WAIT, LONGEST_WAIT));
        let by_header = |text: &str| Patience::default().read(&prefer(text)).unwrap();
        assert_eq!(by_header("respond-async, wait=5"), Duration::from_secs(5));
        assert_eq!(by_header("respond-async"), Duration::ZERO);
        assert_eq!(by_header("handling=lenient"), USUAL_WAIT);
    }
}
