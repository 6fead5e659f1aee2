//! What writers hide in, and an observer that sees all that changes.

use crate::stand::{EVERYTHING, Stand, query, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Frame, Login, Raw};

/// Functions that PostgreSQL 15 runs in READ ONLY, though they write, and everything that can call them unseen.
const HIDDEN: &str = "
CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION hidden_immutable() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION hidden_rolled_on(text) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN PERFORM lo_create(0); BEGIN EXECUTE $1; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN 1; END $$;
CREATE FUNCTION runs(text) RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; RETURN 1; END $$;
ALTER FUNCTION runs(text) OWNER TO app;
CREATE PROCEDURE calls(text) LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$;
CREATE FUNCTION counts() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM t';
CREATE PROCEDURE reads() LANGUAGE plpgsql AS $$ BEGIN PERFORM count(*) FROM t; END $$;
CREATE FUNCTION asks() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM txid_current(); RETURN 1; END $$;
CREATE FUNCTION locks() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'LOCK TABLE locked'; RETURN 1; END $$;
CREATE TABLE locked (a int);
CREATE TABLE waiting (a int);
CREATE VIEW hidden_view AS SELECT hidden();
CREATE FUNCTION hidden_op(int, text) RETURNS int LANGUAGE sql AS 'SELECT hidden()';
CREATE OPERATOR <~> (FUNCTION = hidden_op, LEFTARG = int, RIGHTARG = text);
CREATE TYPE odd AS (a int);
CREATE FUNCTION hidden_cast(odd) RETURNS text LANGUAGE sql AS 'SELECT hidden()::text';
CREATE CAST (odd AS text) WITH FUNCTION hidden_cast(odd);
CREATE FUNCTION hidden_step(int, int) RETURNS int LANGUAGE sql AS 'SELECT hidden()';
CREATE AGGREGATE hidden_sum(int) (SFUNC = hidden_step, STYPE = int, INITCOND = '0');
CREATE FUNCTION hidden_check(int) RETURNS bool LANGUAGE sql AS 'SELECT hidden() = 1';
CREATE DOMAIN checked AS int CHECK (hidden_check(VALUE));
CREATE TABLE secret (a int);
INSERT INTO secret VALUES (1);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY hidden_policy ON secret USING (hidden() = 1);
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); END $$;
CREATE EVENT TRIGGER on_ddl ON ddl_command_start EXECUTE FUNCTION on_ddl();
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN NEW; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

/// A stand with all of it, and some more to prepare a transaction.
pub fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 60\npool_mode = \"{mode}\""));
    let mut operator = stand.operator();
    for sql in [HIDDEN, "BEGIN; INSERT INTO waiting VALUES (1); PREPARE TRANSACTION 'waiting'"] {
        let frames = query(&mut operator, sql);
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {:?}", frames.iter().find_map(Frame::error));
    }
    stand
}

/// Closes the gate; reads stay on the primary, where they could write.
pub fn close(stand: &Stand) {
    let rows = stand.console("MAINTENANCE ON app WITH (message 'moving house', reads primary)");
    assert_eq!(rows[0][1].as_deref(), Some("read_only"));
}

/// A direct connection that looks at everything.
pub struct Observer {
    raw: Raw,
    sql: String,
}

impl Observer {
    pub fn new(stand: &Stand) -> Observer {
        Observer::with(stand, &[])
    }

    /// It looks at what these queries show too.
    pub fn with(stand: &Stand, more: &[&str]) -> Observer {
        let login = Login::new("dba", "app").password("dba");
        let raw = Raw::connect(&Address::local(stand.cluster.primary().port()), &login).expect("a direct connection");
        let all: Vec<String> = EVERYTHING.iter().chain(more).map(|sql| format!("SELECT ({sql})")).collect();
        Observer { raw, sql: all.join(" UNION ALL ") }
    }

    pub fn everything(&mut self) -> Vec<Vec<u8>> {
        let frames = query(&mut self.raw, &self.sql);
        let rows: Vec<Vec<u8>> = frames.iter().filter(|frame| frame.tag == b'D').map(|frame| frame.wire()).collect();
        assert!(rows.len() >= EVERYTHING.len(), "{:?}", frames.iter().find_map(Frame::error));
        rows
    }
}

/// The console, for the counters of the layers.
pub struct Layers(Raw);

/// Letters for the counters of SHOW STATE.
const LETTERS: [(&str, char); 6] = [
    ("refused_by_reader", 'R'),
    ("refused_by_catalog", 'C'),
    ("refused_by_server", 'S'),
    ("refused_by_block", 'B'),
    ("refused_by_proof", 'P'),
    ("guards_fallen", 'G'),
];

impl Layers {
    pub fn new(stand: &Stand) -> Layers {
        Layers(stand.connect("dba", "dba", "pgsluice"))
    }

    /// The counters, in order of [`LETTERS`].
    pub fn counts(&mut self) -> [u64; 6] {
        let frames = query(&mut self.0, "SHOW STATE");
        let text = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().unwrap_or_default()).unwrap();
        let rows: Vec<Vec<Option<Vec<u8>>>> =
            frames.iter().filter(|frame| frame.tag == b'D').map(Frame::values).collect();
        LETTERS.map(|(word, _)| {
            let row =
                rows.iter().find(|row| text(&row[0]) == word).unwrap_or_else(|| panic!("SHOW STATE has no {word}"));
            text(&row[1]).parse().unwrap()
        })
    }

    /// Letters of the layers that have counted something since.
    pub fn since(&mut self, before: &mut [u64; 6]) -> String {
        let now = self.counts();
        let changed = LETTERS.iter().zip(now.iter().zip(&*before)).filter(|(_, (now, then))| now > then);
        let letters = changed.map(|((_, letter), _)| *letter).collect();
        *before = now;
        letters
    }
}

/// As [`talk`], but the connection may be closed in our face.
pub fn attempt(raw: &mut Raw, bytes: &[u8], readies: usize) -> Option<Vec<Frame>> {
    raw.send(bytes).ok()?;
    let mut frames = Vec::new();
    let mut seen = 0;
    while seen < readies {
        let frame = raw.frame(std::time::Duration::from_secs(10)).ok()?;
        seen += usize::from(frame.tag == b'Z');
        if frame.tag == b'G' {
            raw.send(&message::copy_fail("no data")).ok()?;
        }
        frames.push(frame);
    }
    Some(frames)
}

/// Statements that must succeed.
pub fn run(raw: &mut Raw, sql: &str) {
    let frames = talk(raw, &message::query(sql), 1);
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {:?}", frames.iter().find_map(Frame::error));
}
