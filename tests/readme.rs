//! What README and docs show is true: every command in them is run here, in the order in which a reader meets them.
//!
//! Blocks of `sh` are run line by line, blocks of `sql` on the console, and so is code in a sentence that begins with
//! `pgsluice`. A block of `sql` that begins with CREATE is for the server. The README's `toml` is the configuration. Folders and
//! the password are changed, and where the machine gives no network of one's own, in which every port is free, the ports too.
//! `sudo` is one of ours that makes no users. A line that ends in `# refused` fails, with the words that the page shows.

use std::fmt;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use pgsluice_fixtures::cluster::{SUPERUSER, SUPERUSER_PASSWORD};
use pgsluice_fixtures::namespace::{Network, run_in_own_network};
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Proxy, Role, wait};

const BINARY: &str = env!("CARGO_BIN_EXE_pgsluice");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The port that every page names.
const PORT: u16 = 6432;

/// Something to run.
struct Shown {
    file: String,
    line: usize,
    what: What,
}

#[derive(Clone, PartialEq)]
enum What {
    Shell(String),
    Console(String),
    /// Statements for the server itself.
    Server(String),
}

impl Shown {
    fn is_refused(&self) -> bool {
        matches!(&self.what, What::Shell(text) if text.ends_with("# refused"))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (What::Shell(text) | What::Console(text) | What::Server(text)) = &self.what;
        write!(f, "{}:{}: {text}", self.file, self.line)
    }
}

fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut docs: Vec<_> = docs.map(|name| format!("docs/{}", name.to_str().unwrap())).collect();
    docs.retain(|name| name.ends_with(".md"));
    docs.sort();
    let names = std::iter::once("README.md".to_owned()).chain(docs);
    names.map(|name| (name.clone(), fs::read_to_string(Path::new(ROOT).join(&name)).unwrap())).collect()
}

/// Everything that a page shows to be run, and the text of its `toml` blocks.
fn read(file: &str, page: &str) -> (Vec<Shown>, Vec<String>) {
    let (mut shown, mut tomls) = (Vec::new(), Vec::new());
    let mut block: Option<(&str, String)> = None;
    for (at, line) in page.lines().enumerate() {
        // A block in a list is indented.
        let line = if block.is_some() || line.trim_start().starts_with("```") { line.trim_start() } else { line };
        let mut show = |what| shown.push(Shown { file: file.to_owned(), line: at + 1, what });
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) => {
                // A name of a file may follow.
                let language = language.split(' ').next().unwrap_or_default();
                let known = [
                    "sh", "sql", "toml", "text", "json", "console", "python", "js", "go", "ruby", "java", "php",
                    "yaml", "mermaid",
                ];
                assert!(known.contains(&language), "{file}:{}: ```{language}", at + 1);
                block = Some((language, String::new()));
            }
            (Some((language, text)), Some(_)) => {
                if *language == "toml" {
                    tomls.push(std::mem::take(text));
                } else if *language == "sql" && !text.is_empty() {
                    show(What::Server(std::mem::take(text)));
                }
                block = None;
            }
            (Some((language, text)), None) => match *language {
                "sh" => show(What::Shell(line.to_owned())),
                "sql" => {
                    text.push_str(line);
                    // What makes something is for the server, and goes there at the end of its block.
                    if text.starts_with("CREATE ") {
                        text.push('\n');
                    } else if text.ends_with(';') {
                        show(What::Console(std::mem::take(text)));
                    }
                }
                _ => text.extend([line, "\n"]),
            },
            (None, None) => {
                let code = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("pgsluice "));
                // A table names commands without all that they need.
                let help = if line.starts_with('|') { " --help" } else { "" };
                code.for_each(|code| {
                    show(What::Shell(code.replace(" FILE", " /etc/pgsluice/pgsluice.toml") + help));
                });
            }
        }
    }
    assert!(block.is_none(), "{file}: a block without an end");
    (shown, tomls)
}

struct World {
    cluster: Cluster,
    config: String,
    bin: PathBuf,
    folder: tempfile::TempDir,
    /// Whether all ports are ours, so that commands run with those that they name.
    own_network: bool,
    /// What runs, and whose console it has.
    proxy: Option<(Proxy, &'static str, &'static str)>,
}

impl World {
    fn new(config: &str, own_network: bool) -> Self {
        let cluster = Cluster::builder()
            .replicas(1)
            .roles([Role::new("app").password("app"), Role::new("dba").password("dba").superuser()])
            .databases(["app"])
            .init_sql("CREATE TABLE orders (id int PRIMARY KEY)")
            .start()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(binary(BINARY), bin.join("pgsluice")).unwrap();
        program(&bin.join("sudo"), SUDO);
        if let Ok(psql) = cluster.installation().program("psql") {
            symlink(psql, bin.join("psql")).unwrap();
        }
        if own_network {
            forward(5432, cluster.primary().port());
            forward(5433, cluster.replica(0).port());
        }
        World { cluster, config: config.to_owned(), bin, folder, own_network, proxy: None }
    }

