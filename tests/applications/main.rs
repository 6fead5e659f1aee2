//! The recipes of docs/APPLICATIONS.md, run as they are printed there, with the real frameworks, through a maintenance.

mod jobs;
mod stand;
mod web;

use std::path::Path;

use pgsluice_fixtures::FixtureError;

/// What a recipe is run with, or nothing where this machine cannot have it.
fn had<T>(what: &str, found: Result<T, FixtureError>) -> Option<T> {
    found.map_err(|error| println!("SKIPPED: {what} cannot be had: {error}")).ok()
}

/// The program of that name, as the document has it.
fn printed(name: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/APPLICATIONS.md");
    let document = std::fs::read_to_string(document).unwrap();
    let mut lines =
        document.lines().skip_while(|line| !(line.starts_with("```") && line.ends_with(&format!(" {name}"))));
    lines.next().unwrap_or_else(|| panic!("no {name} in the document"));
    lines.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_program_of_the_document_is_run_here() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/APPLICATIONS.md");
    let document = std::fs::read_to_string(document).unwrap();
    let named = document.lines().filter_map(|line| line.strip_prefix("```")?.split_once(' ')).map(|(_, name)| name);
    let run = [
        "django_app.py",
        "fastapi_app.py",
        "express_app.js",
        "go_app.go",
        "rails_app.rb",
        "SpringApp.java",
        "laravel_app.php",
        "celery_app.py",
        "pgboss_app.js",
        "graphile_app.js",
    ];
    assert_eq!(named.collect::<Vec<_>>(), run);
}
