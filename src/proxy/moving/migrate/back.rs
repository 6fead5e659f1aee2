//! The way back from a cut that has failed: everything as it was, and held writes go on where they would have.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::Run;
use super::{fence, streams};
use crate::moving::Step;
use crate::proxy::moving::hold;
use crate::proxy::moving::switchover::steps::Failure;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(200);
/// After this time a person is told what is waited for.
const TELLS: Duration = Duration::from_secs(5);
/// How long the monitor may take to see a setting, and replication to be as it was.
const PATIENCE: Duration = Duration::from_secs(10);

impl Run {
    /// From whichever step is in the journal.
    pub(super) async fn go_back(mut self, failure: Failure) {
        let reached = self.known().step;
        let taken = self.take(Step::Back, |_| ()).await;
        self.log(taken);
        self.go_back_from(reached, failure).await;
    }

    /// That it goes back is written down, or follows from the step that is.
    pub(super) async fn go_back_from(mut self, reached: Step, mut failure: Failure) {
        // A step that was broken off may have left a question unanswered.
        self.from.hang_up();
        self.to.hang_up();
        let known = self.known();
        if reached >= Step::Fence {
            self.lift().await;
        }
        while let Err(error) = hold::open(&self.proxy, &known.closed).await {
            tracing::error!(event = "move_not_released", "{error}");
            sleep(RETRY).await;
        }
        self.tell(Step::Back, format!("clients are on {} as before, and held writes go on there", self.from.place));
        if known.was_fenced
            && let Err(error) = fence::down(&mut self.to).await
        {
            self.warn(
                Step::Back,
                error.why,
                "That side should take no writes: ALTER DATABASE … SET default_transaction_read_only = on.",
            );
        }
        let until = Instant::now() + PATIENCE;
        let command = format!("MIGRATE {}", known.database);
        loop {
            let Err(error) = self.follow_again().await else { break };
            if Instant::now() > until {
                let text = format!("replication could not be put as it was: {}", error.why);
                self.warn(
                    Step::Back,
                    text,
                    format!("The next {command} tries it again; {command} FINISH takes it away."),
                );
                break;
            }
            self.from.hang_up();
            self.to.hang_up();
            sleep(RETRY).await;
        }
        failure
            .why
            .push_str(&format!(". Replication goes on: the same command tries again, {command} FINISH takes it away"));
        self.end(false, Some(failure)).await;
    }

    /// The other direction rests before the first one goes on: a server older than 16 would send back what it gets.
    async fn follow_again(&mut self) -> Result<(), Failure> {
        streams::stop(&self.next, &mut self.from).await?;
        streams::start(&self.active, &mut self.to).await?;
        streams::drop_slot(&self.next, &mut self.to).await
    }

    /// The side that was left takes writes again.
    async fn lift(&mut self) {
        let began = Instant::now();
        let mut told = false;
        while let Err(error) = fence::up(&mut self.from).await {
            if !told && began.elapsed() > TELLS {
                told = true;
                let text = format!("{} could not be made writable again: {error}", self.from.server());
                self.warn(Step::Back, text, "It is tried again until it answers; writes are held meanwhile.");
            }
            self.from.hang_up();
            sleep(RETRY).await;
        }
        // Until the monitor has seen that, the database would close by itself.
        let until = Instant::now() + PATIENCE;
        let Some(server) = self.from.cluster.upstreams.get(self.from.at) else { return };
        while server.own_settings().read_only(&self.from.place.dbname, None) && Instant::now() < until {
            server.look_now();
            sleep(RETRY / 10).await;
        }
    }
}
