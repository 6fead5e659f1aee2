//! A move that was begun ends, whatever becomes of the task that takes its steps.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::moving::{End, Line, Move, Status};
use crate::protocol::Report;
use crate::shared::ProxyState;
use crate::topology::Cluster;

/// Between two looks at a configuration that lacks what a move needs.
const LOOK: Duration = Duration::from_secs(1);

/// Takes the steps of a move in a task of their own, and sees to it that it ends.
pub(super) fn start(one: &Arc<Move>, steps: impl Future<Output = ()> + Send + 'static) {
    let one = one.clone();
    tokio::spawn(async move {
        let died = tokio::spawn(steps).await.is_err_and(|error| error.is_panic());
        if died && !one.is_over() {
            // Nobody knows what the servers are: only a person opens what it has closed.
            let step = one.entry().what.step().word();
            let why = format!("pgsluice has failed at step {step}: look at the servers, then MAINTENANCE OFF opens");
            one.end(End::failed("XX000", why)).await;
        }
    });
}

/// The error of a command that could not log in to the servers.
pub(super) fn no_role(cluster: &Cluster) -> Report {
    let name = &cluster.name;
    let text = format!("no role is configured that could log in to the servers of cluster \"{name}\"");
    let hint = "Set switchover_user or monitor_user of the cluster, and RELOAD.";
    Report::error("55000", text).with_hint(Some(hint.to_owned()))
}

/// What a move needs that an earlier life of the process has begun. It is waited for while the configuration lacks it: None if somebody
/// calls the move off meanwhile. Then it has ended, and its databases are as they were.
pub(super) async fn wait_for<T>(
    proxy: &Arc<ProxyState>,
    one: &Move,
    find: impl Fn(&Arc<ProxyState>) -> Option<T>,
) -> Option<T> {
    let mut told = false;
    loop {
        if let Some(found) = find(proxy) {
            return Some(found);
        }
        if !told {
            told = true;
            let what = one.entry().what;
            let text =
                format!("the configuration does not have {} and {}, or no role for them", what.from(), what.to());
            let remedy = "Its databases stay closed. Have the configuration name both servers and RELOAD: then it goes on. \
                          Or look at the servers, and MAINTENANCE OFF gives it up.";
            one.tell(Line::check("configuration", Status::Fail, text).with_remedy(remedy));
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            by = one.called_off() => {
                let why = format!("it was given up by {by} while the configuration did not have its servers");
                one.end(End::failed("57014", why)).await;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Bus;
    use crate::gate::{StateFile, Who};
    use crate::moving::{Activate, Moves, Scope, Step};

    #[tokio::test]
    async fn a_move_whose_task_dies_has_ended_and_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let (moves, _) = Moves::open(&StateFile::Path(folder.path().join("state.json")), Bus::default());
        let known = Activate {
            database: "app".into(),
            cluster: "main".into(),
            from: "h:1".into(),
            to: "h:2".into(),
            step: Step::Check,
            closed: Vec::new(),
            timeout: Duration::ZERO,
        };
        let scope = Scope { clusters: vec!["main".into()], databases: Vec::new() };
        let begin = || moves.begin(known.clone().into(), scope.clone(), ("app", Vec::new()), Who::proxy());
        let one = begin().unwrap();
        assert!(begin().is_err());
        start(&one, async { panic!("on purpose") });
        one.news(usize::MAX).await;
        assert_eq!(one.entry().end.unwrap().sqlstate, "XX000");
        assert!(begin().is_ok());
    }
}
