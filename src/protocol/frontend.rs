//! Messages that a client sends: the few that are read, and those pgsluice sends to servers itself.

use super::backend::message;
use super::frame::{WireError, take_str, take_u16, take_u32};

/// Most bytes of the name of a statement or portal: PostgreSQL does not look at what is behind them.
const LONGEST_NAME: usize = 63;

/// A name as PostgreSQL keeps it.
fn kept(name: &[u8]) -> &[u8] {
    name.get(..LONGEST_NAME).unwrap_or(name)
}

/// Text of a Query, without its NUL.
///
/// # Errors
/// The body is not exactly one NUL-terminated string: a second query could hide behind the first one's NUL.
pub fn query(body: &[u8]) -> Result<&[u8], WireError> {
    match take_str(body)? {
        (text, []) => Ok(text),
        _ => Err(WireError::Format),
    }
}

/// A Parse message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Name of the statement; empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Type OIDs of parameters, four bytes each, as they lie.
    pub oids: &'a [u8],
}

/// Reads a Parse body.
///
/// # Errors
/// It holds more or less than it declares.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, WireError> {
    let (name, rest) = take_str(body)?;
    let (text, rest) = take_str(rest)?;
    let (count, oids) = take_u16(rest)?;
    if oids.len() == usize::from(count) * 4 {
        Ok(Parse { name: kept(name), text, oids })
    } else {
        Err(WireError::Format)
    }
}

/// The names at the front of a Bind; the rest is the server's to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Name of the portal.
    pub portal: &'a [u8],
    /// Name of the prepared statement.
    pub statement: &'a [u8],
    /// Formats, values, result formats.
    pub rest: &'a [u8],
}

/// Reads the front of a Bind body.
///
/// # Errors
/// A name lacks its NUL.
pub fn bind(body: &[u8]) -> Result<Bind<'_>, WireError> {
    let (portal, rest) = take_str(body)?;
    let (statement, rest) = take_str(rest)?;
    Ok(Bind { portal: kept(portal), statement: kept(statement), rest })
}

/// What a Describe or a Close names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement, `S`.
    Statement(&'a [u8]),
    /// A portal, `P`.
    Portal(&'a [u8]),
}

/// Reads a Describe or Close body.
///
/// # Errors
/// The kind is neither `S` nor `P`, or the name is not one NUL-terminated string.
pub fn target(body: &[u8]) -> Result<Target<'_>, WireError> {
    let (&kind, rest) = body.split_first().ok_or(WireError::Format)?;
    let name = kept(query(rest)?);
    match kind {
        b'S' => Ok(Target::Statement(name)),
        b'P' => Ok(Target::Portal(name)),
        _ => Err(WireError::Format),
    }
}

/// Reads an Execute body: the portal and the most rows wanted (0: all).
///
/// # Errors
/// It holds more or less than that.
pub fn execute(body: &[u8]) -> Result<(&[u8], u32), WireError> {
    let (portal, rest) = take_str(body)?;
    match take_u32(rest)? {
        (rows, []) => Ok((kept(portal), rows)),
        _ => Err(WireError::Format),
    }
}

/// The function's OID of a FunctionCall.
///
/// # Errors
/// It is too short for one.
pub fn function_oid(body: &[u8]) -> Result<u32, WireError> {
    take_u32(body).map(|(oid, _)| oid)
}

/// Whether a message of the extended protocol has the form that its tag demands, as far as it is read here.
///
/// # Errors
/// It has not, and a server would say so.
pub fn check(tag: u8, body: &[u8]) -> Result<(), WireError> {
    match tag {
        b'P' => parse(body).map(drop),
        b'B' => bind(body).map(drop),
        b'D' | b'C' => target(body).map(drop),
        b'E' => execute(body).map(drop),
        _ if body.is_empty() => Ok(()),
        _ => Err(WireError::Format),
    }
}

fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Appends a Query.
pub fn write_query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, b'Q', |out| bytes(out, text));
}

/// Appends a Query of a text that lies in parts.
pub fn write_query_of(out: &mut Vec<u8>, parts: &[&[u8]]) {
    message(out, b'Q', |out| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(0);
    });
}

