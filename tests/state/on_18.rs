//! A few of the tests here once more, against PostgreSQL 18. `make conformance-versions` runs all of them against every version.

#[test]
fn some_of_them_on_postgresql_18() {
    let tests = [
        "dirty::settings_made_by_other_ways_than_set_follow_their_client_alone",
        "left_open::a_transaction_that_the_server_leaves_open_is_nobody_elses",
        "prepared::a_statement_whose_rows_have_become_others_is_refused_as_by_postgresql",
        "prepared_sql::it_is_as_on_a_connection_of_ones_own",
        "reading::a_statement_is_prepared_elsewhere_under_the_settings_it_was_parsed_under",
        "roles::a_role_follows_its_session",
        "server_settings::what_is_altered_for_a_database_or_role_counts_from_the_next_server_connection_on",
    ];
    pgsluice_fixtures::rerun::on_major(18, &tests).expect("they pass there too");
}
