//! The cut: clients are led to the other side, which has everything that was written, and replication turns round. The same in both
//! directions.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::run::Run;
use super::{fence, mirror, streams};
use crate::gate::OnTimeout;
use crate::moving::{Step, Way};
use crate::proxy::moving::hold;
use crate::proxy::moving::switchover::steps::{Failure, bounded};
use crate::proxy::moving::talk::field;
use crate::proxy::reroute::by_move;
use crate::sql::own_statements::{migrate as sql, moving};

/// Between two tries of what has to succeed.
const RETRY: Duration = Duration::from_millis(200);
/// How long replication that is of no use any more is tried to be taken away.
const CLEANS: Duration = Duration::from_secs(10);
/// Sequences that are set in one statement.
const MOST_SET: usize = 1000;

impl Run {
    /// All of it.
    pub(super) async fn cut(mut self) {
        match self.until_turned().await {
            Ok(()) => self.lead(false).await,
            Err(failure) => self.go_back(failure).await,
        }
    }

    /// Up to the point of no return: nothing but replication has written on the other side.
    async fn until_turned(&mut self) -> Result<(), Failure> {
        let known = self.known();
        let one = self.one.clone();
        self.take(Step::CatchUp, |_| ()).await?;
        // Its sessions would be ended by the fence.
        mirror::end(&self.proxy, &known.from).await;
        let ready = self.began + known.timeout;
        bounded(&one, ready, Step::CatchUp, self.make_ready(known.timeout)).await?;
        let gate = self.proxy.gates.get(&known.database);
        let closes = gate.is_some_and(|gate| !hold::is_closed_by_a_person(&gate));
        let names: Vec<String> = closes.then(|| known.database.clone()).into_iter().collect();
        self.take(Step::Hold, |known| known.closed.clone_from(&names)).await?;
        let until = self.began + known.timeout.min(known.hold_timeout);
        let terms = hold::Terms {
            message: format!("migration to {}", self.to.place),
            hold_timeout: known.hold_timeout,
            drain_timeout: known.drain_timeout.min(known.timeout),
            on_timeout: if known.cancels { OnTimeout::Cancel } else { OnTimeout::Revert },
        };
        let proxy = self.proxy.clone();
        let closed = async { hold::close(&proxy, &one, &names, &terms).await.map_err(Failure::from) };
        bounded(&one, until, Step::Hold, closed).await?;
        let text = if names.is_empty() { "the database was closed already" } else { "writes are held" };
        self.tell(Step::Hold, text);
        self.take(Step::Fence, |_| ()).await?;
        bounded(&one, until, Step::Fence, self.fence()).await?;
        self.take(Step::Replay, |_| ()).await?;
        bounded(&one, until, Step::Replay, self.drain()).await?;
        self.take(Step::Sequences, |_| ()).await?;
        bounded(&one, until, Step::Sequences, self.raise_sequences(known.margin)).await?;
        self.take(Step::Reverse, |_| ()).await?;
        bounded(&one, until, Step::Reverse, self.turn()).await?;
        let was_fenced = fence::is_down(&mut self.to).await?;
        self.take(Step::Verify, |known| known.was_fenced = was_fenced).await?;
        bounded(&one, until, Step::Verify, self.verify()).await?;
        if let Some(name) = hold::find_open(&self.proxy, &names) {
            return Err(Failure::new("55000", format!("database \"{name}\" was opened meanwhile")));
        }
        self.take(Step::Repoint, |_| ()).await?;
        Ok(())
    }

    /// What may take a while is done before writes are held: a slot waits for transactions that are open.
    async fn make_ready(&mut self, patience: Duration) -> Result<(), Failure> {
        streams::stop(&self.next, &mut self.from).await?;
        streams::drop_slot(&self.next, &mut self.to).await?;
        streams::make_slot(&self.next, &mut self.to, patience).await?;
        streams::all_followed(&self.active, &mut self.from, &mut self.to).await?;
        Ok(())
    }

    async fn fence(&mut self) -> Result<(), Failure> {
        fence::down(&mut self.from).await?;
        let ended = fence::none_left(&self.proxy, &mut self.from).await?;
        let others = if ended.is_empty() { String::new() } else { format!("; ended: {}", ended.join(", ")) };
        self.tell(Step::Fence, format!("{} on {} is read-only{others}", self.from.place.dbname, self.from.server()));
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        loop {
            let position = fence::drained(&self.active, &mut self.from, &mut self.to).await?;
            // What has begun to write past the setting meanwhile is not lost silently.
            let ended = fence::none_left(&self.proxy, &mut self.from).await?;
            if ended.is_empty() {
                streams::all_followed(&self.active, &mut self.from, &mut self.to).await?;
                self.tell(Step::Replay, format!("{} has everything up to {position}", self.to.server()));
                return Ok(());
            }
            self.tell(Step::Replay, format!("ended: {}", ended.join(", ")));
        }
    }

