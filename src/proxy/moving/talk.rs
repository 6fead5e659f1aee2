//! A connection of a move's own to one server. It is opened anew when it has failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::protocol::ErrorFields;
use crate::proxy::setup::move_login;
use crate::server::login::{Fresh, Login, LoginError};
use crate::server::own_query::Row;
use crate::shared::ProxyState;
use crate::sql::own_statements::moving::REPLAYED;
use crate::topology::Cluster;

/// See the module.
pub(super) struct Talk {
    login: Login,
    fresh: Option<Fresh>,
}

impl Talk {
    /// With the server of that number, by the role for moves. None: there is no such role.
    pub(super) fn with(proxy: &Arc<ProxyState>, cluster: &Cluster, at: usize) -> Option<Self> {
        let (_, tls) = proxy.databases.cluster(&cluster.name)?;
        let login = move_login(&proxy.setup.load(), cluster, tls, at)?;
        Some(Self { login, fresh: None })
    }

    /// With that server in one of its databases. `writes`: as a session that may, even where the database is read-only by default.
    pub(super) fn in_database(
        proxy: &Arc<ProxyState>,
        cluster: &Cluster,
        at: usize,
        dbname: &str,
        writes: bool,
    ) -> Option<Self> {
        let mut talk = Self::with(proxy, cluster, at)?;
        dbname.clone_into(&mut talk.login.dbname);
        if writes {
            let own = [("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "5s")];
            talk.login.parameters.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Some(talk)
    }

    /// The role.
    pub(super) fn role(&self) -> &str {
        &self.login.user
    }

    /// Begins anew with the next question: as a session that begins now.
    pub(super) fn hang_up(&mut self) {
        self.fresh = None;
    }

    async fn connection(&mut self) -> Result<&mut Fresh, LoginError> {
        match &mut self.fresh {
            Some(fresh) => Ok(fresh),
            empty => Ok(empty.insert(self.login.run(&[]).await?)),
        }
    }

    /// Rows of a statement, under PostgreSQL's own search_path. It is not asked again if the connection fails meanwhile.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        let patience = self.login.timeout;
        self.rows_within(sql, patience).await
    }

    /// The same with a patience of its own.
    pub(super) async fn rows_within(&mut self, sql: &str, patience: Duration) -> Result<Vec<Row>, LoginError> {
        let asked = async { self.connection().await?.rows(sql).await };
        let answer = timeout(patience, asked).await.unwrap_or(Err(LoginError::Timeout(patience)));
        self.keep_if_sound(&answer);
        answer
    }

    /// Whether the server does not answer.
    pub(super) async fn is_silent(&mut self) -> bool {
        self.row(REPLAYED).await.is_err_and(|error| !is_refusal(&error))
    }

    /// The same with an answer of no more than so many bytes.
    pub(super) async fn rows_bounded(
        &mut self,
        sql: &str,
        patience: Duration,
        most: usize,
    ) -> Result<Vec<Row>, LoginError> {
        let asked = async { self.connection().await?.rows_within(sql, most).await };
        let answer = timeout(patience, asked).await.unwrap_or(Err(LoginError::Timeout(patience)));
        self.keep_if_sound(&answer);
        answer
    }

    /// The first row.
    pub(super) async fn row(&mut self, sql: &str) -> Result<Row, LoginError> {
        self.rows(sql).await.map(|rows| rows.into_iter().next().unwrap_or_default())
    }

    /// A statement that is sent by itself, since it runs in no transaction block.
    pub(super) async fn alone(&mut self, sql: &str) -> Result<(), LoginError> {
        let patience = self.login.timeout;
        let asked = async { self.connection().await?.ask(sql, |_| ()).await };
        let answer = timeout(patience, asked).await.unwrap_or(Err(LoginError::Timeout(patience)));
        self.keep_if_sound(&answer);
        answer.map(drop)
    }

    /// A refusal leaves the connection as it was, unless it was the server's last word.
    fn keep_if_sound<T>(&mut self, answer: &Result<T, LoginError>) {
        let sound = match answer {
            Ok(_) => true,
            Err(LoginError::Refused(body)) => !ErrorFields::new(body).is_fatal(),
            Err(_) => false,
        };
        if !sound {
            self.hang_up();
        }
    }
}

/// A field of a row, empty where there is none.
pub(super) fn field(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

/// Whether the server has answered, and said no.
pub(super) fn is_refusal(error: &LoginError) -> bool {
    matches!(error, LoginError::Refused(_))
}
