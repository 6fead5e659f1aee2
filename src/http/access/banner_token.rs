//! The token of the banner and the metrics alone.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::config::{Config, Http};

/// Whether the banner is for everybody, or the request has the token: `Authorization: Bearer TOKEN`.
pub fn may_see_banner(config: &Http, headers: &HeaderMap) -> bool {
    config.banner_public || has_token(config, headers)
}

/// Whether the metrics are for everybody, or the request has the token.
pub fn may_see_metrics(config: &Config, headers: &HeaderMap) -> bool {
    config.metrics.public || has_token(&config.http, headers)
}

fn has_token(config: &Http, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let wanted = config.token.expose().as_bytes();
    !wanted.is_empty() && given.is_some_and(|given| given.ct_eq(wanted).into())
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
        let headers = |text: &str| HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
        let mut config = Http::default();
        assert!(!may_see_banner(&config, &HeaderMap::new()) && !may_see_banner(&config, &headers("Bearer ")));
        config.token = Secret::new("s3cret");
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(may_see_banner(&config, &headers(right)), "{right}");
        }
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret", "Bearers3cret", "Bearer S3CRET"] {
            assert!(!may_see_banner(&config, &headers(wrong)), "{wrong}");
        }
        config.banner_public = true;
        assert!(may_see_banner(&config, &HeaderMap::new()));
    }
}
