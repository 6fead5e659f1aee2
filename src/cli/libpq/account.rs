//! The account that the program runs as, from `/etc/passwd`: what libpq falls back on where the environment says nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// One line of `/etc/passwd`.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its home folder.
    pub home: PathBuf,
}

impl Account {
    /// The account of this process. None if it has none, or if it is not kept in that file.
    pub fn own() -> Option<Self> {
        let id = std::fs::metadata("/proc/self").ok()?.uid();
        Self::find(&std::fs::read_to_string("/etc/passwd").ok()?, id)
    }

    fn find(passwd: &str, id: u32) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(id)).then_some(())?;
            Some(Self { name: name.to_owned(), home: fields.nth(2)?.into() })
        })
    }
}

/// The home folder.
pub fn home() -> Option<PathBuf> {
    let named = std::env::var_os("HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| Account::own().map(|account| account.home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n# x:y\ndba:x:1000:1000:,,,:/home/dba:/bin/sh\n";
        let account = |id| Account::find(passwd, id).map(|account| (account.name, account.home.display().to_string()));
        assert_eq!(account(1000), Some(("dba".into(), "/home/dba".into())));
        assert_eq!(account(0), Some(("root".into(), "/root".into())));
        assert_eq!(account(100), None);
    }
}
