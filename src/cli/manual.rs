//! Completion and manual pages, made from the command line's own definition.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use super::exit::Failure;

/// What completes the command line in that shell.
pub(super) fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pgsluice", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes a page for each command into a folder.
pub(super) fn write(folder: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Other(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("share/man/man1");
        write(&folder).unwrap();
        for page in
            ["pgsluice.1", "pgsluice-maintenance-on.1", "pgsluice-offline.1", "pgsluice-events.1", "pgsluice-top.1"]
        {
            let text = std::fs::read_to_string(folder.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.contains(".SH NAME") && text.contains("pgsluice"), "{page}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completion(shell);
            assert!(text.contains("drain-timeout") && text.contains("announce"), "{shell}");
        }
        assert!(write(Path::new("/dev/null/folder")).is_err());
    }
}
