//! Times with which sessions begin: what the configuration, ALTER DATABASE and ALTER ROLE say. No server reports those.

/// Settings of that kind.
const TIMES: &str = "'{statement_timeout,lock_timeout,transaction_timeout}'::text[]";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Default {
    /// None: everybody's.
    role: Option<String>,
    setting: String,
    value: String,
    /// The highest counts.
    rank: u8,
}

/// Those of one database.
#[derive(Debug, std::default::Default, Clone, PartialEq, Eq)]
pub(in crate::sql::hidden_writers) struct Defaults(Vec<Default>);

impl Defaults {
    /// A row of the question.
    pub fn take(&mut self, role: Option<&str>, setting: &str, value: &str, rank: &str) {
        let (role, setting, value) = (role.map(str::to_owned), setting.to_owned(), value.to_owned());
        self.0.push(Default { role, setting, value, rank: rank.parse().unwrap_or_default() });
    }

    /// What a session of that role begins with.
    pub fn of(&self, role: &str, setting: &str) -> Option<&str> {
        let wanted = |one: &&Default| one.setting == setting && one.role.as_deref().is_none_or(|known| known == role);
        self.0.iter().filter(wanted).max_by_key(|one| one.rank).map(|one| &*one.value)
    }
}

/// Rows of the question: role, setting, value, rank.
pub(in crate::sql::hidden_writers) fn question() -> String {
    format!(
        "SELECT 'd' AS a, r.rolname::text AS b, split_part(c.one, '=', 1) AS c, substr(c.one, strpos(c.one, '=') + 1) AS d, \
            CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN '4' WHEN s.setrole <> 0 THEN '3' WHEN s.setdatabase <> 0 THEN '2' \
            ELSE '1' END AS e \
            FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c (one) \
            WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
            AND split_part(c.one, '=', 1) = ANY ({TIMES}) \
        UNION ALL SELECT 'd', NULL, name, setting, '0' FROM pg_settings \
            WHERE name = ANY ({TIMES}) AND source IN ('configuration file', 'command line')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_setting_counts() {
        let mut defaults = Defaults::default();
        for (role, value, rank) in
            [(None, "1", "0"), (None, "2", "2"), (Some("app"), "3", "3"), (Some("dba"), "4", "4")]
        {
            defaults.take(role, "lock_timeout", value, rank);
        }
        for (role, value) in [("app", "3"), ("dba", "4"), ("other", "2")] {
            assert_eq!(defaults.of(role, "lock_timeout"), Some(value), "{role}");
        }
        assert_eq!(defaults.of("app", "statement_timeout"), None);
    }
}
