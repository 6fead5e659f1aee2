//! The stream of changes: JSON objects, one to a line.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::EtcdError;
use super::json::{Entry, at, entry, number};

/// Longest line: what one transaction has changed.
const LONGEST: usize = 16 << 20;

/// What has become of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Entry),
    /// It was removed, or its lease has ended.
    Delete(String),
}

/// A stream that goes on until etcd or the network ends it.
pub struct Watch {
    body: Incoming,
    read: Vec<u8>,
    revision: i64,
}

impl Watch {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, read: Vec::new(), revision: 0 }
    }

    /// The revision that etcd was at when it last told something.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The first that it says.
    pub(super) async fn begin(&mut self) -> Result<Value, EtcdError> {
        let value = self.line().await?;
        changes(&value)?;
        Ok(value)
    }

    /// The next changes; none where etcd only says that it goes on. Nothing is lost if this is dropped before its end.
    ///
    /// # Errors
    /// The stream is over.
    pub async fn next(&mut self) -> Result<Vec<Change>, EtcdError> {
        let value = self.line().await?;
        self.revision = self.revision.max(number(at(&value, "/result/header/revision")));
        changes(&value)
    }

    async fn line(&mut self) -> Result<Value, EtcdError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| EtcdError::Answer(error.to_string()));
            }
            if self.read.len() > LONGEST {
                return Err(EtcdError::Answer("a change is too long".into()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Err(EtcdError::Unreachable(error.to_string())),
                None => return Err(EtcdError::Unreachable("the stream of changes has ended".into())),
            }
        }
    }
}

fn changes(value: &Value) -> Result<Vec<Change>, EtcdError> {
    let result = at(value, "/result");
    if !at(value, "/error").is_null() || at(result, "/canceled").as_bool().unwrap_or(false) {
        let why = at(result, "/cancel_reason").as_str().unwrap_or("etcd has ended the stream of changes");
        return Err(EtcdError::Refused(why.to_owned()));
    }
    let events = at(result, "/events").as_array().map(Vec::as_slice).unwrap_or_default();
    let change = |event: &Value| -> Result<Change, EtcdError> {
        let entry = entry(at(event, "/kv"))?;
        Ok(if at(event, "/type").as_str() == Some("DELETE") { Change::Delete(entry.key) } else { Change::Put(entry) })
    };
    events.iter().map(change).collect()
}
