//! How long a refusal takes tells nothing.

use std::time::{Duration, Instant};

use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand, wrong};

fn median(stand: &Stand, user: impl Fn(usize) -> String, password: &str) -> Duration {
    let mut times: Vec<Duration> = (0..41)
        .map(|at| {
            let (user, began) = (user(at), Instant::now());
            assert_eq!(stand.outcome(&user, "app", password), wrong(&user));
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_wrong_password_and_a_user_who_does_not_exist_take_the_same_time() {
    for auth_type in ["scram-sha-256", "plain"] {
        let stand = Stand::new(&format!("auth_user = \"authuser\"\nauth_type = \"{auth_type}\"\n"), "");
        let measure = || {
            let wrong_password = median(&stand, |_| "scram".to_owned(), "wrong");
            let unknown = median(&stand, |at| format!("nobody{at}"), "wrong");
            let no_password = median(&stand, |_| "nopassword".to_owned(), "wrong");
            let times = [wrong_password, unknown, no_password];
            let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            // PBKDF2, or a question to the server, takes as long as all the rest. Other tests may be in the way.
            if *most < *least * 3 / 2 { Ok(()) } else { Err(format!("{auth_type}: {times:?}")) }
        };
        wait::until_ok(LONG, "equal times", measure);
    }
}
