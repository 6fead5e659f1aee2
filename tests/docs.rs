//! The documentation hangs together: links and anchors lead somewhere, tables render, configurations are accepted, and the
//! files, keys and names in it exist. What the commands in it do is run by `readme.rs`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role, wait};

const BINARY: &str = env!("CARGO_BIN_EXE_pgsluice");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands beside a fragment of a configuration, so that the two are a whole.
const REST: &str = "
[clusters.main]
upstreams = [\"127.0.0.1:5432\"]
monitor_user = \"pgsluice\"
monitor_password = \"watch\"
[databases.app]
";

struct Page {
    name: String,
    text: String,
}

impl Page {
    fn path(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// Lines outside of blocks of code, with their numbers.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut in_block = false;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            let fence = line.trim_start().starts_with("```");
            in_block ^= fence;
            (!fence && !in_block).then_some((at + 1, line))
        })
    }

    /// Blocks of code in that language, with the number of their first line.
    fn blocks(&self, language: &str) -> Vec<(usize, String)> {
        let (mut all, mut block) = (Vec::new(), None);
        for (at, line) in self.text.lines().enumerate() {
            let bare = line.trim_start();
            match (&mut block, bare.strip_prefix("```")) {
                (None, Some(found)) => block = Some((found == language, at + 2, String::new())),
                (Some(_), Some(_)) => {
                    all.extend(block.take().filter(|(wanted, ..)| *wanted).map(|(_, at, text)| (at, text)))
                }
                (Some((_, _, text)), None) => text.extend([bare, "\n"]),
                (None, None) => {}
            }
        }
        all
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let headings = self.prose().filter(|(_, line)| line.starts_with('#'));
        headings
            .map(|(_, line)| {
                let words = line.trim_start_matches('#').trim().to_lowercase();
                let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
                let times = seen.entry(anchor.clone()).or_default();
                *times += 1;
                if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
            })
            .collect()
    }
}

fn pages() -> Vec<Page> {
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<String> =
            names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")).collect();
        names
    };
    let mut names = [in_folder(""), in_folder("docs/")].concat();
    names.sort();
    assert!(names.len() > 10, "pages are found: {names:?}");
    let read = |name: String| Page { text: fs::read_to_string(Path::new(ROOT).join(&name)).unwrap(), name };
    names.into_iter().map(read).collect()
}

/// Code in a line of prose.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let pages = pages();
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in &pages {
        for (at, line) in page.prose() {
            let inline = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
            let defined = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, link)| link);
            for link in inline.chain(defined).filter(|link| !link.contains("://")) {
                followed += 1;
                let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
                let file = if path.is_empty() { page.path() } else { page.path().parent().unwrap().join(path) };
                let Ok(file) = file.canonicalize() else {
                    wrong.push(format!("{}:{at}: no such file: {link}", page.name));
                    continue;
                };
                let Some(anchor) = anchor else { continue };
                let target = pages.iter().find(|page| page.path().canonicalize().is_ok_and(|path| path == file));
                if !target.is_some_and(|target| target.anchors().contains(anchor)) {
                    wrong.push(format!("{}:{at}: no such heading: {link}", page.name));
                }
            }
        }
    }
    assert!(followed > 100, "links are found");
    none(&wrong);
}

#[test]
fn references_of_links_are_defined() {
    let mut wrong = Vec::new();
    for page in pages() {
        let defined = |name: &str| page.text.lines().any(|line| line.starts_with(&format!("[{name}]: ")));
        for (at, line) in page.prose() {
            let names = line.split("][").skip(1).filter_map(|rest| rest.split_once(']')).map(|(name, _)| name);
            wrong.extend(names.filter(|name| !defined(name)).map(|name| format!("{}:{at}: [{name}]", page.name)));
        }
    }
    none(&wrong);
}

/// How many cells a row has. A bar in code counts, as it does for GitHub, unless a backslash stands before it.
fn cells(row: &str) -> usize {
    let row = row.trim().trim_start_matches('|');
    let row = row.strip_suffix('|').unwrap_or(row);
    row.replace("\\|", "").split('|').count()
}

fn is_rule(row: &str) -> bool {
    let row = row.trim();
    row.starts_with('|') && row.contains('-') && row.chars().all(|c| "|-: ".contains(c))
}

