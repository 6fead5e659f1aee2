//! The faults, and what is done for each.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pgsluice_fixtures::{Fault as Network, Mode};

use crate::stand::{LONG, Stand, World, signal};

pub struct Fault {
    pub name: &'static str,
    /// A commit waits for the replica: what is acknowledged survives a promotion.
    pub synchronous: bool,
    pub world: World,
    /// Does it, and gives the number of the server that takes writes behind it.
    pub act: fn(&Stand) -> usize,
}

const fn promoting(name: &'static str, act: fn(&Stand) -> usize) -> Fault {
    Fault { name, synchronous: true, world: World::Plain, act }
}

const fn staying(name: &'static str, act: fn(&Stand) -> usize) -> Fault {
    Fault { name, synchronous: false, world: World::Plain, act }
}

/// The files where the server looks for them, and it looks.
fn certify(stand: &Stand, files: [&[u8]; 2]) {
    let tls = stand.cluster.tls().expect("TLS");
    for (path, bytes) in [&tls.server_cert, &tls.server_key].into_iter().zip(files) {
        std::fs::write(path, bytes).expect("a certificate");
    }
    stand.primary().reload().expect("a reload");
}

fn promote(stand: &Stand) -> usize {
    stand.replica().promote().expect("a promotion");
    // Without a standby of its own its commits must not wait for one.
    let _ = stand.replica().psql_in("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''");
    let _ = stand.replica().reload();
    1
}

fn fence(stand: &Stand, set: &[&str], reset: &[&str]) -> usize {
    set.iter().for_each(|sql| drop(stand.primary().psql_in("postgres", sql).expect(sql)));
    sleep(Duration::from_secs(2));
    stand.lifted.set(Some(Instant::now()));
    reset.iter().for_each(|sql| drop(stand.primary().psql_in("postgres", sql).expect(sql)));
    0
}

fn for_a_while(stand: &Stand, at: usize, fault: Network, seconds: u64) -> usize {
    stand.relays[at].set(fault);
    sleep(Duration::from_secs(seconds));
    stand.relays[at].set(Network::None);
    0
}

