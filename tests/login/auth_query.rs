//! `auth_query`: users whom only the server knows.

use pgsluice_fixtures::{Login, Mode, Raw, Signal, wait};

use crate::stand::{LONG, LOOKUP, LOOKUP_QUERY, Stand, refusal, whom, wrong};

const SUPERUSER_ASKS: &str = "auth_user = \"authuser\"\n";

#[test]
fn roles_that_only_the_server_knows_get_in_with_secrets_of_every_kind_and_as_themselves() {
    let mut stand = Stand::new(SUPERUSER_ASKS, "");
    stand.sql("CREATE ROLE md5only LOGIN");
    for auth_type in ["scram-sha-256", "md5", "plain"] {
        let top = format!("{SUPERUSER_ASKS}auth_type = \"{auth_type}\"\n");
        stand.config = crate::stand::config(&stand.cluster, &top, "");
        stand.proxy.kill_9();
        stand.proxy.reconfigure(&stand.config).unwrap();
        stand.proxy.start_again().unwrap();
        // SCRAM verifiers are enough to log in to the server too: keys come from the client's own proof.
        for (user, password) in [("scram", "scram-pw"), ("Or'd \"er", "quoted-pw"), ("later", "later-pw")] {
            assert_eq!(stand.outcome(user, "app", password), user, "{auth_type}");
            assert_eq!(stand.outcome(user, "app", "wrong"), wrong(user), "{auth_type}");
        }
        // A hash cannot serve SCRAM, as with PostgreSQL.
        let hashed = if auth_type == "scram-sha-256" { wrong("hashed") } else { "hashed".to_owned() };
        assert_eq!(stand.outcome("hashed", "app", "hashed-pw"), hashed, "{auth_type}");
        assert_eq!(stand.outcome("hashed", "app", "wrong"), wrong("hashed"), "{auth_type}");
        for user in ["expired", "nologin", "nopassword", "nobody", ""] {
            let refused = if user.is_empty() {
                "28000 no PostgreSQL user name specified in startup packet".to_owned()
            } else {
                wrong(user)
            };
            assert_eq!(stand.outcome(user, "app", &format!("{user}-pw")), refused, "{auth_type}");
        }
    }
}

#[test]
fn a_security_definer_function_answers_a_role_that_may_nothing_else() {
    let cluster = crate::stand::cluster();
    cluster.primary().psql_in("app", LOOKUP).unwrap();
    let stand = Stand::over(cluster, &format!("auth_user = \"pgbouncer\"\n{LOOKUP_QUERY}"), "[databases.other]\n");
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
    assert_eq!(stand.outcome("scram", "app", "wrong"), wrong("scram"));
    // For a user who does not exist it answers with a row of NULLs.
    for user in ["nobody", "expired", "nopassword", "nologin"] {
        assert_eq!(stand.outcome(user, "app", "x"), wrong(user));
    }
    // Where there is no such function nobody is told more than that, known or not.
    for user in ["scram", "nobody"] {
        assert_eq!(stand.outcome(user, "other", "scram-pw"), "08P01 bouncer config error");
    }
    assert!(stand.proxy.log().contains("does not exist (3F000)"), "{}", stand.proxy.log());
}

