//! A database that has closed by itself: the API says why, and health tells it from a maintenance.

use pgsluice_fixtures::wait;
use serde_json::Value;

use crate::stand::{LONG, Stand};

fn wait_for(stand: &Stand, mode: &str, cause: Option<&str>) -> Value {
    wait::until(LONG, &format!("{mode} {cause:?}"), || {
        let database = stand.get("/v1/databases/app").json();
        (database["mode"] == mode && database["cause"].as_str() == cause).then_some(database)
    })
}

#[test]
fn a_database_that_has_closed_by_itself_says_why_and_no_command_opens_it() {
    let stand = Stand::new("", "");
    let by_superuser = |sql: &str| stand.cluster.primary().psql_in("postgres", sql).unwrap();
    let ready = |path: &str| stand.ask("GET", path, "", "", "");
    wait_for(&stand, "read_write", None);
    let mut app = stand.connect("app", "app");
    app.query("SELECT 1", LONG).unwrap();
    by_superuser("ALTER DATABASE app SET default_transaction_read_only = on");
    let closed = wait_for(&stand, "read_only", Some("own_setting"));
    assert!(closed["reason"].as_str().unwrap().contains("default_transaction_read_only"), "{closed}");
    assert_eq!((&closed["maintenance"], &closed["by"]["user"]), (&false.into(), &"pgsluice".into()));
    let status = stand.get("/v1/status?database=app").json();
    assert_eq!(
        (&status["databases"][0]["database"], &status["databases"][0]["cause"]),
        (&"app".into(), &"own_setting".into())
    );
    assert_eq!((&status["selected"]["cause"], &status["selected"]["reason"]), (&closed["cause"], &closed["reason"]));
    assert_eq!(ready("/readyz?database=app").status, 200, "it can be read");
    let writes = ready("/readyz?for=writes");
    assert!(
        writes.status == 503 && writes.body.contains("app: writes: ") && writes.body.contains("read-only"),
        "{writes:?}"
    );

    assert_eq!(stand.command("PUT", "/v1/databases/app/maintenance?wait=30s", "{}").status, 200);
    wait_for(&stand, "read_only", Some("command"));
    assert_eq!(stand.command("DELETE", "/v1/databases/app/maintenance?wait=30s", "").status, 200);
    wait_for(&stand, "read_only", Some("own_setting"));
    by_superuser("ALTER DATABASE app RESET default_transaction_read_only");
    assert!(wait_for(&stand, "read_write", None)["reason"].is_null());

    stand.cluster.primary().kill_9();
    let lost = wait_for(&stand, "read_only", Some("primary_lost"));
    assert!(lost["reason"].as_str().unwrap().contains("the primary has been lost since"), "{lost}");
    assert_eq!(ready("/readyz").status, 200, "{:?}", ready("/readyz"));
    stand.cluster.replica(0).kill_9();
    wait_for(&stand, "offline", Some("primary_lost"));
    // It is offline, and by nobody's wish.
    assert_eq!((ready("/readyz").status, ready("/readyz?database=app").status), (503, 503));
}
