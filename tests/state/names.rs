//! Names of settings and roles that are keywords of PostgreSQL's follow their client like any others.

use pgsluice_fixtures::{Cluster, Login, Postgres, Proxy, Raw, Role};

use crate::stand::{Client, USER};

/// Settings that a client gives a value in one message.
const AT_ONCE: usize = 40;

fn on(major: u32) {
    let cluster = Cluster::builder()
        .installation(Postgres::major(major).unwrap())
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new(USER).superuser(), Role::new("monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\ndefault_pool_size = 1\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n[databases.app]\n",
        cluster.primary().port()
    );
    let proxy = Proxy::start(pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice")), &config).unwrap();
    let client = || Client(Raw::connect(&proxy.tcp(), &Login::new(USER, "app")).unwrap());
    let mut other = client();
    let mut keywords = other.ask("SELECT word FROM pg_get_keywords() ORDER BY word");
    assert!(keywords.len() > 400);
    keywords.extend(["has space", "UPPER", "it's", "quo\"te", "back\\slash", "dot.ted"].map(str::to_owned));

    let custom = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let names: Vec<String> = keywords
        .iter()
        .filter(|word| custom(word))
        .flat_map(|word| [format!("app.{word}"), format!("{word}.id")])
        .chain(["some.var".to_owned(), "a.b.user".to_owned()])
        .collect();
    for some in names.chunks(AT_ONCE) {
        let mut one = client();
        let set = some.iter().map(|name| format!("SELECT set_config('{name}', 'mine', false);"));
        one.ask(&set.collect::<String>());
        let values: Vec<_> = some.iter().map(|name| format!("nullif(current_setting('{name}', true), '')")).collect();
        let read = format!("SELECT concat_ws(',', {})", values.join(", "));
        assert_eq!(other.ask(&read), [""], "another client's, on {major}: {some:?}");
        assert_eq!(one.ask(&read), [vec!["mine"; some.len()].join(",")], "on {major}: {some:?}");
    }
    let mut one = client();
    for word in keywords.iter().filter(|word| *word != "none") {
        let role = format!("\"{}\"", word.replace('"', "\"\""));
        one.ask(&format!("CREATE ROLE {role}"));
        one.ask(&format!("SET ROLE {role}"));
        assert_eq!(other.ask("SELECT current_user"), [USER], "{word} on {major}");
        assert_eq!(one.ask("SELECT current_user"), std::slice::from_ref(word), "on {major}");
        one.ask("RESET ROLE");
    }
}

#[test]
fn settings_and_roles_may_be_named_by_any_keyword_on_15() {
    on(15);
}

#[test]
fn settings_and_roles_may_be_named_by_any_keyword_on_18() {
    on(18);
}
