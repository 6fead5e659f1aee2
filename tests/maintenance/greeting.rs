//! Who first logs in during a maintenance is like anybody else once it is over.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::raw::Raw;

fn told(raw: &Raw) -> Option<&str> {
    raw.parameters().get("default_transaction_read_only").map(String::as_str)
}

#[test]
fn a_role_that_was_first_seen_in_maintenance_writes_after_it() {
    let stand = Stand::new("");
    stand.on();
    let mut early = stand.app();
    assert_eq!(told(&early), Some("on"));
    assert_eq!(sqlstate(&query(&mut early, "CREATE TABLE made (n int)")), "25006");
    stand.off();
    let mut late = stand.app();
    assert_eq!(told(&late), Some("off"));
    for (raw, table) in [(&mut early, "made_early"), (&mut late, "made_late")] {
        raw.query(&format!("CREATE TABLE {table} (n int)"), LONG).unwrap();
        let mode = raw.query("SHOW default_transaction_read_only", LONG).unwrap();
        assert_eq!(mode[0].rows[0][0].as_deref(), Some("off"));
    }
    assert_eq!(told(&early), Some("off"));
}
