//! What a client was told of its session that it cannot set itself, `is_superuser` and `session_authorization` above all: a
//! change of role on the way from one client's settings to another's is nobody's news.

use std::sync::Arc;

use crate::server::pool::Welcome;
use crate::shared::handover::client::HandedTold;

/// See the module.
pub(in crate::client) struct ReportedParameters {
    /// At log-in.
    welcome: Arc<Welcome>,
    /// What has changed since.
    since: Vec<(Box<str>, Box<str>)>,
}

impl ReportedParameters {
    pub(in crate::client) fn new(welcome: Arc<Welcome>) -> Self {
        Self { welcome, since: Vec::new() }
    }

    /// For the process that takes over.
    pub(in crate::client) fn hand_over(&self, told: &mut HandedTold) {
        let Self { welcome, since } = self;
        told.welcome = (&**welcome).into();
        told.since = since.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }

    /// As another process has handed it over. `known`: what this one would tell, which mostly is the same.
    pub(in crate::client) fn take_over(told: &HandedTold, known: Option<Arc<Welcome>>) -> Self {
        let own = Welcome::from(told.welcome.clone());
        let same = |known: &Arc<Welcome>| {
            known.parameters == own.parameters && known.read_only == own.read_only && known.notices == own.notices
        };
        let welcome = known.filter(same).unwrap_or_else(|| Arc::new(own));
        let since = told.since.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        Self { welcome, since }
    }

    /// The role's own default_transaction_read_only, if that was known.
    pub(in crate::client) fn read_only(&self) -> Option<bool> {
        self.welcome.read_only
    }

    /// Notes what a server reports. Whether it is news.
    pub(in crate::client) fn is_news(&mut self, name: &str, value: &str) -> bool {
        if let Some((_, known)) = self.since.iter_mut().find(|(known, _)| **known == *name) {
            let news = **known != *value;
            if news {
                *known = value.into();
            }
            return news;
        }
        let at_first = self.welcome.parameters.iter().find(|(known, _)| known == name);
        let news = at_first.is_none_or(|(_, known)| known != value);
        if news {
            self.since.push((name.into(), value.into()));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let parameters = vec![("is_superuser".to_owned(), "on".to_owned())];
        let mut told = ReportedParameters::new(Arc::new(Welcome { parameters, read_only: None, notices: Vec::new() }));
        let mut news = |value| told.is_news("is_superuser", value);
        assert_eq!(["on", "off", "off", "on", "on"].map(&mut news), [false, true, false, true, false]);
        assert!(told.is_news("server_version", "15") && !told.is_news("server_version", "15"));
    }
}
