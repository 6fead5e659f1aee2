//! ErrorResponse and NoticeResponse: their fields, read and written.
//! <https://www.postgresql.org/docs/current/protocol-error-fields.html>

use std::sync::Arc;

use super::frame::take_str;

/// How bad it is: decides whether the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the connection lives.
    Error,
    /// The connection ends.
    Fatal,
    /// Something to know of.
    Warning,
    /// Something worth a line.
    Notice,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error or a notice that pgsluice itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// Five characters of SQLSTATE.
    pub code: &'static str,
    /// The primary message.
    pub message: String,
    /// What stands under DETAIL.
    pub detail: Option<String>,
    /// What stands under HINT.
    pub hint: Option<String>,
    /// Where in PostgreSQL's source such an error comes from, in the fields `F`, `L` and `R`.
    pub place: Option<Arc<Place>>,
    /// Where in the statement it is, in characters from 1 on.
    pub position: Option<Box<str>>,
    /// What kept the write out was counted when that was decided.
    pub counted: bool,
}

/// A place in PostgreSQL's source, as errors name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Field `F`.
    pub file: Vec<u8>,
    /// Field `L`.
    pub line: Vec<u8>,
    /// Field `R`.
    pub routine: Vec<u8>,
}

impl Report {
    /// An ERROR with an SQLSTATE and a message.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            place: None,
            position: None,
            counted: false,
        }
    }

    /// A FATAL with an SQLSTATE and a message.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(code, message) }
    }

    /// A WARNING with an SQLSTATE and a message.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A NOTICE (SQLSTATE 00000) with a message.
    pub fn notice(message: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, ..Self::error("00000", message) }
    }

    /// The same with a DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: Option<String>) -> Self {
        self.detail = detail;
        self
    }

    /// The same with a HINT.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The same with the place in PostgreSQL's source that such an error comes from.
    #[must_use]
    pub fn with_place(mut self, place: Option<Arc<Place>>) -> Self {
        self.place = place;
        self
    }

    /// The same with its place in the statement.
    #[must_use]
    pub fn with_position(mut self, position: Option<u32>) -> Self {
        self.position = position.map(|position| position.to_string().into());
        self
    }

    /// Appends the whole message, an ErrorResponse or a NoticeResponse by its severity.
    pub fn write(&self, out: &mut Vec<u8>) {
        let tag = match self.severity {
            Severity::Error | Severity::Fatal => b'E',
            Severity::Warning | Severity::Notice => b'N',
        };
        write_report(out, tag, self.fields().map(|(code, value)| (code, Some(value))));
    }

    /// The fields that it has, in PostgreSQL's order.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let place = self.place.as_deref();
        [
            (b'S', Some(self.severity.word().as_bytes())),
            (b'V', Some(self.severity.word().as_bytes())),
            (b'C', Some(self.code.as_bytes())),
            (b'M', Some(self.message.as_bytes())),
            (b'D', self.detail.as_deref().map(str::as_bytes)),
            (b'H', self.hint.as_deref().map(str::as_bytes)),
            (b'P', self.position.as_deref().map(str::as_bytes)),
            (b'F', place.map(|place| place.file.as_slice())),
            (b'L', place.map(|place| place.line.as_slice())),
            (b'R', place.map(|place| place.routine.as_slice())),
        ]
        .into_iter()
        .filter_map(|(code, value)| Some((code, value?)))
    }
}

fn write_report<'a>(out: &mut Vec<u8>, tag: u8, fields: impl IntoIterator<Item = (u8, Option<&'a [u8]>)>) {
    super::backend::message(out, tag, |body| {
        for (code, value) in fields {
            if let Some(value) = value {
                body.push(code);
                // A NUL inside would end the field early and shift every one after it.
                body.extend(value.iter().copied().filter(|byte| *byte != 0));
                body.push(0);
            }
        }
        body.push(0);
    });
}

