//! SHOW HBA: the file of auth_hba_file as it is on disk now, line by line, as PostgreSQL's `pg_hba_file_rules` shows its own.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::admin::table::{Cell, Column, Table, columns};
use crate::auth::hba::{Hba, HostMatch, Line, Rule};
use crate::config::AuthType;
use crate::shared::ProxyState;

/// PostgreSQL's since 16.
pub const COLUMNS: &[Column] = columns![
    rule_number Int4, file_name Text, line_number Int4, type Text, database Text, user_name Text, address Text, netmask Text,
    auth_method Text, options Text, error Text,
];

/// The rows; none without such a file. An error in it does not hold before a RELOAD, which refuses it.
pub async fn table(proxy: &ProxyState) -> Table {
    let mut table = Table::new(COLUMNS);
    let path = {
        let setup = proxy.setup.load();
        let auth = &setup.config.auth;
        auth.auth_hba_file.clone().filter(|_| auth.auth_type == AuthType::Hba)
    };
    let Some(path) = path else { return table };
    let name = path.display().to_string();
    let read = move |path: PathBuf| Hba::read(&path);
    match tokio::task::spawn_blocking(move || read(path)).await {
        Ok(Ok(hba)) => {
            let mut number = 0;
            for line in &hba.lines {
                number += u64::from(line.rule.is_ok());
                table.push(row(line, number));
            }
        }
        Ok(Err(error)) => table.push(failed(&name, None, error)),
        Err(_) => table.push(failed(&name, None, "it could not be read".to_owned())),
    }
    table
}

fn failed(file: &str, line: Option<usize>, error: String) -> [Cell; 11] {
    let mut cells = [const { Cell::Null }; 11];
    let [_, name, number, .., last] = &mut cells;
    (*name, *number, *last) = (file.into(), line.into(), error.into());
    cells
}

fn row(line: &Line, number: u64) -> [Cell; 11] {
    let file = line.file.display().to_string();
    let rule = match &line.rule {
        Ok(rule) => rule,
        Err(error) => return failed(&file, Some(line.number), error.clone()),
    };
    let (address, netmask) = host(rule);
    let options = rule.options.shown();
    [
        number.into(),
        file.into(),
        line.number.into(),
        rule.connection.word().into(),
        array(&rule.written.0).into(),
        array(&rule.written.1).into(),
        address.into(),
        netmask.into(),
        rule.method.word().into(),
        (!options.is_empty()).then(|| array(&options)).into(),
        Cell::Null,
    ]
}

fn host(rule: &Rule) -> (Option<String>, Option<String>) {
    let text = |ip: &IpAddr| Some(ip.to_string());
    match &rule.host {
        None => (None, None),
        Some(HostMatch::All) => (Some("all".to_owned()), None),
        Some(HostMatch::SameHost) => (Some("samehost".to_owned()), None),
        Some(HostMatch::SameNet) => (Some("samenet".to_owned()), None),
        Some(HostMatch::Net { address, mask }) => (text(address), text(mask)),
    }
}

/// As PostgreSQL writes a `text[]`.
fn array(items: &[String]) -> String {
    let item = |text: &String| {
        let plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '{' | '}' | ','));
        if plain { text.clone() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    let items: Vec<String> = items.iter().map(item).collect();
    format!("{{{}}}", items.join(","))
}
