//! A client for log-ins over every kind of connection, that says how it was answered: the role, or SQLSTATE and text.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgsluice::auth::client::ChannelBinding;
use pgsluice::auth::{Credential, LoginStep, ServerLogin};
use pgsluice::tls::{ServerTlsConfig, SslMode, TlsFiles, server_end_point};
use pgsluice_fixtures::raw::message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixStream};

/// How a client comes.
#[derive(Clone, Debug)]
pub enum Way {
    /// By a unix socket.
    Unix(PathBuf),
    /// By TCP from that address.
    Tcp(IpAddr, u16),
    /// The same with TLS, with a certificate and its key.
    Tls(IpAddr, u16, Option<(PathBuf, PathBuf)>),
}

/// Logs in.
pub async fn log_in(way: &Way, user: &str, database: &str, password: &str, more: &[(&str, &str)]) -> String {
    let attempt = async {
        match way {
            Way::Unix(path) => match UnixStream::connect(path).await {
                Ok(socket) => talk(socket, ChannelBinding::Impossible, user, database, password, more).await,
                Err(error) => format!("no connection: {error}"),
            },
            Way::Tcp(from, port) => {
                talk(connect(*from, *port).await, ChannelBinding::Impossible, user, database, password, more).await
            }
            Way::Tls(from, port, certificate) => {
                let (cert_file, key_file) = certificate.clone().unzip();
                let files =
                    ServerTlsConfig { mode: SslMode::Require, cert_file, key_file, ..ServerTlsConfig::default() };
                let mut socket = connect(*from, *port).await;
                socket.write_all(&message::ssl_request()).await.unwrap();
                if socket.read_u8().await.unwrap_or(b'N') != b'S' {
                    return "no TLS".to_owned();
                }
                let stream = match files.load().unwrap().connect("localhost", socket).await {
                    Ok(stream) => stream,
                    Err(error) => return format!("TLS: {error}"),
                };
                let shown = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone();
                let binding = server_end_point(&shown).map_or(ChannelBinding::Impossible, ChannelBinding::EndPoint);
                talk(stream, binding, user, database, password, more).await
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), attempt).await.unwrap_or_else(|_| "no answer".to_owned())
}

async fn connect(from: IpAddr, port: u16) -> tokio::net::TcpStream {
    let (socket, to): (_, IpAddr) = match from {
        IpAddr::V4(_) => (TcpSocket::new_v4().unwrap(), [127, 0, 0, 1].into()),
        IpAddr::V6(_) => (TcpSocket::new_v6().unwrap(), "::1".parse().unwrap()),
    };
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(SocketAddr::new(to, port)).await.unwrap()
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    binding: ChannelBinding,
    user: &str,
    database: &str,
    password: &str,
    more: &[(&str, &str)],
) -> String {
    let own = [("user", user), ("database", database)];
    let all: Vec<_> = own.into_iter().chain(more.iter().copied()).collect();
    let credential = if password.is_empty() { Credential::None } else { Credential::password(password) };
    let mut login = ServerLogin::new(user, credential).with_channel_binding(binding);
    if stream.write_all(&message::startup(message::PROTOCOL_3_0, &all)).await.is_err() {
        return "closed".to_owned();
    }
    let mut asked = false;
    loop {
        let Ok(tag) = stream.read_u8().await else { return "closed".to_owned() };
        let Ok(length) = stream.read_u32().await else { return "closed".to_owned() };
        let mut body = vec![0; length as usize - 4];
        if stream.read_exact(&mut body).await.is_err() {
            return "closed".to_owned();
        }
        match tag {
            b'R' => match login.receive(&body) {
                Ok(LoginStep::Send(answer)) => {
                    let mut out = vec![b'p'];
                    out.extend_from_slice(&(answer.len() as u32 + 4).to_be_bytes());
                    out.extend_from_slice(&answer);
                    stream.write_all(&out).await.unwrap();
                }
                Ok(LoginStep::Continue | LoginStep::Ok) => {}
                Err(error) => return format!("asked: {error}"),
            },
            b'E' => return error_of(&body),
            b'Z' if asked => return "no row".to_owned(),
            b'Z' if more.iter().any(|(name, _)| *name == "replication") => return "streams".to_owned(),
            b'Z' => {
                asked = true;
                stream.write_all(&message::query("SELECT session_user")).await.unwrap();
            }
            b'D' => return String::from_utf8_lossy(&body[6..]).into_owned(),
            _ => {}
        }
    }
}

fn error_of(body: &[u8]) -> String {
    let field = |letter: u8| {
        let found = body.split(|byte| *byte == 0).find(|part| part.first() == Some(&letter)).unwrap_or_default();
        String::from_utf8_lossy(found.get(1..).unwrap_or_default()).into_owned()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}

/// The socket of a server in that folder.
pub fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}