    /// The text with this world's places in it.
    fn placed(&self, text: &str) -> String {
        let text = text
            .replace("/etc/pgsluice/pgsluice.toml", "{config}")
            .replace("/etc/pgsluice", "{dir}")
            .replace("/var/lib/pgsluice", "{dir}")
            .replace("/usr/local/bin", "{bin}")
            .replace("target/release/pgsluice", BINARY)
            .replace("secret", SUPERUSER_PASSWORD);
        if self.own_network {
            return text;
        }
        text.replace("127.0.0.1:5432", &format!("127.0.0.1:{}", self.cluster.primary().port()))
            .replace("-p 5432", &format!("-p {}", self.cluster.primary().port()))
            .replace("127.0.0.1:5433", &format!("127.0.0.1:{}", self.cluster.replica(0).port()))
            .replace("6432", "{port}")
    }

    fn port(&self) -> u16 {
        if self.own_network { PORT } else { self.proxy.as_ref().unwrap().0.port() }
    }

    /// The password file of whoever types the commands.
    fn password_file(&self, user: &str, password: &str) -> PathBuf {
        let path = self.folder.path().join(format!("pgpass-{user}"));
        let lines =
            format!("127.0.0.1:{}:*:{user}:{password}\n127.0.0.1:*:*:{SUPERUSER}:{SUPERUSER_PASSWORD}\n", self.port());
        fs::write(&path, lines).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Starts what `pgsluice run …` starts, in place of what runs.
    fn start(&mut self, command: &str) {
        self.proxy = None;
        let (_, arguments) = command.rsplit_once("pgsluice ").unwrap();
        let mut arguments: Vec<_> = self.placed(arguments).split_whitespace().map(str::to_owned).collect();
        let from_url = command.contains("--upstream");
        if from_url && !self.own_network {
            arguments.extend(["--listen", "127.0.0.1:{port}"].map(str::to_owned));
        }
        let users = "\"app\" \"app\"\n\"dba\" \"dba\"\n\"pgsluice\" \"watch\"\n";
        let proxy = Proxy::builder(binary(BINARY)).args(arguments).config(self.placed(&self.config));
        let proxy = proxy.file("userlist.txt", users).start().unwrap();
        let (user, password) = if from_url { (SUPERUSER, SUPERUSER_PASSWORD) } else { ("dba", "dba") };
        self.proxy = Some((proxy, user, password));
        let connect = || TcpStream::connect(("127.0.0.1", self.port())).ok();
        wait::until(Duration::from_secs(30), "the proxy", connect);
    }

    /// Runs it, and gives what it said if it says that it is refused.
    fn run(&self, shown: &Shown) -> Option<String> {
        let (proxy, user, password) = self.proxy.as_ref().unwrap();
        let in_place = |text: &str| {
            self.placed(text)
                .replace("{port}", &self.port().to_string())
                .replace("{config}", proxy.dir().join("pgsluice.toml").to_str().unwrap())
                .replace("{dir}", proxy.dir().to_str().unwrap())
                .replace("{bin}", self.folder.path().to_str().unwrap())
        };
        let mut command = match &shown.what {
            What::Shell(text) => {
                let mut shell = Command::new("sh");
                shell.args(["-euc", &in_place(text)]);
                shell
            }
            What::Console(text) => {
                let mut psql = Command::new("psql");
                psql.args(["-h", "127.0.0.1", "-d", "pgsluice", "-U", user, "-c", text]);
                psql.args(["-p", &self.port().to_string()]);
                psql
            }
            What::Server(text) => {
                let mut psql = Command::new("psql");
                psql.args(["-h", "127.0.0.1", "-d", "app", "-U", SUPERUSER, "-v", "ON_ERROR_STOP=1", "-c", text]);
                psql.args(["-p", &self.cluster.primary().port().to_string()]);
                psql
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.bin.display()))
            .env("PGPASSFILE", self.password_file(user, password))
            .env_remove("PGPASSWORD")
            .env("PSQLRC", "/dev/null")
            .env("PGCONNECT_TIMEOUT", "30")
            .current_dir(proxy.dir());
        if self.own_network {
            command.env_remove("PGSLUICE_ADMIN").env("PGUSER", user);
        } else {
            command.env("PGSLUICE_ADMIN", format!("postgres://{user}@127.0.0.1:{}/pgsluice", self.port()));
        }
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{shown}\n{out}{err}");
        if shown.is_refused() {
            assert!(!output.status.success(), "{shown}\n{out}{err}");
            return Some(err.into_owned());
        }
        assert!(output.status.success() && !err.contains("ERROR"), "{shown}\n{out}{err}\n{}", proxy.log());
        None
    }
}

/// In the place of sudo: makes no user and changes no owner, and the folders of the test are the user's already.
const SUDO: &str = r#"#!/bin/sh -eu
case $1 in
useradd | chown) exit 0 ;;
-u) shift 2 ;;
install) [ "$2" != -d ] || exit 0 ;;
esac
exec "$@"
"#;

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Passes what comes to one port of 127.0.0.1 on to another.
fn forward(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
            for (mut one, mut other) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))]
                .map(|(one, other)| (one.unwrap(), other.unwrap()))
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut one, &mut other);
                    let _ = other.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn every_command_that_is_shown_works() {
    let network = run_in_own_network("every_command_that_is_shown_works");
    if network == Network::Done {
        return;
    }
    let texts = pages();
    let pages: Vec<_> = texts.iter().map(|(file, page)| read(file, page)).collect();
    let [config] = pages[0].1.as_slice() else { panic!("README has one configuration") };
    let mut world = World::new(config, network == Network::Own);
    let (mut seen, mut refused) = (0, 0);
    for ((shown, _), (_, text)) in pages.iter().zip(&texts) {
        // Each page begins with what the README's configuration makes; its own `run` commands replace it. The README has
        // nothing before its own.
        if world.proxy.is_some() {
            world.start("pgsluice run --config /etc/pgsluice/pgsluice.toml");
        }
        for (at, one) in shown.iter().enumerate() {
            match &one.what {
                What::Shell(command) if command.starts_with("make ") => has_target(one, &command["make ".len()..]),
                What::Shell(command) if command.contains("pgsluice run") => world.start(command),
                _ => {
                    if let Some(said) = world.run(one) {
                        let words = ["ERROR:", "DETAIL:", "HINT:"];
                        let lines = said.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
                        lines.for_each(|line| assert!(text.contains(line), "{one} says what is not shown: {line}"));
                        refused += 1;
                    }
                }
            }
            seen = seen.max(at);
        }
        let (_, user, password) = world.proxy.as_ref().unwrap();
        let login = pgsluice_fixtures::Login::new(user, "pgsluice").password(password);
        let mut console = pgsluice_fixtures::Raw::connect(&Address::local(world.port()), &login).unwrap();
        let modes = console.query("SHOW MAINTENANCE", std::time::Duration::from_secs(10)).unwrap();
        let closed = modes[0].rows.iter().flatten().flatten().any(|value| value == "read_only" || value == "offline");
        assert!(!closed, "a page leaves a gate closed: {modes:?}");
    }
    assert!(seen > 5 && refused > 0, "commands are found");
}

