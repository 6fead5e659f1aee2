//! What the catalog is asked: what of a database's own may lead to an unseen writer, in one statement.
//!
//! Rows begin with a letter. `f`: a function, with its number, schema, name, language, flags, extension and body; `n`: the
//! name of something else, with its kind, number, schema and name; `e`: an edge, from kind and number to kind and number:
//! what leads to an unseen writer passes that on; `s`: something that may be one by itself, with kind, number and why; `v`: what
//! has to be judged by its text, with kind, number and text; `m`: what changes more than the table that a statement names, with
//! kind, number and why; `k`: what sets settings in a stored expression, with kind, number and text; `l`: a foreign table and what of this database it may stand for; `t`: a function of PostgreSQL's own that is
//! handed text, with number and name; `d`: a time with which sessions begin, with role, setting, value and rank; `h`: where this database is, with name and port; `x`: a foreign
//! server that leads elsewhere, by name; `g`: unseen writers are within reach of roles; `o`: a role that could change relations in place.
//!
//! `y`: a type or an operator that has a name by which a text is read.
//!
//! A function's row has, last but one, how many arguments it takes at least and at most, and a letter for each: `n` numbers, `s` texts,
//! `b` boolean, `?` anything; an operator's has those of its operands, `-` where it has none; a relation's an `x` if not only superusers
//! may use it.
//!
//! Kinds: `f` function, `r` relation that is read, `w` relation that is written, `o` operator, `t` type of which a value is
//! used, `c` type to which something is coerced, `a` anything at all, `D` relation of which rows are deleted, `U` updated.
//!
//! Everything below 16384 is PostgreSQL's own. On what is pinned there are no dependencies in pg_depend: for PostgreSQL's own functions
//! the stored expressions are searched.

use super::defaults;
use crate::sql::classify::readonly_exceptions::RefusalList;
use crate::sql::hidden_writers::harmless;
use crate::sql::hidden_writers::run_text::types::TYPES;

/// Most rows of the answer.
pub(in crate::sql::hidden_writers) const MOST_ROWS: usize = 200_000;

/// Flags of a function, in its row.
const FLAGS: &str = "\
    CASE WHEN p.provolatile = 'v' THEN 'v' ELSE '' END \
 || CASE WHEN NOT l.lanpltrusted AND l.lanname NOT IN ('c', 'internal') THEN 'u' ELSE '' END \
 || CASE WHEN p.prosecdef AND EXISTS (SELECT FROM mighty m WHERE m.oid = p.proowner) THEN 'd' ELSE '' END \
 || CASE WHEN p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee \
        WHERE a.privilege_type = 'EXECUTE' AND (a.grantee = 0 OR NOT g.rolsuper)) THEN 'x' ELSE '' END \
 || CASE WHEN l.lanname = 'internal' AND EXISTS (SELECT FROM listed i WHERE i.refused AND i.prosrc = p.prosrc) THEN 'p' ELSE '' END \
 || CASE WHEN EXISTS (SELECT FROM unnest(p.proconfig) s WHERE lower(s) LIKE 'track\\_counts=%' \
        AND lower(s) !~ '=(on|t|tr|tru|true|y|ye|yes|1)$') THEN 'c' ELSE '' END \
 || CASE WHEN p.prosecdef THEN 's' ELSE '' END \
 || CASE WHEN p.prosecdef AND EXISTS (SELECT FROM keeper k WHERE k.oid = p.proowner) THEN 'o' ELSE '' END \
 || CASE WHEN l.lanname = 'internal' AND (p.prokind = 'a' OR p.prosrc ~ '^(multi)?range_constructor') THEN 'a' ELSE '' END";

/// What has expressions, and what those make suspicious: class, number, kind, target.
const HOLDERS: &str = "\
    SELECT 'pg_proc'::regclass AS class, oid, 'f' AS kind, oid AS target FROM pg_proc WHERE oid >= 16384 \
    UNION ALL SELECT 'pg_operator'::regclass, oid, 'o', oid FROM pg_operator WHERE oid >= 16384 \
    UNION ALL SELECT 'pg_rewrite'::regclass, w.oid, CASE w.ev_type WHEN '1' THEN 'r' ELSE 'w' END, w.ev_class \
        FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE w.oid >= 16384 AND c.relkind <> 'm' \
    UNION ALL SELECT 'pg_policy'::regclass, y.oid, k.kind, y.polrelid FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid, \
        (VALUES ('r'), ('w')) k (kind) WHERE c.relrowsecurity \
    UNION ALL SELECT 'pg_constraint'::regclass, oid, CASE WHEN contypid <> 0 THEN 'c' ELSE 'w' END, \
        CASE WHEN contypid <> 0 THEN contypid ELSE conrelid END FROM pg_constraint WHERE oid >= 16384 \
    UNION ALL SELECT 'pg_attrdef'::regclass, oid, 'w', adrelid FROM pg_attrdef WHERE oid >= 16384 \
    UNION ALL SELECT 'pg_trigger'::regclass, oid, 'w', tgrelid FROM pg_trigger WHERE oid >= 16384 AND NOT tgisinternal \
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, 'w', indrelid FROM pg_index \
        WHERE indexrelid >= 16384 AND (indexprs IS NOT NULL OR indpred IS NOT NULL)";

