//! server_fresh: in session mode nobody gets what another has used.

use crate::stand::{SOON, Stand};

#[test]
fn a_client_has_a_server_connection_of_its_own_if_that_is_wanted() {
    for fresh in [true, false] {
        let stand = Stand::start(&format!("pool_mode = \"session\"\ndefault_pool_size = 1\nserver_fresh = {fresh}"), 1);
        let mut first = stand.client("dba", "d0");
        // No reset takes it out again.
        first.ask("LOAD 'plpgsql'");
        let pid = first.value("SELECT pg_backend_pid()");
        assert_eq!(first.value("SELECT pg_backend_pid()"), pid);
        drop(first);
        let mut second = stand.client("dba", "d0");
        let used = second.value("SELECT pg_backend_pid()") == pid;
        // From PostgreSQL 15 on the library takes the names of its settings for itself.
        let known = second.0.query("SET plpgsql.nonsense = 1", SOON).is_err();
        assert_eq!((used, known), (!fresh, !fresh && stand.major() >= 15));
    }
}