#[test]
fn tables_render() {
    let (mut wrong, mut tables) = (Vec::new(), 0);
    for page in pages() {
        let lines: Vec<(usize, &str)> = page.prose().collect();
        let is_row = |nth: usize| lines.get(nth).is_some_and(|(_, line)| line.trim_start().starts_with('|'));
        let mut nth = 0;
        while nth < lines.len() {
            if !is_row(nth) {
                nth += 1;
                continue;
            }
            tables += 1;
            let (at, head) = lines[nth];
            if nth > 0 && !lines[nth - 1].1.trim().is_empty() && lines[nth - 1].0 + 1 == at {
                wrong.push(format!("{}:{at}: a table needs an empty line before it", page.name));
            }
            if !lines.get(nth + 1).is_some_and(|(_, line)| is_rule(line)) {
                wrong.push(format!("{}:{at}: no head and rule: an empty line in a table?", page.name));
            }
            while is_row(nth) {
                let (at, row) = lines[nth];
                if cells(row) != cells(head) {
                    wrong.push(format!("{}:{at}: {} cells, the head has {}", page.name, cells(row), cells(head)));
                }
                nth += 1;
            }
        }
    }
    assert!(tables > 30, "tables are found");
    none(&wrong);
}

/// A block is a whole configuration, or becomes one with a cluster and a database beside it.
#[test]
fn every_configuration_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgsluice.toml");
    fs::write(folder.path().join("userlist.txt"), "\"app\" \"app\"\n\"dba\" \"dba\"\n\"pgsluice\" \"watch\"\n")
        .unwrap();
    let place = folder.path().to_str().unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for (at, text) in page.blocks("toml") {
            let whole = text.contains("[clusters.");
            let top = format!("state_file = \"{place}/state.json\"\nauth_file = \"{place}/userlist.txt\"\n");
            let text = if whole { text } else { format!("{top}{text}{REST}") };
            let text = text.replace("/etc/pgsluice", place).replace("/var/lib/pgsluice", place);
            fs::write(&file, text).unwrap();
            let output = Command::new(binary(BINARY)).arg("check-config").arg(&file).output().unwrap();
            if !output.status.success() {
                wrong.push(format!("{}:{at}:\n{}", page.name, String::from_utf8_lossy(&output.stderr)));
            }
            checked += 1;
        }
    }
    assert!(checked > 2, "configurations are found");
    none(&wrong);
}

/// Names of files in code: as they stand, below the folder of the one before in its row, or below `src`.
#[test]
fn every_file_of_the_maps_is_there() {
    let extensions = [".rs", ".md", ".toml", ".txt", ".sql", ".svg", "/"];
    let (mut wrong, mut named) = (Vec::new(), 0);
    let pages = pages();
    let maps = ["docs/ARCHITECTURE.md", "docs/CONNECTION.md", "docs/PERFORMANCE.md", "CONTRIBUTING.md"];
    for page in pages.iter().filter(|page| maps.contains(&page.name.as_str())) {
        for (at, line) in page.prose() {
            let mut folder = Path::new(ROOT).join("src/protocol");
            for path in
                code(line).filter(|code| extensions.iter().any(|end| code.ends_with(end)) && !code.contains(' '))
            {
                named += 1;
                let places = [Path::new(ROOT).join(path), folder.join(path), Path::new(ROOT).join("docs").join(path)];
                match places.iter().find(|place| place.exists()) {
                    Some(place) => {
                        let parent = if place.is_dir() { Some(place.as_path()) } else { place.parent() };
                        folder = parent.map(Path::to_owned).unwrap_or_default();
                    }
                    None => wrong.push(format!("{}:{at}: {path}", page.name)),
                }
            }
        }
        for (at, text) in page.blocks("mermaid") {
            let words = text.split(|c: char| c.is_whitespace() || ",<>\"".contains(c));
            for path in
                words.filter(|word| word.ends_with(".rs") || word.ends_with('/') && word.len() > 3 && *word != "br/")
            {
                named += 1;
                if !Path::new(ROOT).join(path).exists() {
                    wrong.push(format!("{}:{at}: {path}", page.name));
                }
            }
        }
    }
    assert!(named > 150, "files are found");
    none(&wrong);
}