/// Stored expressions: kind, target, tree, and whether it is a column's default.
const TREES: &str = "\
    SELECT CASE w.ev_type WHEN '1' THEN 'r' ELSE 'w' END AS kind, w.ev_class AS target, \
        concat(w.ev_qual::text, w.ev_action::text) AS tree, false AS is_default \
        FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE w.oid >= 16384 AND c.relkind <> 'm' \
    UNION ALL SELECT 'r', y.polrelid, concat(y.polqual::text, y.polwithcheck::text), false \
        FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid WHERE c.relrowsecurity \
    UNION ALL SELECT CASE WHEN contypid <> 0 THEN 'c' ELSE 'w' END, CASE WHEN contypid <> 0 THEN contypid ELSE conrelid END, \
        conbin::text, false FROM pg_constraint WHERE oid >= 16384 AND conbin IS NOT NULL \
    UNION ALL SELECT 'w', adrelid, adbin::text, true FROM pg_attrdef WHERE oid >= 16384 \
    UNION ALL SELECT 'w', tgrelid, tgqual::text, false FROM pg_trigger WHERE oid >= 16384 AND tgqual IS NOT NULL \
    UNION ALL SELECT 'w', indrelid, concat(indexprs::text, indpred::text), false FROM pg_index \
        WHERE indexrelid >= 16384 AND (indexprs IS NOT NULL OR indpred IS NOT NULL) \
    UNION ALL SELECT 'f', oid, proargdefaults::text, false FROM pg_proc WHERE oid >= 16384 AND proargdefaults IS NOT NULL";

/// Expressions that the planner looks at for each query that reads a relation, whatever else it names; it runs what in them is
/// called immutable and has constant arguments only. Class, number, relation, tree.
const PLANNED: &str = "\
    SELECT 'pg_class'::regclass AS class, indexrelid AS oid, indrelid AS rel, concat(indexprs::text, ' ', indpred::text) AS tree \
        FROM pg_index WHERE indexrelid >= 16384 AND (indexprs IS NOT NULL OR indpred IS NOT NULL) \
    UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid, conbin::text FROM pg_constraint \
        WHERE oid >= 16384 AND contype = 'c' AND conrelid <> 0 \
    UNION ALL SELECT 'pg_class'::regclass, partrelid, partrelid, partexprs::text FROM pg_partitioned_table \
        WHERE partexprs IS NOT NULL \
    UNION ALL SELECT 'pg_class'::regclass, t.partrelid, x.rel, t.partexprs::text FROM pg_partitioned_table t \
        JOIN above x ON x.top = t.partrelid WHERE t.partexprs IS NOT NULL";

/// The same of extended statistics, from PostgreSQL 14 on.
const PLANNED_STATISTICS: &str = " UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxrelid, stxexprs::text \
    FROM pg_statistic_ext WHERE stxexprs IS NOT NULL";

/// Calls in such a tree that the planner cannot run: one of their arguments is a column, behind constants perhaps. A function in SQL is
/// put into its caller's expression all the same, and what it calls itself may be run.
const OF_A_COLUMN: &str =
    "[{]FUNCEXPR :funcid [0-9]+ [^{}]*:args [(]([{]CONST [^{}]*[}] )*([{]RELABELTYPE :arg )?[{]VAR ";

/// Each table that is part of others, with itself and those: whoever reads those reads it.
const ABOVE: &str = "\
    WITH RECURSIVE a AS (SELECT inhrelid AS rel, inhrelid AS top FROM pg_inherits \
        UNION SELECT a.rel, i.inhparent FROM a JOIN pg_inherits i ON i.inhrelid = a.top) SELECT rel, top FROM a";

/// What of a database's own a family of operators runs, but for extensions': for an index or a partition by them, a range, a sort.
const CODE_OF_FAMILIES: &str = "\
    SELECT amprocfamily AS family, 'f' AS kind, amproc::oid AS code FROM pg_amproc \
        WHERE amproc::oid >= 16384 AND amproc::oid NOT IN (SELECT oid FROM member) \
    UNION SELECT m.amopfamily, 'o', m.amopopr FROM pg_amop m JOIN pg_operator o ON o.oid = m.amopopr \
        WHERE m.amopopr >= 16384 AND o.oprcode::oid NOT IN (SELECT oid FROM member)";

