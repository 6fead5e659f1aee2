//! A few of the tests here once more, against PostgreSQL 18. `make conformance-versions` runs all of them against every version.

#[test]
fn some_of_them_on_postgresql_18() {
    let tests = [
        "defaults::reset_goes_back_to_what_the_client_asked_for",
        "errors::a_log_in_is_refused_as_the_server_does",
        "malformed::malformed_messages_are_answered_as_by_postgresql",
        "versions::versions_are_negotiated_and_keys_are_as_long_as_the_version_allows",
        "whole::a_whole_batch_is_answered_as_on_a_connection_of_ones_own",
    ];
    pgsluice_fixtures::rerun::on_major(18, &tests).expect("they pass there too");
}
