//! SET ROLE and SET SESSION AUTHORIZATION: who a session is, and that nothing ever runs as somebody else.

use crate::stand::{Client, Place};

const WHO: &str = "SELECT session_user, current_user, current_setting('role')";

fn who(client: &mut Client) -> String {
    client.value(WHO)
}

/// alice may be a role of the test's own, bob may not.
fn roles(client: &mut Client, group: &str) {
    client.ask(&format!("DROP ROLE IF EXISTS {group}; CREATE ROLE {group}; GRANT {group} TO alice"));
}

#[test]
fn a_role_follows_its_session() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    roles(&mut one, "followed");
    one.ask("SET SESSION AUTHORIZATION alice");
    assert_eq!(who(&mut other), "dba|dba|none");
    assert_eq!(who(&mut one), "alice|alice|none");
    one.ask("SET ROLE followed");
    one.refused("SET ROLE bob");
    assert_eq!(who(&mut other), "dba|dba|none");
    assert_eq!(who(&mut one), "alice|followed|followed");
    // What only a superuser may set is set on the way from one to the other.
    other.ask("SET session_replication_role = replica");
    assert_eq!(who(&mut one), "alice|followed|followed");
    assert_eq!(one.value("SHOW session_replication_role"), "origin");
    assert_eq!(other.value("SHOW session_replication_role"), "replica");

    one.ask("BEGIN; SET SESSION AUTHORIZATION bob; ROLLBACK");
    assert_eq!(who(&mut other), "dba|dba|none");
    assert_eq!(who(&mut one), "alice|followed|followed");
    one.ask("RESET ALL");
    assert_eq!(who(&mut other), "dba|dba|none");
    assert_eq!(who(&mut one), "alice|followed|followed");
    one.ask("RESET SESSION AUTHORIZATION");
    assert_eq!(who(&mut other), "dba|dba|none");
    assert_eq!(who(&mut one), "dba|dba|none");
    assert!(place.pins().is_empty(), "{:?}", place.pins());
}

#[test]
fn a_role_that_cannot_be_taken_again_runs_nothing() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    roles(&mut one, "taken");
    one.ask("CREATE TABLE written (n int)");
    one.ask("SET SESSION AUTHORIZATION alice; SET ROLE taken");
    // The server connection is another's for a while, and alice loses the right.
    other.ask("REVOKE taken FROM alice");
    let refused = one.refused("INSERT INTO written VALUES (1)");
    assert!(refused.contains("permission denied to set role \"taken\""), "{refused}");
    assert_eq!(other.value("SELECT count(*) FROM written"), "0");
    // The session lives on, and may become somebody else.
    other.ask("GRANT taken TO alice");
    assert_eq!(who(&mut one), "alice|taken|taken");
    assert_eq!(who(&mut other), "dba|dba|none");
}