#[test]
fn what_is_changed_on_the_server_holds_for_the_very_next_log_in() {
    for auth_type in ["scram-sha-256", "md5", "plain"] {
        let stand = Stand::new(&format!("{SUPERUSER_ASKS}auth_type = \"{auth_type}\"\n"), "");
        for encryption in ["scram-sha-256", "md5"] {
            if auth_type == "scram-sha-256" && encryption == "md5" {
                continue;
            }
            // A server connection of a role that has been dropped is of no use to a new one of that name.
            let fickle = &format!("fickle_{}", encryption.len());
            stand
                .sql(&format!("SET password_encryption = '{encryption}'; CREATE ROLE {fickle} LOGIN PASSWORD 'first'"));
            assert_eq!(stand.outcome(fickle, "app", "first"), *fickle, "{auth_type} {encryption}");
            for (old, new) in [("first", "second"), ("second", "third")] {
                stand.sql(&format!("SET password_encryption = '{encryption}'; ALTER ROLE {fickle} PASSWORD '{new}'"));
                assert_eq!(stand.outcome(fickle, "app", new), *fickle, "{auth_type} {encryption}");
                assert_eq!(stand.outcome(fickle, "app", old), wrong(fickle), "{auth_type} {encryption}");
            }
            stand.sql(&format!("ALTER ROLE {fickle} NOLOGIN"));
            assert_eq!(stand.outcome(fickle, "app", "third"), wrong(fickle), "{auth_type} {encryption}");
            stand.sql(&format!("ALTER ROLE {fickle} LOGIN"));
            assert_eq!(stand.outcome(fickle, "app", "third"), *fickle, "{auth_type} {encryption}");
            stand.sql(&format!("DROP ROLE {fickle}"));
            assert_eq!(stand.outcome(fickle, "app", "third"), wrong(fickle), "{auth_type} {encryption}");
        }
    }
}

#[test]
fn with_a_cache_time_answers_serve_others_and_a_refused_password_is_asked_for_again() {
    let top = format!("{SUPERUSER_ASKS}auth_type = \"md5\"\nauth_query_cache_time = \"1h\"\n");
    let stand = Stand::new(&top, "");
    stand.log_statements();
    let asked = || stand.asked("FROM pg_catalog.pg_authid WHERE rolname OPERATOR");
    let before = asked();
    for _ in 0..5 {
        assert_eq!(stand.outcome("hashed", "app", "hashed-pw"), "hashed");
    }
    assert_eq!(asked() - before, 1);
    // A user who does not exist is remembered too, and asked for again as well: it may have been created.
    assert_eq!(stand.outcome("newcomer", "app", "x"), wrong("newcomer"));
    stand.sql("SET password_encryption = 'md5'; CREATE ROLE newcomer LOGIN PASSWORD 'x'; ALTER ROLE hashed PASSWORD 'other-pw'");
    assert_eq!(stand.outcome("hashed", "app", "other-pw"), "hashed");
    // Behind a SCRAM challenge the old salt cannot be taken back: the next attempt has the new one.
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
    stand.sql("ALTER ROLE scram PASSWORD 'other-pw'");
    assert_eq!(stand.outcome("scram", "app", "other-pw"), wrong("scram"));
    assert_eq!(stand.outcome("scram", "app", "other-pw"), "scram");
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), wrong("scram"));
}

#[test]
fn names_are_a_parameter_and_never_sql() {
    let stand = Stand::new(SUPERUSER_ASKS, "");
    stand.sql("CREATE TABLE public.t(a int)");
    let long = "x".repeat(63);
    for user in [
        "'; DROP TABLE public.t; --",
        "' OR '1'='1",
        "x' OR rolname = 'scram",
        "$1",
        "scram\\",
        "\\'; DROP TABLE public.t; --",
        "sc%",
        "SCRAM",
        "scram ",
        "\u{2019}; DROP TABLE public.t",
        "$$; DROP TABLE public.t; $$",
        &long,
    ] {
        assert_eq!(stand.outcome(user, "app", "scram-pw"), wrong(user));
    }
    assert_eq!(stand.sql("SELECT count(*) FROM public.t").trim(), "0");
}

