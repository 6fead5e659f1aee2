//! Queues: jobs wait while the gate is closed, none fails, and all are done afterwards.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pgsluice_fixtures::drivers;

use crate::had;
use crate::stand::{Running, Stand};

/// For how long nothing may be done.
const WHILE: Duration = Duration::from_secs(3);

/// `sent` gives a job of that name to the queue, by its name.
fn paused(stand: &Stand, mut sent: impl FnMut(&str)) {
    sent("one");
    stand.wait_for_items("one");
    stand.console("MAINTENANCE ON app");
    sent("two");
    std::thread::sleep(WHILE);
    assert_eq!(stand.items(), "one");
    stand.console("MAINTENANCE OFF app");
    stand.wait_for_items("one two");
    sent("three");
    stand.wait_for_items("one three two");
}

#[test]
fn celery_puts_tasks_back() {
    let Some(python) = had("Celery", drivers::python_with_frameworks()) else { return };
    let stand = Stand::start();
    stand.printed("celery_app.py");
    let (broker, sent) = (stand.proxy.dir().join("broker"), stand.proxy.dir().join("sent"));
    for folder in [&broker, &sent] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let command = |out: &Path| {
        let options = serde_json::json!({ "data_folder_in": broker, "data_folder_out": out, "control_folder": broker });
        let mut command = stand.command(&python);
        command.envs([("BROKER", "filesystem://"), ("BROKER_OPTIONS", &options.to_string()), ("PAUSE", "1")]);
        command
    };
    let mut worker = command(&broker);
    worker.args([
        "-m",
        "celery",
        "-A",
        "celery_app",
        "worker",
        "--pool",
        "solo",
        "--without-mingle",
        "--without-gossip",
    ]);
    let _worker = Running::start(worker.args(["--loglevel", "warning"]));
    paused(&stand, |name| {
        let script = format!("import celery_app; celery_app.save.delay({name:?})");
        assert!(command(&sent).args(["-c", &script]).status().unwrap().success());
        // A worker that finds the file of a message before it is written gives up.
        for message in std::fs::read_dir(&sent).unwrap() {
            let message = message.unwrap();
            std::fs::rename(message.path(), broker.join(message.file_name())).unwrap();
        }
    });
}

#[test]
fn pg_boss_asks_again() {
    let Some(folder) = had("pg-boss", drivers::node_with_frameworks()) else { return };
    let stand = Stand::start();
    let mut boss = node(&stand, &folder, "pgboss_app.js");
    let mut boss = Running::start(&mut boss);
    let mut send = boss.stdin.take().unwrap();
    paused(&stand, |name| writeln!(send, "{name}").unwrap());
}

#[test]
fn graphile_worker_is_stopped_and_started() {
    let Some(folder) = had("graphile-worker", drivers::node_with_frameworks()) else { return };
    let stand = Stand::start();
    let mut command = node(&stand, &folder, "graphile_app.js");
    let mut worker = Running::start(&mut command);
    // A job that is added while graphile-worker still builds its schema can fail on tables that it drops.
    worker.wait_for_line("running");
    // Jobs come from elsewhere, and straight from the server: the worker's pause is what is looked at.
    paused(&stand, |name| {
        let sql = format!("SELECT graphile_worker.add_job('save', json_build_object('name', '{name}'))");
        stand.cluster.primary().psql_in("app", &sql).unwrap();
    });
}

fn node(stand: &Stand, folder: &Path, name: &str) -> Command {
    let mut command = stand.command("node");
    command.env("NODE_PATH", folder.join("node_modules")).arg(stand.printed(name));
    command
}
