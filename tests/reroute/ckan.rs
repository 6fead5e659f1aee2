//! CKAN's workflow for a migration that takes hours: close A, snapshot A; set up B from it, send A's traffic to B, migrate A, send the
//! traffic back to A, take B away; open A. No client is restarted, and readers see A's data, then B's, then A's migrated.

use crate::stand::{Stand, detail, fine, query, site, sqlstate};

/// A sum over all that the database holds.
const SUM: &str = "SELECT md5(string_agg(d::text, ',' ORDER BY d::text)) FROM (SELECT name FROM site) d";

#[test]
fn ckan() {
    let mut stand = Stand::new();
    let (mut reader, mut editor) = (stand.connect("app"), stand.connect("app"));
    fine(&mut editor, "UPDATE site SET name = 'portal'");

    // 1: close A. Readers go on, and who edits is told why.
    stand.console("MAINTENANCE ON app WITH (message 'the portal is being migrated')");
    assert_eq!(site(&mut reader), "portal");
    let refused = query(&mut editor, "UPDATE site SET name = 'edited'");
    assert_eq!(sqlstate(&refused), "25006");
    assert_eq!(detail(&refused), "database \"app\" is in maintenance: the portal is being migrated");

    // 2: snapshot A while reads go on: nothing changes in it.
    let first = stand.a.primary().psql_in("app", SUM).expect("a sum");
    let snapshot = stand.a.primary().psql_in("app", "SELECT name FROM site").expect("a snapshot");
    assert_eq!(site(&mut reader), "portal");
    assert_eq!(stand.a.primary().psql_in("app", SUM).expect("a sum"), first);

    // 3: set up B from it ...
    stand.b.primary().psql_in("app", &format!("UPDATE site SET name = '{}'", snapshot.trim())).expect("B is set up");
    assert_eq!(stand.b.primary().psql_in("app", SUM).expect("a sum"), first);
    // ... send A's traffic to B, to read only ...
    let moved = stand.console("REROUTE app TO b").concat();
    assert_eq!(moved[..5], ["app", "b", "app", "reject", "t"]);
    stand.b.primary().psql_in("app", "UPDATE site SET name = name || ' (copy)'").expect("a mark");
    assert_eq!(site(&mut reader), "portal (copy)");
    let refused = query(&mut editor, "UPDATE site SET name = 'edited'");
    assert_eq!(sqlstate(&refused), "25006");
    assert!(detail(&refused).ends_with("read-only copy: the portal is being migrated"), "{}", detail(&refused));
    // ... of which nothing is left on A ...
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    stand.a.primary().wait_until(sessions, "0", crate::stand::LONG).expect("nobody is on A");
    // ... migrate A, by hand and by way of pgsluice, through a restart of it ...
    let mut dba = stand.connect("dba");
    fine(&mut dba, "SET pgsluice.cluster = 'a'");
    fine(&mut dba, "ALTER TABLE site ADD COLUMN schema_version int DEFAULT 2");
    assert_eq!(site(&mut reader), "portal (copy)");
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("it starts");
    let (mut reader, mut editor, mut dba) = (stand.connect("app"), stand.connect("app"), stand.connect("dba"));
    assert_eq!(site(&mut reader), "portal (copy)");
    fine(&mut dba, "SET pgsluice.cluster = 'a'");
    fine(&mut dba, "UPDATE site SET name = 'portal, migrated'");
    // ... send the traffic back to A, which is still closed ...
    stand.console("REROUTE app BACK");
    assert_eq!(fine(&mut reader, "SELECT name, schema_version FROM site").concat(), ["portal, migrated", "2"]);
    assert_eq!(sqlstate(&query(&mut editor, "UPDATE site SET name = 'edited'")), "25006");
    // ... take B away.
    stand.b.primary().stop(pgsluice_fixtures::Mode::Fast).expect("B is away");
    assert_eq!(site(&mut reader), "portal, migrated");

    // 4: open A.
    stand.console("MAINTENANCE OFF app");
    fine(&mut editor, "UPDATE site SET name = 'edited'");
    assert_eq!(site(&mut reader), "edited");
}
