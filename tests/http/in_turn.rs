//! The gate is moved over the API, by the page, from the command line and in SQL, one after the other. Whoever has moved it, all four
//! show the same mode and the same epoch.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pgsluice_fixtures::drivers;
use pgsluice_fixtures::proxy::binary;
use serde_json::Value;

use crate::stand::{OPERATE, Stand};

const MAINTENANCE: &str = "/v1/databases/app/maintenance";

/// A browser with the page, signed in.
struct Page {
    node: Child,
    say: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Page {
    fn open(stand: &Stand) -> Option<Self> {
        let (browser, modules) = drivers::browser().map_err(|why| eprintln!("SKIPPED: no browser: {why}")).ok()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/in_turn.js");
        let mut node = Command::new("node")
            .arg(script)
            .env("NODE_PATH", modules.join("node_modules"))
            .env("BROWSER", browser)
            .env("PAGE", format!("http://localhost:{}/", stand.http_port()))
            .env("OPERATE", OPERATE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let (say, told) = (node.stdin.take().unwrap(), BufReader::new(node.stdout.take().unwrap()).lines());
        let mut page = Self { node, say, told };
        assert_eq!(page.answer(), "ready");
        Some(page)
    }

    /// Has it done, and gives what the script answers.
    fn ask(&mut self, what: &str) -> String {
        writeln!(self.say, "{what}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        self.told.next().expect("an answer").unwrap()
    }
}

/// `pgsluice maintenance …`
fn cli(stand: &Stand, args: &[&str]) -> String {
    let url = format!("postgres://dba@127.0.0.1:{}/pgsluice", stand.proxy.port());
    let output = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .arg("maintenance")
        .args(args)
        .env("PGSLUICE_ADMIN", url)
        .env("PGPASSWORD", "dba")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Mode and epoch as each of them shows them.
fn shown(stand: &Stand, page: Option<&mut Page>, mode: &str) -> Vec<(&'static str, String, u64)> {
    let api: Value = stand.get("/v1/databases/app").json();
    let status: Value = serde_json::from_str(&cli(stand, &["status", "app", "--output", "json"])).unwrap();
    let status = status.as_array().map_or(&status, |all| &all[0]);
    let of_json = |value: &Value| {
        let epoch = &value["epoch"];
        let epoch = epoch.as_u64().or_else(|| epoch.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value}"));
        (value["mode"].as_str().unwrap().to_owned(), epoch)
    };
    let mut app = stand.connect("app", "app");
    let mut sql = |name: &str| {
        let results = app.query(&format!("SHOW pgsluice.{name}"), crate::stand::LONG).unwrap();
        results[0].rows[0][0].clone().unwrap()
    };
    let ((api_mode, api_epoch), (cli_mode, cli_epoch)) = (of_json(&api), of_json(status));
    let mut all = vec![
        ("API", api_mode, api_epoch),
        ("command line", cli_mode, cli_epoch),
        ("SQL", sql("mode"), sql("epoch").parse().unwrap()),
    ];
    if let Some(page) = page {
        let epoch = page.ask(&format!("epoch {mode}"));
        all.push(("page", mode.to_owned(), epoch.parse().unwrap_or_else(|_| panic!("{epoch}"))));
    }
    all
}

#[test]
fn whoever_moves_the_gate_all_show_the_same_epoch() {
    let stand = Stand::new("", "");
    let mut page = Page::open(&stand);
    let mut before = 0;
    for way in ["API", "page", "command line", "SQL"] {
        for mode in ["read_only", "read_write"] {
            let closes = mode == "read_only";
            match way {
                "API" => {
                    let method = if closes { "PUT" } else { "DELETE" };
                    let moved = stand.command(method, &format!("{MAINTENANCE}?wait=20s"), "");
                    assert_eq!(moved.status, 200, "{moved:?}");
                }
                "page" => match &mut page {
                    Some(page) => assert_eq!(page.ask(if closes { "close" } else { "open" }), "done"),
                    None => continue,
                },
                "command line" => _ = cli(&stand, &[if closes { "on" } else { "off" }, "app"]),
                _ => _ = stand.console(&format!("MAINTENANCE {} app", if closes { "ON" } else { "OFF" })),
            }
            let all = shown(&stand, page.as_mut(), mode);
            let epoch = all[0].2;
            assert!(all.iter().all(|one| one.1 == mode && one.2 == epoch), "after {mode} by {way}: {all:?}");
            assert!(epoch > before, "{way}: {epoch} after {before}");
            before = epoch;
        }
    }
    if let Some(mut page) = page {
        assert_eq!(page.ask("end"), "done");
        assert!(page.node.wait().unwrap().success());
    }
}
