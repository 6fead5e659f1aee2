//! What collectors of other houses ask PgBouncer, in their own words, and what they make of each column: Datadog's check
//! (`integrations-core`, its `metrics.py` and `pgbouncer.py`) and telegraf's input (`plugins/inputs/pgbouncer`). That of
//! prometheus-community is in `drivers`.

use pgsluice_fixtures::Proxy;

use crate::stand::{Named, client, config, proxy_with, raw, table};

/// The question, the columns that become tags, and those that become numbers; a collector of many versions leaves out what is not there.
struct Scope {
    query: &'static str,
    tags: &'static [&'static str],
    numbers: &'static [&'static str],
}

const DATADOG: &[Scope] = &[
    Scope {
        query: "SHOW STATS",
        tags: &["database"],
        numbers: &[
            "total_xact_count",
            "total_query_count",
            "total_received",
            "total_sent",
            "total_query_time",
            "total_xact_time",
            "total_wait_time",
            "avg_xact_count",
            "avg_query_count",
            "avg_wait_time",
            "avg_recv",
            "avg_sent",
            "avg_xact_time",
            "avg_query_time",
        ],
    },
    Scope {
        query: "SHOW POOLS",
        tags: &["database", "user"],
        numbers: &[
            "cl_active",
            "cl_waiting",
            "sv_active",
            "sv_idle",
            "sv_used",
            "sv_tested",
            "sv_login",
            "maxwait",
            "maxwait_us",
        ],
    },
    Scope {
        query: "SHOW DATABASES",
        tags: &["name"],
        numbers: &["pool_size", "max_connections", "current_connections"],
    },
    Scope { query: "SHOW CLIENTS", tags: &["database", "user", "state"], numbers: &["wait", "wait_us"] },
    Scope { query: "SHOW SERVERS", tags: &["database", "user", "state"], numbers: &[] },
];

/// PgBouncer's own manners, and pgsluice's.
fn both() -> [Proxy; 2] {
    ["", "pgbouncer_compatible = true"].map(|top| proxy_with(&config(top, "")))
}

fn cells<'t>(table: &'t Named, column: &str) -> Vec<Option<&'t str>> {
    let at =
        table.columns.iter().position(|name| name == column).unwrap_or_else(|| panic!("{column}: {:?}", table.columns));
    table.rows.iter().map(|row| row[at].as_deref()).collect()
}

#[test]
fn datadogs_check_finds_a_number_in_each_column_that_it_reads() {
    for proxy in both() {
        let _app = client(&proxy);
        let mut stats = raw(&proxy, "stats", "pgbouncer");
        for Scope { query, tags, numbers } in DATADOG {
            let found = table(&mut stats, query);
            assert!(!found.rows.is_empty(), "{query}: \"No results were found for query\"");
            tags.iter().for_each(|tag| assert!(!cells(&found, tag).is_empty(), "{query} {tag}"));
            for column in *numbers {
                for value in cells(&found, column) {
                    let number = value.and_then(|value| value.parse::<f64>().ok());
                    assert!(number.is_some(), "{query} {column}: {value:?}");
                }
            }
            // It cuts the zone off and reads the rest by "%Y-%m-%d %H:%M:%S".
            for column in
                ["connect_time", "request_time"].iter().filter(|name| found.columns.iter().any(|c| c == *name))
            {
                for value in cells(&found, column) {
                    let words: Vec<_> = value.expect("a time").split(' ').collect();
                    let text = words[..2].join(" ");
                    assert!(
                        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &text).is_ok(),
                        "{query} {column}: {text}"
                    );
                }
            }
        }
        let config = table(&mut stats, "SHOW CONFIG");
        assert!(config.columns.iter().any(|name| name == "key"), "the row is turned where there is such a column");
        assert!(config.value(&[("key", "max_client_conn")], "value").parse::<f64>().is_ok());
        let version = table(&mut stats, "SHOW VERSION;").rows[0][0].clone().expect("a version");
        let numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).count();
        assert!(numbers >= 3, "three numbers with dots between them: {version}");
    }
}

/// Columns that telegraf takes for no field.
const NO_FIELDS: [&str; 7] = ["user", "database", "pool_mode", "avg_req", "avg_recv", "avg_sent", "avg_query"];

#[test]
fn telegrafs_input_can_make_a_whole_number_of_each_field_of_the_stats() {
    for proxy in both() {
        let _app = client(&proxy);
        let mut stats = raw(&proxy, "stats", "pgbouncer");
        let found = table(&mut stats, "SHOW STATS");
        assert!(cells(&found, "database").iter().all(Option::is_some), "it is taken for a text without a look");
        for column in found.columns.iter().filter(|name| !NO_FIELDS.contains(&name.as_str())) {
            for value in cells(&found, column) {
                assert!(value.is_none_or(|value| value.parse::<i64>().is_ok()), "SHOW STATS {column}: {value:?}");
            }
        }
        let pools = table(&mut stats, "SHOW POOLS");
        for tag in ["database", "user", "pool_mode"] {
            assert!(cells(&pools, tag).iter().all(Option::is_some), "{tag}");
        }
    }
}
