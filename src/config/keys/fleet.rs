//! Fleets: several proxies with one mode, through etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::list::Item;
use super::setting::{Key, Kind, Setting, text};
use crate::config::file::section::settings;
use crate::config::values::plain::Secret;

const SECOND: u64 = 1_000_000;

/// Where a member of etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUrl(String);

impl EtcdUrl {
    /// `http://` or `https://`, host and port.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Item for EtcdUrl {
    const KIND: Kind = Kind::new("list of URLs");
    fn from_text(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
        let host = rest.trim_end_matches('/');
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || !visible || url.parse::<hyper::Uri>().is_err() {
            return Err("must be a URL such as http://10.0.0.1:2379, without a path".to_owned());
        }
        Ok(Self(url.trim_end_matches('/').to_owned()))
    }
    fn show(&self) -> String {
        self.0.clone()
    }
}

/// What all keys in etcd begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// It, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("/pgsluice".to_owned())
    }
}

impl Setting for KeyPrefix {
    const KIND: Kind = Kind::new("prefix of keys");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        let prefix = text(value)?.trim_end_matches('/');
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be a prefix such as \"/pgsluice\"".to_owned());
        }
        Ok(Self(prefix.to_owned()))
    }
    fn plain(&self) -> String {
        self.0.clone()
    }
}

settings! {
    /// The fleet: several pgsluice in front of the same servers have one mode for each database, through etcd.
    pub struct Fleet titled "A fleet: several pgsluice with one mode, through etcd" {
        /// The members of etcd, such as ["http://10.0.0.1:2379"]. Empty: this pgsluice is alone.
        endpoints: Vec<EtcdUrl> = Vec::new(), { restart: true };
        /// What the keys of this fleet begin with. Members of one fleet have the same prefix and the same names of clusters.
        prefix: KeyPrefix = KeyPrefix::default(), { restart: true };
        /// The name of this member, another for each. Empty: host name, port and a random number.
        member: String = String::new(), { restart: true };
        /// Where the other members reach this one, as HOST:PORT, to pass cancel requests on. Empty: the host name and listen_port.
        address: String = String::new(), { restart: true };
        /// A member that has not been heard of for this long is taken to be gone, and its connections to servers are ended. It stops
        /// taking writes itself when seven tenths of it are over.
        lease_ttl: Duration = Duration::from_secs(5), { min: 2 * SECOND, max: 600 * SECOND, restart: true };
        /// The user of etcd, if it asks for one.
        user: String = String::new(), { restart: true };
        /// Its password.
        password: Secret = Secret::default(), { restart: true };
        /// The certificates of those who may have signed etcd's. Empty: those that the system trusts.
        ca_file: Option<PathBuf> = None, { restart: true };
        /// The certificate that this member shows to etcd.
        cert_file: Option<PathBuf> = None, { restart: true };
        /// The key of that certificate.
        key_file: Option<PathBuf> = None, { restart: true };
    }
}
