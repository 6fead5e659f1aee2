//! tokio-postgres.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, TryStreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error, IsolationLevel, SimpleQueryMessage, Socket};
use tokio_rustls::TlsConnector;

use crate::stand::{PASSWORD, Stand, USER, detail};

/// TLS by rustls, with the certificate checked in full, and the channel binding that SCRAM-SHA-256-PLUS needs.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    pub fn new(stand: &Stand) -> Tls {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(stand.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Tls(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Secured;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connect> {
        Ok(Connect(self.0.clone(), ServerName::try_from(host.to_owned()).map_err(io::Error::other)?))
    }
}

pub struct Connect(TlsConnector, ServerName<'static>);

impl TlsConnect<Socket> for Connect {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move { Ok(Secured(Box::new(self.0.connect(self.1, stream).await?))) })
    }
}

pub struct Secured(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates().unwrap();
        // The fixture's certificates are signed with SHA-256.
        ChannelBinding::tls_server_end_point(Sha256::digest(&certificates[0]).to_vec())
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects to a database of the stand; SCRAM-SHA-256-PLUS or nothing.
pub async fn connect(stand: &Stand, database: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("localhost").hostaddr([127, 0, 0, 1].into()).port(stand.proxy.port());
    config.user(USER).password(PASSWORD).dbname(database).ssl_mode(SslMode::Require);
    config.channel_binding(tokio_postgres::config::ChannelBinding::Require);
    let (client, connection) = config.connect(Tls::new(stand)).await.unwrap();
    tokio::spawn(connection);
    client
}

#[track_caller]
fn code<T>(result: Result<T, Error>, expected: &SqlState) -> Box<tokio_postgres::error::DbError> {
    let error = result.err().unwrap_or_else(|| panic!("no {}", expected.code()));
    let Some(error) = error.as_db_error().cloned() else { panic!("{}: {error}", expected.code()) };
    assert_eq!(error.code(), expected, "{}", error.message());
    Box::new(error)
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, command: &str) {
    let error = code(result, &SqlState::READ_ONLY_SQL_TRANSACTION);
    assert_eq!(error.message(), format!("cannot execute {command} in a read-only transaction"));
    assert_eq!(error.detail(), Some(&*detail("rust")));
    assert!(error.hint().is_some_and(|hint| hint.contains("2030-12-01")), "{error:?}");
    assert_eq!(error.severity(), "ERROR");
}

async fn ids(client: &Client, sql: &str) -> Vec<i32> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Cancels what runs, once the primary or the replica has it; the connection serves on.
async fn cancel(stand: &Stand, client: &Client) {
    let token = client.cancel_token();
    let running = client.query_one("select pg_sleep($1)", &[&60_f64]);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(Tls::new(stand)).await.unwrap();
    };
    let (result, ()) = tokio::join!(running, stop);
    code(result, &SqlState::QUERY_CANCELED);
    for n in 0..10_i32 {
        assert_eq!(client.query_one("select $1::int", &[&n]).await.unwrap().get::<_, i32>(0), n);
    }
}

