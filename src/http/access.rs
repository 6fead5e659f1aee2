//! Who may ask.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::config::Http;

/// Whether the banner is for everybody, or the request has the token: `Authorization: Bearer TOKEN`.
pub fn may_see_banner(config: &Http, headers: &HeaderMap) -> bool {
    config.banner_public || has_token(config, headers)
}

fn has_token(config: &Http, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let wanted = config.token.expose().as_bytes();
    !wanted.is_empty() && given.is_some_and(|given| given.ct_eq(wanted).into())
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
        assert!(may_see_banner(&config, &headers("Bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Basic s3cret", "s3cret"] {
            assert!(!may_see_banner(&config, &headers(wrong)), "{wrong}");
        }
        config.banner_public = true;
        assert!(may_see_banner(&config, &HeaderMap::new()));
    }
}