/// What sets settings, or takes locks, in a stored expression: kind, target, and a text to be read for that.
const SETTERS: &str = "\
    SELECT CASE w.ev_type WHEN '1' THEN 'r' ELSE 'w' END AS kind, w.ev_class AS target, pg_get_ruledef(w.oid) AS text \
        FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class, sets n \
        WHERE w.oid >= 16384 AND c.relkind <> 'm' AND concat(w.ev_qual::text, w.ev_action::text) ~ n.calls \
    UNION ALL SELECT 'w', w.ev_class, 'UPDATE pg_settings' FROM pg_rewrite w, sets n \
        WHERE w.oid >= 16384 AND w.ev_action::text ~ n.shows \
    UNION ALL SELECT k.kind, y.polrelid, concat_ws(' ', pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid)) \
        FROM pg_policy y, sets n, (VALUES ('r'), ('w')) k (kind) WHERE concat(y.polqual::text, y.polwithcheck::text) ~ n.calls \
    UNION ALL SELECT CASE WHEN contypid <> 0 THEN 'c' ELSE 'w' END, CASE WHEN contypid <> 0 THEN contypid ELSE conrelid END, \
        pg_get_constraintdef(oid) FROM pg_constraint, sets n WHERE oid >= 16384 AND conbin::text ~ n.calls \
    UNION ALL SELECT 'w', adrelid, pg_get_expr(adbin, adrelid) FROM pg_attrdef, sets n WHERE oid >= 16384 AND adbin::text ~ n.calls \
    UNION ALL SELECT 'w', tgrelid, pg_get_triggerdef(oid) FROM pg_trigger, sets n WHERE oid >= 16384 AND tgqual::text ~ n.calls \
    UNION ALL SELECT 'f', oid, pg_get_expr(proargdefaults, 0) FROM pg_proc, sets n WHERE oid >= 16384 AND proargdefaults::text ~ n.calls";

/// What the trees of such expressions have in them: a call of these functions, or the view that shows settings.
const SETS: &str = "\
    SELECT ':(?:funcid|opfuncid|aggfnoid|winfnoid) (?:' || string_agg(p.oid::text, '|') || ')\\M' AS calls, \
        ':relid ' || 'pg_settings'::regclass::oid || '\\M' AS shows FROM pg_proc p \
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (p.proname IN ('set_config', 'setseed') \
        OR p.proname ~ '^pg_(try_)?advisory_lock')";