    async fn raise_sequences(&mut self, margin: u64) -> Result<(), Failure> {
        let rows = self.from.talk.rows(&sql::sequences(margin)).await;
        let rows = rows.map_err(|error| streams::failed(&self.from, "sequences cannot be read", &error))?;
        let values: Vec<(String, i64)> =
            rows.iter().filter_map(|row| Some((field(row, 0).to_owned(), field(row, 1).parse().ok()?))).collect();
        for part in values.chunks(MOST_SET) {
            let set = self.to.talk.rows(&sql::set_sequences(part)).await;
            set.map_err(|error| streams::failed(&self.to, "sequences cannot be set", &error))?;
        }
        self.tell(Step::Sequences, format!("{} sequences go on {margin} values later", values.len()));
        Ok(())
    }

    /// The side that is left follows the other one from now on.
    async fn turn(&mut self) -> Result<(), Failure> {
        streams::stop(&self.active, &mut self.to).await?;
        let advanced = self.to.talk.rows(&sql::advance_slot(&self.next)).await;
        advanced.map_err(|error| streams::failed(&self.to, "the slot for the way back cannot be used", &error))?;
        streams::start(&self.next, &mut self.from).await?;
        self.tell(Step::Reverse, format!("{} follows {} from now on", self.from.server(), self.to.server()));
        Ok(())
    }

    /// The other side takes writes, as a session that begins now.
    async fn verify(&mut self) -> Result<(), Failure> {
        let lifted = fence::up(&mut self.to).await;
        lifted.map_err(|error| streams::failed(&self.to, "the database could not be made writable", &error))?;
        self.to.plain.hang_up();
        let row = self.to.plain.row(moving::VERIFY).await;
        let row = row.map_err(|error| streams::failed(&self.to, "nothing can be written", &error))?;
        if field(&row, 0) != "f" || field(&row, 1) != "off" {
            return Err(Failure::new("55000", format!("sessions on {} read only", self.to.server())));
        }
        self.tell(Step::Verify, format!("{} has committed a transaction", self.to.server()));
        Ok(())
    }

    /// Clients write on the other side from here on: only forward.
    pub(super) async fn lead(mut self, resumed: bool) {
        self.began = Instant::now();
        let known = self.known();
        let who = self.one.entry().who;
        let mut told = false;
        let (left, notes) = loop {
            let error = match by_move::lead(&self.proxy, &known.database, &self.to.place, &who).await {
                Ok(done) => break done,
                Err(error) => error,
            };
            // It could not be saved, so nobody was led there. But a restart would do it, unless this is written down.
            let unchanged = !resumed && error.code == "58030";
            if unchanged && self.take(Step::Back, |_| ()).await.is_ok() {
                return self.go_back_from(Step::Verify, Failure::new("58030", error.message.to_string())).await;
            }
            if !told {
                told = true;
                let text = format!("clients cannot be led to {} yet: {}", self.to.place, error.message);
                self.warn(Step::Repoint, text, "Writes are held until they can be.");
            }
            sleep(RETRY).await;
        };
        let (on_new, to, from) = (known.way == Way::There, self.to.place.clone(), self.from.place.clone());
        let note = self.proxy.moves.migrate(move |all| {
            for one in all.iter_mut().filter(|one| one.has(&to) && one.has(&from)) {
                (one.on_new, one.since) = (on_new, jiff::Timestamp::now());
            }
        });
        let noted = note.await;
        self.log(noted);
        self.tell(Step::Repoint, format!("clients go to {}", self.to.place));
        for note in notes {
            self.tell(Step::Repoint, note);
        }
        let taken = self.take(Step::Release, |_| ()).await;
        self.log(taken);
        while let Err(error) = hold::open(&self.proxy, &known.closed).await {
            tracing::error!(event = "move_not_released", "{error}");
            sleep(RETRY).await;
        }
        self.tell(Step::Release, if known.closed.is_empty() { "nothing was held" } else { "held writes go on there" });
        let taken = self.take(Step::Clean, |_| ()).await;
        self.log(taken);
        by_move::leave(&self.proxy, &left, known.drain_timeout).await;
        self.drop_old_slot().await;
        self.end(true, None).await;
    }

    pub(super) fn log(&self, written: Result<(), crate::moving::MoveError>) {
        // What cannot be written down is found out again after a restart.
        if let Err(error) = written {
            tracing::error!(event = "move_not_saved", "{error}");
        }
    }

    /// The slot by which the other side has followed keeps the log of the one that was left, for nobody.
    async fn drop_old_slot(&mut self) {
        let until = Instant::now() + CLEANS;
        let database = self.known().database;
        loop {
            let Err(failure) = streams::drop_slot(&self.active, &mut self.from).await else { break };
            if Instant::now() > until {
                return self.warn(Step::Clean, failure.why, format!("MIGRATE {database} FINISH takes it away."));
            }
            self.from.hang_up();
            sleep(RETRY).await;
        }
        let text = format!("{} follows: MIGRATE {database} ", self.from.server());
        let other = match self.known().way {
            Way::Back => format!("TO {}", self.from.place.cluster),
            Way::There | Way::Finish => "BACK".to_owned(),
        };
        self.tell(Step::Clean, format!("{text}{other} leads back there, FINISH takes replication away"));
    }
}