/// CVE-2025-12819: a client's start-up parameters must not reach the connection that asks.
#[test]
fn what_a_client_sets_in_its_start_up_packet_does_not_change_what_is_asked() {
    let cluster = crate::stand::cluster();
    let evil = "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO public; \
        CREATE TABLE evil.pg_authid AS SELECT 'scram'::name AS rolname, 'evil-pw'::text AS rolpassword, true AS rolcanlogin, \
        NULL::timestamptz AS rolvaliduntil; \
        CREATE VIEW evil.pg_shadow AS SELECT 'scram'::name AS usename, 'evil-pw'::text AS passwd; \
        CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'; \
        CREATE FUNCTION evil.same(name, text) RETURNS bool LANGUAGE sql AS 'SELECT true'; \
        CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = text); \
        GRANT SELECT ON ALL TABLES IN SCHEMA evil TO public;";
    cluster.primary().psql_in("app", evil).unwrap();
    for query in ["", "auth_query = \"SELECT usename, passwd FROM pg_shadow WHERE usename = $1\"\n"] {
        let stand = Stand::over(
            crate::stand::cluster(),
            &format!("{SUPERUSER_ASKS}{query}auth_type = \"plain\"\nignore_startup_parameters = [\"extra\"]\n"),
            "",
        );
        stand.sql(evil);
        for (name, value) in [
            ("search_path", "evil, pg_catalog"),
            ("options", "-c search_path=evil,pg_catalog"),
            ("options", "-csearch_path=evil,pg_catalog --work_mem=1MB"),
            ("SEARCH_PATH", "evil,pg_catalog"),
            ("role", "postgres"),
            ("session_authorization", "postgres"),
        ] {
            let login = |password| Login::new("scram", "app").password(password).parameter(name, value);
            assert_eq!(stand.outcome_of(&login("evil-pw")), wrong("scram"), "{query} {name}={value}");
            if name != "session_authorization" && name != "role" {
                let mut raw = stand.log_in(&login("scram-pw")).unwrap_or_else(|error| panic!("{}", refusal(&error)));
                assert_eq!(whom(&mut raw), "scram");
                // Another user's session does not get in the way either: it is not this connection.
                raw.query("SET search_path = evil, pg_catalog", LONG).unwrap();
            }
            assert_eq!(stand.outcome("scram", "app", "evil-pw"), wrong("scram"), "{query} {name}={value}");
        }
        // The asking role as a client, with everything that a session can leave behind.
        let mut asking = stand.log_in(&Login::new("authuser", "app").password("authuser-pw")).unwrap();
        asking.query("SET search_path = evil, pg_catalog", LONG).unwrap();
        asking.query("CREATE TEMP TABLE pg_authid AS SELECT * FROM evil.pg_authid", LONG).unwrap();
        assert_eq!(stand.outcome("scram", "app", "evil-pw"), wrong("scram"));
        assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
    }
}

#[test]
fn log_ins_of_one_user_share_questions_and_few_connections() {
    let stand = Stand::new(&format!("{SUPERUSER_ASKS}default_pool_size = 5\nadmin_users = [\"listed\"]\n"), "");
    stand.log_statements();
    let address = stand.proxy.tcp();
    let storm = |names: usize, password: &str| {
        std::thread::scope(|scope| {
            let one = |at: usize| {
                let user = if names == 1 { "scram".to_owned() } else { format!("nobody{at}") };
                let login = Login::new(&user, "app").password(password);
                let address = address.clone();
                scope.spawn(move || Raw::connect(&address, &login).is_ok())
            };
            let all: Vec<_> = (0..200).map(one).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|let_in| *let_in).count()
        })
    };
    assert_eq!(storm(1, "scram-pw"), 200);
    let asked = stand.asked("FROM pg_catalog.pg_authid WHERE rolname OPERATOR");
    assert!((1..=150).contains(&asked), "200 log-ins at once have asked {asked} times");
    assert_eq!(storm(200, "x"), 0);
    let most = stand.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsluice auth_query'");
    assert!(matches!(most.trim(), "1" | "2"), "{most} connections");
    // Those are pgsluice's own, as its monitor is; who takes their names is not.
    let past = || {
        let mut console = stand.log_in(&Login::new("listed", "pgsluice").password("listed-pw")).unwrap();
        let rows = pgsluice_fixtures::answers::fine(&mut console, "MAINTENANCE CHECK app");
        rows.into_iter().find(|row| row[1] == "sessions past pgsluice").unwrap()
    };
    assert_eq!(past()[2..4], ["ok", "none"]);
    let named = Login::new("scram", "app").password("scram-pw").parameter("application_name", "pgsluice monitor");
    let taken = Raw::connect(&stand.cluster.primary().tcp(), &named).unwrap();
    assert!(past()[3].contains("application \"pgsluice monitor\""), "{:?}", past());
    drop(taken);
}

