//! What a MIGRATE asks of both servers before it begins: facts, and the catalog in a form that can be compared.

/// Relations, types and functions of this database that are a user's own: not PostgreSQL's, no extension's, nobody's temporary.
fn own(schema: &str, class: &str, oid: &str) -> String {
    format!(
        "{schema} OPERATOR(pg_catalog.<>) ALL ('{{pg_catalog,information_schema,pg_toast}}'::pg_catalog.name[]) \
         AND {schema}::pg_catalog.text OPERATOR(pg_catalog.!~) '^pg_(temp|toast_temp)_' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS x WHERE x.classid OPERATOR(pg_catalog.=) \
         'pg_catalog.{class}'::pg_catalog.regclass AND x.objid OPERATOR(pg_catalog.=) {oid} \
         AND x.deptype OPERATOR(pg_catalog.=) 'e')"
    )
}

/// The catalog, a row for each object: kind, name, what it is. Texts that versions of PostgreSQL write differently are left out.
pub fn catalog() -> String {
    let relation = own("n.nspname", "pg_class", "c.oid");
    let name = "pg_catalog.format('%I.%I', n.nspname, c.relname)";
    let of_relation = "JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";
    let tables = "c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[])";
    [
        // Tables and views.
        format!(
            "SELECT CASE WHEN {tables} THEN 'table' ELSE 'view' END, {name}, \
             pg_catalog.concat(c.relkind, c.relpersistence, c.relreplident) FROM pg_catalog.pg_class AS c {of_relation} \
             WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,v,m,f}}'::pg_catalog.\"char\"[]) AND {relation}"
        ),
        format!(
            "SELECT 'column', pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname), \
             pg_catalog.concat(pg_catalog.format_type(a.atttypid, a.atttypmod), \
             CASE WHEN a.attnotnull THEN ' not null' END, \
             CASE WHEN a.attgenerated OPERATOR(pg_catalog.<>) '' THEN ' generated' END, \
             CASE WHEN a.attidentity OPERATOR(pg_catalog.<>) '' THEN ' identity' END, \
             CASE WHEN a.atthasdef AND a.attgenerated OPERATOR(pg_catalog.=) '' THEN ' default' END) \
             FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid {of_relation} \
             WHERE a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2 AND NOT a.attisdropped AND {tables} AND {relation}"
        ),
        format!(
            "SELECT 'sequence', {name}, pg_catalog.concat(pg_catalog.format_type(s.seqtypid, NULL), ' by ', s.seqincrement) \
             FROM pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) s.seqrelid \
             {of_relation} WHERE {relation}"
        ),
        format!(
            "SELECT 'index', {name}, pg_catalog.concat(CASE WHEN i.indisunique THEN 'unique ' END, \
             CASE WHEN i.indisvalid THEN '' ELSE 'invalid ' END, pg_catalog.pg_get_indexdef(i.indexrelid)) \
             FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
             {of_relation} WHERE {relation}"
        ),
        // From version 18 on, NOT NULL is a constraint as well; columns have it already.
        format!(
            "SELECT 'constraint', pg_catalog.format('%I.%I.%I', n.nspname, c.relname, k.conname), \
             pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint AS k \
             JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) k.conrelid {of_relation} \
             WHERE k.contype OPERATOR(pg_catalog.=) ANY ('{{p,u,c,f,x}}'::pg_catalog.\"char\"[]) AND {relation}"
        ),
        format!(
            "SELECT 'type', pg_catalog.format('%I.%I', n.nspname, t.typname), pg_catalog.concat(t.typtype, ' ', \
             (SELECT pg_catalog.string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum AS e \
             WHERE e.enumtypid OPERATOR(pg_catalog.=) t.oid), \
             CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END) \
             FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
             WHERE t.typtype OPERATOR(pg_catalog.=) ANY ('{{e,d,r}}'::pg_catalog.\"char\"[]) AND {}",
            own("n.nspname", "pg_type", "t.oid")
        ),
        format!(
            "SELECT 'function', pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, \
             pg_catalog.pg_get_function_identity_arguments(p.oid)), \
             pg_catalog.concat(p.prokind, ' ', pg_catalog.md5(coalesce(p.prosrc, ''))) FROM pg_catalog.pg_proc AS p \
             JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE {}",
            own("n.nspname", "pg_proc", "p.oid")
        ),
        format!(
            "SELECT 'trigger', pg_catalog.format('%I.%I.%I', n.nspname, c.relname, t.tgname), t.tgenabled::pg_catalog.text \
             FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid \
             {of_relation} WHERE NOT t.tgisinternal AND {relation}"
        ),
    ]
    .join(" UNION ALL ")
}

/// Facts, a row for each: kind, and up to five words.
pub fn facts() -> String {
    let own_db =
        "(SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())";
    [
        "SELECT 'setting', name, setting, NULL, NULL FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ANY \
         ('{wal_level,max_replication_slots,max_wal_senders,max_logical_replication_workers,max_worker_processes,\
         max_slot_wal_keep_size,server_version,server_version_num,max_connections,max_sync_workers_per_subscription}'\
         ::pg_catalog.text[])"
            .to_owned(),
        "SELECT 'role', rolname::pg_catalog.text, rolsuper::pg_catalog.text, (SELECT pg_catalog.count(*) \
         FROM pg_catalog.pg_auth_members AS m, pg_catalog.pg_roles AS g WHERE m.roleid OPERATOR(pg_catalog.=) g.oid \
         AND m.member OPERATOR(pg_catalog.=) r.oid AND g.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY \
         ('{rds_superuser,cloudsqlsuperuser,azure_pg_admin}'::pg_catalog.text[]))::pg_catalog.text, NULL \
         FROM pg_catalog.pg_roles AS r WHERE rolname OPERATOR(pg_catalog.=) current_user"
            .to_owned(),
        "SELECT 'slots', pg_catalog.count(*)::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_replication_slots".to_owned(),
        "SELECT 'senders', pg_catalog.count(*)::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_stat_replication".to_owned(),
        "SELECT 'subscriptions', pg_catalog.count(*)::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_subscription".to_owned(),
        "SELECT 'slot', slot_name::pg_catalog.text, coalesce(plugin::pg_catalog.text, ''), NULL, NULL \
         FROM pg_catalog.pg_replication_slots WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
            .to_owned(),
        "SELECT 'publication', pubname::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_publication".to_owned(),
        format!(
            "SELECT 'subscription', subname::pg_catalog.text, subenabled::pg_catalog.text, NULL, NULL \
             FROM pg_catalog.pg_subscription WHERE subdbid OPERATOR(pg_catalog.=) {own_db}"
        ),
        "SELECT 'extension', extname::pg_catalog.text, extversion, NULL, NULL FROM pg_catalog.pg_extension".to_owned(),
        "SELECT 'available', name::pg_catalog.text, default_version, NULL, NULL FROM pg_catalog.pg_available_extensions".to_owned(),
        "SELECT 'large objects', (SELECT pg_catalog.count(*) FROM (SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1001) \
         AS l)::pg_catalog.text, NULL, NULL, NULL"
            .to_owned(),
        format!(
            "SELECT 'encoding', pg_catalog.pg_encoding_to_char(encoding), datcollate::pg_catalog.text, datctype::pg_catalog.text, \
             NULL FROM pg_catalog.pg_database WHERE oid OPERATOR(pg_catalog.=) {own_db}"
        ),
        "SELECT 'login', rolname::pg_catalog.text, NULL, NULL, NULL FROM pg_catalog.pg_roles \
         WHERE rolcanlogin AND pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT')"
            .to_owned(),
        "SELECT 'prepared', gid, owner::pg_catalog.text, NULL, NULL FROM pg_catalog.pg_prepared_xacts \
         WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
            .to_owned(),
        of_relations(),
    ]
    .join(" UNION ALL ")
}

/// Facts about relations.
fn of_relations() -> String {
    let relation = own("n.nspname", "pg_class", "c.oid");
    let of_relation = "JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";
    let name = "pg_catalog.format('%I.%I', n.nspname, c.relname)";
    [
        format!(
            "SELECT 'unlogged', {name}, (pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog.>) 0::pg_catalog.int8)\
             ::pg_catalog.text, NULL, NULL FROM pg_catalog.pg_class AS c {of_relation} \
             WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relpersistence OPERATOR(pg_catalog.=) 'u' AND {relation}"
        ),
        // What a publication of all tables has, and no UPDATE or DELETE of which could be told to others.
        format!(
            "SELECT 'identity', {name}, NULL, NULL, NULL FROM pg_catalog.pg_class AS c {of_relation} \
             WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p}}'::pg_catalog.\"char\"[]) AND c.relpersistence \
             OPERATOR(pg_catalog.=) 'p' AND n.nspname OPERATOR(pg_catalog.<>) ALL \
             ('{{pg_catalog,information_schema,pg_toast}}'::pg_catalog.name[]) \
             AND CASE WHEN c.relreplident OPERATOR(pg_catalog.=) 'f' THEN false \
             WHEN c.relreplident OPERATOR(pg_catalog.=) 'd' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i \
             WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary AND i.indisvalid) \
             WHEN c.relreplident OPERATOR(pg_catalog.=) 'i' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i \
             WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisreplident AND i.indisvalid) ELSE true END"
        ),
        format!(
            "SELECT 'fires', pg_catalog.format('%I.%I', c.relname, t.tgname), NULL, NULL, NULL FROM pg_catalog.pg_trigger AS t \
             JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid {of_relation} WHERE NOT t.tgisinternal \
             AND t.tgenabled OPERATOR(pg_catalog.=) ANY ('{{A,R}}'::pg_catalog.\"char\"[]) AND {relation}"
        ),
        format!(
            "SELECT 'materialized', {name}, c.relispopulated::pg_catalog.text, NULL, NULL FROM pg_catalog.pg_class AS c \
             {of_relation} WHERE c.relkind OPERATOR(pg_catalog.=) 'm' AND {relation}"
        ),
        "SELECT 'override', coalesce(r.rolname::pg_catalog.text, ''), c, NULL, NULL FROM pg_catalog.pg_db_role_setting AS s \
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c \
         LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) s.setrole \
         LEFT JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.setdatabase \
         WHERE (d.oid IS NULL OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         AND c OPERATOR(pg_catalog.!~) '^default_transaction_read_only=on$'"
            .to_owned(),
        format!(
            "SELECT 'filled', {name}, NULL, NULL, NULL FROM pg_catalog.pg_class AS c {of_relation} \
             WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relpersistence OPERATOR(pg_catalog.=) 'p' \
             AND pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog.>) 0::pg_catalog.int8 AND {relation}"
        ),
    ]
    .join(" UNION ALL ")
}

/// Whether tables have rows, of those whose files are not empty: at most so many. Names come from `facts`, which quotes them.
pub fn has_rows(tables: &[String]) -> String {
    let each = tables
        .iter()
        .map(|table| format!("SELECT {} WHERE EXISTS (SELECT FROM {table})", crate::sql::lex::quote::literal(table)));
    each.collect::<Vec<_>>().join(" UNION ALL ")
}

/// One of each.
pub(in crate::sql::own_statements) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("migrate_checks::catalog", catalog()),
        ("migrate_checks::facts", facts()),
        ("migrate_checks::has_rows", has_rows(&["pg_catalog.pg_class".to_owned()])),
    ]
}
