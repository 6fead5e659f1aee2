//! Files of both kinds, right and wrong. `tests/login` has PostgreSQL read the same.

use std::path::Path;

use super::*;

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn read(text: &str) -> Hba {
    let folder = tempfile::tempdir().unwrap();
    Hba::read(&file(folder.path(), "hba.conf", text)).unwrap()
}

fn asked<'a>(user: &'a str, database: &'a str, from: &str, roles: Option<&'a [String]>) -> Asked<'a> {
    let from = match from.strip_prefix("tls ") {
        _ if from == "local" => From::Local,
        Some(address) => From::Host { address: address.parse().unwrap(), tls: true },
        None => From::Host { address: from.parse().unwrap(), tls: false },
    };
    Asked { user, database, replication: database == "REPLICATION", from, roles }
}

fn found(hba: &Hba, user: &str, database: &str, from: &str) -> &'static str {
    match hba.find(&asked(user, database, from, None)) {
        Verdict::Rule(rule) => rule.method.word(),
        Verdict::NoRule => "none",
        Verdict::NeedsRoles => "roles",
    }
}

#[test]
fn the_first_rule_that_fits_counts() {
    let hba = read(
        "# a comment, continued \\\n over a line\n\
         local all all peer\n\
         local sameuser \"all\",bob trust # behind\n\
         hostssl app,\"two words\" ann 10.0.0.0/8 cert map=m\n\
         host \"all\" all all trust\n\
         hostnossl app ann 10.1.2.3 255.255.255.0 md5\n\
         host replication rep 127.0.0.1/32 reject\n\
         host /^db\\d+$ \"/^u[,]?ser$\" ::1/128 scram-sha-256\n\
         hostgssenc all all all trust\n\
         host app \\\n   +staff \\\n   0.0.0.0/0 password\n\
         host all all 192.168.0.0/16 password",
    );
    assert!(hba.lines.iter().all(|line| line.rule.is_ok()), "{:?}", hba.lines);
    for (user, database, from, method) in [
        ("x", "y", "local", "peer"),
        ("ann", "app", "tls 10.9.9.9", "cert"),
        ("ann", "two words", "tls 10.9.9.9", "cert"),
        ("ann", "app", "10.1.2.77", "md5"),
        ("ann", "app", "::ffff:10.1.2.77", "md5"),
        ("ann", "app", "10.1.3.1", "roles"),
        ("ann", "other", "10.1.3.1", "none"),
        ("x", "all", "8.8.8.8", "trust"),
        ("rep", "REPLICATION", "127.0.0.1", "reject"),
        ("rep", "replication", "127.0.0.1", "none"),
        ("user", "db12", "::1", "scram-sha-256"),
        ("user", "db12x", "::1", "none"),
        ("super", "db12", "::1", "none"),
        ("x", "y", "192.168.3.4", "password"),
        ("x", "y", "::1", "none"),
    ] {
        assert_eq!(found(&hba, user, database, from), method, "{user} {database} {from}");
    }
    let staff = ["ann".to_owned(), "staff".to_owned()];
    let verdict = hba.find(&asked("ann", "app", "10.1.3.1", Some(&staff)));
    assert!(matches!(verdict, Verdict::Rule(rule) if rule.method == RuleMethod::Password));
    assert!(matches!(hba.find(&asked("ann", "app", "10.1.3.1", Some(&[]))), Verdict::NoRule));
}

#[test]
fn this_machine_and_its_networks() {
    let hba = read("host a all samehost trust\nhost b all samenet trust");
    assert_eq!(found(&hba, "x", "a", "127.0.0.1"), "trust");
    assert_eq!(found(&hba, "x", "a", "127.9.9.9"), "none");
    assert_eq!(found(&hba, "x", "b", "127.9.9.9"), "trust");
    assert_eq!(found(&hba, "x", "b", "203.0.113.77"), "none");
}

