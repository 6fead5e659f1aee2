//! CKAN: a data portal whose several databases are read while they are copied, and whose name leads to the copy for the time of a
//! migration.

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Proxy, Raw, wait};

use crate::stand::{SOON, client, cluster, config, console, proxy_with, raw, refusal, rows, table};

const SUM: &str = "select md5(string_agg(t::text, ',' order by n)) from t";
const WRITE: &str = "insert into t values ((select max(n) + 1 from t))";

/// The portal's name, and where it leads.
fn portal(at: &str) -> String {
    config(
        "",
        &format!(
            "[databases.catalogue]\ndbname = \"{at}\"\n[databases.datapusher]\ndbname = \"ckan_store\"\n\
             [databases.ckan_a]\n[databases.ckan_b]\n"
        ),
    )
}

/// A database of the portal, with that many rows.
fn make(name: &str, rows_of_it: usize) {
    let primary = cluster().primary();
    rows(&mut primary.connect("postgres", "postgres").unwrap(), &format!("create database {name}"));
    let mut it = primary.connect("postgres", name).unwrap();
    rows(&mut it, "create table t (n int); grant all on t to app");
    rows(&mut it, &format!("insert into t select generate_series(1, {rows_of_it})"));
}

fn sum(name: &str) -> String {
    rows(&mut cluster().primary().connect("postgres", name).unwrap(), SUM)[0][0].clone().unwrap()
}

fn count(reader: &mut Raw) -> String {
    rows(reader, "select count(*) from t")[0][0].clone().unwrap()
}

fn lead(proxy: &mut Proxy, admin: &mut Raw, at: &str) {
    proxy.reconfigure(&portal(at)).unwrap();
    rows(admin, "RELOAD");
}

/// Writes until it is refused; how many were acknowledged, and with which DETAIL it ended.
fn write_until_refused(mut writer: Raw) -> (Raw, usize, String) {
    for written in 0.. {
        let frames = writer.round_trip(&query(WRITE), SOON).unwrap();
        if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
            let fields = error.error_fields();
            assert_eq!(fields[&'C'], "25006");
            return (writer, written, fields[&'D'].clone());
        }
    }
    unreachable!("a writer goes on until it is refused")
}

#[test]
fn ckan_closes_all_databases_at_one_moment_and_migrates_one_behind_its_copy() {
    make("ckan_a", 3);
    make("ckan_store", 1);
    let mut proxy = proxy_with(&portal("ckan_a"));
    let mut admin = console(&proxy);
    let mut reader = raw(&proxy, "app", "catalogue");
    let writers = ["catalogue", "datapusher"].map(|name| {
        let mut writer = raw(&proxy, "app", name);
        rows(&mut writer, WRITE);
        std::thread::spawn(move || write_until_refused(writer))
    });
    wait::until(SOON, "some rows", || (count(&mut reader).parse::<usize>().unwrap() > 20).then_some(()));
    rows(&mut client(&proxy), "select 1");

    // 1: one moment for all of them.
    let closed = table(&mut admin, "MAINTENANCE ON * WITH (message 'moving house')");
    let sums = ["ckan_a", "ckan_store"].map(sum);
    for name in ["catalogue", "datapusher", "app"] {
        assert_eq!(closed.value(&[("database", name)], "mode"), "read_only");
        assert_ne!(closed.value(&[("database", name)], "quiesced_lsn"), "");
    }
    let [(mut editor, of_a, why), (mut pusher, of_store, _)] = writers.map(|writer| writer.join().unwrap());
    assert!(why.contains("moving house"), "{why}");
    assert_eq!(count(&mut reader), (3 + 1 + of_a).to_string(), "what was acknowledged is there");
    assert_eq!(count(&mut pusher), (1 + 1 + of_store).to_string());

    // 2 and 3: a copy, and readers on it.
    make("ckan_b", 3 + 1 + of_a);
    assert_eq!(["ckan_a", "ckan_store"].map(sum), sums, "the snapshot is of one moment");
    lead(&mut proxy, &mut admin, "ckan_b");
    let place = |session: &mut Raw| rows(session, "select current_database()")[0][0].clone().unwrap();
    assert_eq!((place(&mut reader).as_str(), place(&mut editor).as_str()), ("ckan_b", "ckan_b"));
    assert_eq!(count(&mut reader), (3 + 1 + of_a).to_string());
    let (back, written, why) = write_until_refused(editor);
    editor = back;
    assert!(written == 0 && why.contains("moving house"), "{written}: {why}");
    let mut operator = raw(&proxy, "op", "ckan_a");
    rows(&mut operator, "alter table t add column title text default 'migrated'");
    lead(&mut proxy, &mut admin, "ckan_a");
    assert_eq!(rows(&mut reader, "select title from t limit 1")[0][0].as_deref(), Some("migrated"));
    assert_eq!(refusal(&mut editor, "create table more (n int)"), "25006");
    drop(operator);

    // 4: open again, by the sessions that were there all the time.
    rows(&mut admin, "MAINTENANCE OFF *");
    assert_eq!(sum("ckan_store"), sums[1]);
    rows(&mut editor, "insert into t (n) values (1000)");
    rows(&mut pusher, WRITE);
    for name in ["ckan_a", "ckan_b", "catalogue"] {
        assert_eq!(table(&mut admin, "SHOW MAINTENANCE").value(&[("database", name)], "mode"), "read_write");
    }
}
