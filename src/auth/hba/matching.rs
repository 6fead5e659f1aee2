//! Whom a rule is for, as `check_hba` in PostgreSQL's `hba.c` has it.

use std::net::IpAddr;

use super::Hba;
use super::rule::{Connection, HostMatch, Rule, Word};

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A unix socket.
    Local,
    /// TCP.
    Host {
        /// The client's address.
        address: IpAddr,
        /// Whether TLS is spoken.
        tls: bool,
    },
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The role.
    pub user: &'a str,
    /// The database.
    pub database: &'a str,
    /// It is for physical replication, which has no database.
    pub replication: bool,
    /// Where it comes from.
    pub from: From,
    /// The roles that the user is a member of, once they are known.
    pub roles: Option<&'a [String]>,
}

/// The rule that holds.
#[derive(Debug)]
pub enum Verdict<'h> {
    /// The first that fits.
    Rule(&'h Rule),
    /// None fits: the client is refused.
    NoRule,
    /// Whether one fits hangs on the roles that the user is a member of.
    NeedsRoles,
}

/// It hangs on the roles of the user, which are not known.
pub(super) struct NeedsRoles;

impl Hba {
    /// Finds the rule for a client.
    #[must_use]
    pub fn find(&self, asked: &Asked<'_>) -> Verdict<'_> {
        for rule in self.rules() {
            match rule.fits(asked) {
                Ok(true) => return Verdict::Rule(rule),
                Ok(false) => {}
                Err(NeedsRoles) => return Verdict::NeedsRoles,
            }
        }
        Verdict::NoRule
    }
}

impl Rule {
    fn fits(&self, asked: &Asked<'_>) -> Result<bool, NeedsRoles> {
        Ok(self.fits_connection(asked.from) && self.fits_database(asked)? && fits_user(&self.users, asked)?)
    }

    fn fits_connection(&self, from: From) -> bool {
        match (from, self.connection, &self.host) {
            // What auth_type says without a file holds for everybody.
            (_, Connection::Host, None) | (From::Local, Connection::Local, _) => true,
            (From::Local, _, _) | (From::Host { .. }, Connection::Local | Connection::HostGssEnc, _) => false,
            (From::Host { tls: false, .. }, Connection::HostSsl, _) => false,
            (From::Host { tls: true, .. }, Connection::HostNoSsl, _) => false,
            (From::Host { address, .. }, _, host) => host.as_ref().is_some_and(|host| host.fits(address)),
        }
    }

    fn fits_database(&self, asked: &Asked<'_>) -> Result<bool, NeedsRoles> {
        for word in &self.databases {
            let fits = match word {
                Word::Replication => asked.replication,
                // A connection for physical replication is in no database.
                _ if asked.replication => false,
                Word::All => true,
                Word::SameUser => asked.user == asked.database,
                Word::SameRole => is_member(asked, asked.database)?,
                Word::Pattern(regex) => regex.is_match(asked.database),
                Word::Name(name) => name == asked.database,
                Word::Member(role) => asked.database.strip_prefix('+') == Some(role),
            };
            if fits {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn fits_user(words: &[Word], asked: &Asked<'_>) -> Result<bool, NeedsRoles> {
    for word in words {
        let fits = match word {
            Word::All => true,
            Word::Member(role) => is_member(asked, role)?,
            Word::Pattern(regex) => regex.is_match(asked.user),
            Word::Name(name) => name == asked.user,
            Word::SameUser | Word::SameRole | Word::Replication => false,
        };
        if fits {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_member(asked: &Asked<'_>, role: &str) -> Result<bool, NeedsRoles> {
    asked.roles.map(|roles| roles.iter().any(|of| of == role)).ok_or(NeedsRoles)
}

impl HostMatch {
    fn fits(&self, client: IpAddr) -> bool {
        // One that has come to an IPv6 socket by IPv4 is still an IPv4 client.
        let client = client.to_canonical();
        match self {
            Self::All => true,
            Self::Net { address, mask } => is_within(client, *address, *mask),
            Self::SameHost => interfaces().into_iter().any(|(address, _)| address == client),
            Self::SameNet => interfaces().into_iter().any(|(address, mask)| is_within(client, address, mask)),
        }
    }
}

fn is_within(client: IpAddr, address: IpAddr, mask: IpAddr) -> bool {
    match (client, address, mask) {
        (IpAddr::V4(client), IpAddr::V4(address), IpAddr::V4(mask)) => {
            (client.to_bits() ^ address.to_bits()) & mask.to_bits() == 0
        }
        (IpAddr::V6(client), IpAddr::V6(address), IpAddr::V6(mask)) => {
            (client.to_bits() ^ address.to_bits()) & mask.to_bits() == 0
        }
        _ => false,
    }
}

/// Addresses of this machine with their masks, as they are now; none if the kernel does not tell.
fn interfaces() -> Vec<(IpAddr, IpAddr)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
        let address = address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    all.filter_map(|interface| Some((ip(interface.address)?, ip(interface.netmask)?))).collect()
}