/// Edges: kind and number of what may be an unseen writer, of what leads to it then.
const EDGES: &str = "\
    SELECT d.kind, d.ref, h.kind AS to_kind, h.target AS to_ref FROM holder h JOIN dep d ON d.classid = h.class AND d.objid = h.oid \
        WHERE NOT (h.class = 'pg_rewrite'::regclass AND d.kind = 'f' AND d.ref IN (SELECT oid FROM soft)) \
    UNION SELECT 'c', d.ref, h.kind, h.target FROM holder h JOIN dep d ON d.classid = h.class AND d.objid = h.oid \
        WHERE d.kind = 't' \
    UNION SELECT 'f', i.oid, x.kind, x.target FROM tree x JOIN pattern n ON x.tree ~ n.all, \
        LATERAL regexp_matches(x.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g') m (found) \
        JOIN listed i ON i.oid = m.found[1]::oid WHERE NOT (x.is_default AND i.moves) \
    UNION SELECT 'f', u.code, 'o', o.oid FROM pg_operator o, \
        unnest(ARRAY[o.oprcode::oid, o.oprrest::oid, o.oprjoin::oid]) u (code) WHERE o.oid >= 16384 AND u.code <> 0 \
    UNION SELECT 'f', u.code, 'f', g.aggfnoid::oid FROM pg_aggregate g, unnest(ARRAY[g.aggtransfn::oid, g.aggfinalfn::oid, \
        g.aggcombinefn::oid, g.aggserialfn::oid, g.aggdeserialfn::oid, g.aggmtransfn::oid, g.aggminvtransfn::oid, \
        g.aggmfinalfn::oid]) u (code) WHERE g.aggfnoid >= 16384 AND u.code <> 0 \
    UNION SELECT 'f', k.castfunc, 't', u.type FROM pg_cast k, unnest(ARRAY[k.castsource, k.casttarget]) u (type) \
        WHERE k.castfunc <> 0 AND k.oid >= 16384 AND u.type >= 16384 \
    UNION SELECT 'f', k.castfunc, 'a', 0 FROM pg_cast k \
        WHERE k.castfunc <> 0 AND k.oid >= 16384 AND k.castsource < 16384 AND k.casttarget < 16384 \
    UNION SELECT 'f', u.code, 't', y.oid FROM pg_type y, unnest(ARRAY[y.typinput::oid, y.typoutput::oid, y.typreceive::oid, \
        y.typsend::oid, y.typmodin::oid, y.typmodout::oid]) u (code) \
        WHERE y.oid >= 16384 AND u.code >= 16384 AND u.code NOT IN (SELECT oid FROM member) \
    UNION SELECT 'f', u.code, 't', g.rngtypid FROM pg_range g, unnest(ARRAY[g.rngcanonical::oid, g.rngsubdiff::oid]) u (code) \
        WHERE u.code >= 16384 \
    UNION SELECT 't', g.rngsubtype, 't', g.rngtypid FROM pg_range g WHERE g.rngsubtype >= 16384 \
    UNION SELECT k.kind, u.base, k.kind, y.oid FROM pg_type y, unnest(ARRAY[y.typelem, y.typbasetype]) u (base), \
        (VALUES ('t'), ('c')) k (kind) WHERE u.base >= 16384 \
    UNION SELECT k.kind, b.atttypid, k.to_kind, CASE k.to_kind WHEN k.kind THEN c.reltype ELSE c.oid END FROM pg_attribute b \
        JOIN pg_class c ON c.oid = b.attrelid, \
        (VALUES ('t', 'r'), ('t', 'w'), ('c', 'w'), ('t', 't'), ('c', 'c')) k (kind, to_kind) \
        WHERE b.atttypid >= 16384 AND NOT b.attisdropped AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') \
    UNION SELECT 'f', m.amproc::oid, 't', m.amproclefttype FROM pg_amproc m \
        WHERE m.amproc::oid >= 16384 AND m.amproclefttype >= 16384 AND m.amproc::oid NOT IN (SELECT oid FROM member) \
    UNION SELECT 'o', m.amopopr, 't', m.amoplefttype FROM pg_amop m WHERE m.amopopr >= 16384 AND m.amoplefttype >= 16384 \
    UNION SELECT c.kind, c.code, 'a', 0 FROM pg_opclass oc JOIN code_of_family c ON c.family = oc.opcfamily \
        WHERE oc.opcdefault AND oc.oid >= 16384 AND oc.opcintype < 16384 \
        AND oc.opcmethod IN (SELECT oid FROM pg_am WHERE amname IN ('btree', 'hash')) \
    UNION SELECT c.kind, c.code, k.kind, coalesce(x.top, i.indrelid) FROM pg_index i LEFT JOIN above x ON x.rel = i.indrelid, \
        unnest(i.indclass::oid[]) u (class) JOIN pg_opclass oc ON oc.oid = u.class \
        JOIN code_of_family c ON c.family = oc.opcfamily, (VALUES ('r'), ('w')) k (kind) \
    UNION SELECT c.kind, c.code, k.kind, coalesce(x.top, p.partrelid) FROM pg_partitioned_table p \
        LEFT JOIN above x ON x.rel = p.partrelid, unnest(p.partclass::oid[]) u (class) JOIN pg_opclass oc ON oc.oid = u.class \
        JOIN code_of_family c ON c.family = oc.opcfamily, (VALUES ('r'), ('w')) k (kind) \
    UNION SELECT c.kind, c.code, 't', u.type FROM pg_range g JOIN pg_opclass oc ON oc.oid = g.rngsubopc \
        JOIN code_of_family c ON c.family = oc.opcfamily, unnest(ARRAY[g.rngtypid, {multirange}]) u (type) WHERE u.type >= 16384 \
    UNION SELECT c.kind, c.code, 'o', m.amopopr FROM pg_amop m JOIN code_of_family c ON c.family = m.amopfamily AND c.kind = 'f' \
        WHERE m.amopopr >= 16384 \
    UNION SELECT 't', g.rngtypid, 't', {multirange} FROM pg_range g WHERE {multirange} >= 16384 \
    UNION SELECT d.kind, d.ref, 'r', coalesce(x.top, p.rel) FROM planned p JOIN dep d ON d.classid = p.class AND d.objid = p.oid \
        LEFT JOIN above x ON x.rel = p.rel WHERE d.kind = 'f' AND d.ref IN (SELECT oid FROM folded) \
            AND (EXISTS (SELECT FROM pg_proc q JOIN pg_language l ON l.oid = q.prolang WHERE q.oid = d.ref AND l.lanname = 'sql') OR p.open ~ (':funcid ' || d.ref || '\\M')) \
        OR d.kind = 'o' AND d.ref IN (SELECT o.oid FROM pg_operator o JOIN folded f ON f.oid = o.oprcode) \
    UNION SELECT 'o', o.oid, 't', u.type FROM pg_operator o, unnest(ARRAY[o.oprleft, o.oprright]) u (type) \
        WHERE o.oid >= 16384 AND u.type >= 16384 \
        AND o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '~~', '!~~', '~~*', '!~~*', '~', '!~') \
    UNION SELECT 'w', i.inhrelid, 'w', i.inhparent FROM pg_inherits i \
    UNION SELECT 'r', i.inhrelid, 'r', i.inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'f' \
    UNION SELECT 'w', d.ref, 'w', w.ev_class FROM pg_rewrite w JOIN dep d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid \
        WHERE d.kind = 'r' AND w.ev_type = '1' AND d.ref <> w.ev_class";

/// Where a foreign server `s` leads: to this server, perhaps to another database of it, or to this database.
const LEADS: &str = "\
    LATERAL (SELECT x.local AND x.port = current_setting('port') AS near, \
        x.local AND x.port = current_setting('port') AND x.dbname = current_database() AS here \
        FROM (SELECT coalesce(bool_and(option_name <> 'service' AND option_value ~ '^(/[^,]*|127[.][0-9.]+|localhost|::1|)$') \
            FILTER (WHERE option_name IN ('host', 'hostaddr', 'service')), true) AS local, \
            coalesce(max(option_value) FILTER (WHERE option_name = 'port'), '5432') AS port, \
            coalesce(max(option_value) FILTER (WHERE option_name = 'dbname'), '') AS dbname \
            FROM pg_options_to_table(s.srvoptions)) x)";