/// Links, and paths in code, from the page's folder or the project's.
#[test]
fn every_file_that_is_named_is_there() {
    let mut named = 0;
    for (file, page) in pages() {
        let page_dir = Path::new(ROOT).join(&file).parent().unwrap().to_owned();
        let links = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        let code = page.split('`').skip(1).step_by(2);
        let paths = code.filter(|code| ["src/", "tests/", "docs/", "benches/"].iter().any(|top| code.starts_with(top)));
        for path in links.filter(|link| !link.contains("://") && !link.starts_with('#')).chain(paths) {
            let path = path.split(['#', ' ']).next().unwrap_or_default();
            let there = [&page_dir, Path::new(ROOT)].iter().any(|dir| dir.join(path).exists());
            assert!(there, "{file} names {path}, which is not there");
            named += 1;
        }
    }
    assert!(named > 20, "paths are found");
}

/// These are too slow to be run by what they run: that they exist and hang together is asked of make.
fn has_target(shown: &Shown, target: &str) {
    let output = Command::new("make").args(["-n", "-C", ROOT]).args(target.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// What `make demo` runs, in a hurry.
#[test]
fn the_demo_tells_its_story_and_finds_everything_as_it_must_be() {
    let output = Command::new(demo()).arg("--quick").arg(binary(BINARY)).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for line in ["reads failed", "connections dropped", "checksum equal, all but the migration"] {
        assert!(out.lines().any(|found| found.starts_with(line) && found.ends_with("  ok")), "{line}\n{out}");
    }
    let refusal =
        ["ERROR:  cannot execute ", "DETAIL:  database \"shop\" is in maintenance: ", "HINT:  Writes are expected"];
    assert!(refusal.iter().all(|text| out.contains(text)), "{out}");
    assert!(!out.contains('\x1b'), "no colours in a file");
    let wide: Vec<_> = out.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "lines that a terminal of 80 columns would wrap: {wide:#?}");
}

/// The demo's binary. `cargo test --workspace` has built it; if not, it is built.
fn demo() -> PathBuf {
    let profile = Path::new(BINARY).parent().unwrap();
    let demo = profile.join("examples/demo");
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let sources = fs::read_dir(Path::new(ROOT).join("fixtures/examples/demo")).unwrap();
    let newest = sources.filter_map(|entry| age(&entry.unwrap().path())).max();
    if age(&demo) < newest {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "-p", "pgsluice-fixtures", "--example", "demo", "--target-dir"]);
        cargo.arg(profile.parent().unwrap()).current_dir(ROOT);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    }
    demo
}
