//! `default_transaction_read_only` as a server's administrators have set it: for all, for databases, for roles, for both.

/// One line of `pg_db_role_setting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSetting {
    /// For this database; None: for all.
    pub database: Option<String>,
    /// For this role; None: for all.
    pub role: Option<String>,
    /// What it says.
    pub read_only: bool,
}

/// All that is set on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    /// By ALTER SYSTEM, the configuration file or the command line.
    pub server: bool,
    /// By ALTER DATABASE and ALTER ROLE.
    pub lines: Vec<OwnSetting>,
}

impl OwnSettings {
    /// What a session begins with. The order is PostgreSQL's: a role in a database, the role, the database, all roles, the server.
    pub fn read_only(&self, database: &str, role: Option<&str>) -> bool {
        let line = |wanted_database: Option<&str>, wanted_role: Option<&str>| {
            let is =
                |line: &&OwnSetting| line.database.as_deref() == wanted_database && line.role.as_deref() == wanted_role;
            self.lines.iter().find(is).map(|line| line.read_only)
        };
        role.and_then(|role| line(Some(database), Some(role)).or_else(|| line(None, Some(role))))
            .or_else(|| line(Some(database), None))
            .or_else(|| line(None, None))
            .unwrap_or(self.server)
    }

    /// The databases that are read-only for roles without a setting of their own.
    pub fn databases(&self) -> Vec<&str> {
        let own = self.lines.iter().filter(|line| line.read_only && line.role.is_none());
        own.filter_map(|line| line.database.as_deref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_a_role_in_a_database_is_before_that_of_the_role_the_database_and_the_server() {
        let line = |database: &str, role: &str, read_only| OwnSetting {
            database: (!database.is_empty()).then(|| database.to_owned()),
            role: (!role.is_empty()).then(|| role.to_owned()),
            read_only,
        };
        let mut own = OwnSettings { server: true, lines: Vec::new() };
        assert!(own.read_only("app", Some("ann")));
        own.lines.push(line("", "", false));
        assert!(!own.read_only("app", Some("ann")));
        own.lines.push(line("app", "", true));
        assert!(own.read_only("app", Some("ann")) && own.read_only("app", None) && !own.read_only("other", None));
        own.lines.push(line("", "ann", false));
        assert!(!own.read_only("app", Some("ann")) && own.read_only("app", Some("bob")));
        own.lines.push(line("app", "ann", true));
        assert!(own.read_only("app", Some("ann")) && !own.read_only("other", Some("ann")));
        assert_eq!(own.databases(), ["app"]);
    }
}
