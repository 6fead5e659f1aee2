//! A real Django logs in during a maintenance: its session's row and its time of the last login are discarded by rules.

use crate::stand::Stand;
use pgsluice_fixtures::drivers;
use std::path::Path;
use std::process::Command;

const RULES: &str = r#"default_pool_size = 5
[maintenance]
write_rules = ["discard(1) on django_session", "discard(1) update on auth_user"]
"#;

fn django(stand: &Stand, what: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/maintenance/django_login.py");
    let output = Command::new(drivers::python().expect("Django can be had"))
        .arg(script)
        .arg(what)
        .env("PORT", stand.proxy.port().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_django_login_works() {
    for (rules, works) in [(RULES, true), ("", false)] {
        let stand = Stand::new(rules);
        let (migrated, said) = django(&stand, "migrate");
        assert!(migrated, "{said}");
        let count = "SELECT (SELECT count(*) FROM django_session), (SELECT count(last_login) FROM auth_user)";
        let counted = || stand.cluster.primary().psql_in("app", count).expect("counts");
        stand.on();
        let before = stand.everything();
        for what in ["login", "login-atomic"] {
            let (done, said) = django(&stand, what);
            assert_eq!(done, works, "{what}: {said}");
            // Without rules it fails as on any read-only server: the test would see it if they did nothing.
            let words = if works { "welcome ann" } else { "cannot execute INSERT in a read-only transaction" };
            assert!(said.contains(words), "{what}: {said}");
        }
        assert_eq!((stand.everything(), counted()), (before, "0|0".to_owned()));
        stand.off();
        let (done, said) = django(&stand, "login");
        assert!(done && said.contains("welcome ann"), "{said}");
        assert_eq!(counted(), "1|1");
    }
}