/// PostgreSQL's own words.
#[test]
fn every_wrong_line_is_told_why() {
    for (line, error) in [
        ("hosts all all all trust", "invalid connection type \"hosts\""),
        ("host,local all all all trust", "multiple values specified for connection type"),
        ("host", "end-of-line before database specification"),
        ("host all", "end-of-line before role specification"),
        ("host all all", "end-of-line before IP address specification"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all 127.0.0.1", "end-of-line before netmask specification"),
        ("host all all 127.0.0.1,::1 trust", "multiple values specified for host address"),
        ("host all all 127.0.0.1/33 trust", "invalid CIDR mask in address \"127.0.0.1/33\""),
        ("host all all 127.0.0.1/+8 trust", "invalid CIDR mask in address \"127.0.0.1/+8\""),
        ("host all all 127.0.0.1/ trust", "invalid CIDR mask in address \"127.0.0.1/\""),
        (
            "host all all db.example.com/8 trust",
            "specifying both host name and CIDR mask is invalid: \"db.example.com/8\"",
        ),
        ("host all all 127.0.0.1 ffff:: trust", "IP address and mask do not match"),
        ("host all all all trust,md5", "multiple values specified for authentication type"),
        ("host all all all trusty", "invalid authentication method \"trusty\""),
        ("host all all all gss", "invalid authentication method \"gss\": not supported by this build"),
        ("host all all all peer", "peer authentication is only supported on local sockets"),
        ("host all all all cert", "cert authentication is only supported on hostssl connections"),
        ("host all all all md5 map", "authentication option not in name=value format: map"),
        ("host all all all md5 nosuch=1", "unrecognized authentication option name: \"nosuch\""),
        (
            "host all all all md5 map=m",
            "authentication option \"map\" is only valid for authentication methods ident, peer, gssapi, sspi, and cert",
        ),
        ("host all all all md5 clientcert=verify-ca", "clientcert can only be configured for \"hostssl\" rows"),
        ("hostssl all all all md5 clientcert=1", "invalid value for clientcert: \"1\""),
        (
            "hostssl all all all cert clientcert=verify-ca",
            "clientcert only accepts \"verify-full\" when using \"cert\" authentication",
        ),
        ("host all /( all trust", "invalid regular expression \"(\": unclosed group"),
        ("local all @nosuch trust", "No such file or directory"),
        ("include nosuch.conf", "No such file or directory"),
        ("include_dir nosuch.d", "No such file or directory"),
    ] {
        let hba = read(&format!("local all all trust\n{line}\nlocal all all trust\n"));
        assert_eq!(hba.lines.len(), 3, "{line}");
        let said = hba.lines[1].rule.as_ref().unwrap_err();
        assert!(said == error || (said.ends_with(error) && said.starts_with("could not open")), "{line}: {said}");
        assert_eq!(hba.lines[1].number, 2);
    }
}

#[test]
fn files_include_others_and_lists_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("more.d")).unwrap();
    file(at, "names", "ann, bob\n# nobody else\n\"carol\" @others\n");
    file(at, "others", "dave\n");
    file(at, "more.d/20.conf", "host all all 127.0.0.1/32 md5\n");
    file(at, "more.d/10.conf", "host all ann 127.0.0.1/32 reject\n");
    file(at, "more.d/.hidden.conf", "nonsense\n");
    file(at, "more.d/readme", "nonsense\n");
    file(at, "one.conf", "local all @names peer\n");
    let path = file(
        at,
        "hba.conf",
        "include one.conf\ninclude_if_exists nosuch.conf\ninclude_dir more.d\ninclude_if_exists \"one.conf\"\n",
    );
    let hba = Hba::load(&path).unwrap();
    assert_eq!(hba.lines.len(), 4);
    for user in ["ann", "bob", "carol", "dave"] {
        assert_eq!(found(&hba, user, "app", "local"), "peer");
    }
    assert_eq!(found(&hba, "eve", "app", "local"), "none");
    assert_eq!(found(&hba, "ann", "app", "127.0.0.1"), "reject");
    assert_eq!(found(&hba, "bob", "app", "127.0.0.1"), "md5");
    // A file that includes itself comes to an end.
    let path = file(at, "loop.conf", "include loop.conf\n");
    let error = Hba::load(&path).unwrap_err();
    assert!(error.contains("maximum nesting depth exceeded"), "{error}");
    let path = file(at, "twice.conf", "include twice.conf\ninclude twice.conf\ninclude twice.conf\n");
    assert!(Hba::load(&path).is_err());
}

#[test]
fn maps_have_names_patterns_and_what_a_pattern_has_found() {
    let folder = tempfile::tempdir().unwrap();
    let text = "# map outside role\nm ann ann_role\nm /^(.*)@example\\.com$ \\1\nm /^ops- \"+staff\"\nm \"root\" all\n\
        g boss +staff\nr boss /^app_\nm /^x(.*)$ \"pre_\\1_post\"\n";
    let maps = IdentMaps::load(&file(folder.path(), "ident.conf", text)).unwrap();
    let allows = |map: Option<&str>, outside: &str, user: &str, roles: Option<&[String]>| {
        maps.allows(map, outside, &asked(user, "app", "local", roles))
    };
    for (outside, user, allowed) in [
        ("ann", "ann_role", true),
        ("ann", "ann", false),
        ("bob@example.com", "bob", true),
        ("bob@example.com", "ann", false),
        ("bob@example.org", "bob", false),
        ("all@example.com", "ann", false),
        ("+staff@example.com", "ann", false),
        ("ops-1", "+staff", true),
        ("ops-1", "ann", false),
        ("root", "anybody", true),
        ("xyz", "pre_yz_post", true),
    ] {
        assert_eq!(allows(Some("m"), outside, user, None), Some(allowed), "{outside} as {user}");
    }
    assert_eq!(allows(None, "ann", "ann", None), Some(true));
    assert_eq!(allows(None, "ann", "bob", None), Some(false));
    assert_eq!(allows(Some("nosuch"), "ann", "ann", None), Some(false));
    assert_eq!(allows(Some("g"), "boss", "ann", None), None);
    assert_eq!(allows(Some("g"), "boss", "ann", Some(&["staff".to_owned()])), Some(true));
    assert_eq!(allows(Some("r"), "boss", "app_one", None), Some(true));
    for (text, error) in [
        ("m ann", "missing entry at end of line"),
        ("m ann,bob ann", "multiple values in ident field"),
        ("m /^x$ \\1", "has no subexpressions as requested by backreference in \"\\1\""),
        ("m /( x", "invalid regular expression \"(\""),
    ] {
        let said = IdentMaps::load(&file(folder.path(), "bad.conf", text)).unwrap_err();
        assert!(said.contains(error) && said.contains("bad.conf, line 1"), "{said}");
    }
}
