//! Webhooks, to a receiver that fails, hangs and goes away, from a pgsluice that is killed.

use pgsluice_fixtures::{Proxy, Raw, wait};

use crate::receiver::{Manner, Received, Receiver};
use crate::stand::{SOON, builder, config, console, proxy_with, rows, shown};

const SECRET: &str = "a planted signing key 7391";

fn hook(receiver: &Receiver, more: &str) -> String {
    format!("[[webhook]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\ntimeout = \"500ms\"\n{more}\n", receiver.url())
}

fn announce(console: &mut Raw, text: &str) {
    rows(console, &format!("MAINTENANCE ANNOUNCE app '{text}'"));
}

/// The texts of announcements that were taken, in the order in which they came.
fn texts(receiver: &Receiver) -> Vec<String> {
    let text = |one: Received| one.json()["fields"]["text"].as_str().map(str::to_owned);
    receiver.taken().into_iter().filter_map(text).collect()
}

fn until_taken(receiver: &Receiver, expected: &[&str]) {
    wait::until(SOON, &format!("{expected:?}, has {:?}", texts(receiver)), || {
        (texts(receiver) == expected).then_some(())
    });
}

fn column(console: &mut Raw, at: usize) -> String {
    rows(console, "SHOW WEBHOOKS")[0][at].clone().unwrap_or_default()
}

fn only(receiver: &Receiver, more: &str) -> Proxy {
    proxy_with(&config("", &hook(receiver, &format!("events = [\"announcement\"]\n{more}"))))
}

#[test]
fn each_event_is_a_signed_request_with_what_the_console_shows() {
    let receiver = Receiver::start();
    let proxy = proxy_with(&config("", &hook(&receiver, "")));
    let mut console = console(&proxy);
    rows(&mut console, "MAINTENANCE ON app WITH (message 'moving')");
    rows(&mut console, "MAINTENANCE OFF app");
    let all = shown(&mut console, "");
    let taken = wait::until(SOON, "every event", || Some(receiver.taken()).filter(|taken| taken.len() >= all.len()));
    let ids: Vec<_> = taken.iter().map(|one| one.json()["id"].as_u64().unwrap()).collect();
    assert_eq!(ids[..all.len()], all.iter().map(|one| one.id).collect::<Vec<_>>()[..]);
    for (one, event) in taken.iter().zip(&all) {
        assert!(one.is_signed(SECRET), "{one:?}");
        assert_eq!((one.path.as_str(), one.header("content-type")), ("/hook/t0ken-in-the-path", "application/json"));
        assert_eq!(one.json()["event"].as_str(), Some(event.event.as_str()));
        assert_eq!(one.header("pgsluice-event"), event.event);
        assert_eq!(one.header("pgsluice-event-id"), event.id.to_string());
        assert_eq!(one.json()["fields"], event.fields);
    }
    let waits = || (column(&mut console, 3) == "0").then_some(());
    wait::until(SOON, "none waits", waits);
    assert!(column(&mut console, 0).ends_with("/..."), "the path may be a secret");
    for hidden in [SECRET, "t0ken-in-the-path"] {
        assert!(!proxy.log().contains(hidden));
        let config = rows(&mut console, "SHOW CONFIG").into_iter().flatten().flatten();
        assert!(!config.collect::<Vec<_>>().join("\n").contains(hidden));
    }
}

#[test]
fn only_the_events_and_databases_that_were_asked_for_are_told_by_whatever_name() {
    let receiver = Receiver::start();
    let more = "events = [\"mode\", \"reloaded\"]\ndatabases = [\"other\"]";
    let proxy = proxy_with(&config("", &hook(&receiver, more)));
    let mut console = console(&proxy);
    rows(&mut console, "MAINTENANCE ON third");
    rows(&mut console, "MAINTENANCE ON app");
    console.query("RELOAD", SOON).unwrap();
    let taken = wait::until(SOON, "the reload", || {
        Some(receiver.taken()).filter(|taken| taken.iter().any(|one| one.json()["event"] == "reloaded"))
    });
    let names: Vec<_> = taken.iter().map(|one| format!("{} {}", one.json()["event"], one.json()["database"])).collect();
    assert_eq!(names, ["\"mode\" \"app\"", "\"mode\" \"app\"", "\"reloaded\" null"]);
}

#[test]
fn a_receiver_that_fails_hangs_and_goes_away_gets_everything_in_order_later() {
    let receiver = Receiver::start();
    let proxy = only(&receiver, "");
    let mut console = console(&proxy);
    announce(&mut console, "first");
    until_taken(&receiver, &["first"]);
    for (manner, text) in [(Manner::Fails, "second"), (Manner::Hangs, "third"), (Manner::Gone, "fourth")] {
        receiver.is_to(manner);
        announce(&mut console, text);
        let failed: u64 = column(&mut console, 5).parse().unwrap();
        wait::until(SOON, "a failure", || (column(&mut console, 5).parse::<u64>().unwrap() > failed).then_some(()));
        assert!(!column(&mut console, 8).is_empty());
    }
    assert_eq!(column(&mut console, 3), "3");
    receiver.is_to(Manner::Takes);
    until_taken(&receiver, &["first", "second", "third", "fourth"]);
    wait::until(SOON, "none waits", || (column(&mut console, 3) == "0").then_some(()));
    assert_eq!((column(&mut console, 6), column(&mut console, 8)), ("0".to_owned(), String::new()));
    assert!(receiver.all().iter().all(|one| one.is_signed(SECRET)));
}

