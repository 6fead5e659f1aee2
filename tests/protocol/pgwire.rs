//! The `pgwire` crate as a referee: it was written by others from the same documentation, and has to read in what pgsluice writes
//! what was meant.

use bytes::BytesMut;
use pgsluice::protocol::frontend::Target;
use pgsluice::protocol::{Report, TxStatus, answer, backend, frontend};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::startup::{Authentication, SecretKey};
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};

/// What pgwire reads; nothing may be left.
fn backend(write: impl FnOnce(&mut Vec<u8>)) -> Vec<PgWireBackendMessage> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let mut bytes = BytesMut::from(&bytes[..]);
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(PgWireBackendMessage::decode(&mut bytes, &context).unwrap().expect("a whole message"));
    }
    all
}

fn frontend(write: impl FnOnce(&mut Vec<u8>)) -> Vec<PgWireFrontendMessage> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let mut bytes = BytesMut::from(&bytes[..]);
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(PgWireFrontendMessage::decode(&mut bytes, &context).unwrap().expect("a whole message"));
    }
    all
}

/// The only message.
macro_rules! one {
    ($all:expr, $kind:path) => {{
        let mut all = $all;
        assert_eq!(all.len(), 1, "{all:?}");
        match all.remove(0) {
            $kind(message) => message,
            other => panic!("{other:?}"),
        }
    }};
}

#[test]
fn errors_and_notices() {
    let report = Report::error("25006", "cannot execute INSERT in a read-only transaction")
        .with_detail(Some("database \"é\" is in maintenance".into()))
        .with_hint(Some("Wait.\nOr do not.".into()));
    let fields = |severity: &str| -> Vec<(u8, String)> {
        let field = |code: u8, text: &str| (code, text.to_owned());
        vec![
            field(b'S', severity),
            field(b'V', severity),
            field(b'C', "25006"),
            field(b'M', "cannot execute INSERT in a read-only transaction"),
            field(b'D', "database \"é\" is in maintenance"),
            field(b'H', "Wait.\nOr do not."),
        ]
    };
    let by_hand = |out: &mut Vec<u8>| report.write(out);
    assert_eq!(one!(backend(by_hand), PgWireBackendMessage::ErrorResponse).fields, fields("ERROR"));
    let by_pgwire = |out: &mut Vec<u8>| answer::report(out, &report);
    assert_eq!(one!(backend(by_pgwire), PgWireBackendMessage::ErrorResponse).fields, fields("ERROR"));
    let notice = Report { severity: pgsluice::protocol::Severity::Notice, ..report.clone() };
    let both = [backend(|out| notice.write(out)), backend(|out| answer::report(out, &notice))];
    for all in both {
        assert_eq!(one!(all, PgWireBackendMessage::NoticeResponse).fields, fields("NOTICE"));
    }
}

#[test]
fn both_ways_of_writing_an_error_give_the_same_bytes() {
    for text in ["plain", "with\0a NUL", "", "quotes \" and 'é'"] {
        let report = Report::fatal("57P01", text).with_hint(Some(text.into()));
        let (mut by_hand, mut by_pgwire) = (Vec::new(), Vec::new());
        report.write(&mut by_hand);
        answer::report(&mut by_pgwire, &report);
        assert_eq!(by_hand, by_pgwire, "{text:?}");
    }
}

#[test]
fn the_log_in() {
    assert!(matches!(
        one!(backend(backend::authentication_ok), PgWireBackendMessage::Authentication),
        Authentication::Ok
    ));
    let set = one!(
        backend(|out| backend::parameter_status(out, "DateStyle", "ISO, MDY")),
        PgWireBackendMessage::ParameterStatus
    );
    assert_eq!((set.name.as_str(), set.value.as_str()), ("DateStyle", "ISO, MDY"));
    let secret: Vec<u8> = (1..=32).collect();
    let key = one!(backend(|out| backend::backend_key(out, 4711, &secret)), PgWireBackendMessage::BackendKeyData);
    assert_eq!(key.pid, 4711);
    assert_eq!(key.secret_key.to_bytes(), secret);
    let key =
        one!(backend(|out| backend::backend_key(out, 1, &7_i32.to_be_bytes())), PgWireBackendMessage::BackendKeyData);
    assert!(key.secret_key.eq_value(&SecretKey::I32(7)));
}