/// Foreign tables that write by themselves: those of other databases, hosts and kinds, of which nobody has read anything; a program's output is read, and rows that PostgreSQL takes for temporary ones go elsewhere.
const FOREIGN: &str = "\
    SELECT t.ftrelid AS oid, 'r' AS kind, 'a program' AS why FROM pg_foreign_table t WHERE EXISTS ( \
        SELECT FROM unnest(t.ftoptions) o WHERE o LIKE 'program=%') \
    UNION ALL SELECT oid, 'w', 'a temporary table that lies elsewhere' FROM pg_class WHERE relkind = 'f' AND relpersistence = 't' \
    UNION ALL SELECT t.ftrelid, 'r', CASE WHEN h.proname IS DISTINCT FROM 'postgres_fdw_handler' THEN '{other_kind}' \
        WHEN o.near THEN 'what it stands for in another database' ELSE '{other_host}' END FROM pg_foreign_table t \
        JOIN pg_foreign_server s ON s.oid = t.ftserver JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw \
        LEFT JOIN pg_proc h ON h.oid = w.fdwhandler, {leads} o \
        WHERE h.proname IS DISTINCT FROM 'file_fdw_handler' AND NOT (h.proname = 'postgres_fdw_handler' AND o.here)";

/// Why a foreign table is suspect that leads to another host, or is of another kind than is known here. Nobody has read what it does.
pub(in crate::sql::hidden_writers) const FAR: [&str; 2] =
    ["what it stands for on another host", "a kind of foreign data that nobody has read"];

/// Foreign tables, each with what stands in this very database under the name that it has at the other end.
const LINKS: &str = "\
    SELECT t.ftrelid AS near, v.oid AS far FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid \
        JOIN pg_namespace s ON s.oid = c.relnamespace \
        JOIN pg_class v ON v.relkind IN ('r', 'p', 'v', 'm', 'f') AND v.oid <> c.oid AND v.oid >= 16384 \
            AND v.relname = coalesce((SELECT option_value FROM pg_options_to_table(t.ftoptions) \
                WHERE option_name IN ('table_name', 'table')), c.relname) \
        JOIN pg_namespace n ON n.oid = v.relnamespace \
            AND n.nspname = coalesce((SELECT option_value FROM pg_options_to_table(t.ftoptions) \
                WHERE option_name IN ('schema_name', 'schema')), s.nspname)";

/// What changes more than the table that a statement names: foreign tables, views, rules, keys that carry a change on, defaults that
/// take their values from others' sequences.
const WIDE_WRITES: &str = "\
    SELECT k.kind, oid, 'another server' AS why FROM pg_class, (VALUES ('r'), ('w')) k (kind) WHERE relkind = 'f' \
    UNION ALL SELECT 'w', oid, 'the tables of a view' FROM pg_class WHERE relkind = 'v' AND oid >= 16384 \
    UNION ALL SELECT 'w', ev_class, 'a rule' FROM pg_rewrite WHERE ev_type <> '1' AND oid >= 16384 \
    UNION ALL SELECT 'D', confrelid, 'a foreign key that carries it on' FROM pg_constraint \
        WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd') \
    UNION ALL SELECT 'U', confrelid, 'a foreign key that carries it on' FROM pg_constraint \
        WHERE contype = 'f' AND confupdtype IN ('c', 'n', 'd') \
    UNION ALL SELECT 'w', a.adrelid, 'a sequence' FROM pg_attrdef a \
        JOIN pg_proc p ON p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('nextval', 'setval') \
        WHERE a.oid >= 16384 AND a.adbin::text ~ (':funcid ' || p.oid || '\\M') AND NOT EXISTS ( \
            SELECT FROM pg_depend u JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = u.refobjid \
                AND o.refclassid = 'pg_class'::regclass AND o.refobjid = a.adrelid AND o.deptype IN ('a', 'i') \
            WHERE u.classid = 'pg_attrdef'::regclass AND u.objid = a.oid AND u.refclassid = 'pg_class'::regclass)";

/// Roles that may run ANALYZE, REINDEX and the like on a relation that is not temporary, or work with replication slots, by themselves
/// or as a member of others; 0 for everybody.
const KEEPERS: &str = "\
    WITH RECURSIVE r AS ((SELECT relowner AS oid FROM pg_class WHERE relkind IN ('r', 'p', 'm') AND relpersistence <> 't' AND oid >= 16384 \
        UNION SELECT datdba FROM pg_database WHERE datname = current_database() \
        UNION SELECT a.grantee FROM pg_class c, aclexplode(c.relacl) a WHERE a.privilege_type = 'MAINTAIN' \
        UNION SELECT oid FROM pg_roles WHERE rolsuper OR rolreplication OR rolname = 'pg_maintain') \
        UNION SELECT m.member FROM pg_auth_members m JOIN r ON r.oid = m.roleid) SELECT oid FROM r";

/// Those of them that may log in, and those that may put into the write-ahead log what a slot of this database gives out.
const KEEPERS_THAT_LOG_IN: &str = "\
    SELECT 'o', g.rolname::text FROM pg_roles g WHERE g.rolcanlogin AND (EXISTS (SELECT FROM keeper k WHERE k.oid IN (0, g.oid)) \
        OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()) \
        AND EXISTS (SELECT FROM listed i WHERE i.proname = 'pg_logical_emit_message' AND i.refused \
            AND has_function_privilege(g.oid, i.oid, 'EXECUTE')))";

