//! The task that asks in one place: it keeps the line, the connections and the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::answers::{Answers, Known};
use super::place::Place;
use crate::auth::Secret;
use crate::log::Occasionally;
use crate::protocol::ErrorFields;
use crate::server::login::{Fresh, LoginError};
use crate::server::own_query::Row;
use crate::sql::own_statements::roles::MEMBERSHIPS;

/// Questions to a server at a time, and connections that lie idle.
const MOST_AT_ONCE: usize = 2;
/// Log-ins that wait for an answer; further ones stay in the queue.
const MOST_WAITING: usize = 10_000;
/// Connections that were not used for this long are closed.
const IDLE: Duration = Duration::from_secs(60);
/// Between two attempts to reach a server.
const RETRY: Duration = Duration::from_millis(200);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The secret of that user.
    Secret(Arc<str>),
    /// The roles that the user is a member of.
    Roles(Arc<str>),
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// None: there is no such user, or it may not log in.
    Secret(Option<Secret>),
    /// The names of the roles, the user's own among them; none if there is no such user.
    Roles(Arc<[String]>),
}

/// An answer, and whether it is of now.
#[derive(Clone, Debug)]
pub struct Found {
    /// The answer.
    pub answer: Answer,
    /// It was asked for after the log-in had come.
    pub is_fresh: bool,
}

/// Why there is no answer: for the log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No server can be reached now.
    Unreachable(String),
    /// The database does not exist on the server.
    NoSuchDatabase(String),
    /// The database that auth_dbname names lets nobody in: DISABLE.
    Disabled(String),
    /// The server does not let the role in that asks, the query fails, or its answer is none.
    Failed(String),
}

/// A log-in asks.
pub(super) struct Ask {
    pub(super) question: Question,
    /// An answer of before does not do.
    pub(super) fresh: bool,
    pub(super) tell: oneshot::Sender<Result<Found, Failure>>,
}

type Waiting = Vec<oneshot::Sender<Result<Found, Failure>>>;

/// What the server said.
enum Said {
    Secret(Option<Known>),
    Roles(Arc<[String]>),
}

struct Done {
    question: Question,
    said: Result<Said, Failure>,
    connection: Option<Connection>,
}

/// A connection, and which of the servers it leads to.
type Connection = (usize, Fresh);

struct Desk {
    place: Arc<Place>,
    answers: Answers,
    /// What is to be asked, in order.
    line: VecDeque<Question>,
    /// Who has come before their question was asked.
    waiting: HashMap<Question, Waiting>,
    /// Whose question is under way.
    asked: HashMap<Question, Waiting>,
    running: JoinSet<Done>,
    idle: Vec<Connection>,
    failures: Occasionally,
}

/// Serves until nobody can ask any more.
pub(super) async fn run(place: Place, mut queue: mpsc::Receiver<Ask>) {
    let mut desk = Desk {
        place: Arc::new(place),
        answers: Answers::default(),
        line: VecDeque::new(),
        waiting: HashMap::new(),
        asked: HashMap::new(),
        running: JoinSet::new(),
        idle: Vec::new(),
        failures: Occasionally::every(Duration::from_secs(1)),
    };
    let mut is_open = true;
    while is_open || !desk.running.is_empty() {
        tokio::select! {
            ask = queue.recv(), if is_open && desk.has_room() => match ask {
                Some(ask) => desk.take(ask),
                None => is_open = false,
            },
            Some(done) = desk.running.join_next() => match done {
                Ok(done) => desk.answered(done),
                // It has panicked: whoever waits is told that there is no answer.
                Err(_) => {
                    desk.asked.clear();
                    desk.line = desk.waiting.keys().cloned().collect();
                }
            },
            () = sleep(IDLE), if desk.running.is_empty() => desk.idle.clear(),
        }
        desk.ask_next();
    }
}

impl Desk {
    fn has_room(&self) -> bool {
        self.waiting.values().map(Vec::len).sum::<usize>() < MOST_WAITING
    }

    fn take(&mut self, ask: Ask) {
        if let Question::Secret(user) = &ask.question
            && !ask.fresh
            && let Some(secret) = self.answers.get(user, Some(self.place.cache_time))
        {
            let _ = ask.tell.send(Ok(Found { answer: Answer::Secret(secret), is_fresh: false }));
            return;
        }
        // A question that is under way may have been asked too early for whoever comes now.
        let in_line = self.waiting.contains_key(&ask.question) || self.asked.contains_key(&ask.question);
        if !in_line {
            self.line.push_back(ask.question.clone());
        }
        self.waiting.entry(ask.question).or_default().push(ask.tell);
    }

    fn ask_next(&mut self) {
        while self.running.len() < MOST_AT_ONCE {
            let Some(question) = self.line.pop_front() else { return };
            let mut waiting = self.waiting.remove(&question).unwrap_or_default();
            waiting.retain(|tell| !tell.is_closed());
            if waiting.is_empty() {
                continue;
            }
            self.asked.insert(question.clone(), waiting);
            let known = match &question {
                Question::Secret(user) => self.answers.known(user),
                Question::Roles(_) => None,
            };
            self.running.spawn(ask(self.place.clone(), self.idle.pop(), question, known));
        }
    }

