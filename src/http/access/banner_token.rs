//! The token of the banner and the metrics alone.

use subtle::ConstantTimeEq;

use crate::config::Http;

/// Whether it is this token.
pub fn is_it(config: &Http, given: &[u8]) -> bool {
    let wanted = config.token.expose().as_bytes();
    !wanted.is_empty() && given.ct_eq(wanted).into()
}

/// What is behind the scheme, whose name may be written in any case.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer".len())?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(b"Bearer") && token.len() < rest.len()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn without_a_token_nobody_has_it() {
        let mut config = Http::default();
        assert!(!is_it(&config, b"") && !is_it(&config, b"x"));
        config.token = Secret::new("s3cret");
        let given = |text: &'static str| bearer(text.as_bytes()).is_some_and(|token| is_it(&config, token));
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(given(right), "{right}");
        }
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret", "Bearers3cret", "Bearer S3CRET"] {
            assert!(!given(wrong), "{wrong}");
        }
    }
}
