//! What has let somebody in, or stopped everybody, in PgBouncer: each kind tried against pgsluice.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw};

use crate::stand::{LONG, Stand, wrong};

/// It serves others, at once, in the same process.
fn lives_on(stand: &Stand, pid: Option<u32>, what: &str) {
    let began = Instant::now();
    assert_eq!(stand.outcome("authuser", "app", "authuser-pw"), "authuser", "{what}");
    assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
    assert_eq!(stand.proxy.pid(), pid, "{what}");
}

/// What a connection is told before it is closed: the SQLSTATE of each error.
fn told(raw: &mut Raw) -> Vec<String> {
    let frames = raw.frames_until_closed(LONG).unwrap_or_default();
    frames.iter().filter_map(|frame| frame.error().map(|error| error.code().to_owned())).collect()
}

fn begun(stand: &Stand, user: &str, database: &str) -> Raw {
    let mut raw = Raw::open(&stand.proxy.tcp()).unwrap();
    raw.send(&Login::new(user, database).startup()).unwrap();
    assert_eq!(raw.frame(LONG).unwrap().tag, b'R', "asked for a password");
    raw
}

/// CVE-2026-6664: a length inside a SCRAM message that wraps around.
#[test]
fn lengths_inside_a_scram_message_may_say_anything() {
    let stand = Stand::new("", "");
    let pid = stand.proxy.pid();
    for length in [i32::MIN, -2, -1, 0, 1, 3, 5, 1024, 0x7fff_fff0, i32::MAX] {
        for data in [&b""[..], b"n,,n=,r=x", b"\0\0\0\0", &[0xff; 900]] {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", ""] {
                let mut body = mechanism.as_bytes().to_vec();
                body.push(0);
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(data);
                let mut raw = begun(&stand, "listed", "app");
                raw.send(&message::frame(b'p', &body)).unwrap();
                raw.send(&message::frame(b'p', b"c=biws,r=x,p=")).unwrap();
                let told = told(&mut raw);
                assert!(told.iter().all(|code| code == "08P01" || code == "28P01"), "{length} {mechanism}: {told:?}");
            }
        }
    }
    lives_on(&stand, pid, "malformed SCRAM");
}

/// CVE-2026-6668 and CVE-2026-107348: a header that declares more than 2 GB, before and after the log-in.
#[test]
fn a_header_may_declare_any_length() {
    let stand = Stand::new("max_message_size = \"1GB\"\nclient_memory_limit = \"1GB\"\n", "");
    let pid = stand.proxy.pid();
    for length in [0x8000_0000_u32, 0x8000_0001, 0xffff_ffff, 0xffff_fffb, 0x7fff_ffff, 0, 3] {
        let mut raw = Raw::open(&stand.proxy.tcp()).unwrap();
        raw.send(&length.to_be_bytes()).unwrap();
        raw.send(&[0, 3, 0, 0, b'u']).unwrap_or_default();
        drop(told(&mut raw));
        let mut raw = begun(&stand, "listed", "app");
        let header: Vec<u8> = [&[b'p'][..], &length.to_be_bytes(), b"SCRAM"].concat();
        raw.send(&header).unwrap();
        assert_eq!(told(&mut raw), ["08P01"], "{length:x}");
        let mut raw = stand.log_in(&Login::new("authuser", "app").password("authuser-pw")).unwrap();
        for tag in *b"QPBx" {
            let header: Vec<u8> = [&[tag][..], &length.to_be_bytes(), &[b'x'; 64]].concat();
            if raw.send(&header).is_err() {
                break;
            }
        }
        raw.shut_down_writing().unwrap_or_default();
        drop(told(&mut raw));
        lives_on(&stand, pid, "a long header");
    }
}

