//! What a load balancer is told.

use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand};

#[test]
fn readiness_tells_reads_from_writes_for_each_database() {
    let stand = Stand::new("", "");
    let ask = |stand: &Stand, path: &str| stand.ask("GET", path, "", "Accept: application/json\r\n", "");
    wait::until(LONG, "ready", || (ask(&stand, "/readyz?for=writes").status == 200).then_some(()));
    assert_eq!(stand.ask("GET", "/readyz", "", "", "").body, "ok\n");
    // In maintenance reads go on: the proxy stays in service.
    stand.console("MAINTENANCE ON app");
    let closed = ask(&stand, "/readyz");
    assert_eq!(closed.status, 200);
    assert_eq!(closed.json()["databases"][0]["database"], "app");
    assert_eq!(closed.json()["databases"][0]["writes"]["reason"], "in maintenance");
    assert_eq!(closed.json()["databases"][0]["reads"]["ready"], true);
    assert_eq!(
        (ask(&stand, "/readyz?for=writes").status, ask(&stand, "/readyz?for=writes&database=other").status),
        (503, 200)
    );
    stand.console("OFFLINE app");
    assert_eq!(ask(&stand, "/readyz").status, 200, "nobody wants app to be read");
    assert_eq!(ask(&stand, "/readyz?database=app").status, 503);
    stand.console("ONLINE app");
    stand.console("MAINTENANCE OFF app");
    assert_eq!(ask(&stand, "/readyz?database=nosuch").status, 404);
    assert_eq!(ask(&stand, "/readyz?for=tea").status, 400);
    // Without the primary, replicas can be read.
    stand.cluster.primary().kill_9();
    let without = wait::until(LONG, "no writes", || {
        let answer = ask(&stand, "/readyz?for=writes");
        (answer.status == 503).then_some(answer)
    });
    assert!(without.json()["databases"].as_array().unwrap().len() == 2, "{without:?}");
    // Reads went to the primary; once the databases have closed by themselves, the replica serves them.
    wait::until(LONG, "reads from the replica", || (ask(&stand, "/readyz").status == 200).then_some(()));
    stand.cluster.replica(0).kill_9();
    wait::until(LONG, "no reads", || (ask(&stand, "/readyz").status == 503).then_some(()));
    assert!(stand.ask("GET", "/readyz", "", "", "").body.contains("app: reads: no server can be reached\n"));
}
