//! Session mode: the server connection is the client's own until it goes, and clean for the next.

use pgsluice_fixtures::{Login, Proxy, Raw, wait};

use crate::stand::{ADMIN, Config, PASSWORD, SOON, Stand, USER, binary, user_line};

fn ask(raw: &mut Raw, sql: &str) -> Result<String, String> {
    let results = raw.query(sql, SOON).map_err(|error| error.to_string())?;
    let last = results.into_iter().next_back().map(|result| result.rows).unwrap_or_default();
    let rows = last.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"));
    Ok(rows.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_session_keeps_its_state_and_leaves_none() {
    let stand = Stand::shared();
    let top = "pool_mode = \"session\"\ndefault_pool_size = 1\n";
    let config = Config { cluster: &stand.cluster, top, databases: &["app"] }.text();
    let users = user_line(USER, PASSWORD) + &user_line(ADMIN, "dba");
    let proxy = Proxy::builder(binary()).config(config).file("userlist.txt", users).start().unwrap();
    let login = Login::new(USER, "app").password(PASSWORD);
    let mut first = Raw::connect(&proxy.tcp(), &login).unwrap();
    ask(&mut first, "set work_mem = '3MB'; create temp table mine (n int); insert into mine values (7)").unwrap();
    ask(&mut first, "prepare seven as select 7; listen news; select pg_advisory_lock(1)").unwrap();
    ask(&mut first, "drop table if exists in_session; create table in_session (n int)").unwrap();
    let pid = ask(&mut first, "select pg_backend_pid()").unwrap();
    assert_eq!(ask(&mut first, "show work_mem").unwrap(), "3MB");
    assert_eq!(ask(&mut first, "execute seven").unwrap(), "7");

    let flip = |sql: &str| {
        let mut console = Raw::connect(&proxy.tcp(), &Login::new(ADMIN, "pgsluice").password("dba")).unwrap();
        ask(&mut console, sql).unwrap();
    };
    flip("MAINTENANCE ON app");
    let refused = ask(&mut first, "insert into in_session values (1)").unwrap_err();
    assert!(refused.contains("cannot execute INSERT in a read-only transaction"), "{refused}");
    assert_eq!(ask(&mut first, "select n from mine").unwrap(), "7");
    assert_eq!(ask(&mut first, "begin; insert into mine values (8); commit; select count(*) from mine").unwrap(), "2");
    let refused = ask(&mut first, "begin; set transaction read write; insert into in_session values (1)").unwrap_err();
    assert!(refused.contains("read-only") || refused.contains("read-write"), "{refused}");
    ask(&mut first, "rollback").unwrap();
    flip("MAINTENANCE OFF app");
    ask(&mut first, "insert into in_session values (2)").unwrap();
    assert_eq!(ask(&mut first, "select n from in_session").unwrap(), "2");
    assert_eq!(ask(&mut first, "select pg_backend_pid()").unwrap(), pid);
    drop(first);

    // There is one server connection: the next client gets that very one, or a new one in its place.
    let mut second = wait::until_ok(SOON, "a second client", || Raw::connect(&proxy.tcp(), &login));
    assert_eq!(ask(&mut second, "show work_mem").unwrap(), "4MB");
    assert!(ask(&mut second, "execute seven").unwrap_err().contains("26000"));
    assert!(ask(&mut second, "select * from mine").unwrap_err().contains("42P01"));
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    assert_eq!(ask(&mut second, locks).unwrap(), "0");
    assert_eq!(ask(&mut second, "select count(*) from pg_listening_channels()").unwrap(), "0");
    assert_eq!(ask(&mut second, "show default_transaction_read_only").unwrap(), "off");
    ask(&mut second, "insert into in_session values (3)").unwrap();
}
