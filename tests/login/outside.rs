//! Passwords that an LDAP server or PAM judges, beside PostgreSQL with the same lines. Needs `--features ldap,pam`, Debian's
//! slapd, and root for the services of PAM.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::wait;

use crate::client::{Way, log_in};
use crate::hba::beside;
use crate::stand::LONG;

/// Has both answer for everybody, and gives how many they were.
async fn compare(lines: &[String], tries: &[(&str, &str, &str)]) -> usize {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let beside = beside(&lines);
    let way = |port: u16| Way::Tcp(Ipv4Addr::LOCALHOST.into(), port);
    let mut differ = Vec::new();
    let mut allowed = 0;
    for (user, database, password) in tries {
        let theirs = log_in(&way(beside.judge.primary().port()), user, database, password, &[]).await;
        let ours = log_in(&way(beside.proxy.port()), user, database, password, &[]).await;
        allowed += usize::from(theirs == *user);
        if theirs != ours {
            differ.push(format!("{user} to {database} with {password}\n  PostgreSQL: {theirs}\n  pgsluice:   {ours}"));
        }
    }
    assert!(differ.is_empty(), "{}\n{}", differ.join("\n"), beside.proxy.log());
    allowed
}

#[cfg(feature = "ldap")]
struct Slapd(Child);

#[cfg(feature = "ldap")]
impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(feature = "ldap")]
fn slapd(folder: &Path, port: u16) -> Slapd {
    let dir = folder.display();
    std::fs::create_dir(folder.join("db")).unwrap();
    let schemas = ["core", "cosine", "inetorgperson"].map(|name| format!("include /etc/ldap/schema/{name}.schema\n"));
    let conf = format!(
        "{}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {dir}/pid\ndatabase mdb\nsuffix \"dc=example,dc=org\"\n\
         rootdn \"cn=admin,dc=example,dc=org\"\nrootpw admin-pw\ndirectory {dir}/db\n",
        schemas.concat()
    );
    std::fs::write(folder.join("slapd.conf"), conf).unwrap();
    let person = |uid: &str, unit: &str| {
        format!(
            "\ndn: uid={uid},ou={unit},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\
             userPassword: {uid}-ldap\n"
        )
    };
    let ldif = format!(
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n\
         dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=robots,dc=example,dc=org\nobjectClass: organizationalUnit\nou: robots\n{}{}{}{}",
        person("ann", "people"),
        person("bob", "people"),
        person("bob", "robots"),
        person("scram", "robots")
    );
    std::fs::write(folder.join("all.ldif"), ldif).unwrap();
    let conf: PathBuf = folder.join("slapd.conf");
    let added = Command::new("/usr/sbin/slapadd").arg("-f").arg(&conf).arg("-l").arg(folder.join("all.ldif")).output();
    let added = added.unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut command = Command::new("/usr/sbin/slapd");
    command.arg("-f").arg(&conf).args(["-h", &format!("ldap://127.0.0.1:{port}/"), "-d", "0"]);
    let slapd = Slapd(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait::until(LONG, "slapd", || TcpStream::connect(("127.0.0.1", port)).ok());
    slapd
}

#[cfg(feature = "ldap")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ldap_binds_and_searches_as_postgresql_does() {
    if !Path::new("/usr/sbin/slapd").exists() {
        eprintln!("skipped: there is no slapd");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (port, nobody) = (Port::lease().unwrap(), Port::lease().unwrap());
    let _slapd = slapd(folder.path(), port.number());
    let (port, nobody) = (port.number(), nobody.number());
    let lines = [
        format!(
            "host app all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix=\"uid=\" \
             ldapsuffix=\",ou=people,dc=example,dc=org\""
        ),
        format!(
            "host other all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapbasedn=\"dc=example,dc=org\""
        ),
        format!(
            "host certdb all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapbasedn=\"dc=example,dc=org\" \
             ldapbinddn=\"cn=admin,dc=example,dc=org\" ldapbindpasswd=admin-pw ldapsearchattribute=cn"
        ),
        format!(
            "host mapdb all 127.0.0.1/32 ldap ldapurl=\"ldap://127.0.0.1:{port}/ou=people,dc=example,dc=org??sub?(uid=$username)\""
        ),
        format!(
            "host dndb all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapbasedn=\"dc=example,dc=org\" \
             ldapbinddn=\"cn=admin,dc=example,dc=org\" ldapbindpasswd=wrong"
        ),
        format!("host fulldb all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={nobody} ldapprefix=\"uid=\""),
        format!(
            "host cadb all 127.0.0.1/32 ldap ldapserver=\"127.0.0.1\" ldapport={port} ldapbasedn=\"dc=example,dc=org\" \
             ldapsearchfilter=\"(&(objectClass=inetOrgPerson)(|(uid=$username)(cn=nosuch)))\""
        ),
        "host plaindb all 127.0.0.1/32 scram-sha-256".to_owned(),
    ];
    let databases = ["app", "other", "certdb", "mapdb", "dndb", "fulldb", "cadb", "plaindb"];
    let users = ["ann", "bob", "scram", "nobody", "nopassword", "*", "ann)(uid=*", "ann,ou=people"];
    let mut tries = Vec::new();
    let passwords: Vec<String> = users.iter().map(|user| format!("{user}-ldap")).collect();
    for database in databases {
        for (user, password) in users.iter().zip(&passwords) {
            tries.extend([(*user, database, password.as_str()), (*user, database, "wrong")]);
        }
    }
    let allowed = compare(&lines, &tries).await;
    assert!(allowed >= 8, "{allowed} of {}", tries.len());
    println!("{} log-ins, {allowed} allowed", tries.len());
}

#[cfg(feature = "pam")]
struct Service(PathBuf);

#[cfg(feature = "pam")]
impl Service {
    fn new(name: &str, module: &str) -> Option<(String, Self)> {
        let name = format!("pgsluice-test-{name}-{}", std::process::id());
        let path = Path::new("/etc/pam.d").join(&name);
        let text = format!("auth required {module}\naccount required {module}\n");
        std::fs::write(&path, text).ok()?;
        Some((name, Self(path)))
    }
}

#[cfg(feature = "pam")]
impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(feature = "pam")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pam_permits_and_denies_as_with_postgresql() {
    let services = Service::new("permit", "pam_permit.so").zip(Service::new("deny", "pam_deny.so"));
    let Some(((permit, _one), (deny, _other))) = services else {
        eprintln!("skipped: /etc/pam.d cannot be written");
        return;
    };
    let lines = [
        format!("host app all 127.0.0.1/32 pam pamservice={permit}"),
        format!("host other all 127.0.0.1/32 pam pamservice={deny}"),
        "host certdb all 127.0.0.1/32 pam pamservice=pgsluice-test-nosuch".to_owned(),
    ];
    let mut tries = Vec::new();
    for database in ["app", "other", "certdb", "mapdb"] {
        for user in ["ann", "scram", "nobody"] {
            tries.extend([(user, database, "any"), (user, database, "other")]);
        }
    }
    let allowed = compare(&lines, &tries).await;
    assert_eq!(allowed, 4, "of {}", tries.len());
}
