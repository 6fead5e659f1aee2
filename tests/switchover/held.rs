//! Writes that come at the very moment at which a gate opens behind which writes wait.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::stand::{Answer, LONG, Stand, ask};

/// A block was begun while the gate was closed, so that its server connection reads only, and its first write comes once it is open.
#[test]
fn a_block_begun_behind_a_gate_that_held_writes_may_write_once_it_is_open() {
    let stand = Stand::new();
    let mut id = 0;
    for before in [
        "BEGIN",
        "BEGIN; SELECT count(*) FROM t",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN; SET LOCAL work_mem = '3MB'",
    ] {
        for extended in [false, true] {
            id += 1;
            stand.command("MAINTENANCE ON app WITH (writes hold)").fine();
            let mut client = stand.client("app");
            for one in before.split("; ") {
                ask(&mut client, one).fine();
            }
            stand.command("MAINTENANCE OFF app").fine();
            let insert = format!("INSERT INTO written VALUES ({id})");
            if extended {
                let batch = [
                    message::parse("", &insert, &[]),
                    message::bind("", "", &[]),
                    message::execute("", 0),
                    message::sync(),
                ];
                client.send(&batch.concat()).unwrap();
                let answer = Answer::of(&client.frames_until_ready(LONG).unwrap());
                assert_eq!(answer.sqlstate, "", "{before}: {} {}", answer.message, answer.detail);
            } else {
                let answer = ask(&mut client, &insert);
                assert_eq!(answer.sqlstate, "", "{before}: {} {}", answer.message, answer.detail);
            }
            if before.contains("work_mem") {
                assert_eq!(ask(&mut client, "SHOW work_mem").fine().rows, [["3MB"]]);
            }
            ask(&mut client, "COMMIT").fine();
            assert_eq!(stand.ids(0).last(), Some(&id), "{before}");
        }
    }
    // Where writes were refused, the block stays what it was begun as.
    stand.command("MAINTENANCE ON app").fine();
    let mut client = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app")).unwrap();
    ask(&mut client, "BEGIN").fine();
    ask(&mut client, "SELECT 1").fine();
    stand.command("MAINTENANCE OFF app").fine();
    assert_eq!(ask(&mut client, "INSERT INTO written VALUES (0)").sqlstate, "25006");
}

/// Its settings go ahead of a block on a server connection that has others; the block can be begun anew all the same.
#[test]
fn a_block_whose_settings_were_sent_ahead_of_it_is_held_as_any_other() {
    let stand = Stand::new();
    let mut client = stand.client("app");
    ask(&mut client, "SET work_mem = '3MB'").fine();
    for id in 1..=3 {
        stand.command("RECONNECT app").fine();
        ask(&mut client, "BEGIN").fine();
        stand.command("MAINTENANCE ON app WITH (writes hold)").fine();
        client.send(&message::query(&format!("INSERT INTO written VALUES ({id})"))).unwrap();
        stand.command("MAINTENANCE OFF app").fine();
        let answer = Answer::of(&client.frames_until_ready(LONG).unwrap());
        assert_eq!(answer.sqlstate, "", "{} {}", answer.message, answer.detail);
        ask(&mut client, "COMMIT").fine();
    }
    assert_eq!(stand.ids(0), [1, 2, 3]);
}
