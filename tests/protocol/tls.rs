//! TLS: begun at once, with certificates of clients on either side, and bound to the log-in.

use std::path::Path;
use std::time::Duration;

use pgsluice::tls::{ALPN, CaSource, ClientTlsConfig, ServerTls, ServerTlsConfig, SslMode, TlsFiles};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, Tls, proxy::binary, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stand::{ask, refusal};

fn cluster(hba: &[&str]) -> Cluster {
    Cluster::builder()
        .tls(true)
        .roles([
            Role::new("app").password("app"),
            Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(["app"])
        .hba(hba.iter().copied())
        .start()
        .expect("a cluster")
}

fn proxy(port: u16, top: &str) -> Proxy {
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_file = \"userlist.txt\"\n{top}\n\
         query_wait_timeout = \"5s\"\n[clusters.main]\nupstreams = [\"localhost:{port}\"]\nmonitor_user = \"monitor\"\n\
         monitor_password = \"monitor\"\nmonitor_interval = \"200ms\"\n[databases.app]\n[databases.postgres]\n",
    );
    Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .config(config)
        .file("userlist.txt", "\"app\" \"app\"\n\"monitor\" \"monitor\"\n")
        .start()
        .expect("a proxy")
}

fn app() -> Login {
    Login::new("app", "app").password("app")
}

fn towards(ca: &Path) -> ServerTls {
    let files = ServerTlsConfig {
        mode: SslMode::VerifyFull,
        ca: Some(CaSource::File(ca.to_owned())),
        ..ServerTlsConfig::default()
    };
    files.load().unwrap()
}

#[tokio::test]
async fn tls_may_begin_at_once_if_it_names_postgresql() {
    let cluster = cluster(&["host all all all scram-sha-256"]);
    let tls = cluster.tls().unwrap();
    let lines = format!(
        "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n",
        tls.server("proxy", &["localhost"]).unwrap().0.display(),
        tls.server("proxy", &["localhost"]).unwrap().1.display()
    );
    let proxy = proxy(cluster.primary().port(), &lines);
    let connect = || async { TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap() };
    let ours = towards(&tls.ca_cert);
    let mut stream = ours.connect("localhost", connect().await).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN));
    stream.write_all(&message::startup(message::PROTOCOL_3_0, &[("user", "app"), ("database", "app")])).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R', "asked for a password");
    // A second time is refused, and so is one that says nothing of PostgreSQL, or names something else.
    let mut stream = ours.connect("localhost", connect().await).await.expect("a handshake");
    stream.write_all(&message::ssl_request()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'E');
    for names in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = (*ours.config().unwrap()).clone();
        config.alpn_protocols = names;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let start = message::startup(message::PROTOCOL_3_0, &[("user", "app"), ("database", "app")]);
        if let Ok(mut stream) = connector.connect("localhost".try_into().unwrap(), connect().await).await {
            let _ = stream.write_all(&start).await;
            assert!(stream.read_u8().await.is_err(), "it was let in");
        }
    }
    // TLS that was asked for first needs to name nothing.
    let mut config = (*ours.config().unwrap()).clone();
    config.alpn_protocols = Vec::new();
    let mut socket = connect().await;
    socket.write_all(&message::ssl_request()).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), socket).await.expect("a handshake");
    // Who does not trust the certificate says so, and that is in the log with the address.
    let mut socket = connect().await;
    let client = format!("client={}", socket.local_addr().unwrap());
    socket.write_all(&message::ssl_request()).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let other = Cluster::builder().tls(true).start().unwrap();
    let strict = towards(&other.tls().unwrap().ca_cert);
    let connector = tokio_rustls::TlsConnector::from(strict.config().unwrap());
    connector.connect("localhost".try_into().unwrap(), socket).await.expect_err("an unknown authority");
    let logged = || proxy.log().lines().any(|line| line.contains("tls_failed") && line.contains(&client));
    wait::until(Duration::from_secs(10), "the failure in the log", || logged().then_some(()));
}

