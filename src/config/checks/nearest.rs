//! "Did you mean …?"

/// The known word that is nearest to what was typed, if one is near enough to be meant.
pub(crate) fn nearest<'w>(typed: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // The distance costs time in the square of the length, and nobody mistypes a key that long.
    if typed.is_empty() || typed.len() > 64 {
        return None;
    }
    let lower = typed.to_lowercase().replace('-', "_");
    let same = |word: &str| word.replace('-', "_");
    let most = (typed.chars().count() / 3).clamp(1, 4);
    known
        .map(|word| (strsim::damerau_levenshtein(&lower, &same(word)), word))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, word)| word)
}

/// Letters that a slip changes at most, and those that a word has at least in which one is seen.
const SLIP: (usize, usize) = (2, 8);

/// The long word of which what was typed is a slip of the hand: names of another list are not near enough.
pub(crate) fn slip<'w>(typed: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let (most, shortest) = SLIP;
    if typed.len() > 64 {
        return None;
    }
    let lower = typed.to_lowercase();
    known
        .filter(|word| word.len() >= shortest)
        .map(|word| (strsim::damerau_levenshtein(&lower, word), word))
        .filter(|(distance, _)| (1..=most).contains(distance))
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::config::Config;

    #[test]
    fn a_slip_of_a_key_is_seen_and_no_setting_of_postgresql_is_taken_for_one() {
        assert_eq!(Config::near_key("max_cliet_conn"), Some("max_client_conn"));
        assert_eq!(Config::near_key("query_wait_timeuot"), Some("query_wait_timeout"));
        let of_postgresql = "lock_timeout statement_timeout transaction_timeout idle_in_transaction_session_timeout \
            application_name extra_float_digits client_min_messages client_encoding datestyle timezone intervalstyle hba_file \
            session_replication_role search_path standard_conforming_strings row_security log_min_messages ssl syslog \
            log_connections tcp_user_timeout unix_socket_group listen_addresses max_connections port work_mem jit";
        for name in of_postgresql.split_whitespace() {
            assert_eq!(Config::near_key(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        let known = ["pool_size", "pool_mode", "reserve_pool_size"];
        let near = |typed| nearest(typed, known.into_iter());
        assert_eq!(near("pool_sise"), Some("pool_size"));
        assert_eq!(near("Pool-Size"), Some("pool_size"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(&"x".repeat(100_000)), None);
    }
}
