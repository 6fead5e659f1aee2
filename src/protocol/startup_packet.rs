//! The first packets of a connection: they have no tag.

use super::frame::{WireError, take_str, take_u32};

/// Longest start-up packet, as PostgreSQL bounds it (MAX_STARTUP_PACKET_LENGTH).
pub const LONGEST: usize = 10_000;

/// The newest minor version of protocol 3 that is spoken to clients.
pub const NEWEST_MINOR: u32 = 2;

const CANCEL: u32 = 1234 << 16 | 5678;
const SSL: u32 = 1234 << 16 | 5679;
const GSS: u32 = 1234 << 16 | 5680;

/// A first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// The client would like TLS.
    Ssl,
    /// The client would like GSSAPI encryption.
    Gss,
    /// A cancel request: the process id and the secret (4 bytes, up to 256 in protocol 3.2).
    Cancel {
        /// Which connection.
        pid: u32,
        /// Its secret.
        secret: Vec<u8>,
    },
    /// A start-up packet.
    Start(Start),
}

/// A start-up packet of protocol 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Minor protocol version asked for.
    pub minor: u32,
    /// Names and values in the order in which they came.
    pub parameters: Vec<(String, String)>,
}

impl Start {
    /// The last value of a name, as PostgreSQL takes it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Options of the protocol (`_pq_.…`) that are asked for.
    pub fn protocol_options(&self) -> Vec<String> {
        self.parameters.iter().filter(|(n, _)| n.starts_with("_pq_.")).map(|(n, _)| n.clone()).collect()
    }
}

/// Why a first packet is refused; each is FATAL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The length is out of bounds, or the layout is wrong (08P01).
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A length that no start-up packet has (08P01).
    #[error("invalid length of startup packet")]
    Length,
    /// A protocol that is not 3 (0A000).
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Protocol(u32, u32),
    /// A name or value that is not UTF-8 (22021).
    #[error("invalid byte sequence for encoding \"UTF8\" in startup packet")]
    Encoding,
}

impl StartError {
    /// Its SQLSTATE.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Layout | Self::Length => "08P01",
            Self::Protocol(..) => "0A000",
            Self::Encoding => "22021",
        }
    }
}

impl From<WireError> for StartError {
    fn from(_: WireError) -> Self {
        Self::Layout
    }
}

/// Bytes of the whole first packet, once its length is there.
///
/// # Errors
/// The length is out of bounds.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, StartError> {
    let Ok((length, _)) = take_u32(bytes) else { return Ok(None) };
    let length = length as usize;
    if (8..=LONGEST).contains(&length) { Ok(Some(length)) } else { Err(StartError::Length) }
}

/// Reads a whole first packet, its length included.
///
/// # Errors
/// As [`StartError`] lists them.
pub fn first(packet: &[u8]) -> Result<First, StartError> {
    let (_, rest) = take_u32(packet)?;
    let (code, body) = take_u32(rest)?;
    match code {
        SSL | GSS if !body.is_empty() => Err(StartError::Length),
        SSL => Ok(First::Ssl),
        GSS => Ok(First::Gss),
        CANCEL => {
            let (pid, secret) = take_u32(body)?;
            if (4..=256).contains(&secret.len()) {
                Ok(First::Cancel { pid, secret: secret.to_vec() })
            } else {
                Err(StartError::Length)
            }
        }
        version if version >> 16 == 3 => {
            Ok(First::Start(Start { minor: version & 0xffff, parameters: parameters(body)? }))
        }
        version => Err(StartError::Protocol(version >> 16, version & 0xffff)),
    }
}

fn parameters(mut body: &[u8]) -> Result<Vec<(String, String)>, StartError> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| StartError::Encoding);
    let mut found = Vec::new();
    loop {
        match take_str(body)? {
            (b"", []) => return Ok(found),
            (b"", _) => return Err(StartError::Layout),
            (name, rest) => {
                let (value, rest) = take_str(rest)?;
                found.push((text(name)?, text(value)?));
                body = rest;
            }
        }
    }
}

fn packet(out: &mut Vec<u8>, code: u32, body: &[u8]) {
    out.extend_from_slice(&u32::try_from(body.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(body);
}

/// Appends an SSLRequest.
pub fn write_ssl_request(out: &mut Vec<u8>) {
    packet(out, SSL, &[]);
}

/// Appends a cancel request.
pub fn write_cancel(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    let mut body = pid.to_be_bytes().to_vec();
    body.extend_from_slice(secret);
    packet(out, CANCEL, &body);
}

/// Appends a start-up packet of protocol 3 with that minor version.
pub fn write_start<'a>(out: &mut Vec<u8>, minor: u32, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let mut body = Vec::new();
    for (name, value) in parameters {
        for text in [name, value] {
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    packet(out, 3 << 16 | minor, &body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_reads_back() {
        let mut out = Vec::new();
        write_start(&mut out, 0, [("user", "a"), ("database", ""), ("user", "b")]);
        assert_eq!(length(&out), Ok(Some(out.len())));
        let Ok(First::Start(start)) = first(&out) else { panic!("not a start: {out:?}") };
        assert_eq!((start.get("user"), start.get("database"), start.get("x")), (Some("b"), Some(""), None));
    }

    #[test]
    fn layouts_are_strict() {
        let mut out = Vec::new();
        write_start(&mut out, 0, [("user", "a")]);
        out.push(b'x');
        assert_eq!(first(&out), Err(StartError::Layout));
        out.truncate(out.len() - 2);
        assert_eq!(first(&out), Err(StartError::Layout));
        assert_eq!(length(b"\0\0\0\x07"), Err(StartError::Length));
        assert_eq!(length(b"\0\x01\0\0"), Err(StartError::Length));
        assert_eq!(length(b"\0\0"), Ok(None));
    }

    #[test]
    fn both_forms_of_cancel_are_known() {
        for size in [4, 32, 256] {
            let mut out = Vec::new();
            write_cancel(&mut out, 7, &vec![1; size]);
            assert_eq!(first(&out), Ok(First::Cancel { pid: 7, secret: vec![1; size] }));
        }
        let mut out = Vec::new();
        write_cancel(&mut out, 7, &[1; 3]);
        assert!(first(&out).is_err());
    }

    #[test]
    fn protocol_two_is_told_what_is_spoken() {
        let mut out = Vec::new();
        packet(&mut out, 2 << 16, b"");
        assert_eq!(first(&out), Err(StartError::Protocol(2, 0)));
    }
}