/// Another pgsluice stands in for a server that takes it, as PostgreSQL 17 does.
#[test]
fn tls_begins_at_once_towards_a_server_where_that_is_wanted() {
    let cluster = cluster(&["host all all all scram-sha-256"]);
    let tls = cluster.tls().unwrap();
    let (cert, key) = tls.server("proxy", &["localhost"]).unwrap();
    let lines = format!(
        "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n",
        cert.display(),
        key.display()
    );
    let inner = proxy(cluster.primary().port(), &lines);
    let direct = format!(
        "server_tls_negotiation = \"direct\"\nserver_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = \"{}\"\n",
        tls.ca_cert.display()
    );
    let outer = proxy(inner.port(), &direct);
    let mut client = Raw::connect(&outer.tcp(), &app()).expect("a connection through both");
    assert_eq!(ask(&mut client, "SELECT current_user"), "app");
    // The first byte tells.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _third = proxy(listener.local_addr().unwrap().port(), &direct);
    let (mut monitor, _) = listener.accept().unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut monitor, &mut byte).unwrap();
    assert_eq!(byte, [0x16]);
}

#[test]
fn a_server_may_want_a_certificate_or_no_clear_text() {
    let cluster =
        cluster(&["hostssl all app all scram-sha-256 clientcert=verify-ca", "hostssl all all all scram-sha-256"]);
    let tls = cluster.tls().unwrap();
    let (cert, key) = tls.client("app").unwrap();
    let port = cluster.primary().port();
    let lines = format!(
        "server_tls_cert_file = \"{}\"\nserver_tls_key_file = \"{}\"\nserver_tls_ca_file = \"{}\"\n",
        cert.display(),
        key.display(),
        tls.ca_cert.display()
    );
    // With `allow` the first try is in clear text, which this server refuses.
    for mode in ["verify-full", "allow"] {
        let shows = proxy(port, &format!("server_tls_sslmode = \"{mode}\"\n{lines}"));
        let mut client = Raw::connect(&shows.tcp(), &app()).unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(ask(&mut client, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
    }
    let shows_none = proxy(port, "server_tls_sslmode = \"require\"\n");
    let refused = refusal(&shows_none.tcp(), &app());
    assert!(refused.contains(&('M', "connection requires a valid client certificate".into())), "{refused:?}");
}

/// Whoever sits between with a certificate of his own, where none is checked, can read everything but the log-in: that
/// is bound to the certificate that pgsluice was shown (SCRAM-SHA-256-PLUS).
#[test]
fn a_log_in_at_a_server_is_bound_to_its_certificate() {
    let cluster = cluster(&["hostssl all all all scram-sha-256"]);
    let port = cluster.primary().port();
    let lines = "server_tls_sslmode = \"require\"\n";
    let honest = proxy(port, lines);
    assert_eq!(ask(&mut Raw::connect(&honest.tcp(), &app()).unwrap(), "SELECT 1"), "1");

    let folder = tempfile::tempdir().unwrap();
    let stranger = Tls::in_folder(folder.path()).unwrap();
    let files = ClientTlsConfig {
        mode: SslMode::Require,
        cert_file: Some(stranger.server_cert.clone()),
        key_file: Some(stranger.server_key.clone()),
        ..ClientTlsConfig::default()
    };
    let (shown, seen) = (files.load().unwrap(), towards(&cluster.tls().unwrap().ca_cert));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let between = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (shown, seen) = (shown.clone(), seen.clone());
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                client.write_all(b"S").await?;
                let mut client = shown.accept(client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                server.write_all(&request).await?;
                assert_eq!(server.read_u8().await?, b'S');
                let mut server = seen.connect("localhost", server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let deceived = proxy(between, lines);
    let bound = || deceived.log().contains("channel binding").then_some(());
    pgsluice_fixtures::wait::until(Duration::from_secs(20), "the log to tell of channel binding", bound);
    let refused = refusal(&deceived.tcp(), &app());
    assert!(!refused.is_empty());
    runtime.shutdown_background();
}
