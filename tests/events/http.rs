//! A request over HTTP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::stand::SOON;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// `GET path` at a port of this machine; `headers` end with a line break each.
pub fn get(port: u16, path: &str, headers: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
