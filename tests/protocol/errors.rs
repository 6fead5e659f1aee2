//! Errors are PostgreSQL's: their texts, SQLSTATEs and severities, at the moment PostgreSQL would tell of them.

use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::{SOON, Stand, ask, login, refusal};

/// All fields but the place in PostgreSQL's source.
fn said(fields: Vec<(char, String)>) -> Vec<(char, String)> {
    fields.into_iter().filter(|(letter, _)| !"FLR".contains(*letter)).collect()
}

/// Frames, errors by their fields as of [`said`].
pub fn heard(frames: &[Frame]) -> Vec<String> {
    let one = |frame: &Frame| match frame.tag {
        b'E' => format!("{:?}", said(frame.error_fields().into_iter().collect())),
        _ => format!("{frame:?}"),
    };
    frames.iter().map(one).collect()
}

#[test]
fn a_log_in_is_refused_as_the_server_does() {
    let tables = "[databases.there]\n[databases.gone]\n";
    let stand = Stand::new("", tables, &["there"]);
    let (proxy, server) = (stand.proxy.tcp(), stand.server());
    let wrong = Login::new("app", "there").password("wrong");
    let nobody = Login::new("nobody", "there").password("app");
    for login in [&wrong, &nobody] {
        assert_eq!(said(refusal(&proxy, login)), said(refusal(&server, login)), "{login:?}");
    }
    // Known to the proxy, not to the server; and to neither.
    for database in ["gone", "unheard-of"] {
        let login = login(database, &[]);
        let began = Instant::now();
        let refused = refusal(&proxy, &login);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let right = refusal(&server, &login);
        assert_eq!(said(refused.clone()), said(right.clone()), "{database}");
        if database == "gone" {
            assert_eq!(refused, right, "the server's own, to the last field");
        }
    }
    // What has failed is not remembered.
    stand.cluster.primary().psql("CREATE DATABASE gone").unwrap();
    let mut now = Raw::connect(&proxy, &login("gone", &[])).expect("the database is there");
    assert_eq!(ask(&mut now, "SELECT current_database()"), "gone");
    let stranger = Login::new("stranger", "there").password("stranger");
    assert_eq!(said(refusal(&proxy, &stranger)), said(refusal(&server, &stranger)));
    stand.cluster.primary().psql("CREATE ROLE stranger LOGIN PASSWORD 'stranger'").unwrap();
    let mut now = Raw::connect(&proxy, &stranger).expect("the role is there");
    assert_eq!(ask(&mut now, "SELECT current_user"), "stranger");
}

#[test]
fn errors_of_the_extended_protocol_are_errors_and_leave_the_session_alive() {
    let stand = Stand::shared();
    let (parse, bind, execute, sync) = (message::parse, message::bind, message::execute, message::sync);
    let steps: [(&str, Vec<Vec<u8>>); 9] = [
        ("a statement", vec![parse("mine", "SELECT 1", &[]), sync()]),
        ("the same name again", vec![parse("mine", "SELECT 2", &[]), bind("", "mine", &[]), execute("", 0), sync()]),
        ("the first still stands", vec![bind("", "mine", &[]), execute("", 0), sync()]),
        ("an unknown statement", vec![bind("", "nobody's", &[]), execute("", 0), sync()]),
        ("no unnamed statement", vec![bind("", "", &[]), execute("", 0), sync()]),
        ("an unknown portal", vec![execute("nowhere", 0), sync()]),
        ("an unknown statement described", vec![message::describe_statement("nobody's"), sync()]),
        ("an unknown portal described", vec![message::describe_portal("nowhere"), sync()]),
        ("a parameter too few", vec![parse("", "SELECT $1::int", &[]), bind("", "", &[]), execute("", 0), sync()]),
    ];
    for database in ["errors", "errors_session"] {
        let mut direct = Raw::connect(&stand.server(), &login("errors", &[])).unwrap();
        let mut proxied = Raw::connect(&stand.proxy.tcp(), &login(database, &[])).unwrap();
        for (what, messages) in &steps {
            let right = direct.round_trip(&messages.concat(), SOON).unwrap();
            let answer = proxied.round_trip(&messages.concat(), SOON).unwrap();
            assert_eq!(heard(&answer), heard(&right), "{what}, in {database}");
        }
        assert_eq!(ask(&mut proxied, "SELECT 1"), "1");
    }
}