pub const ALL: &[Fault] = &[
    promoting("primary stopped (fast), replica promoted", |stand| {
        stand.primary().stop(Mode::Fast).expect("a stop");
        promote(stand)
    }),
    promoting("primary stopped (immediate), replica promoted", |stand| {
        stand.primary().stop(Mode::Immediate).expect("a stop");
        promote(stand)
    }),
    promoting("primary killed, replica promoted", |stand| {
        stand.primary().kill_9();
        promote(stand)
    }),
    promoting("primary killed, replica promoted, the old one back as primary", |stand| {
        stand.primary().kill_9();
        promote(stand);
        sleep(Duration::from_secs(1));
        stand.primary().start().expect("a start");
        sleep(Duration::from_secs(2));
        1
    }),
    promoting("primary stopped, replica promoted, the old one back as replica", |stand| {
        stand.primary().stop(Mode::Fast).expect("a stop");
        promote(stand);
        let _ = stand.replica().psql_in("postgres", "SELECT pg_create_physical_replication_slot('primary')");
        stand.primary().follow(stand.replica()).expect("its settings");
        stand.primary().start().expect("a start");
        sleep(Duration::from_secs(2));
        1
    }),
    promoting("primary frozen, replica promoted, thawed", |stand| {
        signal(stand.primary(), "-STOP");
        promote(stand);
        sleep(Duration::from_secs(3));
        signal(stand.primary(), "-CONT");
        1
    }),
    promoting("primary black-holed, replica promoted", |stand| {
        stand.relays[0].set(Network::BlackHole);
        promote(stand);
        sleep(Duration::from_secs(3));
        1
    }),
    promoting("primary refuses connections and is cut off, replica promoted", |stand| {
        stand.relays[0].set(Network::Refuses);
        stand.relays[0].cut();
        promote(stand)
    }),
    staying("primary restarted (fast)", |stand| {
        stand.primary().restart().expect("a restart");
        0
    }),
    staying("primary killed and started again", |stand| {
        stand.primary().kill_9();
        stand.primary().start().expect("a start");
        0
    }),
    staying("one back end killed: all crash and recover", |stand| {
        let pid = stand
            .primary()
            .psql_in("postgres", "SELECT pid FROM pg_stat_activity WHERE datname = 'app' LIMIT 1")
            .expect("a pid");
        let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        sleep(Duration::from_secs(1));
        0
    }),
    staying("fenced by ALTER SYSTEM, lifted", |stand| {
        fence(
            stand,
            &["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"],
            &["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"],
        )
    }),
    staying("fenced by ALTER DATABASE, lifted", |stand| {
        fence(
            stand,
            &["ALTER DATABASE app SET default_transaction_read_only = on"],
            &["ALTER DATABASE app RESET default_transaction_read_only"],
        )
    }),
    staying("fenced by ALTER ROLE, lifted", |stand| {
        fence(
            stand,
            &[
                "ALTER ROLE app SET default_transaction_read_only = on",
                "ALTER ROLE sess SET default_transaction_read_only = on",
            ],
            &["ALTER ROLE app RESET ALL", "ALTER ROLE sess RESET ALL"],
        )
    }),
    staying("primary frozen for 3 s", |stand| {
        signal(stand.primary(), "-STOP");
        sleep(Duration::from_secs(3));
        signal(stand.primary(), "-CONT");
        0
    }),
    staying("primary black-holed for 2 s", |stand| for_a_while(stand, 0, Network::BlackHole, 2)),
    staying("primary half-open for 2 s", |stand| for_a_while(stand, 0, Network::HalfOpen, 2)),
    staying("primary refuses new connections for 3 s", |stand| for_a_while(stand, 0, Network::Refuses, 3)),
    staying("primary 100 ms slower for 3 s", |stand| for_a_while(stand, 0, Network::Slow(100), 3)),
    staying("connections to the primary cut", |stand| {
        stand.relays[0].cut();
        0
    }),
    staying("replica stopped and started", |stand| {
        stand.replica().stop(Mode::Fast).expect("a stop");
        sleep(Duration::from_secs(1));
        stand.replica().start().expect("a start");
        0
    }),
    staying("replica killed and started", |stand| {
        stand.replica().kill_9();
        sleep(Duration::from_secs(1));
        stand.replica().start().expect("a start");
        0
    }),
    staying("replica frozen for 3 s", |stand| {
        signal(stand.replica(), "-STOP");
        sleep(Duration::from_secs(3));
        signal(stand.replica(), "-CONT");
        0
    }),
    staying("replica black-holed for 3 s", |stand| for_a_while(stand, 1, Network::BlackHole, 3)),
    staying("replay paused", |stand| {
        stand.replica().pause_replay().expect("a pause");
        sleep(Duration::from_secs(2));
        stand.replica().resume_replay().expect("an end of it");
        0
    }),
    staying("WAL receiver ended", |stand| {
        stand
            .primary()
            .psql_in("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
            .expect("the end of the WAL sender");
        sleep(Duration::from_secs(1));
        0
    }),
    staying("max_connections used up on the primary", |stand| {
        let mut taken = Vec::new();
        while let Ok(raw) = stand.primary().connect("direct", "app") {
            taken.push(raw);
        }
        sleep(Duration::from_secs(3));
        0
    }),
    staying("max_connections used up on the replica", |stand| {
        let mut taken = Vec::new();
        while let Ok(raw) = stand.replica().connect("direct", "app") {
            taken.push(raw);
        }
        sleep(Duration::from_secs(3));
        0
    }),
    staying("CONNECTION LIMIT of the role", |stand| {
        stand.primary().psql_in("postgres", "ALTER ROLE app CONNECTION LIMIT 0").expect("a limit");
        sleep(Duration::from_secs(2));
        stand.primary().psql_in("postgres", "ALTER ROLE app CONNECTION LIMIT -1").expect("no limit");
        0
    }),
    staying("the role may not log in for 2 s", |stand| {
        stand.primary().psql_in("postgres", "ALTER ROLE app NOLOGIN").expect("no log-in");
        sleep(Duration::from_secs(2));
        stand.primary().psql_in("postgres", "ALTER ROLE app LOGIN").expect("a log-in");
        0
    }),
    staying("the monitor's role locked", |stand| {
        stand.primary().psql_in("postgres", "ALTER ROLE monitor NOLOGIN").expect("no log-in");
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'";
        stand.primary().psql_in("postgres", ends).expect("its end");
        sleep(Duration::from_secs(3));
        stand.primary().psql_in("postgres", "ALTER ROLE monitor LOGIN").expect("a log-in");
        0
    }),
    staying("the monitor's sessions ended", |stand| {
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'";
        stand.primary().psql_in("postgres", ends).expect("their end");
        sleep(Duration::from_secs(1));
        0
    }),
    staying("every session of the application ended", |stand| {
        let ends =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app' AND pid <> pg_backend_pid()";
        stand.primary().psql_in("postgres", ends).expect("their end");
        sleep(Duration::from_secs(1));
        0
    }),
    staying("ALLOW_CONNECTIONS false for 2 s", |stand| {
        stand.primary().psql_in("postgres", "ALTER DATABASE app ALLOW_CONNECTIONS false").expect("no connections");
        sleep(Duration::from_secs(2));
        stand.primary().psql_in("postgres", "ALTER DATABASE app ALLOW_CONNECTIONS true").expect("connections");
        0
    }),
    staying("pg_hba.conf refuses for 2 s", |stand| {
        let file = stand.primary().data_dir().join("pg_hba.conf");
        let before = std::fs::read_to_string(&file).expect("pg_hba.conf");
        std::fs::write(&file, format!("host app app 127.0.0.1/32 reject\n{before}")).expect("pg_hba.conf");
        stand.primary().reload().expect("a reload");
        sleep(Duration::from_secs(2));
        std::fs::write(&file, before).expect("pg_hba.conf");
        stand.primary().reload().expect("a reload");
        0
    }),
    staying("primary shuts down and waits for its clients, then starts again", |stand| {
        // New sessions are refused until the last one has gone, which these do not do by themselves.
        let pid = stand.primary().pid().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        sleep(Duration::from_secs(2));
        stand.primary().restart().expect("a restart");
        0
    }),
    staying("no room on the disk for 3 s", |stand| {
        // As the server says it. Whatever writes to the table fails; the sessions stay.
        for sql in [
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN RAISE EXCEPTION ''could not extend file: No space left on device'' USING ERRCODE = ''53100''; END'",
            "CREATE TRIGGER full_disk BEFORE INSERT ON loaded FOR EACH ROW EXECUTE FUNCTION no_room()",
        ] {
            stand.primary().psql_in("app", sql).expect(sql);
        }
        sleep(Duration::from_secs(3));
        stand.lifted.set(Some(Instant::now()));
        stand.primary().psql_in("app", "DROP TRIGGER full_disk ON loaded").expect("room");
        0
    }),
    promoting("double failover within 10 s", |stand| {
        stand.primary().stop(Mode::Fast).expect("a stop");
        promote(stand);
        let _ = stand.replica().psql_in("postgres", "SELECT pg_create_physical_replication_slot('primary')");
        stand.primary().follow(stand.replica()).expect("its settings");
        stand.primary().start().expect("a start");
        stand
            .replica()
            .psql_in("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
            .expect("synchronous replication");
        stand.replica().reload().expect("a reload");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        stand.replica().wait_until(synchronous, "1", LONG).expect("a synchronous standby");
        stand.replica().stop(Mode::Fast).expect("a stop");
        stand.primary().promote().expect("a promotion");
        let _ = stand.primary().psql_in("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''");
        let _ = stand.primary().reload();
        0
    }),
    promoting("replica promoted, the old primary alive, stopped 2 s later", |stand| {
        promote(stand);
        sleep(Duration::from_secs(2));
        // Commits that wait for a standby which has gone hold a fast stop up.
        stand.primary().stop(Mode::Immediate).expect("a stop");
        stand.lifted.set(Some(Instant::now()));
        1
    }),
    promoting("primary stopped, replica promoted, the old one back by pg_rewind", |stand| {
        stand.primary().stop(Mode::Fast).expect("a stop");
        promote(stand);
        let _ = stand.replica().psql_in("postgres", "SELECT pg_create_physical_replication_slot('primary')");
        stand.replica().psql_in("postgres", "ALTER SYSTEM SET full_page_writes = on").expect("what pg_rewind asks for");
        stand.replica().reload().expect("a reload");
        stand.primary().rewind(stand.replica()).expect("a rewind");
        stand.primary().follow(stand.replica()).expect("its settings");
        stand.primary().start().expect("a start");
        sleep(Duration::from_secs(2));
        1
    }),
    Fault {
        world: World::Tls,
        ..staying("the primary's certificate expired, connections cut, renewed 3 s later", |stand| {
            let tls = stand.cluster.tls().expect("TLS");
            let read = |path: &std::path::Path| std::fs::read(path).expect("a file");
            let good = [read(&tls.server_cert), read(&tls.server_key)];
            let (cert, key) = tls.expired("expired").expect("a certificate");
            certify(stand, [&read(&cert), &read(&key)]);
            sleep(Duration::from_millis(300));
            stand.relays[0].cut();
            sleep(Duration::from_secs(3));
            certify(stand, [&good[0], &good[1]]);
            stand.lifted.set(Some(Instant::now()));
            0
        })
    },
    Fault {
        world: World::Named(1, "127.0.0.1 db.test\n"),
        ..promoting("primary stopped, replica promoted, the name leads there", |stand| {
            stand.primary().stop(Mode::Fast).expect("a stop");
            promote(stand);
            stand.hosts.as_ref().expect("names").now("127.0.0.2 db.test\n");
            1
        })
    },
    Fault {
        world: World::Named(0, "127.0.0.2 db.test\n127.0.0.1 db.test\n"),
        ..staying("one of two addresses of the primary is dead", |stand| {
            let beside = stand.beside.as_ref().expect("an address");
            beside.set(Network::BlackHole);
            beside.cut();
            sleep(Duration::from_secs(3));
            0
        })
    },
];
