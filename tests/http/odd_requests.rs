//! Requests as no program of ours would make them.

use crate::stand::{Answer, OPERATE, READ, Stand};

const MAINTENANCE: &str = "/v1/databases/app/maintenance?wait=20s";

fn mode(stand: &Stand) -> String {
    stand.console("SHOW MAINTENANCE app")[0][1].clone().unwrap()
}

#[test]
fn what_a_resource_does_not_know_is_an_error_and_nothing_is_done() {
    let stand = Stand::new("", "banner_public = true");
    let asked = [
        ("PUT", "/v1/databases/app/maintenance?drain_timeout=5s&wait=20s"),
        ("PUT", "/v1/databases/app/offline?wait=20s&until=infinity"),
        ("POST", "/v1/databases/app/check?datbase=x"),
        ("PUT", "/v1/databases/app/maintenance?Wait=20s"),
        ("PUT", "/v1/databases/app/maintenance?%77ai=1"),
        ("GET", "/v1/clients?databse=app"),
        ("GET", "/v1/databases/app?x"),
        ("GET", "/v1/operations?status=running"),
        ("GET", "/v1/session?access_token=turn-the-wheel-please"),
        ("GET", "/v1/events?since=5"),
        ("GET", "/v1/clients?limit=1&limit=2"),
        ("GET", "/v1/clients?limit=0"),
        ("GET", "/v1/clients?offset=-1"),
    ];
    for (method, path) in asked {
        stand.ask(method, path, OPERATE, "", "").is_problem(400, "22023");
    }
    let head = stand.ask("HEAD", "/v1/clients?databse=app", READ, "", "");
    assert_eq!((head.status, head.body.as_str()), (400, ""));
    assert_eq!(mode(&stand), "read_write");
    // What is public is asked by browsers and probes, which add something against caches.
    for path in ["/livez?_=17", "/readyz?_=17&for=writes", "/v1/databases/app/banner?_=17"] {
        assert_eq!(stand.ask("GET", path, "", "", "").status, 200, "{path}");
    }
}

