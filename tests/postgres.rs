//! Against the real thing: our log-in at a PostgreSQL server, and libpq's psql at our side.

use std::fs;
use std::io;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pgsluice::auth::client::ChannelBinding;
use pgsluice::auth::scram::ScramVerifier;
use pgsluice::auth::{ClientAuth, Credential, Decoy, LoginStep, Method, Secret, SecretKind, ServerLogin, Step};
use pgsluice::tls::{
    CaSource, ClientTls, ClientTlsConfig, ServerTls, ServerTlsConfig, SslMode, TlsFiles, server_end_point,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A throwaway server; stopped and removed with its owner, also after a panic.
struct Server {
    folder: PathBuf,
    port: u16,
}

/// PostgreSQL refuses to run as root.
fn command(program: &str) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(format!("{BIN}/{program}"));
        command
    } else {
        Command::new(format!("{BIN}/{program}"))
    }
}

fn done(command: &mut Command) -> Output {
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("auth-test-{}-{port}", std::process::id()));
        done(command("initdb").args(["-U", "postgres", "--auth=trust", "-N", "-D"]).arg(&folder));
        let server = Self { folder, port };
        let pem = certificate();
        server.write("server.crt", &pem.cert.pem());
        server.write("server.key", &pem.signing_key.serialize_pem());
        server.write(
            "pg_hba.conf",
            "local all all trust\n\
             host all trusted 127.0.0.1/32 trust\n\
             host all clear 127.0.0.1/32 password\n\
             host all hashed 127.0.0.1/32 md5\n\
             host all mixed 127.0.0.1/32 md5\n\
             hostssl all bound 127.0.0.1/32 scram-sha-256\n\
             host all all 127.0.0.1/32 scram-sha-256\n",
        );
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c ssl=on -c fsync=off",
            server.folder.display()
        );
        let log = server.folder.join("log");
        done(
            command("pg_ctl").args(["start", "-w", "-s", "-o", &options, "-D"]).arg(&server.folder).arg("-l").arg(log),
        );
        server.sql(
            "create role trusted login; create role clear login password 'secret'; \
             set password_encryption = 'md5'; create role hashed login password 'secret'; \
             set password_encryption = 'scram-sha-256'; create role mixed login password 'secret'; \
             create role scram login password 'secret'; create role bound login password 'secret'; \
             create role unicode login password E'p\\u00e4ss\\u00adw\\u2168rd';",
        );
        server
    }

    /// Writes as the server's owner with the mode that keys must have.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        std::os::unix::fs::chown(&path, Some(owner(&self.folder)), None).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn sql(&self, sql: &str) -> String {
        let port = self.port.to_string();
        let output = done(command("psql").arg("-h").arg(&self.folder).args([
            "-p",
            &port,
            "-U",
            "postgres",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ]));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = command("pg_ctl")
            .args(["stop", "-w", "-s", "-m", "immediate", "-D"])
            .arg(&self.folder)
            .current_dir("/")
            .output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn owner(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap())
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

async fn read_message(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let tag = io.read_u8().await?;
    let length = usize::try_from(io.read_u32().await?).unwrap();
    assert!((4..100_000).contains(&length), "length {length}");
    let mut body = vec![0; length - 4];
    io.read_exact(&mut body).await?;
    Ok((tag, body))
}

async fn write_message(io: &mut (impl AsyncWrite + Unpin), tag: u8, body: &[u8]) -> io::Result<()> {
    let mut message = vec![tag];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    io.write_all(&message).await?;
    io.flush().await
}

