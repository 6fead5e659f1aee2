//! Errors as problems: <https://www.rfc-editor.org/rfc/rfc9457>, with the SQLSTATE that the console would give.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::protocol::Report;

/// The kind of a problem.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub enum Kind {
    /// The status and the SQLSTATE say what it is.
    #[serde(rename = "about:blank")]
    Blank,
}

/// What went wrong (RFC 9457), with PostgreSQL's words for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always "about:blank": the status and the SQLSTATE say what it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The words of the status.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong.
    #[schema(value_type = String)]
    pub detail: Box<str>,
    /// PostgreSQL's code for it.
    pub sqlstate: &'static str,
    /// More about it: PostgreSQL's DETAIL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub explanation: Option<Box<str>>,
    /// What to do about it: PostgreSQL's HINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hint: Option<Box<str>>,
    /// The operation that has come to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub operation: Option<Box<str>>,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// One of that status.
    pub fn new(status: StatusCode, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind: Kind::Blank,
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            sqlstate: sqlstate(status),
            explanation: None,
            hint: None,
            operation: None,
            header: None,
        }
    }

    /// 404
    pub fn not_found(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404 for a database that nobody knows.
    pub fn no_database(name: &str) -> Self {
        Report::error("3D000", format!("database \"{name}\" does not exist")).into()
    }

    /// 405
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "the resource does not have this method")
    }

    /// 400
    pub fn bad_request(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 422: each field is right by itself, and all together say nothing that can be done.
    pub fn contradictory(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 401
    pub fn unauthorized(detail: impl Into<Box<str>>) -> Self {
        let header = Some(Box::new((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pgsluice\""))));
        Self { header, ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// 403
    pub fn forbidden(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// A status that is over after a while.
    pub fn later(status: StatusCode, detail: impl Into<Box<str>>, seconds: u64) -> Self {
        Self { header: Some(Box::new((RETRY_AFTER, HeaderValue::from(seconds)))), ..Self::new(status, detail) }
    }

    /// With a word on what to do.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What an operation has come to.
    pub fn of_operation(mut self, id: &str) -> Self {
        self.operation = Some(id.into());
        self
    }
}

/// The status that stands for a SQLSTATE.
fn status(code: &str) -> StatusCode {
    match code {
        "3D000" | "42704" => StatusCode::NOT_FOUND,
        "42501" => StatusCode::FORBIDDEN,
        "22007" | "22008" | "22023" | "22021" | "42601" => StatusCode::BAD_REQUEST,
        "55000" | "55006" | "55P03" | "57014" => StatusCode::CONFLICT,
        "0A000" => StatusCode::NOT_IMPLEMENTED,
        // Nothing was done; it can be tried again.
        "53300" | "53400" | "57P01" | "58030" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The SQLSTATE that stands for a status, where nothing says more.
fn sqlstate(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "22023",
        StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => "28000",
        StatusCode::FORBIDDEN => "42501",
        StatusCode::NOT_FOUND => "42704",
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => "0A000",
        StatusCode::REQUEST_TIMEOUT => "57014",
        StatusCode::CONFLICT => "55000",
        StatusCode::PAYLOAD_TOO_LARGE => "54000",
        StatusCode::SERVICE_UNAVAILABLE => "53400",
        _ => "XX000",
    }
}

impl From<Report> for Problem {
    fn from(report: Report) -> Self {
        Self {
            sqlstate: report.code,
            explanation: report.detail.map(Into::into),
            hint: report.hint.map(Into::into),
            ..Self::new(status(report.code), report.message)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, "application/problem+json")], text).into_response();
        if let Some(header) = self.header {
            response.headers_mut().insert(header.0, header.1);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_gate_is_a_status_that_tells_what_to_do() {
        for (code, expected) in [("3D000", 404), ("55006", 409), ("55P03", 409), ("57014", 409), ("22023", 400)] {
            assert_eq!(Problem::from(Report::error(code, "x")).status, expected, "{code}");
        }
        let report = Report::error("22023", "no").with_detail(Some("why".into())).with_hint(Some("how".into()));
        let problem = serde_json::to_value(Problem::from(report)).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({
                "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no", "sqlstate": "22023",
                "explanation": "why", "hint": "how",
            })
        );
    }
}