#[test]
fn databases_ask_as_they_say_and_the_console_where_auth_dbname_says() {
    let cluster = crate::stand::cluster();
    cluster.primary().psql_in("other", LOOKUP).unwrap();
    cluster.primary().psql_in("app", "CREATE ROLE boss LOGIN PASSWORD 'boss-pw'").unwrap();
    let end = "auth_user = \"pgbouncer\"\nauth_query = \"SELECT * FROM pgbouncer.user_lookup($1)\"\n\
        auth_dbname = \"other\"\n[databases.other]\nauth_user = \"\"\n[databases.third]\ndbname = \"app\"\n";
    let stand = Stand::over(
        cluster,
        &format!("{SUPERUSER_ASKS}auth_dbname = \"third\"\nadmin_users = [\"boss\", \"listed\"]\n"),
        end,
    );
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram", "by the function in other");
    assert_eq!(stand.outcome("scram", "other", "scram-pw"), wrong("scram"), "nobody asks");
    assert_eq!(stand.outcome("scram", "third", "scram-pw"), "scram", "by the query at the top");
    let mut console = stand.log_in(&Login::new("boss", "pgbouncer").password("boss-pw")).unwrap();
    console.query("SHOW VERSION", LONG).unwrap();
    assert!(stand.log_in(&Login::new("boss", "pgbouncer").password("x")).is_err());
    assert!(stand.log_in(&Login::new("listed", "pgsluice").password("listed-pw")).is_ok(), "auth_file comes first");
    // A database that is not there: with the password as PostgreSQL says it, without it nothing is told.
    assert_eq!(stand.outcome("scram", "nosuch", "scram-pw"), "3D000 database \"nosuch\" does not exist");
    assert_eq!(stand.outcome("scram", "nosuch", "x"), wrong("scram"));
}

#[test]
fn while_no_server_answers_the_last_answer_serves() {
    let stand =
        Stand::new(&format!("{SUPERUSER_ASKS}server_connect_timeout = \"2s\"\nquery_wait_timeout = \"3s\"\n"), "");
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
    assert_eq!(stand.outcome("nobody", "app", "x"), wrong("nobody"));
    stand.cluster.primary().stop(Mode::Immediate).unwrap();
    assert_eq!(stand.outcome("scram", "app", "wrong"), wrong("scram"));
    assert_eq!(stand.outcome("nobody", "app", "x"), wrong("nobody"));
    assert_eq!(stand.outcome("later", "app", "later-pw"), "08006 could not connect to the database server");
    stand.cluster.primary().start().unwrap();
    wait::until_ok(LONG, "a log-in", || match stand.outcome("later", "app", "later-pw").as_str() {
        "later" => Ok(()),
        other => Err(other.to_owned()),
    });
}

#[test]
fn a_closed_gate_and_a_reload_let_users_in_as_before() {
    let mut stand = Stand::new(&format!("{SUPERUSER_ASKS}admin_users = [\"listed\"]\n"), "");
    assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
    let mut console = stand.log_in(&Login::new("listed", "pgsluice").password("listed-pw")).unwrap();
    console.query("MAINTENANCE ON app", LONG).unwrap();
    assert_eq!(stand.outcome("later", "app", "later-pw"), "later");
    stand.sql("ALTER ROLE later PASSWORD 'new-pw'");
    assert_eq!(stand.outcome("later", "app", "new-pw"), "later");
    console.query("MAINTENANCE OFF app", LONG).unwrap();
    // Whoever asked may not any more.
    let config = crate::stand::config(&stand.cluster, "auth_user = \"\"\nadmin_users = [\"listed\"]\n", "");
    stand.proxy.reconfigure(&config).unwrap();
    stand.proxy.signal(Signal::SIGHUP).unwrap();
    wait::until_ok(LONG, "a refusal", || match stand.outcome("scram", "app", "scram-pw") {
        outcome if outcome == wrong("scram") => Ok(()),
        other => Err(other),
    });
}