/// Whether somebody who is no superuser may use a relation.
const GRANTED: &str = "\
    CASE WHEN EXISTS (SELECT FROM pg_roles g WHERE g.oid = c.relowner AND NOT g.rolsuper) \
        OR EXISTS (SELECT FROM aclexplode(c.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee = 0 OR NOT g.rolsuper) \
        OR EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attacl IS NOT NULL) THEN 'x' ELSE '' END";

/// The letter of a type, for the arguments of functions and operators; a cast that a database has added may make anything of anything.
const LETTER: &str = "\
    CASE WHEN (SELECT count(*) FROM pg_cast WHERE oid >= 16384 AND castcontext = 'i') > 0 THEN '?' \
        WHEN u.type IN (20, 21, 23, 26, 700, 701, 790, 1700) THEN 'n' WHEN u.type IN (19, 25, 1042, 1043) THEN 's' \
        WHEN u.type = 16 THEN 'b' WHEN u.type = 0 THEN '-' ELSE '?' END";

/// Parameters of types of which a value is a number, a time or a quoted name as a text: a line for each, with its place, `-` where that
/// is not its number, its type and its name.
const PARAMETERS: &str = "\
    (SELECT string_agg(concat_ws(' ', CASE WHEN l.lanname = 'sql' AND p.proallargtypes IS NOT NULL THEN '-' ELSE u.at::text END, \
        CASE WHEN u.type IN (2205, 2206, 4096, 4089) THEN 'regclass' \
        WHEN u.type = ANY ('{16,20,21,23,26,700,701,1082,1083,1114,1184,1186,1266,1700,2950}'::oid[]) THEN 'int' ELSE 'int[]' END, \
        quote_ident(nullif(p.proargnames[u.at], ''))), E'\\n') \
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY u (type, at) \
        WHERE u.type = ANY ('{2205,2206,4096,4089,16,20,21,23,26,700,701,1082,1083,1114,1184,1186,1266,1700,2950}'::oid[]) \
        OR u.type = ANY ('{1000,1005,1007,1016,1021,1022,1028,1115,1182,1185,1231,2951}'::oid[]))";

/// Types and operators of a database's own that have names by which a text is read that is put together.
const SHADOWING: &str = "\
    SELECT 'y', typname::text FROM pg_type WHERE oid >= 16384 AND typname = ANY ('{types}'::name[]) \
    UNION ALL SELECT 'y', o.oprname::text FROM pg_operator o WHERE o.oid >= 16384 AND (o.oprname = '||' \
        AND o.oprleft IN (0, 19, 25, 1042, 1043, 2276, 2283, 2776, 5077) \
        AND o.oprright IN (0, 19, 25, 1042, 1043, 2276, 2283, 2776, 5077) \
        OR o.oprname IN ('+', '-', '*', '/', '%') AND o.oprleft IN (0, 20, 21, 23, 26, 700, 701, 1700) \
        AND o.oprright IN (0, 20, 21, 23, 26, 700, 701, 1700))";

