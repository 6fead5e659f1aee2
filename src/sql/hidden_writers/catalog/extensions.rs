//! Extensions whose volatile C functions are known: they write nothing, or nothing but rows, which are asked for, and what else
//! they do is on the refusal list function by function. Those of PostgreSQL's own sources, and a few that are everywhere.

use super::Graph;
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::hidden_writers::reach::Finding;
use crate::sql::hidden_writers::verdict::HiddenWriters;

/// Sorted.
const KNOWN: [&str; 66] = [
    "address_standardizer",
    "adminpack",
    "amcheck",
    "autoinc",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "fuzzystrmatch",
    "hll",
    "hstore",
    "hstore_plperl",
    "hstore_plpython3u",
    "hypopg",
    "insert_username",
    "intagg",
    "intarray",
    "ip4r",
    "isn",
    "jsonb_plperl",
    "jsonb_plpython3u",
    "lo",
    "ltree",
    "ltree_plpython3u",
    "moddatetime",
    "old_snapshot",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_logicalinspect",
    "pg_overexplain",
    "pg_prewarm",
    "pg_repack",
    "pg_stat_statements",
    "pg_surgery",
    "pg_trgm",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "plperl",
    "plpgsql",
    "postgis",
    "postgis_raster",
    "postgis_sfcgal",
    "postgis_topology",
    "postgres_fdw",
    "refint",
    "rum",
    "seg",
    "sslinfo",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
    "xml2",
];

/// Whether the C functions of an extension are known not to be unseen writers, but for those that the refusal list names.
pub(in crate::sql::hidden_writers) fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name).is_ok()
}

/// Those of them whose volatile C functions only compute. Sorted.
const COMPUTING: [&str; 8] =
    ["fuzzystrmatch", "ltree", "pg_trgm", "pgcrypto", "pgstattuple", "seg", "uuid-ossp", "vector"];

/// Whether the C function of an extension is known to write nothing at all.
pub(in crate::sql::hidden_writers) fn writes_nothing(extension: &str, volatile: bool) -> bool {
    if volatile { COMPUTING.binary_search(&extension).is_ok() } else { is_known(extension) }
}

impl Graph {
    /// Notes the functions that the refusal list names, and those that only have such a name, which are judged by what they do.
    pub(super) fn note_namesakes(&self, unseen: &mut HiddenWriters, analyzer: &Analyzer) {
        let list = analyzer.list();
        for one in self.routines.iter().filter(|one| list.function(one.name.as_bytes(), None).is_some()) {
            let real = match list.is_extensions(one.name.as_bytes()) {
                true => matches!(one.language.as_str(), "c" | "internal"),
                false => list.function(one.name.as_bytes(), Some(one.schema.as_bytes())).is_some(),
            };
            let names = if real { &mut unseen.listed } else { &mut unseen.namesakes };
            names.add_with(&one.schema, &one.name, one.signature.clone(), &Finding::default());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_sorted() {
        assert!(super::KNOWN.is_sorted() && super::COMPUTING.is_sorted());
        assert!(super::COMPUTING.iter().all(|name| super::is_known(name)));
        assert!(super::is_known("pgcrypto") && !super::is_known("pg_background"));
    }
}
