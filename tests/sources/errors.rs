//! What pgsluice itself tells a client stands in one catalogue.

use crate::{code, is_test, sources};

/// What has words of its own in its own folder.
const OWN_CATALOGUE: &str = "src/client/fanout";

#[test]
fn errors_that_a_client_is_told_have_their_sqlstate_in_one_catalogue() {
    let makes = ["Report::error(\"", "Report::fatal(\"", "Report::warning(\""];
    let mut elsewhere = Vec::new();
    let mut known = 0;
    for source in sources(&["src/client"]).iter().filter(|source| !is_test(source)) {
        if source.path.starts_with(OWN_CATALOGUE) {
            continue;
        }
        let found = code(source).lines().filter(|line| makes.iter().any(|make| line.contains(make))).count();
        match source.path.ends_with("src/client/errors.rs") {
            true => known += found,
            false => elsewhere.extend((found > 0).then(|| source.path.clone())),
        }
    }
    assert!(known > 30, "the catalogue is found: {known}");
    assert!(elsewhere.is_empty(), "errors beside src/client/errors.rs: {elsewhere:?}");
}