/// The first number of a `server_version`; 0: there is none.
fn major(version: &str) -> u32 {
    version.split(|c: char| !c.is_ascii_digit()).next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// How a function can be called, as SQL: the least and the most arguments, and a letter for the type of each. CALL has a place
/// for what a procedure gives back, too.
fn signature() -> String {
    format!(
        "CASE WHEN EXISTS (SELECT FROM pg_aggregate g WHERE g.aggfnoid = p.oid AND g.aggkind <> 'n') THEN NULL \
            WHEN p.prokind = 'p' THEN concat_ws(' ', coalesce(cardinality(p.proallargtypes), p.pronargs) - p.pronargdefaults, \
            CASE WHEN p.provariadic <> 0 THEN 255 ELSE coalesce(cardinality(p.proallargtypes), p.pronargs) END) \
            ELSE concat_ws(' ', p.pronargs - p.pronargdefaults, CASE WHEN p.provariadic <> 0 THEN 255 ELSE p.pronargs END, \
            (SELECT string_agg({LETTER}, '' ORDER BY u.at) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u (type, at))) END"
    )
}

/// Letters for the types of an operator's operands.
fn operands() -> String {
    format!(
        "(SELECT string_agg({LETTER}, '' ORDER BY u.at) FROM unnest(ARRAY[o.oprleft, o.oprright]) WITH ORDINALITY u (type, at))"
    )
}

/// The question to a server of that version (`server_version`).
pub fn question(list: &RefusalList, version: &str) -> String {
    let major = major(version);
    let ((own, soft), may_write) = (list.names_of_functions(), harmless::may_write());
    let signature = signature();
    let (statistics, multirange, body) = if major >= 14 {
        (PLANNED_STATISTICS, "g.rngmultitypid", "coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)")
    } else {
        ("", "NULL::oid", "p.prosrc")
    };
    format!(
        "WITH listed AS MATERIALIZED (SELECT p.oid, p.proname, p.prosrc, p.proacl, i.initprivs, {signature} AS signature, \
            p.proname = ANY ({own}::name[]) AS refused, p.proname IN ('nextval', 'setval') AS moves FROM pg_proc p \
            LEFT JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND i.objsubid = 0 \
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND (p.proname = ANY ({own}::name[]) \
            OR p.proname IN ('nextval', 'setval') OR {may_write})), \
        soft AS MATERIALIZED (SELECT oid FROM pg_proc WHERE oid >= 16384 AND proname = ANY ({soft}::name[])), \
        pattern AS MATERIALIZED (SELECT ':(?:funcid|opfuncid|aggfnoid|winfnoid) (?:' || string_agg(oid::text, '|') || ')\\M' AS all FROM listed), \
        member AS MATERIALIZED (SELECT d.objid AS oid, x.extname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid \
            WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), \
        server_role AS MATERIALIZED (SELECT oid FROM pg_roles WHERE rolname IN ('pg_write_server_files', 'pg_execute_server_program')), \
        mighty AS MATERIALIZED (WITH RECURSIVE r AS (SELECT oid FROM pg_roles WHERE rolsuper UNION SELECT oid FROM server_role \
            UNION SELECT m.member FROM pg_auth_members m JOIN r ON r.oid = m.roleid) SELECT oid FROM r), \
        keeper AS MATERIALIZED ({KEEPERS}), \
        dep AS MATERIALIZED (SELECT classid, objid, CASE refclassid WHEN 'pg_proc'::regclass THEN 'f' WHEN 'pg_operator'::regclass THEN 'o' \
            WHEN 'pg_class'::regclass THEN 'r' ELSE 't' END AS kind, refobjid AS ref FROM pg_depend \
            WHERE deptype IN ('n', 'a', 'i') AND refobjid >= 16384 AND objid >= 16384 \
            AND refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)), \
        code_of_family AS MATERIALIZED ({CODE_OF_FAMILIES}), \
        holder AS MATERIALIZED ({HOLDERS}), tree AS MATERIALIZED ({TREES}), \
        above AS MATERIALIZED ({ABOVE}), planned AS MATERIALIZED (SELECT class, oid, rel, regexp_replace(tree, '{OF_A_COLUMN}', '', 'g') AS open FROM ({PLANNED}{statistics}) x), \
        folded AS MATERIALIZED (SELECT oid FROM pg_proc WHERE oid >= 16384 AND provolatile = 'i'), \
        edge AS MATERIALIZED ({edges}), sets AS MATERIALIZED ({SETS}), \
        setter AS MATERIALIZED ({SETTERS}), foreign_one AS MATERIALIZED ({foreign}), \
        link AS MATERIALIZED ({LINKS}), wide_write AS MATERIALIZED ({WIDE_WRITES}) \
        SELECT * FROM (SELECT 'f', p.oid::text, n.nspname::text, p.proname::text, l.lanname::text, {FLAGS}, m.extname::text, \
            CASE WHEN l.lanname IN ('c', 'internal') THEN NULL ELSE {body} END, {signature}, CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN {PARAMETERS} END \
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
            LEFT JOIN member m ON m.oid = p.oid WHERE p.oid >= 16384 \
        UNION ALL SELECT 'f', i.oid::text, 'pg_catalog', i.proname::text, 'internal', CASE WHEN i.moves THEN 'bq' ELSE 'b' END || CASE WHEN EXISTS ( \
            SELECT FROM aclexplode(i.proacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.privilege_type = 'EXECUTE' \
            AND (a.grantee = 0 AND i.initprivs IS NOT NULL OR a.grantee >= 16384 AND NOT g.rolsuper)) THEN 'g' ELSE '' END, \
            NULL, NULL, i.signature, NULL FROM listed i \
        UNION ALL SELECT 'e', e.kind, e.ref::text, e.to_kind, e.to_ref::text, NULL, NULL, NULL, NULL, NULL FROM edge e \
            WHERE NOT (e.kind = e.to_kind AND e.ref = e.to_ref) AND e.to_ref IS NOT NULL \
        UNION ALL SELECT 's', kind, oid::text, why, NULL, NULL, NULL, NULL, NULL, NULL FROM foreign_one \
        UNION ALL SELECT 'k', kind, target::text, text, NULL, NULL, NULL, NULL, NULL, NULL FROM setter \
        UNION ALL SELECT 'm', kind, oid::text, why, NULL, NULL, NULL, NULL, NULL, NULL FROM wide_write \
        UNION ALL SELECT 'l', near::text, far::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM link \
        UNION ALL SELECT 't', p.oid::text, p.proname::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_proc p \
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND {takes_text} \
        UNION ALL SELECT 'v', 'r', w.ev_class::text, pg_get_viewdef(w.ev_class), NULL, NULL, NULL, NULL, NULL, NULL FROM pg_rewrite w \
            WHERE w.ev_type = '1' AND w.oid IN (SELECT d.objid FROM dep d JOIN soft s ON d.kind = 'f' AND s.oid = d.ref \
            WHERE d.classid = 'pg_rewrite'::regclass) \
        UNION ALL SELECT 'n', k.kind, c.oid::text, n.nspname::text, c.relname::text, {GRANTED}, NULL, NULL, NULL, NULL FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace, (VALUES ('r'), ('w')) k (kind) \
            WHERE c.oid IN (SELECT to_ref FROM edge WHERE to_kind IN ('r', 'w') UNION SELECT oid FROM foreign_one \
                UNION SELECT oid FROM wide_write UNION SELECT near FROM link \
                UNION SELECT target FROM setter WHERE kind IN ('r', 'w')) \
        UNION ALL SELECT 'n', 'o', o.oid::text, n.nspname::text, o.oprname::text, {operands}, NULL, NULL, NULL, NULL FROM pg_operator o \
            JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid IN (SELECT to_ref FROM edge WHERE to_kind = 'o') \
        UNION ALL SELECT 'n', k.kind, y.oid::text, n.nspname::text, y.typname::text, NULL, NULL, NULL, NULL, NULL FROM pg_type y \
            JOIN pg_namespace n ON n.oid = y.typnamespace, (VALUES ('t'), ('c')) k (kind) \
            WHERE y.oid IN (SELECT to_ref FROM edge WHERE to_kind IN ('t', 'c') UNION SELECT target FROM setter WHERE kind = 'c') \
        UNION ALL SELECT a, b, c, d, e, NULL, NULL, NULL, NULL, NULL FROM ({defaults}) y \
        UNION ALL SELECT 'h', current_database()::text, current_setting('port'), NULL, NULL, NULL, NULL, NULL, NULL, NULL \
        UNION ALL SELECT 'x', s.srvname::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_foreign_server s, {LEADS} o \
            WHERE NOT o.here \
        UNION ALL SELECT a, b, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ({KEEPERS_THAT_LOG_IN}) k (a, b) \
        UNION ALL SELECT a, b, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ({shadowing}) y (a, b) \
        UNION ALL SELECT 'g', rolname::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_roles \
            WHERE NOT rolsuper AND rolcanlogin AND oid IN (SELECT oid FROM mighty)) x (a, b, c, d, e, f, g, h, i, j) LIMIT {limit}",
        edges = EDGES.replace("{multirange}", multirange),
        foreign = FOREIGN.replace("{leads}", LEADS).replace("{other_host}", FAR[0]).replace("{other_kind}", FAR[1]),
        operands = operands(),
        defaults = defaults::question(),
        shadowing = SHADOWING.replace("{types}", &format!("{{{}}}", TYPES.join(","))),
        takes_text = harmless::takes_text(),
        limit = MOST_ROWS + 1,
    )
}

/// A cheaper one: which transactions have ended, and how many slots there are. Whatever changes the catalog is one of those from then on.
pub const ENDED: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.txid_current_snapshot()::pg_catalog.text, \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_get_replication_slots() AS s WHERE s.plugin IS NOT NULL))";

