//! What a member knows of what lies in etcd.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::{About, Keys};
use super::records::{Ack, Backends, Desired, Member, Place};
use super::turns::Mark;

/// What has become of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written: key, value, revision.
    Put(String, Vec<u8>, i64),
    /// It is gone.
    Delete(String),
}

/// See the module. What cannot be understood, as from a later version, is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By name.
    pub members: BTreeMap<String, Member>,
    /// By member and life, with the revision of the key.
    pub backends: BTreeMap<(String, String), (i64, Arc<Backends>)>,
    /// With the revision of the key.
    pub desired: BTreeMap<Place, (i64, Desired)>,
    /// By database and member.
    pub acks: BTreeMap<(Place, String), Ack>,
    /// What receivers of webhooks were told, by receiver and database.
    pub told: BTreeMap<(String, String), Mark>,
    /// Who leads, and since which revision.
    pub leader: Option<(String, i64)>,
}

impl View {
    /// Takes over a change.
    pub fn apply(&mut self, keys: &Keys, change: &Change) {
        let key = match change {
            Change::Put(key, ..) | Change::Delete(key) => key,
        };
        let Some(about) = keys.about(key) else { return };
        let written = match change {
            Change::Put(_, value, revision) => Some((value.as_slice(), *revision)),
            Change::Delete(_) => None,
        };
        match about {
            About::Member(id) => put(&mut self.members, id, parsed(written)),
            About::Backends(id, process) => {
                put(
                    &mut self.backends,
                    (id, process),
                    written.and_then(|(_, at)| Some((at, Arc::new(parsed(written)?)))),
                );
            }
            About::Desired(place) => {
                put(&mut self.desired, place, written.and_then(|(_, at)| Some((at, parsed(written)?))));
            }
            About::Told(hook, database) => put(&mut self.told, (hook, database), parsed(written)),
            About::Ack(place, id) => put(&mut self.acks, (place, id), parsed(written)),
            About::Leader => {
                let id = |(value, at): (&[u8], i64)| Some((String::from_utf8(value.to_vec()).ok()?, at));
                self.leader = written.and_then(id);
            }
        }
    }

    /// Lives of members that are not registered, and whose connections nobody has ended yet.
    pub fn unfenced(&self) -> impl Iterator<Item = (&(String, String), &(i64, Arc<Backends>))> {
        self.backends
            .iter()
            .filter(|((id, process), _)| self.members.get(id).is_none_or(|member| member.process != *process))
    }

    /// What a registered member says of an epoch of a database.
    pub fn ack(&self, place: &Place, epoch: u64, member: &Member) -> Option<&Ack> {
        let ack = self.acks.get(&(place.clone(), member.id.clone()))?;
        (ack.epoch == epoch && ack.process == member.process && ack.lease == member.lease).then_some(ack)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(written: Option<(&[u8], i64)>) -> Option<T> {
    written.and_then(|(value, _)| serde_json::from_slice(value).ok())
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => _ = map.insert(key, value),
        None => _ = map.remove(&key),
    }
}
