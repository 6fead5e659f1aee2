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

#[cfg(test)]
mod tests {
    use super::nearest;

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