/// CVE-2026-107350: another start-up packet in the middle of a log-in must not change who logs in.
#[test]
fn a_second_start_up_packet_is_no_log_in() {
    let stand = Stand::new("auth_user = \"authuser\"\nadmin_users = [\"authuser\"]\n", "");
    let pid = stand.proxy.pid();
    for database in ["app", "nosuch", "pgbouncer"] {
        for later in [Login::new("authuser", "app"), Login::new("scram", "app"), Login::new("authuser", "pgbouncer")] {
            // Instead of the first answer, and instead of the second.
            let mut raw = begun(&stand, "listed", database);
            raw.send(&later.startup()).unwrap();
            assert!(told(&mut raw).iter().all(|code| code == "08P01"), "{database}");
            let mut raw = begun(&stand, "listed", database);
            raw.send(&message::sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abcdefghijklmnopqr")).unwrap();
            assert_eq!(raw.frame(LONG).unwrap().tag, b'R');
            raw.send(&later.startup()).unwrap();
            let frames = raw.frames_until_closed(LONG).unwrap_or_default();
            assert!(frames.iter().all(|frame| frame.tag == b'E'), "{database}: {frames:?}");
        }
    }
    lives_on(&stand, pid, "a second start-up packet");
}

/// CVE-2026-107349: an empty name in the start-up packet's options.
#[test]
fn options_without_a_name_are_refused_or_taken_and_never_turned_over_for_ever() {
    let stand = Stand::new("ignore_startup_parameters = [\"extra_float_digits\"]\n", "");
    let pid = stand.proxy.pid();
    for options in
        ["-c=", "-c =", "-c", "--", "--=", "-c =x", "-c x", "-", "\\", "-c\\ =", "--=x -c=", "-c= -c= -c=", "=", " "]
    {
        let login = Login::new("authuser", "app").password("authuser-pw").parameter("options", options);
        let direct = Raw::connect(&stand.cluster.primary().tcp(), &login).map(|_| ());
        let ours = stand.log_in(&login).map(|_| ());
        let code = |result: &Result<(), pgsluice_fixtures::RawError>| {
            result.as_ref().err().map(|error| error.sqlstate().unwrap_or("none").to_owned())
        };
        assert_eq!(code(&ours), code(&direct), "{options}");
    }
    lives_on(&stand, pid, "empty options");
}

/// CVE-2026-6667: who may look at the console may not act on it.
#[test]
fn who_may_look_at_the_console_may_not_kill() {
    let stand = Stand::new("auth_user = \"authuser\"\nauth_dbname = \"app\"\nstats_users = [\"scram\"]\n", "");
    let mut victim = stand.log_in(&Login::new("authuser", "app").password("authuser-pw")).unwrap();
    let mut console = stand.log_in(&Login::new("scram", "pgbouncer").password("scram-pw")).unwrap();
    let clients = console.query("SHOW CLIENTS", LONG).unwrap();
    assert!(!clients[0].rows.is_empty());
    for command in [
        "KILL_CLIENT 1",
        "KILL app",
        "KILL",
        "PAUSE",
        "RESUME",
        "DISABLE app",
        "RECONNECT",
        "RELOAD",
        "SHUTDOWN",
        "SUSPEND",
        "SET max_client_conn = 1",
        "MAINTENANCE ON app",
    ] {
        assert!(console.query(command, LONG).is_err(), "{command}");
    }
    assert_eq!(victim.query("SELECT 1", LONG).unwrap()[0].rows.len(), 1);
}

/// The kind of the failures with a forced user: the keys that a client's log-in uncovers are its own alone.
#[test]
fn keys_of_a_client_do_not_replace_those_of_a_forced_user() {
    let stand = Stand::new(
        "auth_user = \"authuser\"\nadmin_users = [\"listed\"]\n",
        "[databases.forced]\ndbname = \"app\"\nuser = \"later\"\npassword = \"later-pw\"\n",
    );
    for _ in 0..3 {
        assert_eq!(stand.outcome("scram", "forced", "scram-pw"), "later");
        assert_eq!(stand.outcome("Or'd \"er", "forced", "quoted-pw"), "later");
        assert_eq!(stand.outcome("scram", "app", "scram-pw"), "scram");
        assert_eq!(stand.outcome("later", "app", "scram-pw"), wrong("later"));
        // Its server connections are opened anew.
        let mut console = stand.log_in(&Login::new("listed", "pgsluice").password("listed-pw")).unwrap();
        console.query("RECONNECT", LONG).unwrap();
    }
}

/// How a server behaves that wants no good.
#[derive(Clone, Copy, Debug)]
enum Evil {
    /// A nonce of so many bytes (CVE-2026-6665).
    LongNonce(usize),
    /// An error without SQLSTATE, without anything, or without its end (CVE-2026-6666).
    Error(&'static [u8]),
    /// So many rounds (CVE-2026-6669).
    Rounds(&'static str),
    /// A header with that length (CVE-2026-6668).
    Header(u32),
    /// An answer to auth_query that is none.
    Rows(&'static [u8]),
}

/// Serves every connection so; counts them.
fn evil_server(evil: Evil) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, SeqCst);
            std::thread::spawn(move || drop(misbehave(stream, evil)));
        }
    });
    (port, count)
}