/// Names in code that are PostgreSQL's, other programs' or this machine's, and stand nowhere in ours.
const FOREIGN: &[&str] = &[
    "custom_plans",
    "generic_plans",
    "ignore_system_indexes",
    "lto",
    "opt-level",
    "patroni_proxy",
    "pg_signal_backend",
];

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, all);
            }
        } else if path.extension().is_none_or(|extension| extension == "rs" || extension == "txt" || extension == "sql")
        {
            all.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

/// The keys that the program knows, without and with their tables.
fn keys() -> BTreeSet<String> {
    let output = Command::new(binary(BINARY)).arg("example-config").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut keys = BTreeSet::new();
    for line in text.lines().map(|line| line.trim_start_matches('#')) {
        if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_name(key)) {
            keys.insert(key.to_owned());
        }
    }
    assert!(keys.len() > 60, "keys are found: {keys:?}");
    keys
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whatever is written as `key = value` is a key, and whatever looks like one is a name that the code knows.
#[test]
fn every_key_and_name_exists() {
    let keys = keys();
    let mut known = String::new();
    ["src", "tests", "fixtures", "benches"]
        .iter()
        .for_each(|folder| sources(&Path::new(ROOT).join(folder), &mut known));
    let words: BTreeSet<&str> = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let (mut wrong, mut looked_at) = (BTreeSet::new(), 0);
    for page in pages() {
        for (at, line) in page.prose() {
            for code in code(line) {
                if let Some((key, value)) = code.split_once(" = ").filter(|(key, _)| is_name(key)) {
                    looked_at += 1;
                    let of_a_server = matches!(value, "on" | "off") || FOREIGN.contains(&key);
                    if !keys.contains(key) && !of_a_server {
                        wrong.insert(format!("{}:{at}: no such key: {code}", page.name));
                    }
                }
                for name in
                    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.contains('_'))
                {
                    looked_at += 1;
                    // The end that a counter has where metrics are written.
                    let name = name.strip_suffix("_total").unwrap_or(name);
                    // A test of somebody else's suite: ours have no such names.
                    let is_foreign_test = name.starts_with("test_");
                    if !is_foreign_test && !words.contains(name) && !keys.contains(name) && !FOREIGN.contains(&name) {
                        wrong.insert(format!("{}:{at}: unknown name: {name}", page.name));
                    }
                }
            }
        }
    }
    assert!(looked_at > 300, "names are found");
    none(&wrong.into_iter().collect::<Vec<_>>());
}

/// The first cells of the rows of the table whose head begins with that word, without the marks of code.
fn first_cells(page: &Page, head: &str) -> BTreeSet<String> {
    let rows = page.prose().map(|(_, line)| line).skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).into_iter().flat_map(code)).map(str::to_owned).collect()
}

/// What the console says of itself is what the guide describes.
#[test]
fn the_console_is_described() {
    let cluster = Cluster::builder()
        .roles([Role::new("dba").password("dba"), Role::new("pgsluice").password("watch").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_file = \"{{dir}}/userlist.txt\"\nadmin_users = [\"dba\"]\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"pgsluice\"\n[databases.app]\n",
        cluster.primary().port()
    );
    let users = "\"dba\" \"dba\"\n\"pgsluice\" \"watch\"\n";
    let proxy = Proxy::builder(binary(BINARY)).config(config).file("userlist.txt", users).start().unwrap();
    let login = Login::new("dba", "pgsluice").password("dba");
    let mut console = Raw::connect(&Address::local(proxy.port()), &login).unwrap();
    let mut column = |command: &str, nth: usize| -> BTreeSet<String> {
        let rows = console.query(command, Duration::from_secs(30)).unwrap().remove(0).rows;
        rows.into_iter().filter_map(|row| row[nth].clone()).collect()
    };
    let pages = pages();
    let guide = pages.iter().find(|page| page.name == "docs/GUIDE.md").unwrap();
    // Once the monitor has looked at the server there is all to be seen.
    let asked = || Some(column("MAINTENANCE CHECK app", 1)).filter(|checks| checks.contains("foreign writers"));
    let checks = wait::until(Duration::from_secs(30), "the primary to be known", asked);
    let described = first_cells(guide, "check");
    assert!(checks.is_subset(&described), "not in the guide: {:?}", checks.difference(&described));
    let counters: BTreeSet<String> = column("SHOW STATE", 0).into_iter().filter(|key| key.contains('_')).collect();
    let described = first_cells(guide, "counter");
    assert!(counters.is_subset(&described), "not in the guide: {:?}", counters.difference(&described));
}
