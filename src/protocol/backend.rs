//! Messages that a server sends, as pgsluice writes them itself.

use super::TxStatus;

/// Appends a message whose body `fill` writes.
pub fn message(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    match memchr::memchr(0, text.as_bytes()) {
        None => out.extend_from_slice(text.as_bytes()),
        // It would end the string early.
        Some(_) => out.extend(text.bytes().filter(|byte| *byte != 0)),
    }
    out.push(0);
}

/// Authentication request `R` with a body that starts with its code.
pub fn authentication(out: &mut Vec<u8>, body: &[u8]) {
    message(out, b'R', |out| out.extend_from_slice(body));
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, &0_u32.to_be_bytes());
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name);
        string(out, value);
    });
}

/// A NoticeResponse with a server's words.
pub fn notice(out: &mut Vec<u8>, fields: &[u8]) {
    message(out, b'N', |out| out.extend_from_slice(fields));
}

/// NotificationResponse.
pub fn notification(out: &mut Vec<u8>, pid: u32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        string(out, channel);
        string(out, payload);
    });
}

/// BackendKeyData with its secret: four bytes in protocol 3.0, up to 256 in 3.2.
pub fn backend_key(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// NegotiateProtocolVersion: the newest minor version that is spoken, and the `_pq_.` options that are not known.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u32, unknown: &[String]) {
    message(out, b'v', |out| {
        // The whole number, as PostgreSQL has always sent it, whatever its documentation said before 18.
        out.extend_from_slice(&(3 << 16 | minor).to_be_bytes());
        out.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(u32::MAX).to_be_bytes());
        for name in unknown {
            string(out, name);
        }
    });
}

/// ReadyForQuery.
pub fn ready(out: &mut Vec<u8>, status: TxStatus) {
    message(out, b'Z', |out| out.push(status.byte()));
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| string(out, tag));
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, b'1', |_| ());
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, b'2', |_| ());
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    message(out, b'3', |_| ());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        ready(&mut out, TxStatus::Failed);
        command_complete(&mut out, "SELECT 1");
        assert_eq!(out, b"Z\0\0\0\x05EC\0\0\0\x0dSELECT 1\0");
    }
}
