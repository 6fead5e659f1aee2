//! `pgsluice healthcheck URL`: whether the HTTP endpoint of a running pgsluice says that all is well, for images without curl.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::exit::Failure;

const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are looked at.
const MOST: u64 = 4096;

/// Asks. `url` is `http://host:port/path`.
pub fn ask(url: &str) -> Result<(), Failure> {
    let usage = || Failure::Usage(format!("{url}: write http://127.0.0.1:6433/livez"));
    let (authority, path) = url.strip_prefix("http://").ok_or_else(usage)?.split_once('/').ok_or_else(usage)?;
    let unreachable = |error: std::io::Error| Failure::Unreachable(format!("{url}: {error}"));
    let address = authority.to_socket_addrs().map_err(unreachable)?.next().ok_or_else(usage)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).map_err(unreachable)?;
    let head = String::from_utf8_lossy(&answer);
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(Failure::Refused(format!("{url}: {}", head.lines().next().unwrap_or("no answer")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_well() {
        for (answer, well) in [("HTTP/1.1 200 OK\r\n\r\nok\n", true), ("HTTP/1.1 503 No\r\n\r\n", false), ("", false)] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/livez", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 500]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(ask(&url).is_ok(), well, "{answer}");
            server.join().unwrap();
        }
        assert!(matches!(ask("localhost"), Err(Failure::Usage(_))));
    }
}
