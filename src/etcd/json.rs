//! Requests and answers as the gateway has them: keys and values in base64, whole numbers as texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::EtcdError;

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision in which it was written last.
    pub mod_revision: i64,
    /// The lease that it ends with; 0 for none.
    pub lease: i64,
}

/// All keys below a prefix, as they were at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The revision.
    pub revision: i64,
    /// The keys.
    pub entries: Vec<Entry>,
}

/// What must hold for a transaction to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written in that revision; 0: it is not there.
    ModRevision(String, i64),
    /// The key has that value.
    Value(String, Vec<u8>),
    /// The key is there and ends with that lease.
    Lease(String, i64),
}

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key, to end with a lease; 0 for none.
    Put(String, Vec<u8>, i64),
    /// Removes a key.
    Delete(String),
}

/// The value at that path of an answer; null if there is none.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    static NOTHING: Value = Value::Null;
    value.pointer(path).unwrap_or(&NOTHING)
}

/// Text or bytes as the gateway has them.
pub(super) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn decoded(value: &Value) -> Result<Vec<u8>, EtcdError> {
    // What is empty is left out.
    let Some(text) = value.as_str() else { return Ok(Vec::new()) };
    STANDARD.decode(text).map_err(|error| EtcdError::Answer(error.to_string()))
}

/// A whole number; one that is left out is 0.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or(0)
}

/// The first key behind all those with a prefix.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

pub(super) fn entry(value: &Value) -> Result<Entry, EtcdError> {
    let key =
        String::from_utf8(decoded(at(value, "/key"))?).map_err(|_| EtcdError::Answer("a key is not text".into()))?;
    Ok(Entry {
        key,
        value: decoded(at(value, "/value"))?,
        mod_revision: number(at(value, "/mod_revision")),
        lease: number(at(value, "/lease")),
    })
}

pub(super) fn read(answer: &Value) -> Result<Read, EtcdError> {
    let entries = at(answer, "/kvs").as_array().map(Vec::as_slice).unwrap_or_default();
    let entries = entries.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Read { revision: number(at(answer, "/header/revision")), entries })
}

pub(super) fn transaction(compares: &[Compare], ops: &[Op]) -> Value {
    let compare: Vec<_> = compares
        .iter()
        .map(|one| match one {
            Compare::ModRevision(key, revision) => {
                json!({ "key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string() })
            }
            Compare::Value(key, value) => {
                json!({ "key": encoded(key), "target": "VALUE", "result": "EQUAL", "value": encoded(value) })
            }
            Compare::Lease(key, lease) => {
                json!({ "key": encoded(key), "target": "LEASE", "result": "EQUAL", "lease": lease.to_string() })
            }
        })
        .collect();
    let success: Vec<_> = ops
        .iter()
        .map(|one| match one {
            Op::Put(key, value, lease) => json!({ "request_put":
                { "key": encoded(key), "value": encoded(value), "lease": lease.to_string() } }),
            Op::Delete(key) => json!({ "request_delete_range": { "key": encoded(key) } }),
        })
        .collect();
    json!({ "compare": compare, "success": success })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(end_of("/a/"), b"/a0");
        assert_eq!(end_of(""), [0]);
    }

    #[test]
    fn what_is_left_out_is_empty_or_nothing() {
        let read = read(&json!({ "header": { "revision": "7" } })).unwrap();
        assert_eq!(read, Read { revision: 7, entries: vec![] });
        let one = entry(&json!({ "key": "YQ==", "mod_revision": "3" })).unwrap();
        assert_eq!((one.key.as_str(), one.value.as_slice(), one.mod_revision, one.lease), ("a", &b""[..], 3, 0));
        assert!(entry(&json!({ "key": "/w==" })).is_err());
    }
}