    fn answered(&mut self, done: Done) {
        self.idle.extend(done.connection);
        self.idle.truncate(MOST_AT_ONCE);
        let waiting = self.asked.remove(&done.question).unwrap_or_default();
        if self.waiting.contains_key(&done.question) {
            self.line.push_back(done.question.clone());
        }
        let found = match (done.said, &done.question) {
            (Ok(Said::Secret(known)), Question::Secret(user)) => {
                let secret = known.as_ref().map(|known| known.secret.clone());
                self.answers.put(user, known);
                Ok(Found { answer: Answer::Secret(secret), is_fresh: true })
            }
            (Ok(Said::Roles(roles)), _) => Ok(Found { answer: Answer::Roles(roles), is_fresh: true }),
            (Ok(Said::Secret(_)), Question::Roles(_)) => return,
            (Err(failure), question) => {
                self.log(&failure);
                let before = match (question, &failure) {
                    (Question::Secret(user), Failure::Unreachable(_)) => self.answers.get(user, None),
                    _ => None,
                };
                before.map(|secret| Found { answer: Answer::Secret(secret), is_fresh: false }).ok_or(failure)
            }
        };
        for tell in waiting {
            let _ = tell.send(found.clone());
        }
    }

    fn log(&self, failure: &Failure) {
        let (Failure::Unreachable(error)
        | Failure::NoSuchDatabase(error)
        | Failure::Failed(error)
        | Failure::Disabled(error)) = failure;
        if let Some(times) = self.failures.note(Instant::now()) {
            let (database, auth_user) = self.place.words();
            tracing::warn!(
                event = "auth_query_failed",
                database,
                auth_user,
                error,
                times,
                "the server could not be asked about a user"
            );
        }
    }
}

async fn ask(place: Arc<Place>, connection: Option<Connection>, question: Question, known: Option<Known>) -> Done {
    let until = Instant::now() + place.timeout;
    // Another server may have become the primary.
    let serves = |(at, fresh): &Connection| place.is_first(*at) && !fresh.stream.socket().has_gone();
    let mut connection = connection.filter(serves);
    loop {
        let was_idle = connection.is_some();
        match ask_once(&place, &mut connection, &question).await {
            Ok(rows) => {
                let said = read(&place, &question, rows, known).await;
                return Done { question, said, connection };
            }
            // The server has closed it meanwhile, which says nothing of the server.
            Err(error) if was_idle && error.is_transient() => connection = None,
            // Where there is an answer of before, nobody waits for another one.
            Err(error) if error.is_transient() && known.is_none() && Instant::now() + RETRY < until => {
                connection = None;
                sleep(RETRY).await;
            }
            Err(error) => {
                let keeps = matches!(&error, LoginError::Refused(body) if !ErrorFields::new(body).is_fatal());
                let said = Err(failure(&error));
                return Done { question, said, connection: connection.filter(|_| keeps) };
            }
        }
    }
}

async fn ask_once(
    place: &Place,
    connection: &mut Option<Connection>,
    question: &Question,
) -> Result<Vec<Row>, LoginError> {
    let (_, fresh) = match connection {
        Some(connection) => connection,
        None => connection.insert(place.connect().await?),
    };
    let rows = match question {
        Question::Secret(user) => timeout(place.timeout, fresh.rows_with(place.query(), user)).await,
        Question::Roles(user) => timeout(place.timeout, fresh.rows_with(MEMBERSHIPS, user)).await,
    };
    match rows {
        Ok(rows) => rows,
        Err(_) => {
            *connection = None;
            Err(LoginError::Timeout(place.timeout))
        }
    }
}

fn failure(error: &LoginError) -> Failure {
    let text = error.to_string();
    match error {
        LoginError::Refused(body) if ErrorFields::new(body).code() == b"3D000" => Failure::NoSuchDatabase(text),
        error if error.is_transient() || matches!(error, LoginError::Barred) => Failure::Unreachable(text),
        _ => Failure::Failed(text),
    }
}

async fn read(place: &Place, question: &Question, rows: Vec<Row>, known: Option<Known>) -> Result<Said, Failure> {
    let user = match question {
        Question::Secret(user) => user,
        Question::Roles(_) => {
            let names = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
            return Ok(Said::Roles(names.collect()));
        }
    };
    let failed = |why: &str| Err(Failure::Failed(why.to_owned()));
    let mut rows = rows.into_iter();
    let (row, more) = (rows.next(), rows.next());
    if more.is_some() {
        return failed("auth_query has answered with more than one row");
    }
    let Some(row) = row else { return Ok(Said::Secret(None)) };
    let mut columns = row.into_iter();
    let (Some(name), Some(secret), None) = (columns.next(), columns.next(), columns.next()) else {
        return failed("auth_query must answer with two columns: the name of the user and its secret");
    };
    match name {
        // What a function with OUT parameters answers for a user who does not exist.
        None => return Ok(Said::Secret(None)),
        Some(name) if name != **user => return failed("auth_query has answered with another user's name"),
        Some(_) => {}
    }
    let text = Zeroizing::new(secret.unwrap_or_default());
    if let Some(known) = known.filter(|known| known.text == text) {
        // What was derived from it serves on.
        return Ok(Said::Secret(Some(known)));
    }
    let secret = Secret::from_text(&text);
    if matches!(secret, Secret::Plain(_)) {
        let (prepared, user, decoy) = (secret.clone(), user.clone(), place.decoy.clone());
        let _ = tokio::task::spawn_blocking(move || prepared.prepare(&user, &decoy)).await;
    }
    Ok(Said::Secret(Some(Known { text, secret })))
}
