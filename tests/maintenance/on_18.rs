//! A few of the tests here once more, against PostgreSQL 18. `make conformance-versions` runs all of them against every version.

#[test]
fn some_of_them_on_postgresql_18() {
    let tests = [
        "clean::clean_reads_are_not_asked_about_in_transaction_mode",
        "hidden_resolution::what_names_and_keywords_could_resolve_to_is_refused_in_transaction_mode",
        "volatile_functions::every_volatile_function_has_been_judged",
        "ways_around_fallen::nothing_gets_past_the_guard_and_the_proof",
        "ways_around_later::later_writers_are_refused_in_transaction_mode",
        "ways_around_matrix::every_way_in_every_form_in_transaction_mode",
    ];
    pgsluice_fixtures::rerun::on_major(18, &tests).expect("they pass there too");
}
