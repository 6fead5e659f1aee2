//! Fields in lines for people: `message name=value name="a value"`, each value such that it cannot be taken for more than one.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// See the module.
pub struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn put(&mut self, field: &Field, value: &str) {
        if self.result.is_err() {
            return;
        }
        let space = if std::mem::take(&mut self.first) { "" } else { " " };
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{}", on_one_line(value)),
            name => write!(self.writer, "{space}{name}={value}"),
        };
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put(field, value);
        } else {
            self.put(field, &format!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" || is_bare(&text) {
            self.put(field, &text);
        } else {
            self.put(field, &format!("{text:?}"));
        }
    }
}

/// Whether a value ends where the next blank is.
pub(super) fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\'))
}

/// The text without what ends a line, moves a terminal's cursor or turns the direction of reading.
pub(super) fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_target(false).without_time().fmt_fields(Fields);
        tracing::subscriber::with_default(logs.with_writer(move || writer.clone()).finish(), log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn no_value_can_be_taken_for_a_line_or_another_field() {
        let name = "x\nERROR forged\u{1b}[2J user=root";
        let said =
            logged(|| tracing::info!(event = "log_in", user = %name, text = name, age_ms = 5_u64, "said: {name}"));
        assert_eq!(
            said,
            " INFO said: x\\nERROR forged\\u{1b}[2J user=root event=\"log_in\" \
             user=\"x\\nERROR forged\\u{1b}[2J user=root\" text=\"x\\nERROR forged\\u{1b}[2J user=root\" age_ms=5\n"
        );
        let quoted = logged(|| tracing::info!(user = %"\"a\" admin=true", turned = %"a\u{202e}b", none = %"", "m"));
        assert_eq!(quoted, " INFO m user=\"\\\"a\\\" admin=true\" turned=\"a\\u{202e}b\" none=\"\"\n");
        let plain = logged(|| tracing::warn!(client = %"127.0.0.1:5", user = %"app", error = %"it's gone", "no \"x\""));
        assert_eq!(plain, " WARN no \"x\" client=127.0.0.1:5 user=app error=\"it's gone\"\n");
    }
}
