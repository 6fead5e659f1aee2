//! Log-ins that a server has refused: the reason is in the log, but not once for each, and for a while nobody asks again.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AcquireError, Pool};
use crate::auth::Credential;
use crate::server::lines;
use crate::server::login::LoginError;

/// Between two lines of the log about one pool.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Mutex<Option<Told>>,
    paused: Mutex<Option<Paused>>,
    /// What those were told who waited when the server said no.
    last: Mutex<Option<Answer>>,
}

/// The server has said no to this role or database, and not because it is busy. Once it has said so twice, it is not asked again
/// for a while: a role or a database that was made in answer to the first refusal is let in at once.
#[derive(Debug)]
struct Paused {
    until: Instant,
    /// It has said so more than once.
    again: bool,
    /// Of the pool: RECONNECT ends the pause.
    generation: u64,
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    Refused(Vec<u8>),
    Auth(crate::auth::LoginError),
    NoPassword { server: String, user: String, remedy: &'static str },
}

#[derive(Debug)]
struct Told {
    when: Instant,
    why: String,
    /// How many there were since.
    more: u64,
}

impl Answer {
    /// None for what another attempt may well get past.
    fn of(error: &LoginError) -> Option<Self> {
        match error {
            LoginError::Refused(body) if !error.is_transient() => Some(Self::Refused(body.clone())),
            LoginError::Auth(error) => Some(Self::Auth(error.clone())),
            LoginError::NoPassword { server, user, remedy } => {
                Some(Self::NoPassword { server: server.clone(), user: user.clone(), remedy })
            }
            _ => None,
        }
    }

    fn error(&self) -> LoginError {
        match self.clone() {
            Self::Refused(body) => LoginError::Refused(body),
            Self::Auth(error) => LoginError::Auth(error),
            Self::NoPassword { server, user, remedy } => LoginError::NoPassword { server, user, remedy },
        }
    }
}

impl Refusals {
    fn pause(&self, error: &LoginError, until: Instant, generation: u64) {
        if let Some(answer) = Answer::of(error) {
            let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
            let again = paused.as_ref().is_some_and(|before| before.generation == generation);
            *paused = Some(Paused { until, again, generation, answer });
        }
    }

    /// What those who wait are told.
    fn answer(&self, error: &LoginError) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Answer::of(error);
    }

    fn paused(&self, now: Instant, generation: u64) -> Option<LoginError> {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if paused.as_ref().is_some_and(|paused| paused.until <= now || paused.generation != generation) {
            *paused = None;
        }
        paused.as_ref().filter(|paused| paused.again).map(|paused| paused.answer.error())
    }

    /// The server has let somebody in.
    fn forget(&self) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes one. How many are to be logged with it, if any: those that were not since the last line.
    fn note(&self, why: &str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *told {
            Some(known) if known.why == why && now.duration_since(known.when) < PAUSE => {
                known.more += 1;
                None
            }
            known => {
                let more = known.as_ref().map_or(0, |known| known.more);
                *known = Some(Told { when: now, why: why.to_owned(), more: 0 });
                Some(more + 1)
            }
        }
    }
}

impl Pool {
    /// What the server has said to this role not long ago, if it has refused it: whoever asks now is told the same.
    pub(super) fn refused_lately(&self) -> Result<(), LoginError> {
        self.refusals.paused(Instant::now(), self.generation.load(SeqCst)).map_or(Ok(()), Err)
    }

    /// Why who waited was sent away.
    pub(super) fn why_sent_away(&self) -> AcquireError {
        let last = self.refusals.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map_or(AcquireError::Timeout, |answer| answer.error().into())
    }

    /// What its role logs in with from now on. If it is something else, the server is asked again at once.
    pub fn take_credential(&self, credential: &Credential) {
        if self.login().credential.set(credential) {
            self.refusals.forget();
        }
    }

    /// The server lets the role in.
    pub(super) fn note_let_in(&self) {
        self.refusals.forget();
    }

    /// A connection could not be opened. It is logged, and whoever watches the server looks if it may be the server's fault. A
    /// refusal is repeated to others only if nothing was asked for that others would not ask for: a client's own parameters may be
    /// what was refused.
    pub(super) fn note_refusal(&self, error: &LoginError, asked_for_nothing: bool, began: Instant) {
        if asked_for_nothing && self.is_without_connections() && Answer::of(error).is_some() {
            // Nobody who waits here would be told anything else.
            self.refusals.answer(error);
            self.send_waiters_away();
        }
        if asked_for_nothing {
            let until = Instant::now() + self.settings.login_retry;
            self.refusals.pause(error, until, self.generation.load(SeqCst));
        }
        lines::failed(self, self.login(), error, began);
        if !error.is_refusal() {
            self.settings.watch.look_now();
        }
        let why = error.to_string();
        if let Some(times) = self.refusals.note(&why, Instant::now()) {
            tracing::warn!(
                event = "server_refused", upstream = %self.settings.login.address, database = %self.database, user = %self.user, error = why, times,
                "no server connection"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_repeated_for_a_while_and_what_may_pass_is_not() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let refused = |code: &str| {
            let mut body = format!("SFATAL\0C{code}\0Mno\0").into_bytes();
            body.push(0);
            LoginError::Refused(body)
        };
        for code in ["53300", "57P03"] {
            refusals.pause(&refused(code), now + PAUSE, 1);
        }
        refusals.pause(&LoginError::Timeout(PAUSE), now + PAUSE, 1);
        assert!(refusals.paused(now, 1).is_none());
        refusals.pause(&refused("28P01"), now + PAUSE, 1);
        assert!(refusals.paused(now, 1).is_none(), "the first one");
        let twice = || (0..2).for_each(|_| refusals.pause(&refused("28P01"), now + PAUSE, 1));
        twice();
        assert!(matches!(refusals.paused(now, 1), Some(LoginError::Refused(_))));
        assert!(refusals.paused(now + PAUSE, 1).is_none(), "the time is over");
        twice();
        assert!(refusals.paused(now, 2).is_none(), "RECONNECT");
        twice();
        refusals.forget();
        assert!(refusals.paused(now, 1).is_none(), "somebody was let in");
    }

    #[test]
    fn the_same_reason_is_logged_once_in_a_while_with_a_count() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.note("no room", now), Some(1));
        assert_eq!(refusals.note("no room", now), None);
        assert_eq!(refusals.note("no room", now + PAUSE), Some(2));
        assert_eq!(refusals.note("wrong password", now + PAUSE), Some(1));
    }
}