/// The fields of an error or a notice as they lie in its body.
#[derive(Clone, Copy)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Looks at a body; what is malformed reads as absent.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// Every field, in order.
    pub fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (&code, tail) = rest.split_first()?;
            if code == 0 {
                return None;
            }
            let (value, tail) = take_str(tail).ok()?;
            rest = tail;
            Some((code, value))
        })
    }

    /// The first field of a code.
    pub fn get(self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|(c, _)| *c == code).map(|(_, value)| value)
    }

    /// SQLSTATE, field `C`.
    pub fn code(self) -> &'a [u8] {
        self.get(b'C').unwrap_or_default()
    }

    /// The primary message, field `M`.
    pub fn message(self) -> &'a [u8] {
        self.get(b'M').unwrap_or_default()
    }

    /// Whether the connection ends with it (FATAL or PANIC in the field that is never translated).
    pub fn is_fatal(self) -> bool {
        matches!(self.get(b'V').or_else(|| self.get(b'S')), Some(b"FATAL" | b"PANIC"))
    }

    /// Where in PostgreSQL's source it comes from.
    pub fn place(self) -> Option<Place> {
        let field = |code| self.get(code).map(<[u8]>::to_vec);
        Some(Place { file: field(b'F')?, line: field(b'L')?, routine: field(b'R')? })
    }

    /// `SEVERITY: message (SQLSTATE)`, for logs.
    pub fn summary(self) -> String {
        let text = |code| String::from_utf8_lossy(self.get(code).unwrap_or_default()).into_owned();
        format!("{}: {} ({})", text(b'S'), text(b'M'), text(b'C'))
    }

    /// Appends the error again with another SQLSTATE or message, and with DETAIL and HINT where it has none.
    pub fn write_with(self, out: &mut Vec<u8>, change: &Change<'_>) {
        let mut fields: Vec<(u8, Option<&[u8]>)> = Vec::with_capacity(12);
        for (code, value) in self.iter() {
            let value = match code {
                b'C' => change.code.map_or(value, str::as_bytes),
                b'M' => change.message.map_or(value, str::as_bytes),
                b'P' => change.position.map_or(value, str::as_bytes),
                _ => value,
            };
            fields.push((code, Some(value)));
            // DETAIL and HINT follow the message, where PostgreSQL puts them.
            if code == b'M' {
                for (extra, text) in [(b'D', change.detail), (b'H', change.hint)] {
                    if self.get(extra).is_none() {
                        fields.push((extra, text.map(str::as_bytes)));
                    }
                }
            }
        }
        write_report(out, b'E', fields);
    }
}

/// What is to be different in an error that is passed on.
#[derive(Clone, Copy, Default)]
pub struct Change<'a> {
    /// Another SQLSTATE.
    pub code: Option<&'a str>,
    /// Another primary message.
    pub message: Option<&'a str>,
    /// DETAIL, if the error has none.
    pub detail: Option<&'a str>,
    /// HINT, if the error has none.
    pub hint: Option<&'a str>,
    /// Another place in the statement's text.
    pub position: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::HEADER;

    #[test]
    fn a_report_reads_back() {
        let mut out = Vec::new();
        Report::error("25006", "no\0t now").with_detail(Some("because".into())).write(&mut out);
        let fields = ErrorFields::new(&out[HEADER..]);
        assert_eq!(fields.code(), b"25006");
        assert_eq!(fields.message(), b"not now");
        assert_eq!(fields.get(b'D'), Some(&b"because"[..]));
        assert_eq!(fields.get(b'H'), None);
        assert!(!fields.is_fatal());
    }

    #[test]
    fn detail_is_added_after_the_message_and_only_if_there_is_none() {
        let mut first = Vec::new();
        Report::error("25006", "m").write(&mut first);
        let mut second = Vec::new();
        let change = Change { detail: Some("d"), hint: Some("h"), ..Change::default() };
        ErrorFields::new(&first[HEADER..]).write_with(&mut second, &change);
        let codes: Vec<u8> = ErrorFields::new(&second[HEADER..]).iter().map(|(c, _)| c).collect();
        assert_eq!(codes, b"SVCMDH");
        let mut third = Vec::new();
        ErrorFields::new(&second[HEADER..]).write_with(&mut third, &Change { detail: Some("x"), ..change });
        assert_eq!(ErrorFields::new(&third[HEADER..]).get(b'D'), Some(&b"d"[..]));
    }

    #[test]
    fn malformed_fields_read_as_absent() {
        assert_eq!(ErrorFields::new(b"Cabc").get(b'C'), None);
        assert_eq!(ErrorFields::new(b"").code(), b"");
    }
}
