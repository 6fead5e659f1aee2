//! Where packages may be used, and how.

use crate::{code, is_test, sources};

/// The one file that puts messages of pgwire together.
const WRITES_ANSWERS: &str = "src/protocol/answer.rs";

/// pgwire's decoders panic on messages that are cut short, and read beyond the end of others: no byte of a peer's may come near.
#[test]
fn pgwire_only_writes() {
    for source in sources(&["src"]).iter().filter(|source| !is_test(source)) {
        let text = code(source);
        let place = source.path.display();
        if source.path.to_str() == Some(WRITES_ANSWERS) {
            let reads =
                ["decode", "codec", "PgWireFrontendMessage", "PgWireBackendMessage", "pgwire::tokio", "pgwire::api"];
            assert!(text.contains("pgwire::messages"), "{place}");
            assert!(!reads.iter().any(|word| text.contains(word)), "{place} reads by pgwire");
        } else {
            assert!(!text.contains("pgwire::"), "{place} names pgwire");
        }
    }
}

/// An entry of a dashmap is a lock of a part of the map. That none lives across an await is clippy's to see (clippy.toml); two of
/// the same map would wait for one another.
#[test]
fn entries_of_shared_maps_stay_within_the_files_of_their_maps() {
    const MAPS: [&str; 4] = [
        "src/shared/recent_callers.rs",
        "src/shared/database/mod.rs",
        "src/shared/cancel_keys.rs",
        "src/shared/client/counts.rs",
    ];
    for source in sources(&["src"]).iter().filter(|source| code(source).contains("dashmap")) {
        let path = source.path.to_str().unwrap();
        assert!(MAPS.contains(&path), "{path} uses dashmap: is a reference ever kept there?");
        let gives = ["-> Ref<", "-> RefMut<", "-> Option<Ref", "-> Entry<", "dashmap::mapref::one"];
        assert!(!gives.iter().any(|form| source.text.contains(form)), "{path} hands out a reference into a map");
    }
}
