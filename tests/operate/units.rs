//! The units of systemd, as far as `systemd-analyze` can try them without one that runs, and the chart, as far as `helm` can.

use std::path::Path;
use std::process::Command;

use crate::stand::pgsluice;

/// How much of the system a sandboxed unit may be exposed to, of 10.
const MOST_EXPOSED: f64 = 2.0;

/// The units with this test's program in the place of the installed one, in a folder of their own.
fn units(folder: &Path) -> Vec<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    let program = pgsluice().display().to_string();
    let put = |from: &str, to: &str| {
        let text = std::fs::read_to_string(own.join(from)).unwrap();
        let path = folder.join(to);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace("/usr/bin/pgsluice", &program);
        std::fs::write(&path, text.replace("file:///usr/share/doc/pgsluice/", "file:///usr/share/doc/")).unwrap();
        path.display().to_string()
    };
    let all = vec![put("pgsluice.service", "pgsluice.service"), put("pgsluice.socket", "pgsluice.socket")];
    put("upgrade.conf", "pgsluice.service.d/upgrade.conf");
    all
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let done = Command::new("systemd-analyze").args(arguments).output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Which systemd there is; None: the tools are not installed.
fn version() -> Option<u32> {
    let done = Command::new("systemd-analyze").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let version = text.split_whitespace().nth(1)?.split('.').next()?.parse().ok();
    assert!(version.is_some(), "{text}");
    version
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_they_have_little_of_the_system() {
    let Some(version) = version() else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for unit in units(folder.path()) {
        let (right, said) = analyze(&["verify", "--man=no", &unit]);
        // What is said of other units of this machine is not about ours.
        let ours: Vec<_> = said.lines().filter(|line| line.contains("pgsluice")).collect();
        let known =
            |line: &&&str| version < 253 && line.ends_with("Failed to parse service type, ignoring: notify-reload");
        let wrong: Vec<_> = ours.iter().filter(|line| !known(line)).collect();
        assert!(wrong.is_empty(), "{unit}: {said}");
        assert!(right || ours.is_empty(), "{unit}: {said}");
    }
    let (_, said) =
        analyze(&["security", "--offline=true", &folder.path().join("pgsluice.service").display().to_string()]);
    let exposed =
        said.lines().rfind(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let level = exposed.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(level <= MOST_EXPOSED, "{exposed}");
}

/// The program helm; None: there is none. PGSLUICE_HELM names it.
fn helm() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("PGSLUICE_HELM").map(Into::into);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.or_else(|| std::env::split_paths(&path).map(|folder| folder.join("helm")).find(|file| file.is_file()))
}

#[test]
fn the_configuration_in_the_chart_is_one_that_is_taken() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/helm/pgsluice");
    let values = std::fs::read_to_string(chart.join("values.yaml")).unwrap();
    let config = values.lines().skip_while(|line| *line != "config: |").skip(1);
    let config: Vec<_> =
        config.take_while(|line| line.is_empty() || line.starts_with("  ")).map(str::trim_start).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("userlist.txt"), "\"pgsluice_admin\" \"secret\"\n").unwrap();
    let here = folder.path().display().to_string();
    let config = config.join("\n").replace("/etc/pgsluice-secrets", &here).replace("/var/lib/pgsluice", &here);
    assert!(config.contains("[clusters.main]"), "{config}");
    let path = folder.path().join("pgsluice.toml");
    std::fs::write(&path, config).unwrap();
    let done = Command::new(pgsluice()).arg("check-config").arg(&path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let Some(helm) = helm() else {
        eprintln!("there is no helm: the chart's templates are not tried");
        return;
    };
    for arguments in [&["lint"][..], &["template", "x"], &["template", "x", "--set", "podMonitor.enabled=true"]] {
        let (command, more) = arguments.split_first().unwrap();
        let mut run = Command::new(&helm);
        run.arg(command);
        match *command {
            "template" => run.arg(more[0]).arg(&chart).args(&more[1..]),
            _ => run.arg(&chart),
        };
        let done = run.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
        let kinds = said.lines().filter(|line| line.starts_with("kind: ")).count();
        let wanted = if *command == "lint" { 0 } else { 3 + arguments.len() / 2 };
        assert_eq!(kinds, wanted, "{arguments:?}: {said}");
    }
}

/// What the image of the Dockerfile has for programs: glibc and libgcc.
const IN_IMAGE: [&str; 7] =
    ["linux-vdso", "ld-linux", "libc.so", "libm.so", "libgcc_s.so", "libpthread.so", "libdl.so"];

#[test]
fn the_program_runs_in_an_image_without_a_shell_that_has_nothing_but_glibc_and_libgcc() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipe = std::fs::read_to_string(own.join("contrib/docker/Dockerfile")).unwrap();
    assert!(recipe.contains("FROM gcr.io/distroless/cc-") && recipe.contains("USER 65532"), "{recipe}");
    let linked = Command::new("ldd").arg(pgsluice()).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for line in linked.lines() {
        assert!(IN_IMAGE.iter().any(|name| line.contains(name)), "{line}");
    }
    // As root it is tried: an empty root with these, and the program as the image's user.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = pgsluice().display().to_string();
    for file in paths.chain([&*program]) {
        let name = if file == program { "/usr/bin/pgsluice" } else { file };
        let to = root.path().join(name.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    let within = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg("--userspec=65532:65532").arg(root.path()).arg("/usr/bin/pgsluice").args(arguments);
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let (code, said) = within(&["--version"]);
    assert!(code == Some(0) && said.contains("pgsluice"), "{said}");
    // The health check says that nothing answers, and does not fail for a library or a file of its own.
    let (code, said) = within(&["healthcheck", "http://127.0.0.1:1/livez"]);
    assert!(code != Some(0) && said.to_lowercase().contains("refused"), "{said}");
}
