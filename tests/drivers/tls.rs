//! Each sslmode, towards clients and towards servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Proxy, Raw, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::stand::{Config, PASSWORD, SOON, Stand, USER, binary, client_tls, fail, succeed, user_line};

fn proxy(stand: &Stand, top: &str) -> Proxy {
    let config = Config { cluster: &stand.cluster, top, databases: &["app"] }.text();
    Proxy::builder(binary()).config(config).file("userlist.txt", user_line(USER, PASSWORD)).start().unwrap()
}

#[test]
fn towards_servers() {
    let stand = Stand::shared();
    let ca = format!("server_tls_ca_file = \"{}\"", stand.ca().display());
    for (mode, secured) in
        [("disable", "f"), ("allow", "f"), ("prefer", "t"), ("require", "t"), ("verify-ca", "t"), ("verify-full", "t")]
    {
        let proxy = proxy(&stand, &format!("server_tls_sslmode = \"{mode}\"\n{ca}"));
        let login = Login::new(USER, "app").password(PASSWORD);
        let mut raw = Raw::connect(&proxy.tcp(), &login).unwrap_or_else(|error| panic!("{mode}: {error}"));
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let rows = raw.query(sql, SOON).unwrap().remove(0).rows;
        assert_eq!(rows, [[Some(secured.to_owned())]], "{mode}");
    }
}

#[test]
fn a_server_that_cannot_prove_its_name() {
    let stand = Stand::shared();
    let folder = tempfile::tempdir().unwrap();
    let stranger = Tls::in_folder(folder.path()).unwrap();
    for mode in ["verify-ca", "verify-full"] {
        let top = format!(
            "server_tls_sslmode = \"{mode}\"\nserver_tls_ca_file = \"{}\"\nserver_login_retry = \"100ms\"\n",
            stranger.ca_cert.display()
        );
        let proxy = proxy(&stand, &top);
        let log = || proxy.log();
        pgsluice_fixtures::wait::until(SOON, "the log to say why", || log().contains("TLS: ").then_some(()));
        assert!(!log().contains("to=\"primary\""), "{mode}: {}", log());
    }
}

#[test]
fn towards_clients() {
    let stand = Stand::shared();
    let tls = stand.cluster.tls().unwrap();
    let psql = |proxy: &Proxy, mode: &str| {
        let mut psql = stand.tool("psql", "app");
        psql.env("PGPORT", proxy.port().to_string()).env("PGSSLMODE", mode);
        psql.args(["-XAtc", "\\conninfo"]);
        psql
    };
    let off = proxy(&stand, "");
    assert!(!succeed(&mut psql(&off, "prefer")).contains("SSL connection"));
    assert!(fail(&mut psql(&off, "require")).contains("server does not support SSL, but SSL was required"));
    for mode in ["allow", "prefer", "require"] {
        let on = proxy(&stand, &client_tls(tls, mode));
        assert!(succeed(&mut psql(&on, "verify-full")).contains("SSL connection (protocol: TLSv1.3"));
        match mode {
            "require" => assert!(fail(&mut psql(&on, "disable")).contains("FATAL:  "), "{mode}"),
            _ => assert!(!succeed(&mut psql(&on, "disable")).contains("SSL connection"), "{mode}"),
        }
    }
    // Certificates of clients.
    let ca = format!("client_tls_ca_file = \"{}\"\n", tls.ca_cert.display());
    let strict = proxy(&stand, &(client_tls(tls, "verify-full") + &ca));
    assert!(!fail(&mut psql(&strict, "verify-full")).is_empty());
    let (cert, key) = tls.client(USER).unwrap();
    let mut known = psql(&strict, "verify-full");
    known.env("PGSSLCERT", cert).env("PGSSLKEY", key);
    assert!(succeed(&mut known).contains("SSL connection"));
}

/// A client of a few lines, on a socket that holds little, so that what TLS has encrypted must wait in the proxy.
struct Narrow(rustls::StreamOwned<rustls::ClientConnection, TcpStream>);

impl Narrow {
    fn connect(stand: &Stand, port: u16) -> Narrow {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        let mut socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.write_all(&message::ssl_request()).unwrap();
        let mut yes = [0];
        socket.read_exact(&mut yes).unwrap();
        assert_eq!(&yes, b"S");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(stand.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let session = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut narrow = Narrow(rustls::StreamOwned::new(session, socket));
        let startup = message::startup(message::PROTOCOL_3_0, &[("user", USER), ("database", "app")]);
        narrow.0.write_all(&startup).unwrap();
        narrow.until_ready();
        narrow
    }

    /// Reads up to ReadyForQuery; how many bytes there were.
    fn until_ready(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut header = [0; 5];
            self.0.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).unwrap();
            total += 1 + length;
            if header[0] == b'Z' {
                return total;
            }
        }
    }
}

/// What TLS still holds when the socket is full and nothing follows must go out all the same, once there is room.
#[test]
fn the_end_of_an_answer_that_the_socket_did_not_take() {
    let stand = Stand::shared();
    let tls = stand.cluster.tls().unwrap();
    let proxy = proxy(&stand, &format!("auth_type = \"trust\"\n{}", client_tls(tls, "require")));
    // With nobody reading, some of these sizes fill the sockets' buffers and end within TLS's own, of 64 kB. Which ones
    // is the kernel's choice, so several try.
    std::thread::scope(|scope| {
        for client in 0..4 {
            let mut narrow = Narrow::connect(&stand, proxy.port());
            scope.spawn(move || {
                for size in (0..60).map(|step| 500_000 + client * 4_000 + step * 16_000) {
                    narrow.0.write_all(&message::query(&format!("select repeat('x', {size})"))).unwrap();
                    std::thread::sleep(Duration::from_millis(15));
                    assert!(narrow.until_ready() > size);
                }
            });
        }
    });
}