#[test]
fn kill_9_loses_no_event_and_keeps_their_order() {
    let receiver = Receiver::start();
    let mut proxy = only(&receiver, "");
    let mut expected = Vec::new();
    for life in 0..4 {
        let mut console = console(&proxy);
        receiver.is_to(if life % 2 == 0 { Manner::Gone } else { Manner::Takes });
        for at in 0..10 {
            let text = format!("{life}-{at}");
            announce(&mut console, &text);
            expected.push(text);
        }
        // The last answer has come: whatever was announced is to be told.
        proxy.kill_9();
        proxy.start_again().unwrap();
    }
    receiver.is_to(Manner::Takes);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_taken(&receiver, &expected);
    let ids: Vec<u64> = receiver.taken().iter().map(|one| one.json()["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
}

#[test]
fn what_is_given_up_is_a_dead_letter_that_is_counted_over_a_restart_and_an_event() {
    let receiver = Receiver::start();
    receiver.is_to(Manner::Fails);
    let mut proxy = only(&receiver, "retry_for = \"1s\"");
    let mut admin = console(&proxy);
    announce(&mut admin, "lost");
    announce(&mut admin, "lost too");
    wait::until(SOON, "dead letters", || (column(&mut admin, 6) == "2").then_some(()));
    let dead = shown(&mut admin, "").into_iter().filter(|one| one.event == "webhook_dead").collect::<Vec<_>>();
    assert_eq!(dead.len(), 2);
    assert_eq!((dead[0].severity.as_str(), &dead[0].fields["of_event"]), ("error", &"announcement".into()));
    assert!(!dead[0].fields["url"].as_str().unwrap().contains("t0ken"));
    proxy.kill_9();
    proxy.start_again().unwrap();
    let mut admin = console(&proxy);
    assert_eq!(column(&mut admin, 6), "2");
    receiver.is_to(Manner::Takes);
    announce(&mut admin, "told");
    until_taken(&receiver, &["told"]);
}

#[test]
fn a_reload_adds_and_takes_away_receivers_and_those_that_stay_go_on() {
    let (first, second) = (Receiver::start(), Receiver::start());
    let of = |receiver: &Receiver| hook(receiver, "events = [\"announcement\"]");
    let mut proxy = builder(&config("", &of(&first))).start().unwrap();
    let mut console = console(&proxy);
    first.is_to(Manner::Gone);
    announce(&mut console, "one");
    proxy.reconfigure(&config("", &format!("{}{}", of(&first), of(&second)))).unwrap();
    console.query("RELOAD", SOON).unwrap();
    announce(&mut console, "two");
    until_taken(&second, &["two"]);
    first.is_to(Manner::Takes);
    until_taken(&first, &["one", "two"]);
    proxy.reconfigure(&config("", &of(&second))).unwrap();
    console.query("RELOAD", SOON).unwrap();
    announce(&mut console, "three");
    until_taken(&second, &["two", "three"]);
    assert_eq!((texts(&first).len(), rows(&mut console, "SHOW WEBHOOKS").len()), (2, 1));
}

#[test]
fn of_two_receivers_one_that_hangs_does_not_keep_the_other_from_anything_over_kill_9() {
    let (hangs, takes) = (Receiver::start(), Receiver::start());
    hangs.is_to(Manner::Hangs);
    let of = |receiver: &Receiver| hook(receiver, "events = [\"announcement\"]");
    let mut proxy = proxy_with(&config("", &format!("{}{}", of(&hangs), of(&takes))));
    let expected: Vec<String> = (0..30).map(|n| format!("number {n}")).collect();
    for ten in expected.chunks(10) {
        let mut console = console(&proxy);
        ten.iter().for_each(|text| announce(&mut console, text));
        proxy.kill_9();
        proxy.start_again().unwrap();
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_taken(&takes, &expected);
    assert_eq!(texts(&hangs), Vec::<String>::new());
    hangs.is_to(Manner::Takes);
    until_taken(&hangs, &expected);
    assert!(hangs.all().iter().chain(&takes.all()).all(|one| one.is_signed(SECRET)));
}

#[test]
fn a_webhook_that_is_wrong_is_not_taken_over() {
    let receiver = Receiver::start();
    let url = receiver.url();
    for (text, why) in [
        (format!("url = \"{url}\"\nsecret = \"short\""), "at least 16 characters"),
        (format!("url = \"ftp://x/\"\nsecret = \"{SECRET}\""), "must be a URL"),
        (format!("url = \"https://user:pw@x/\"\nsecret = \"{SECRET}\""), "must be a URL"),
        (format!("url = \"{url}\"\nsecret = \"{SECRET}\"\nevents = [\"modes\"]"), "name of an event"),
        (format!("secret = \"{SECRET}\""), "missing"),
    ] {
        let text = format!("{}[[webhook]]\n{text}\n", config("", ""));
        let text = text.replace("{port}", "1").replace("{dir}", "/tmp");
        let errors = pgsluice::config::Config::from_str(&text, "x.toml").unwrap_err().to_string();
        assert!(errors.contains(why) && errors.contains("webhook.1."), "{errors}");
    }
}