/// Appends a Parse; `oids` are four bytes each.
pub fn write_parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], oids: &[u8]) {
    message(out, b'P', |out| {
        bytes(out, name);
        bytes(out, text);
        out.extend_from_slice(&u16::try_from(oids.len() / 4).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(oids);
    });
}

/// Appends a Bind with what stands after the names in `rest`.
pub fn write_bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: &[u8]) {
    message(out, b'B', |out| {
        bytes(out, portal);
        bytes(out, statement);
        out.extend_from_slice(rest);
    });
}

/// Appends the beginning of a Bind of which `missing` bytes will come behind `rest`.
pub fn write_bind_start(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: &[u8], missing: usize) {
    let length = 4 + portal.len() + 1 + statement.len() + 1 + rest.len() + missing;
    out.push(b'B');
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes(out, portal);
    bytes(out, statement);
    out.extend_from_slice(rest);
}

/// What stands after the names in a Bind without parameters whose results are text.
pub const NO_PARAMETERS: &[u8] = &[0, 0, 0, 0, 0, 0];

/// Appends an Execute for all rows.
pub fn write_execute(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, b'E', |out| {
        bytes(out, portal);
        out.extend_from_slice(&0_u32.to_be_bytes());
    });
}

/// Appends a Describe (`D`) or a Close (`C`).
pub fn write_target(out: &mut Vec<u8>, tag: u8, target: Target<'_>) {
    message(out, tag, |out| {
        let (kind, name) = match target {
            Target::Statement(name) => (b'S', name),
            Target::Portal(name) => (b'P', name),
        };
        out.push(kind);
        bytes(out, name);
    });
}

/// A Describe of the portal of that name.
pub fn write_describe(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, b'D', |out| {
        out.push(b'P');
        bytes(out, portal);
    });
}

/// Appends a Sync.
pub fn write_sync(out: &mut Vec<u8>) {
    message(out, b'S', |_| ());
}

/// Appends a Flush.
pub fn write_flush(out: &mut Vec<u8>) {
    message(out, b'H', |_| ());
}

/// Appends a CopyFail with a reason.
pub fn write_copy_fail(out: &mut Vec<u8>, reason: &str) {
    message(out, b'f', |out| bytes(out, reason.as_bytes()));
}

/// Appends a Terminate.
pub fn write_terminate(out: &mut Vec<u8>) {
    message(out, b'X', |_| ());
}

/// Appends a `p` message: a password or a SASL answer.
pub fn write_password(out: &mut Vec<u8>, body: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(body));
}

/// Appends a FunctionCall that no server accepts (function 0), in place of one that is refused.
pub fn write_impossible_function_call(out: &mut Vec<u8>) {
    message(out, b'F', |out| out.extend_from_slice(&[0; 10]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_behind_a_query() {
        assert_eq!(query(b"select 1\0"), Ok(&b"select 1"[..]));
        assert_eq!(query(b"select 1\0drop\0"), Err(WireError::Format));
        assert_eq!(query(b"select 1"), Err(WireError::String));
        assert_eq!(query(b""), Err(WireError::String));
    }

    #[test]
    fn names_are_cut_as_postgresql_cuts_them() {
        let (long, cut) = (vec![b'n'; 200], vec![b'n'; 63]);
        let body = [&b"S"[..], &long, b"\0"].concat();
        assert_eq!(target(&body), Ok(Target::Statement(&cut)));
        let body = [&long[..], b"\0", &long, b"\0", NO_PARAMETERS].concat();
        assert_eq!(bind(&body), Ok(Bind { portal: &cut, statement: &cut, rest: NO_PARAMETERS }));
    }

    #[test]
    fn parse_counts_its_types() {
        assert_eq!(parse(b"n\0t\0\0\x01\0\0\0\x17").map(|p| p.oids.len()), Ok(4));
        assert_eq!(parse(b"n\0t\0\0\x02\0\0\0\x17"), Err(WireError::Format));
        assert_eq!(parse(b"n\0t\0"), Err(WireError::Format));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        write_bind(&mut out, b"p", b"s", NO_PARAMETERS);
        assert_eq!(bind(&out[5..]), Ok(Bind { portal: b"p", statement: b"s", rest: NO_PARAMETERS }));
        out.clear();
        write_execute(&mut out, b"p");
        assert_eq!(execute(&out[5..]), Ok((&b"p"[..], 0)));
        out.clear();
        write_target(&mut out, b'C', Target::Statement(b"x"));
        assert_eq!(target(&out[5..]), Ok(Target::Statement(b"x")));
        assert_eq!(target(b"Qx\0"), Err(WireError::Format));
    }
}
