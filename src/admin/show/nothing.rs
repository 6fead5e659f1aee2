//! Columns of PgBouncer's tables about things that pgsluice does not have: they are always empty, and dashboards go on.

use crate::admin::table::{Column, columns};

/// SHOW DNS_HOSTS: names are looked up for each connection.
pub const DNS_HOSTS: &[Column] = columns![hostname Text, ttl Int8, addrs Text];
/// SHOW DNS_ZONES
pub const DNS_ZONES: &[Column] = columns![zonename Text, serial Int8, count Int4];
/// SHOW PEERS
pub const PEERS: &[Column] = columns![peer_id Int4, host Text, port Int4, pool_size Int4];
/// SHOW PEER_POOLS
pub const PEER_POOLS: &[Column] =
    columns![peer_id Int4, cl_active_cancel_req Int4, cl_waiting_cancel_req Int4, sv_active_cancel Int4, sv_login Int4];
