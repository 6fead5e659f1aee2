//! Who tells the receivers of webhooks of what the whole fleet has done: one member for all.
//!
//! That is the one that has been a member for the longest, since it has seen what every other one has seen. What a receiver was told is
//! in etcd; another member that takes over goes on behind that. So each event comes at least once, and in its order.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::handle::Shown;
use super::view::View;

/// Where an event stands among those of its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The fleet's epoch.
    pub epoch: u64,
    /// How far the flip is.
    pub step: u8,
}

/// What is to be done about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This member tells of it.
    Ours,
    /// Another one has told of it.
    Told,
    /// Another one tells of it.
    Theirs,
}

/// What a receiver was told.
#[derive(Debug)]
pub struct Told {
    /// The receiver.
    pub hook: String,
    /// The database.
    pub database: String,
    /// Up to which event.
    pub mark: Mark,
    /// Rung when etcd knows, or cannot be told.
    pub done: oneshot::Sender<()>,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    id: String,
    shown: watch::Receiver<Arc<Shown>>,
    tell: mpsc::Sender<Told>,
    patience: Duration,
}

impl Turns {
    /// Those of a member. `patience`: a member that cannot hear of the others tells of an event itself once that is as old as that.
    pub fn new(id: &str, shown: watch::Receiver<Arc<Shown>>, tell: mpsc::Sender<Told>, patience: Duration) -> Self {
        Self { id: id.to_owned(), shown, tell, patience }
    }

    /// Whose turn it is, as soon as it is not another one's.
    pub async fn wait(&mut self, hook: &str, database: &str, mark: Mark, at: Timestamp) -> Turn {
        loop {
            let shown = self.shown.borrow_and_update().clone();
            let age = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
            let turn = turn(&shown.view, &self.id, hook, database, mark);
            if turn != Turn::Theirs {
                return turn;
            }
            if !shown.is_member && age >= self.patience {
                return Turn::Ours;
            }
            // Its end is told by the view; looked at in any case, for a member that hears of nothing.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.shown.changed()).await;
        }
    }

    /// Has etcd know that a receiver was told.
    pub async fn told(&self, hook: &str, database: &str, mark: Mark) {
        let (done, is_done) = oneshot::channel();
        let told = Told { hook: hook.to_owned(), database: database.to_owned(), mark, done };
        if self.tell.send(told).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

/// Whose turn it is. A member that has not been heard of, or has no receiver in its configuration, has none.
fn turn(view: &View, id: &str, hook: &str, database: &str, mark: Mark) -> Turn {
    let told = view.told.get(&(hook.to_owned(), database.to_owned()));
    if told.is_some_and(|told| *told >= mark) {
        return Turn::Told;
    }
    let tells = view.members.values().filter(|member| member.hooks.iter().any(|known| known == hook));
    match tells.min_by(|one, other| one.joined.cmp(&other.joined).then_with(|| one.id.cmp(&other.id))) {
        Some(first) if first.id == id => Turn::Ours,
        _ => Turn::Theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::records::Member;

    fn member(id: &str, joined: i64, hooks: &[&str]) -> (String, Member) {
        let at = Timestamp::from_second(joined).unwrap();
        let member = Member {
            id: id.to_owned(),
            process: String::new(),
            lease: 1,
            since: at,
            joined: at,
            address: String::new(),
            version: String::new(),
            databases: Vec::new(),
            clients: 0,
            apart: Vec::new(),
            hooks: hooks.iter().map(ToString::to_string).collect(),
        };
        (id.to_owned(), member)
    }

    #[test]
    fn the_eldest_that_has_the_receiver_tells_and_nobody_tells_twice() {
        let all = [member("a", 3, &["x"]), member("b", 2, &["x", "y"]), member("c", 1, &["y"])];
        let mut view = View { members: all.into_iter().collect(), ..View::default() };
        let mark = Mark { epoch: 4, step: 2 };
        let of = |view: &View, id: &str, hook: &str| turn(view, id, hook, "main.app", mark);
        assert_eq!((of(&view, "a", "x"), of(&view, "b", "x")), (Turn::Theirs, Turn::Ours));
        assert_eq!((of(&view, "b", "y"), of(&view, "c", "y")), (Turn::Theirs, Turn::Ours));
        view.members.remove("b");
        assert_eq!(of(&view, "a", "x"), Turn::Ours);
        view.told.insert(("x".into(), "main.app".into()), Mark { epoch: 4, step: 1 });
        assert_eq!(of(&view, "a", "x"), Turn::Ours, "the step before");
        view.told.insert(("x".into(), "main.app".into()), Mark { epoch: 5, step: 0 });
        assert_eq!(of(&view, "a", "x"), Turn::Told);
    }
}
