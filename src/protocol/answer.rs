//! Answers that pgsluice makes up itself: on the console, and to `SHOW pgsluice.mode` and its like. They are put together with the
//! messages of the `pgwire` crate, which are only written here: nothing that a peer sends is ever decoded with them.

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{self, FieldDescription};
use pgwire::messages::extendedquery;
use pgwire::messages::response::{self, TransactionStatus};

use super::{Report, Severity, TxStatus};

/// A column of such an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type's OID.
    pub oid: u32,
    /// Its type's length, -1 where that varies.
    pub size: i16,
    /// Whether its values are in binary form.
    pub binary: bool,
}

/// Appends a message. One that is larger than the protocol allows is left out whole.
fn put(out: &mut impl BufMut, message: &impl Message) {
    let mut bytes = BytesMut::with_capacity(message.message_length().saturating_add(1));
    if message.encode(&mut bytes).is_ok() {
        out.put_slice(&bytes);
    }
}

/// A text without what would end it early.
fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "")
}

fn count(number: usize) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// RowDescription.
pub fn row_description<'a>(out: &mut impl BufMut, columns: impl IntoIterator<Item = Column<'a>>) {
    let field = |column: Column<'_>| {
        let format = if column.binary { data::FORMAT_CODE_BINARY } else { data::FORMAT_CODE_TEXT };
        // Of no table, and without a modifier.
        FieldDescription::new(string(column.name.as_bytes()), 0, 0, column.oid, column.size, -1, format)
    };
    put(out, &data::RowDescription::new(columns.into_iter().map(field).collect()));
}

/// DataRow; None for NULL.
pub fn data_row<V: AsRef<[u8]>>(out: &mut impl BufMut, values: impl ExactSizeIterator<Item = Option<V>>) {
    let number = count(values.len());
    let mut fields = BytesMut::new();
    for value in values {
        match value {
            None => fields.put_i32(-1),
            Some(value) => {
                fields.put_i32(i32::try_from(value.as_ref().len()).unwrap_or(i32::MAX));
                fields.put_slice(value.as_ref());
            }
        }
    }
    put(out, &data::DataRow::new(fields, number));
}

/// ParameterDescription of type OIDs.
pub fn parameter_description(out: &mut impl BufMut, oids: &[u32]) {
    put(out, &data::ParameterDescription::new(oids.to_vec()));
}

/// NoData.
pub fn no_data(out: &mut impl BufMut) {
    put(out, &data::NoData::new());
}

/// ParseComplete.
pub fn parse_complete(out: &mut impl BufMut) {
    put(out, &extendedquery::ParseComplete::new());
}

/// BindComplete.
pub fn bind_complete(out: &mut impl BufMut) {
    put(out, &extendedquery::BindComplete::new());
}

/// CloseComplete.
pub fn close_complete(out: &mut impl BufMut) {
    put(out, &extendedquery::CloseComplete::new());
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut impl BufMut) {
    put(out, &extendedquery::PortalSuspended::new());
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut impl BufMut) {
    put(out, &response::EmptyQueryResponse::new());
}

/// CommandComplete.
pub fn command_complete(out: &mut impl BufMut, tag: &str) {
    put(out, &response::CommandComplete::new(tag.to_owned()));
}

/// ReadyForQuery.
pub fn ready(out: &mut impl BufMut, status: TxStatus) {
    let status = match status {
        TxStatus::Idle => TransactionStatus::Idle,
        TxStatus::Block => TransactionStatus::Transaction,
        TxStatus::Failed => TransactionStatus::Error,
    };
    put(out, &response::ReadyForQuery::new(status));
}

/// ErrorResponse or NoticeResponse, by the severity.
pub fn report(out: &mut impl BufMut, report: &Report) {
    let fields = report.fields().map(|(code, value)| (code, string(value))).collect();
    match report.severity {
        Severity::Error | Severity::Fatal => put(out, &response::ErrorResponse::new(fields)),
        Severity::Warning | Severity::Notice => put(out, &response::NoticeResponse::new(fields)),
    }
}
