//! What people bring along from PgBouncer: its file, and keys that pgsluice does not have.

const NOT_NEEDED: &str = "leave it out, pgsluice does without it";
const LATER: &str = "pgsluice does not have it";
const DNS: &str = "leave it out, names are looked up by the system at each connection";
const CIPHERS: &str = "leave it out, TLS 1.2 and 1.3 are spoken with ciphers that are safe";

const ONE_PORT: &str = "leave it out: one process uses all cores, and two of them with gates of their own on one port could let a \
    write through a closed one; `pgsluice upgrade` passes the port on, and a load balancer stands before a fleet";

/// Keys of PgBouncer that pgsluice has neither under this nor under another name.
const KEYS: &[(&str, &str)] = &[
    ("auth_ldap_options", LATER),
    ("autodb_idle_timeout", NOT_NEEDED),
    ("client_tls_dheparams", CIPHERS),
    ("client_tls_ecdhcurve", CIPHERS),
    ("conffile", NOT_NEEDED),
    ("disable_pqexec", LATER),
    ("dns_max_ttl", DNS),
    ("dns_nxdomain_ttl", DNS),
    ("dns_zone_check_period", DNS),
    ("job_name", NOT_NEEDED),
    ("load_balance_hosts", "leave it out, which server is the primary is found out"),
    ("resolv_conf", DNS),
    ("sbuf_loopcnt", NOT_NEEDED),
    ("scram_iterations", NOT_NEEDED),
    ("server_round_robin", NOT_NEEDED),
    ("service_name", NOT_NEEDED),
    ("so_reuseport", ONE_PORT),
    ("reuse_port", ONE_PORT),
    ("tcp_defer_accept", NOT_NEEDED),
    ("tcp_socket_buffer", NOT_NEEDED),
    ("track_extra_parameters", "leave it out, every setting of a client is followed"),
    ("reserve_pool", "pgsluice calls it reserve_pool_size"),
];

/// What is said of a key that PgBouncer has and pgsluice does not.
pub(crate) fn key(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(known, _)| *known == name).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use crate::config::checks::hints;
    use crate::config::{Config, Database};

    /// All keys of PgBouncer 1.25: of its main section, and of a database.
    const ALL: &str = "logfile pidfile listen_addr listen_port unix_socket_dir unix_socket_mode unix_socket_group user pool_mode \
        max_client_conn default_pool_size min_pool_size reserve_pool_size reserve_pool_timeout max_db_connections \
        max_db_client_connections max_user_connections max_user_client_connections server_round_robin track_extra_parameters \
        ignore_startup_parameters peer_id disable_pqexec application_name_add_host conffile service_name job_name stats_period \
        max_prepared_statements scram_iterations auth_type auth_hba_file auth_ident_file auth_file auth_user auth_query \
        auth_dbname auth_ldap_options syslog syslog_ident syslog_facility log_connections log_disconnections log_pooler_errors \
        log_stats verbose admin_users stats_users server_reset_query server_reset_query_always server_check_delay \
        server_check_query server_fast_close server_lifetime server_idle_timeout server_connect_timeout server_login_retry \
        client_login_timeout autodb_idle_timeout dns_max_ttl dns_nxdomain_ttl dns_zone_check_period resolv_conf \
        client_tls_sslmode client_tls_key_file client_tls_cert_file client_tls_ca_file client_tls_protocols client_tls_ciphers \
        client_tls13_ciphers client_tls_ecdhcurve client_tls_dheparams server_tls_sslmode server_tls_ca_file \
        server_tls_key_file server_tls_cert_file server_tls_protocols server_tls_ciphers server_tls13_ciphers query_timeout \
        query_wait_timeout cancel_wait_timeout client_idle_timeout idle_transaction_timeout transaction_timeout \
        suspend_timeout query_wait_notify pkt_buf max_packet_size listen_backlog sbuf_loopcnt so_reuseport tcp_defer_accept \
        tcp_socket_buffer tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_user_timeout";
    const OF_A_DATABASE: &str = "dbname host port user password auth_user auth_query auth_dbname pool_size min_pool_size \
        reserve_pool_size reserve_pool server_lifetime connect_query pool_mode load_balance_hosts max_db_connections \
        max_db_client_connections client_encoding datestyle timezone";

    #[test]
    fn no_key_of_pgbouncer_is_taken_for_another_one() {
        let top: Vec<&'static str> = Config::general_keys().map(|key| key.name).collect();
        let database: Vec<&'static str> = Database::KEYS.iter().map(|key| key.name).collect();
        for (path, all, known) in [("", ALL, &top), ("databases.app", OF_A_DATABASE, &database)] {
            for key in all.split_whitespace().filter(|key| !known.contains(key)) {
                let said = hints::unknown_key(path, key, known);
                assert!(!said.contains("did you mean"), "{path} {key}: {said}");
                assert!(said.starts_with("unknown key"), "{path} {key}: {said}");
            }
        }
    }
}