fn packet(stream: &mut TcpStream, tagged: bool) -> std::io::Result<Vec<u8>> {
    let mut header = vec![0; if tagged { 5 } else { 4 }];
    stream.read_exact(&mut header)?;
    let length = u32::from_be_bytes(header[header.len() - 4..].try_into().unwrap());
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn misbehave(mut stream: TcpStream, evil: Evil) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    loop {
        let body = packet(&mut stream, false)?;
        if body == 80_877_103_u32.to_be_bytes() {
            stream.write_all(b"N")?;
        } else {
            break;
        }
    }
    let scram = |stream: &mut TcpStream, answer: &dyn Fn(&str) -> String| -> std::io::Result<()> {
        stream.write_all(&message::frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
        let first = packet(stream, true)?;
        let text = String::from_utf8_lossy(&first).into_owned();
        let nonce = text.rsplit("r=").next().unwrap().to_owned();
        stream.write_all(&message::frame(b'R', &[b"\0\0\0\x0b", answer(&nonce).as_bytes()].concat()))?;
        packet(stream, true).map(drop)
    };
    match evil {
        Evil::LongNonce(more) => {
            scram(&mut stream, &|nonce| format!("r={nonce}{},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "x".repeat(more)))?;
            stream.write_all(&message::frame(b'R', &[&b"\0\0\0\x0cv="[..], &vec![b'A'; more]].concat()))?;
        }
        Evil::Rounds(rounds) => {
            scram(&mut stream, &|nonce| format!("r={nonce}xyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={rounds}"))?;
        }
        Evil::Error(body) => stream.write_all(&message::frame(b'E', body))?,
        Evil::Header(length) => {
            stream.write_all(&[&b"R"[..], &length.to_be_bytes(), &[0; 4]].concat())?;
        }
        Evil::Rows(row) => {
            stream.write_all(&message::frame(b'R', &[0; 4]))?;
            stream.write_all(&message::frame(b'Z', b"I"))?;
            loop {
                packet(&mut stream, true)?;
                stream.write_all(&message::frame(b'D', row))?;
                stream.write_all(&message::frame(b'C', b"SELECT 1\0"))?;
                stream.write_all(&message::frame(b'Z', b"I"))?;
            }
        }
    }
    let mut rest = [0; 64];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

/// CVE-2026-6665, 6666, 6668 and 6669, from a server's side: its own clients are refused, and nobody else notices.
#[test]
fn a_server_that_wants_no_good_harms_nobody_but_its_own_clients() {
    let all = [
        Evil::LongNonce(2_000),
        Evil::LongNonce(60_000),
        Evil::LongNonce(100_000),
        Evil::Error(b"SFATAL\0Mwhat\0\0"),
        Evil::Error(b""),
        Evil::Error(b"\0"),
        Evil::Error(b"SFATAL\0C"),
        Evil::Error(b"CXX\0\0"),
        Evil::Error(b"SFATAL\0C28P01\0M\xff\xfe\0\0"),
        Evil::Rounds("4294967295"),
        Evil::Rounds("2147483647"),
        Evil::Rounds("99999999999999999999"),
        Evil::Rounds("-1"),
        Evil::Rounds("0"),
        Evil::Header(0x8000_0005),
        Evil::Header(0xffff_ffff),
        Evil::Header(0),
        Evil::Rows(b""),
        Evil::Rows(b"\0\x02\xff\xff\xff\xfe"),
        Evil::Rows(b"\xff\xff"),
        Evil::Rows(b"\0\x02\0\0\0\x06nobody\x7f\xff\xff\xff"),
        Evil::Rows(b"\0\x02\0\0\0\x05other\0\0\0\x01x"),
    ];
    let servers: Vec<_> = all.iter().map(|evil| evil_server(*evil)).collect();
    let mut end = String::from("cluster = \"main\"\n");
    for (at, (port, _)) in servers.iter().enumerate() {
        end += &format!(
            "[databases.evil{at}]\ncluster = \"evil{at}\"\nauth_user = \"pgbouncer\"\n[clusters.evil{at}]\n\
             upstreams = [\"127.0.0.1:{port}\"]\nmonitor_user = \"monitor\"\nmonitor_password = \"monitor-pw\"\n\
             monitor_interval = \"1s\"\nmonitor_timeout = \"1s\"\n"
        );
    }
    let stand = Stand::new("query_wait_timeout = \"1s\"\nserver_connect_timeout = \"1s\"\n", &end);
    let pid = stand.proxy.pid();
    std::thread::scope(|scope| {
        for (at, evil) in all.iter().enumerate() {
            let stand = &stand;
            scope.spawn(move || {
                for (user, password) in [("nobody", "x"), ("listed", "listed-pw"), ("listed", "wrong")] {
                    let outcome = stand.outcome(user, &format!("evil{at}"), password);
                    // Such a server lets in whom it likes.
                    let is_let_in = matches!(evil, Evil::Rows(_)) && user == "listed" && !outcome.contains(' ');
                    let is_refused = outcome.contains(' ') && !outcome.contains("no answer");
                    assert!(is_let_in || is_refused, "{evil:?}: {user} {outcome}");
                }
            });
        }
        for _ in 0..20 {
            lives_on(&stand, pid, "beside them");
        }
    });
    for (evil, (_, count)) in all.iter().zip(&servers) {
        assert!(count.load(SeqCst) > 1, "{evil:?}");
    }
    lives_on(&stand, pid, "behind them");
}
