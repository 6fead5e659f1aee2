//! What a server tells a role at its log-in, from which clients of that role are greeted.

use std::sync::Arc;

use super::guard::KindTag;

/// What a server reported at a log-in.
#[derive(Clone)]
pub struct Welcome {
    /// ParameterStatus by name.
    pub parameters: Arc<Vec<(String, String)>>,
    /// Whether `default_transaction_read_only` is the role's own. A guarded log-in cannot tell it: it says `off` then.
    pub exact: bool,
}

/// The parameter that a guarded log-in sets, and so cannot learn.
pub const READ_ONLY: &str = "default_transaction_read_only";

impl Welcome {
    /// From the parameters of a log-in of that kind, and what was known `before`.
    pub fn new(mut parameters: Vec<(String, String)>, tag: KindTag, before: Option<&Self>) -> Self {
        if tag == KindTag::Unguarded {
            return Self { parameters: Arc::new(parameters), exact: true };
        }
        let known = before.filter(|before| before.exact).and_then(|before| {
            before.parameters.iter().find(|(name, _)| name == READ_ONLY).map(|(_, value)| value.as_str())
        });
        if let Some((_, value)) = parameters.iter_mut().find(|(name, _)| name == READ_ONLY) {
            known.unwrap_or("off").clone_into(value);
        }
        Self { parameters: Arc::new(parameters), exact: known.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str) -> Vec<(String, String)> {
        vec![("server_version".into(), "15.4".into()), (READ_ONLY.into(), value.into())]
    }

    #[test]
    fn a_guard_is_not_taken_for_the_roles_own_wish() {
        let first = Welcome::new(told("on"), KindTag::Guarded, None);
        assert!(!first.exact && *first.parameters == told("off"));
        let second = Welcome::new(told("on"), KindTag::Unguarded, Some(&first));
        assert!(second.exact && *second.parameters == told("on"));
        let third = Welcome::new(told("on"), KindTag::Guarded, Some(&second));
        assert!(third.exact && *third.parameters == told("on"));
    }
}
