//! The status page in a browser: signing in, a flip, a drain watched and cancelled, a wrong token, a server that goes and comes back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use pgsluice_fixtures::drivers;

use crate::stand::{LONG, OPERATE, READ, Stand};

fn by_superuser(stand: &Stand, sql: &str) {
    stand.cluster.primary().psql_in("postgres", sql).unwrap();
}

/// The script tells what it wants to happen to the server, one word in a line, and is told when it has.
#[test]
fn a_maintenance_from_the_status_page() {
    let (browser, modules) = match drivers::browser() {
        Ok(found) => found,
        Err(why) => {
            eprintln!("SKIPPED: the status page was not tried in a browser: {why}");
            return;
        }
    };
    let mut stand = Stand::with("", "banner_public = true", "[databases.app]\n[databases.other]\n", "");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/journey.js");
    let mut node = Command::new("node")
        .arg(script)
        .env("NODE_PATH", modules.join("node_modules"))
        .env("BROWSER", browser)
        .env("PAGE", format!("http://localhost:{}/", stand.http_port()))
        .env("READ", READ)
        .env("OPERATE", OPERATE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let mut say = node.stdin.take().unwrap();
    let mut app = None;
    let mut lines = Vec::new();
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.as_str() {
            "begin" => {
                let mut raw = stand.connect("app", "app");
                raw.query("SET application_name = 'shop'", LONG).unwrap();
                raw.query("BEGIN; INSERT INTO t VALUES (1, 'my-secret-word')", LONG).unwrap();
                app = Some(raw);
            }
            "commit" => drop(app.as_mut().unwrap().query("COMMIT", LONG).unwrap()),
            "write" => {
                for n in 0..7 {
                    app.as_mut()
                        .unwrap()
                        .query(&format!("INSERT INTO t VALUES ({n}, 'my-secret-word')"), LONG)
                        .unwrap_err();
                }
            }
            "degrade" => {
                let mut raw = stand.connect("app", "app");
                raw.query("SELECT 1", LONG).unwrap();
                app = Some(raw);
                by_superuser(&stand, "ALTER DATABASE app SET default_transaction_read_only = on");
            }
            "recover" => by_superuser(&stand, "ALTER DATABASE app RESET default_transaction_read_only"),
            "stop" => stand.proxy.kill_9(),
            "start" => stand.proxy.start_again().unwrap(),
            _ => {
                println!("{line}");
                lines.push(line);
                continue;
            }
        }
        writeln!(say, "done").unwrap();
    }
    assert!(node.wait().unwrap().success(), "{lines:#?}");
    assert_eq!(stand.console("SHOW MAINTENANCE app")[0][1].as_deref(), Some("read_write"));
}