/// Logs in and asks who we are.
async fn log_in(io: &mut impl Io, user: &str, mut login: ServerLogin) -> Result<String, String> {
    let mut start = 196_608u32.to_be_bytes().to_vec();
    start.extend_from_slice(format!("user\0{user}\0database\0postgres\0\0").as_bytes());
    let length = u32::try_from(start.len() + 4).unwrap();
    io.write_all(&[&length.to_be_bytes()[..], &start].concat()).await.unwrap();
    io.flush().await.unwrap();
    loop {
        let (tag, body) = read_message(io).await.map_err(|error| error.to_string())?;
        match tag {
            b'R' => match login.receive(&body).map_err(|error| error.to_string())? {
                LoginStep::Send(answer) => write_message(io, b'p', &answer).await.unwrap(),
                LoginStep::Continue => {}
                LoginStep::Ok => break,
            },
            b'E' => return Err(String::from_utf8_lossy(&body).replace('\0', "|")),
            other => panic!("message {other}"),
        }
    }
    write_message(io, b'Q', b"select current_user\0").await.unwrap();
    loop {
        let (tag, body) = read_message(io).await.map_err(|error| error.to_string())?;
        match tag {
            b'D' => return Ok(String::from_utf8_lossy(&body[6..]).into_owned()),
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

async fn plain(server: &Server, user: &str, credential: Credential) -> Result<String, String> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    log_in(&mut socket, user, ServerLogin::new(user, credential)).await
}

async fn over_tls(
    server: &Server,
    tls: &ServerTls,
    user: &str,
    credential: Credential,
    tamper: bool,
) -> Result<String, String> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let mut stream = tls.connect("localhost", socket).await.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap().first().unwrap();
    let mut hash = server_end_point(certificate).unwrap();
    if tamper {
        hash[0] ^= 1;
    }
    let login = ServerLogin::new(user, credential).with_channel_binding(ChannelBinding::EndPoint(hash));
    log_in(&mut stream, user, login).await
}

#[tokio::test]
async fn our_log_in_at_a_real_server() {
    let server = Server::start();
    let password = || Credential::password("secret");
    for user in ["clear", "hashed", "mixed", "scram"] {
        assert_eq!(plain(&server, user, password()).await.as_deref(), Ok(user));
        let refused = plain(&server, user, Credential::password("wrong")).await.unwrap_err();
        assert!(
            refused.contains("C28P01")
                && refused.contains(&format!("password authentication failed for user \"{user}\"")),
            "{refused}"
        );
        assert!(plain(&server, user, Credential::None).await.unwrap_err().starts_with("the server asks for"));
    }
    assert_eq!(plain(&server, "trusted", Credential::None).await.as_deref(), Ok("trusted"));
    let unicode = Credential::password("p\u{e4}ss\u{ad}w\u{2168}rd");
    assert_eq!(plain(&server, "unicode", unicode).await.as_deref(), Ok("unicode"));

    // One password, many connections: derived once for the first, then looked up.
    let shared = password();
    for _ in 0..3 {
        assert_eq!(plain(&server, "scram", shared.clone()).await.as_deref(), Ok("scram"));
    }

    // The MD5 hash that the server stores is enough, and so are the keys that a client's proof uncovers.
    let stored = |user: &str| server.sql(&format!("select rolpassword from pg_authid where rolname = '{user}'"));
    let Secret::Md5(hash) = Secret::from_text(&stored("hashed")) else { panic!() };
    assert_eq!(plain(&server, "hashed", Credential::Md5Hash(hash)).await.as_deref(), Ok("hashed"));
    let keys = proven_keys("scram", &stored("scram"));
    assert_eq!(plain(&server, "scram", keys.clone()).await.as_deref(), Ok("scram"));
    assert!(plain(&server, "mixed", keys).await.unwrap_err().contains("28P01"), "keys of another salt");

    // A verifier that we made is one that PostgreSQL takes.
    let ours = ScramVerifier::derive(b"mine", b"0123456789abcdef", 5000).to_secret_text();
    server.sql(&format!("create role made login password '{ours}'"));
    assert_eq!(stored("made"), ours);
    assert_eq!(plain(&server, "made", Credential::password("mine")).await.as_deref(), Ok("made"));

    // SCRAM-SHA-256-PLUS, by password and by keys, and with somebody in between.
    let tls = ServerTlsConfig {
        mode: SslMode::VerifyFull,
        ca: Some(CaSource::File(server.folder.join("server.crt"))),
        ..Default::default()
    };
    let tls = tls.load().unwrap();
    assert_eq!(over_tls(&server, &tls, "bound", password(), false).await.as_deref(), Ok("bound"));
    let keys = proven_keys("bound", &stored("bound"));
    assert_eq!(over_tls(&server, &tls, "bound", keys, false).await.as_deref(), Ok("bound"));
    let tampered = over_tls(&server, &tls, "bound", password(), true).await.unwrap_err();
    assert!(tampered.contains("SCRAM channel binding check failed"), "{tampered}");
}

/// Lets a client with the password log in to us, who have only the verifier.
fn proven_keys(user: &str, verifier: &str) -> Credential {
    let decoy = Decoy::random(SecretKind::Scram).unwrap();
    let mut us = ClientAuth::new(Method::ScramSha256, user, Some(Secret::from_text(verifier)), &decoy);
    let mut client = ServerLogin::new(user, Credential::password("secret"));
    let mut step = us.start();
    loop {
        match step {
            Step::Send(body) => match client.receive(&body).unwrap() {
                LoginStep::Send(answer) => step = us.receive(&answer),
                other => panic!("{other:?}"),
            },
            Step::SendThenDone(_, done) => return done.credential,
            other => panic!("{other:?}"),
        }
    }
}

/// Serves one client: TLS if asked for, authentication, one query without rows.
async fn serve(
    mut socket: TcpStream,
    tls: &ClientTls,
    method: Method,
    secret: Option<Secret>,
    decoy: &Decoy,
) -> io::Result<()> {
    let mut start = vec![0; usize::try_from(socket.read_u32().await?).unwrap() - 4];
    socket.read_exact(&mut start).await?;
    if start == [4, 210, 22, 47] {
        if tls.config().is_none() {
            socket.write_all(b"N").await?;
            return Box::pin(serve(socket, tls, method, secret, decoy)).await;
        }
        socket.write_all(b"S").await?;
        let mut stream = tls.accept(socket).await?;
        let mut start = vec![0; usize::try_from(stream.read_u32().await?).unwrap() - 4];
        stream.read_exact(&mut start).await?;
        let auth =
            ClientAuth::new(method, "alice", secret, decoy).with_channel_binding(tls.end_point().map(<[u8]>::to_vec));
        return authenticate(&mut stream, auth).await;
    }
    authenticate(&mut socket, ClientAuth::new(method, "alice", secret, decoy)).await
}

async fn authenticate(io: &mut impl Io, mut auth: ClientAuth) -> io::Result<()> {
    let mut step = auth.start();
    loop {
        match step {
            Step::Send(body) => write_message(io, b'R', &body).await?,
            Step::Done(_) => break,
            Step::SendThenDone(body, _) => {
                write_message(io, b'R', &body).await?;
                break;
            }
            Step::Fail(error) => {
                let fields = format!("SFATAL\0VFATAL\0C{}\0M{error}\0\0", error.sqlstate());
                write_message(io, b'E', fields.as_bytes()).await?;
                return io.shutdown().await;
            }
        }
        let (tag, body) = read_message(io).await?;
        assert_eq!(tag, b'p');
        step = auth.receive(&body);
    }
    write_message(io, b'R', &0u32.to_be_bytes()).await?;
    write_message(io, b'Z', b"I").await?;
    while let Ok((tag, _)) = read_message(io).await {
        if tag == b'Q' {
            write_message(io, b'C', b"SELECT 0\0").await?;
            write_message(io, b'Z', b"I").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn psql_at_our_side() {
    let folder = std::env::temp_dir().join(format!("auth-psql-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pem = certificate();
    let cert_file = folder.join("server.crt");
    let key_file = folder.join("server.key");
    fs::write(&cert_file, pem.cert.pem()).unwrap();
    fs::write(&key_file, pem.signing_key.serialize_pem()).unwrap();
    let tls = ClientTlsConfig {
        mode: SslMode::Prefer,
        cert_file: Some(cert_file.clone()),
        key_file: Some(key_file),
        ..ClientTlsConfig::default()
    };
    let tls = tls.load().unwrap();
    let decoy = Decoy::random(SecretKind::Scram).unwrap();

    let password = "p\u{e4}ss\u{ad} w\u{2168}rd";
    let plain = Some(Secret::from_text(password));
    let verifier = Some(Secret::from_text(
        &ScramVerifier::derive(password.as_bytes(), b"0123456789abcdef", 4096).to_secret_text(),
    ));
    let full = format!("sslmode=verify-full sslrootcert={}", cert_file.display());
    let none = "sslmode=disable";
    let bound = format!("{full} channel_binding=require");
    let refused = "FATAL:  password authentication failed for user \"alice\"";
    for (method, secret, options, password, expected) in [
        (Method::Trust, None, none, "", ""),
        (Method::Password, plain.clone(), none, password, ""),
        (Method::Password, verifier.clone(), none, password, ""),
        (Method::Md5, plain.clone(), none, password, ""),
        (Method::Md5, verifier.clone(), none, password, ""),
        (Method::ScramSha256, plain.clone(), none, password, ""),
        (Method::ScramSha256, verifier.clone(), none, password, ""),
        (Method::ScramSha256, verifier.clone(), full.as_str(), password, ""),
        (Method::ScramSha256, verifier.clone(), bound.as_str(), password, ""),
        (Method::ScramSha256, plain.clone(), bound.as_str(), password, ""),
        (Method::ScramSha256, verifier.clone(), bound.as_str(), "wrong", refused),
        (Method::ScramSha256, None, none, password, refused),
        (Method::Md5, plain.clone(), none, "wrong", refused),
        (Method::Password, None, none, password, refused),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let conninfo =
            format!("host=localhost hostaddr=127.0.0.1 port={port} user=alice dbname=app connect_timeout=10 {options}");
        let psql = async {
            let mut command = Command::new(format!("{BIN}/psql"));
            command
                .args(["-X", "-w", "-c", "select", &conninfo])
                .env("PGPASSWORD", password)
                .env("PGCLIENTENCODING", "UTF8");
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
        };
        tokio::pin!(psql);
        let began = Instant::now();
        let what = format!("{method} {secret:?} {options}");
        let output = loop {
            tokio::select! {
                output = &mut psql => break output,
                accepted = listener.accept() => {
                    let _ = serve(accepted.unwrap().0, &tls, method, secret.clone(), &decoy).await;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{what}: no end");
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), expected.is_empty(), "{what}: {errors}");
        assert!(errors.contains(expected), "{what}: {errors}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
