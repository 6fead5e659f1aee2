//! Statements about roles: what PgBouncer asks for their secrets, and of which roles one is a member.

/// The default of `auth_query`, as PgBouncer has it: one row with the name and the secret of a role that may log in. A
/// password that is no longer valid is none.
pub const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL \
    ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin";

/// The roles that the role `$1` is a member of, directly or not, itself among them. Being a superuser makes nobody a member.
pub const MEMBERSHIPS: &str = "WITH RECURSIVE member (oid) AS (\
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name \
    UNION SELECT a.roleid FROM pg_catalog.pg_auth_members AS a \
    JOIN member AS m ON a.member OPERATOR(pg_catalog.=) m.oid) \
    SELECT r.rolname FROM pg_catalog.pg_roles AS r JOIN member AS m ON r.oid OPERATOR(pg_catalog.=) m.oid";

/// One of each, as [`all`](super::all) lists them: without parameters.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let with = |sql: &str| sql.replace("$1", "'postgres'");
    vec![("roles::AUTH_QUERY", with(AUTH_QUERY)), ("roles::MEMBERSHIPS", with(MEMBERSHIPS))]
}