#[test]
fn answers_of_our_own() {
    let columns = [("mode", 25, -1, false), ("n", 20, 8, true)];
    let description = one!(
        backend(|out| answer::row_description(
            out,
            columns.map(|(name, oid, size, binary)| answer::Column { name, oid, size, binary })
        )),
        PgWireBackendMessage::RowDescription
    );
    let fields: Vec<_> = description
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.table_id, f.column_id, f.type_id, f.type_size, f.type_modifier, f.format_code))
        .collect();
    assert_eq!(fields, [("mode", 0, 0, 25, -1, -1, 0), ("n", 0, 0, 20, 8, -1, 1)]);
    let row = one!(
        backend(|out| answer::data_row(out, [Some(&b"read_only"[..]), None, Some(b"")].into_iter())),
        PgWireBackendMessage::DataRow
    );
    assert_eq!(row.field_count, 3);
    assert_eq!(&row.data[..], b"\0\0\0\x09read_only\xff\xff\xff\xff\0\0\0\0");
    let tag = one!(backend(|out| answer::command_complete(out, "SHOW")), PgWireBackendMessage::CommandComplete);
    assert_eq!(tag.tag, "SHOW");
    let types = one!(
        backend(|out| answer::parameter_description(out, &[23, 4_000_000_000])),
        PgWireBackendMessage::ParameterDescription
    );
    assert_eq!(types.types, [23, 4_000_000_000]);
    for (status, read) in [
        (TxStatus::Idle, TransactionStatus::Idle),
        (TxStatus::Block, TransactionStatus::Transaction),
        (TxStatus::Failed, TransactionStatus::Error),
    ] {
        for all in [backend(|out| backend::ready(out, status)), backend(|out| answer::ready(out, status))] {
            assert_eq!(one!(all, PgWireBackendMessage::ReadyForQuery).status, read);
        }
    }
    let all = backend(|out| {
        answer::parse_complete(out);
        answer::bind_complete(out);
        answer::no_data(out);
        answer::empty_query(out);
        answer::portal_suspended(out);
        answer::close_complete(out);
        backend::parse_complete(out);
        backend::bind_complete(out);
        backend::close_complete(out);
        backend::command_complete(out, "INSERT 0 1");
    });
    use PgWireBackendMessage as B;
    assert!(
        matches!(
            &all[..],
            [
                B::ParseComplete(_),
                B::BindComplete(_),
                B::NoData(_),
                B::EmptyQueryResponse(_),
                B::PortalSuspended(_),
                B::CloseComplete(_),
                B::ParseComplete(_),
                B::BindComplete(_),
                B::CloseComplete(_),
                B::CommandComplete(_)
            ]
        ),
        "{all:?}"
    );
}

#[test]
fn messages_to_servers() {
    let query = one!(frontend(|out| frontend::write_query(out, b"SELECT 'a'")), PgWireFrontendMessage::Query);
    assert_eq!(query.query, "SELECT 'a'");
    let split =
        one!(frontend(|out| frontend::write_query_of(out, &[b"BEGIN;", b"SELECT 1"])), PgWireFrontendMessage::Query);
    assert_eq!(split.query, "BEGIN;SELECT 1");
    let oids = [23_u32.to_be_bytes(), 25_u32.to_be_bytes()].concat();
    let parse = one!(
        frontend(|out| frontend::write_parse(out, b"name", b"SELECT $1, $2", &oids)),
        PgWireFrontendMessage::Parse
    );
    assert_eq!(parse.name.as_deref(), Some("name"));
    assert_eq!((parse.query.as_str(), &parse.type_oids[..]), ("SELECT $1, $2", &[23, 25][..]));
    // Formats, values and result formats, as a client would send them.
    let rest = b"\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0";
    let bind =
        one!(frontend(|out| frontend::write_bind(out, b"portal", b"statement", rest)), PgWireFrontendMessage::Bind);
    assert_eq!((bind.portal_name.as_deref(), bind.statement_name.as_deref()), (Some("portal"), Some("statement")));
    assert_eq!((&bind.parameter_format_codes[..], &bind.result_column_format_codes[..]), (&[1][..], &[0][..]));
    let values: Vec<_> = bind.parameters.iter().map(|value| value.as_deref()).collect();
    assert_eq!(values, [Some(&b"abc"[..]), None]);
    let execute = one!(frontend(|out| frontend::write_execute(out, b"portal")), PgWireFrontendMessage::Execute);
    assert_eq!((execute.name.as_deref(), execute.max_rows), (Some("portal"), 0));
    let statement = Target::Statement(b"statement");
    let describe = one!(frontend(|out| frontend::write_target(out, b'D', statement)), PgWireFrontendMessage::Describe);
    assert_eq!((describe.target_type, describe.name.as_deref()), (b'S', Some("statement")));
    let close = one!(
        frontend(|out| frontend::write_target(out, b'C', Target::Portal(b"portal"))),
        PgWireFrontendMessage::Close
    );
    assert_eq!((close.target_type, close.name.as_deref()), (b'P', Some("portal")));
    let fail = one!(frontend(|out| frontend::write_copy_fail(out, "no more")), PgWireFrontendMessage::CopyFail);
    assert_eq!(fail.message, "no more");
    let all = frontend(|out| {
        frontend::write_sync(out);
        frontend::write_flush(out);
        frontend::write_terminate(out);
    });
    use PgWireFrontendMessage as F;
    assert!(matches!(&all[..], [F::Sync(_), F::Flush(_), F::Terminate(_)]), "{all:?}");
}
