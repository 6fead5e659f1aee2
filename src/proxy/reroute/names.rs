//! What a configuration means while clients of some databases are led elsewhere: the same configuration with other clusters and
//! databases behind its names.

use std::collections::BTreeMap;

use crate::config::{Config, Database};
use crate::gate::{Reroute, ServerDatabase, reroute_of};

/// Names that are led elsewhere, with what the configuration says of them. One of them may be `*`.
pub type Led = BTreeMap<String, ServerDatabase>;

fn place(name: &str, settings: &Database) -> ServerDatabase {
    ServerDatabase { cluster: settings.cluster.clone(), dbname: settings.server_dbname(name).to_owned() }
}

fn follow(settings: &mut Database, reroute: &Reroute) {
    settings.cluster.clone_from(&reroute.to.cluster);
    settings.dbname.clone_from(&reroute.to.dbname);
}

/// Has every name lead where its database is led to.
pub fn lead(config: &mut Config, reroutes: &[Reroute]) -> Led {
    let mut led = Led::new();
    for (name, settings) in config.databases.iter_mut().filter(|(name, _)| *name != "*") {
        let from = place(name, settings);
        if let Some(reroute) = reroute_of(reroutes, &from) {
            follow(settings, reroute);
            led.insert(name.clone(), from);
        }
    }
    let Some(any) = config.databases.get("*").cloned() else { return led };
    if !any.dbname.is_empty() {
        let from = place("*", &any);
        if let (Some(reroute), Some(settings)) = (reroute_of(reroutes, &from), config.databases.get_mut("*")) {
            follow(settings, reroute);
            led.insert("*".to_owned(), from);
        }
        return led;
    }
    // Of all the names that clients may choose, one leads to the database: its own.
    for (reroute, from) in reroutes.iter().flat_map(|one| one.from.iter().map(move |from| (one, from))) {
        if from.cluster == any.cluster && !config.databases.contains_key(&from.dbname) {
            let mut settings = any.clone();
            follow(&mut settings, reroute);
            config.databases.insert(from.dbname.clone(), settings);
            led.insert(from.dbname.clone(), from.clone());
        }
    }
    led
}

/// The reroutes that are needed still, and those that the configuration has made its own: it leads a name where clients were led to,
/// and none to what they were led away from.
pub fn still_needed(config: &Config, led: &Led, reroutes: Vec<Reroute>) -> (Vec<Reroute>, Vec<Reroute>) {
    let leads_there = |to: &ServerDatabase| {
        let own = config.databases.iter().filter(|(name, _)| *name != "*" && !led.contains_key(*name));
        own.map(|(name, settings)| place(name, settings)).any(|place| place == *to)
    };
    let is_followed = |one: &Reroute| led.values().any(|from| one.from.contains(from));
    reroutes.into_iter().partition(|one| is_followed(one) || !leads_there(&one.to))
}

/// Why a configuration cannot be taken over: clients are led to a cluster that it does not have.
///
/// # Errors
/// The first such cluster, in a sentence.
pub fn check(config: &Config, reroutes: &[Reroute]) -> Result<(), String> {
    let missing = reroutes.iter().find(|one| !config.clusters.contains_key(&one.to.cluster));
    missing.map_or(Ok(()), |one| {
        let from = one.from.first().map(ToString::to_string).unwrap_or_default();
        let to = &one.to.cluster;
        Err(format!("cluster \"{to}\" is missing, and the clients of {from} are led there: REROUTE them BACK first"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Who;

    fn config(databases: &str) -> Config {
        let file = format!(
            "[clusters.a]\nupstreams = ['h']\n[clusters.b]\nupstreams = ['i']\n[clusters.c]\nupstreams = ['j']\n{databases}"
        );
        Config::from_str(&file, "t.toml").unwrap()
    }

    fn reroute(from: &str, to: &str) -> Reroute {
        let place = |text: &str| {
            let (cluster, dbname) = text.split_once('.').unwrap();
            ServerDatabase { cluster: cluster.to_owned(), dbname: dbname.to_owned() }
        };
        let who = Who { user: "bob".to_owned(), address: None };
        let (from, to) = (vec![place(from)], place(to));
        Reroute { from, to, writable: false, message: None, who, since: jiff::Timestamp::UNIX_EPOCH }
    }

    fn leads(config: &Config, name: &str) -> String {
        config.database(name).map(|settings| place(name, settings).to_string()).unwrap_or_default()
    }

    #[test]
    fn every_name_of_the_database_goes_along_and_no_other() {
        let mut here = config(
            "[databases.app]\ncluster = 'a'\n[databases.alias]\ncluster = 'a'\ndbname = 'app'\n\
             [databases.other]\ncluster = 'a'\n[databases.there]\ncluster = 'b'\ndbname = 'app'\n",
        );
        let led = lead(&mut here, &[reroute("a.app", "b.copy")]);
        assert_eq!(
            ["app", "alias", "other", "there"].map(|name| leads(&here, name)),
            ["b.copy", "b.copy", "a.other", "b.app"]
        );
        assert_eq!(led.keys().collect::<Vec<_>>(), ["alias", "app"]);
        assert_eq!(led["alias"].to_string(), "a.app");
    }

    #[test]
    fn a_reroute_that_the_configuration_has_made_its_own_is_forgotten() {
        let reroutes = || vec![reroute("a.app", "b.app")];
        let needed = |databases: &str| {
            let mut here = config(databases);
            let led = lead(&mut here, &reroutes());
            still_needed(&here, &led, reroutes()).0.len()
        };
        assert_eq!(needed("[databases.app]\ncluster = 'a'\n"), 1);
        assert_eq!(needed("[databases.app]\ncluster = 'b'\n"), 0);
        assert_eq!(needed("[databases.other]\ncluster = 'a'\n"), 1, "the database may come back");
        let both = "[databases.app]\ncluster = 'b'\n[databases.old]\ncluster = 'a'\ndbname = 'app'\n";
        assert_eq!(needed(both), 1);
    }

    #[test]
    fn a_name_behind_the_wildcard_goes_by_itself() {
        let mut here = config("[databases.'*']\ncluster = 'a'\n");
        let led = lead(&mut here, &[reroute("a.app", "b.app")]);
        assert_eq!(["app", "other"].map(|name| leads(&here, name)), ["b.app", "a.other"]);
        assert_eq!(led.keys().collect::<Vec<_>>(), ["app"]);
        let mut here = config("[databases.'*']\ncluster = 'a'\ndbname = 'app'\n");
        lead(&mut here, &[reroute("a.app", "b.app")]);
        assert_eq!(["app", "other"].map(|name| leads(&here, name)), ["b.app", "b.app"]);
    }

    #[test]
    fn a_cluster_that_clients_are_led_to_has_to_stay() {
        let here = config("[databases.app]\ncluster = 'a'\n");
        assert!(check(&here, &[reroute("a.app", "b.app")]).is_ok());
        let here = config("[databases.app]\ncluster = 'a'\n");
        assert!(check(&here, &[reroute("a.app", "gone.app")]).unwrap_err().contains("\"gone\" is missing"));
    }
}