#[tokio::test]
async fn tokio_postgres() {
    let stand = Stand::shared();
    let mut client = connect(&stand, "rust").await;
    let tables = "drop table if exists t; create table t (id int primary key, v text);
                  drop sequence if exists s; create sequence s";
    client.batch_execute(tables).await.unwrap();

    // Query, simple and extended, also many at once.
    let simple = client.simple_query("select 1; select 2, null").await.unwrap();
    let rows = simple.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
    assert_eq!(rows, 2);
    assert_eq!(ids(&client, "select generate_series(1, 100000)").await.len(), 100_000);
    let big = "x".repeat(3_000_000);
    let row = client.query_one("select $1::text, repeat('y', 3000000)", &[&big]).await.unwrap();
    assert!(row.get::<_, &str>(0) == big && row.get::<_, &str>(1).len() == 3_000_000);
    let piped = futures_util::future::join_all((0..50_i32).map(|n| {
        let client = &client;
        async move { client.query_one("select $1::int * 2", &[&n]).await.unwrap().get::<_, i32>(0) }
    }));
    assert_eq!(piped.await, (0..50).map(|n| n * 2).collect::<Vec<_>>());
    code(client.query("select * from nowhere", &[]).await, &SqlState::UNDEFINED_TABLE);

    // Transactions.
    let mut outer = client.transaction().await.unwrap();
    outer.execute("insert into t values (1, 'one')", &[]).await.unwrap();
    let inner = outer.savepoint("a_savepoint").await.unwrap();
    inner.execute("insert into t values (2, 'two')", &[]).await.unwrap();
    inner.rollback().await.unwrap();
    let inner = outer.transaction().await.unwrap();
    inner.execute("insert into t values ($1, $2)", &[&3, &"three"]).await.unwrap();
    inner.commit().await.unwrap();
    outer.commit().await.unwrap();
    assert_eq!(ids(&client, "select id from t order by id").await, [1, 3]);
    let failing = client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await.unwrap();
    failing.execute("delete from t", &[]).await.unwrap();
    code(failing.query("select 1/0", &[]).await, &SqlState::DIVISION_BY_ZERO);
    code(failing.query("select 1", &[]).await, &SqlState::IN_FAILED_SQL_TRANSACTION);
    failing.rollback().await.unwrap();
    assert_eq!(ids(&client, "select id from t order by id").await, [1, 3]);

    // Statements that outlive transactions, and portals that do not.
    let insert = client.prepare("insert into t values ($1, $2)").await.unwrap();
    let read = client.prepare("select v from t where id = $1").await.unwrap();
    for n in 100..110 {
        let transaction = client.transaction().await.unwrap();
        transaction.execute(&insert, &[&n, &n.to_string()]).await.unwrap();
        assert_eq!(transaction.query_one(&read, &[&n]).await.unwrap().get::<_, String>(0), n.to_string());
        transaction.commit().await.unwrap();
        assert_eq!(client.query_one(&read, &[&n]).await.unwrap().get::<_, String>(0), n.to_string());
    }
    for _ in 0..2 {
        code(client.prepare("select no_such from t").await, &SqlState::UNDEFINED_COLUMN);
    }
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("select generate_series(1, 1000)", &[]).await.unwrap();
    let mut sum = 0;
    loop {
        let rows = transaction.query_portal(&portal, 300).await.unwrap();
        assert_eq!(transaction.query_one(&read, &[&1]).await.unwrap().get::<_, String>(0), "one");
        if rows.is_empty() {
            break;
        }
        sum += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
    }
    assert_eq!(sum, 500_500);
    transaction.commit().await.unwrap();

    // COPY, both ways, and one that breaks off.
    let mut sink = Box::pin(client.copy_in("copy t from stdin").await.unwrap());
    for n in 1000..21000 {
        sink.send(io::Cursor::new(format!("{n}\tv{n}\n").into_bytes())).await.unwrap();
    }
    assert_eq!(sink.as_mut().finish().await.unwrap(), 20000);
    let copied = client.copy_out("copy (select id from t where id >= 1000 order by id) to stdout").await.unwrap();
    let copied: Vec<_> = copied.try_collect().await.unwrap();
    assert_eq!(copied.concat().split(|byte| *byte == b'\n').count(), 20001);
    let mut sink = Box::pin(client.copy_in("copy t from stdin").await.unwrap());
    sink.send(io::Cursor::new(b"30000\tx\n".to_vec())).await.unwrap();
    drop(sink);
    let mut sink = Box::pin(client.copy_in("copy t from stdin").await.unwrap());
    sink.send(io::Cursor::new(b"not a number\tx\n".to_vec())).await.unwrap();
    code(sink.as_mut().finish().await, &SqlState::INVALID_TEXT_REPRESENTATION);
    assert!(ids(&client, "select id from t where id >= 30000").await.is_empty());

    cancel(&stand, &client).await;
    maintenance(&stand, client).await;
    assert!(stand.server_connections("rust") <= 2);
}

async fn maintenance(stand: &Stand, mut client: Client) {
    let insert = client.prepare("insert into t values ($1, $2)").await.unwrap();
    let read = client.prepare("select v from t where id = $1").await.unwrap();
    client.execute(&insert, &[&60000, &"before"]).await.unwrap();
    stand.maintenance_on("rust");
    for _ in 0..2 {
        refused(client.execute(&insert, &[&60001, &"x"]).await, "INSERT");
        refused(client.batch_execute("insert into t values (60001, 'x')").await, "INSERT");
        assert_eq!(client.query_one(&read, &[&60000]).await.unwrap().get::<_, String>(0), "before");
    }
    refused(client.execute("select nextval('s')", &[]).await, "nextval()");
    refused(client.execute("create table u ()", &[]).await, "CREATE TABLE");
    let (refusal, answer) = tokio::join!(client.execute(&insert, &[&60001, &"x"]), client.query_one(&read, &[&60000]));
    refused(refusal, "INSERT");
    assert_eq!(answer.unwrap().get::<_, String>(0), "before");
    let transaction = client.transaction().await.unwrap();
    refused(transaction.execute(&insert, &[&60001, &"x"]).await, "INSERT");
    code(transaction.query(&read, &[&1]).await, &SqlState::IN_FAILED_SQL_TRANSACTION);
    transaction.rollback().await.unwrap();
    let mut transaction = client.transaction().await.unwrap();
    let inner = transaction.transaction().await.unwrap();
    refused(inner.execute(&insert, &[&60001, &"x"]).await, "INSERT");
    inner.rollback().await.unwrap();
    let portal = transaction.bind(&read, &[&60000]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 10).await.unwrap().len(), 1);
    transaction.commit().await.unwrap();
    {
        // After a COPY that is refused tokio-postgres sends a Sync too many, and trips over its answer: on a direct
        // connection too. This one is not used any more.
        let copying = connect(stand, "rust").await;
        refused(copying.copy_in::<_, io::Cursor<Vec<u8>>>("copy t from stdin").await.map(drop), "COPY FROM");
    }
    cancel(stand, &client).await;
    let late = connect(stand, "rust").await;
    refused(late.execute("delete from t", &[]).await, "DELETE");
    assert_eq!(ids(&late, "select id from t where id = 60000").await, [60000]);
    stand.maintenance_off("rust");
    client.execute(&insert, &[&60002, &"after"]).await.unwrap();
    late.execute("insert into t values (60003, 'after')", &[]).await.unwrap();
    assert_eq!(ids(&client, "select id from t where id >= 60000 order by id").await, [60000, 60002, 60003]);
}