/// A cheap question, one value, whose answer changes with what [`question`] looks at.
pub fn fingerprint() -> String {
    const TABLES: [&str; 18] = [
        "pg_proc",
        "pg_class",
        "pg_rewrite",
        "pg_policy",
        "pg_trigger",
        "pg_constraint",
        "pg_attrdef",
        "pg_operator",
        "pg_cast",
        "pg_type",
        "pg_extension",
        "pg_foreign_server",
        "pg_language",
        "pg_amproc",
        "pg_amop",
        "pg_index",
        "pg_namespace",
        "pg_statistic_ext",
    ];
    let mut parts: Vec<String> = TABLES
        .iter()
        .map(|table| {
            let number = if *table == "pg_index" { "indexrelid" } else { "oid" };
            format!("SELECT {number}::int8 AS id, xmin::text::int8 AS x FROM {table} WHERE {number} >= 16384")
        })
        .collect();
    parts.push("SELECT oid::int8, xmin::text::int8 FROM pg_proc WHERE oid < 16384 AND proacl IS NOT NULL".into());
    parts.push("SELECT ftrelid::int8, xmin::text::int8 FROM pg_foreign_table".into());
    parts.push("SELECT inhrelid::int8, xmin::text::int8 FROM pg_inherits".into());
    parts.push(
        "SELECT attrelid::int8 * 2000 + attnum, xmin::text::int8 FROM pg_attribute WHERE atttypid >= 16384".into(),
    );
    parts.push("SELECT setrole::int8, xmin::text::int8 FROM pg_db_role_setting".into());
    parts.push("SELECT member::int8, xmin::text::int8 FROM pg_auth_members".into());
    parts.push(
        "SELECT oid::int8, CASE WHEN rolsuper THEN 1 ELSE 0 END + CASE WHEN rolreplication THEN 2 ELSE 0 END \
         FROM pg_roles WHERE rolsuper OR rolcanlogin OR rolreplication"
            .into(),
    );
    parts.push("SELECT oid::int8, xmin::text::int8 FROM pg_database WHERE datname = current_database()".into());
    parts.push(
        "SELECT hashtext(slot_name::text)::int8, 1 FROM pg_replication_slots \
         WHERE slot_type = 'logical' AND database = current_database()"
            .into(),
    );
    format!("SELECT concat_ws(' ', count(*), sum(hashint8extended(id, x))) FROM ({}) x", parts.join(" UNION ALL "))
}
