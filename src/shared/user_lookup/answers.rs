//! Answers to `auth_query` that are kept, and how many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::auth::Secret;

/// Users with a secret. They exist, so there are not many more of them.
const MOST_SECRETS: usize = 10_000;
/// Users who do not exist: their names are the clients' to choose.
const MOST_ABSENT: usize = 1_000;

/// A secret as it was answered, and what was made of it. Cheap to clone, but for the text.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) text: Zeroizing<String>,
    pub(super) secret: Secret,
}

/// See the file.
#[derive(Default)]
pub(super) struct Answers {
    secrets: HashMap<Arc<str>, (Known, Instant)>,
    absent: HashMap<Arc<str>, Instant>,
}

impl Answers {
    /// The answer of before: None if there is none, `Some(None)` if there is no such user.
    pub(super) fn get(&self, user: &str, younger_than: Option<Duration>) -> Option<Option<Secret>> {
        let serves = |at: &Instant| younger_than.is_none_or(|age| at.elapsed() < age);
        if let Some((known, at)) = self.secrets.get(user) {
            return serves(at).then(|| Some(known.secret.clone()));
        }
        self.absent.get(user).filter(|at| serves(at)).map(|_| None)
    }

    pub(super) fn known(&self, user: &str) -> Option<Known> {
        self.secrets.get(user).map(|(known, _)| known.clone())
    }

    pub(super) fn put(&mut self, user: &Arc<str>, known: Option<Known>) {
        let now = Instant::now();
        match known {
            Some(known) => {
                self.absent.remove(user);
                if self.secrets.len() >= MOST_SECRETS && !self.secrets.contains_key(user) {
                    let oldest = self.secrets.iter().min_by_key(|(_, (_, at))| *at).map(|(user, _)| user.clone());
                    oldest.and_then(|user| self.secrets.remove(&user));
                }
                self.secrets.insert(user.clone(), (known, now));
            }
            None => {
                self.secrets.remove(user);
                if self.absent.len() >= MOST_ABSENT && !self.absent.contains_key(user) {
                    let oldest = self.absent.iter().min_by_key(|(_, at)| **at).map(|(user, _)| user.clone());
                    oldest.and_then(|user| self.absent.remove(&user));
                }
                self.absent.insert(user.clone(), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Option<Known> {
        Some(Known { text: Zeroizing::new(text.to_owned()), secret: Secret::from_text(text) })
    }

    #[test]
    fn a_user_has_one_answer_and_names_that_are_made_up_push_nobody_out() {
        let mut answers = Answers::default();
        let ann: Arc<str> = "ann".into();
        assert!(answers.get("ann", None).is_none());
        answers.put(&ann, None);
        assert!(matches!(answers.get("ann", None), Some(None)));
        answers.put(&ann, known("secret"));
        assert!(matches!(answers.get("ann", None), Some(Some(Secret::Plain(_)))));
        assert!(answers.get("ann", Some(Duration::ZERO)).is_none(), "too old to serve");
        for number in 0..3 * MOST_ABSENT {
            answers.put(&number.to_string().into(), None);
        }
        assert_eq!(answers.absent.len(), MOST_ABSENT);
        assert!(matches!(answers.get("ann", None), Some(Some(_))));
        answers.put(&ann, None);
        assert!(answers.known("ann").is_none());
    }
}