#[test]
fn whatever_goes_wrong_is_a_problem_with_a_sqlstate() {
    let stand = Stand::new("", "");
    let long = format!("/v1/databases/{}", "a".repeat(7000));
    let large = format!("{{\"message\":\"{}\"}}", "a".repeat(100_000));
    let kind = |kind: &str| format!("Content-Type: {kind}\r\n");
    let body = "{\"message\":\"m\"}";
    let send = |method, path, headers: &str, body: &str| stand.ask(method, path, OPERATE, headers, body);
    let raw = |headers: &str| {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, stand.http_port())).unwrap();
        let length = body.len();
        write!(stream, "PUT {MAINTENANCE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATE}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
        Answer::read(stream)
    };
    let key = "Idempotency-Key: a key\r\n";
    assert_eq!(send("POST", "/v1/databases/app/announcement", key, "{\"text\":\"one\"}").status, 200);
    let all = [
        (404, send("GET", "/", "", "")),
        (404, send("GET", "/nosuch", "", "")),
        (404, send("GET", "//v1/databases", "", "")),
        (404, send("GET", "/v1/databases/", "", "")),
        (404, send("GET", "/v1/databases/nosuch", "", "")),
        (404, send("GET", &long, "", "")),
        (404, send("GET", "/v1/databases/%00", "", "")),
        (404, send("GET", "/v1/operations/nosuch", "", "")),
        (400, send("GET", "/v1/databases/%ff%fe", "", "")),
        (405, send("POST", "/v1/databases", "", "")),
        (405, send("OPTIONS", "/v1/databases", "Origin: http://x\r\nAccess-Control-Request-Method: PUT\r\n", "")),
        (405, send("BREW", "/livez", "", "")),
        (413, send("PUT", MAINTENANCE, "", &large)),
        (415, raw("")),
        (415, raw(&kind("text/plain"))),
        (415, raw(&kind("application/x-www-form-urlencoded"))),
        (415, raw(&kind("application/vnd.api+json"))),
        (415, raw(&kind("multipart/form-data; boundary=x"))),
        (415, raw(&kind("nonsense"))),
        (415, send("PUT", MAINTENANCE, "Content-Encoding: gzip\r\n", body)),
        (422, send("POST", "/v1/databases/app/announcement", key, "{\"text\":\"two\"}")),
        (422, send("POST", "/v1/databases/other/announcement", key, "{\"text\":\"one\"}")),
        (422, send("PUT", MAINTENANCE, key, "")),
        (400, send("PUT", MAINTENANCE, "Idempotency-Key: \r\n", "")),
        (400, send("PUT", MAINTENANCE, &format!("Idempotency-Key: {}\r\n", "k".repeat(256)), "")),
        (400, send("PUT", MAINTENANCE, "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "")),
        (400, send("PUT", MAINTENANCE, &format!("Authorization: Bearer {READ}\r\n"), "")),
        (401, stand.ask("GET", "/v1/databases", "", "Authorization: Basic ZGJhOmRiYQ==\r\n", "")),
        (401, stand.ask("GET", "/v1/databases", "", "Authorization: Bearer\r\n", "")),
        (401, stand.ask("GET", "/v1/databases", &"k".repeat(7000), "", "")),
        (403, stand.ask("PUT", MAINTENANCE, READ, "", "")),
    ];
    for (at, (status, answer)) in all.iter().enumerate() {
        assert_eq!(answer.status, *status, "{at}: {answer:?}");
        let code = answer.json()["sqlstate"].as_str().unwrap_or_else(|| panic!("{at}: {answer:?}")).to_owned();
        assert_eq!(code.len(), 5, "{answer:?}");
        answer.is_problem(*status, &code);
        assert!(!answer.head.contains("access-control-allow"), "{at}: {answer:?}");
    }
    assert_eq!(mode(&stand), "read_write");
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=\"utf-8\""] {
        assert_eq!(raw(&format!("Content-Type: {kind}\r\nContent-Encoding: identity\r\n")).status, 200, "{kind}");
    }
}

#[test]
fn a_wrong_token_counts_wherever_it_is_tried() {
    for path in ["/metrics", "/v1/databases/app/banner", "/v1/session"] {
        let stand = Stand::new("", "token = \"a token of the banner's\"");
        for right in ["a token of the banner's", READ] {
            let wanted = if path == "/v1/session" && right != READ { 401 } else { 200 };
            assert_eq!(stand.ask("GET", path, right, "", "").status, wanted, "{path}");
        }
        let tried = (0..20).map(|n| stand.ask("GET", path, &format!("a guess of mine, {n:05}"), "", ""));
        let barred: Vec<_> = tried.filter(|answer| answer.status == 429).collect();
        assert!((10..=11).contains(&barred.len()), "{path}: {barred:?}");
        barred[0].is_problem(429, "28000");
        assert!(barred[0].head.contains("retry-after: "));
        assert_eq!(stand.ask("GET", path, OPERATE, "", "").status, 429, "{path}: it would be found by trying");
        assert_eq!(stand.ask("GET", path, READ, "", "").status, 200, "{path}: this one has been right from there");
    }
}

/// A HEAD has what GET has but for the body, and a range is not served: a part of JSON is of no use.
#[test]
fn head_is_get_without_a_body_and_ranges_are_answered_with_all() {
    let stand = Stand::new("", "");
    for path in ["/livez", "/readyz", "/openapi.json", "/v1/databases", "/v1/pools?limit=5", "/status", "/metrics"] {
        let whole = stand.get(path);
        let head = stand.ask("HEAD", path, READ, "", "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let length = format!("content-length: {}", whole.body.len());
        assert!(path == "/metrics" || head.head.contains(&length), "{path}: {}", head.head);
        let part = stand.ask("GET", path, READ, "Range: bytes=0-10\r\n", "");
        assert_eq!(part.status, 200, "{path}");
        assert!(path == "/metrics" || part.body == whole.body, "{path}");
    }
}
