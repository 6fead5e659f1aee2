//! A receiver of webhooks that answers as it is told, on a port that it keeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// What it does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// 204
    Takes,
    /// It notes it, and says 500.
    Fails,
    /// It notes it, and never answers.
    Hangs,
    /// It closes the connection at once.
    Gone,
}

/// A request that was noted.
#[derive(Clone, Debug)]
pub struct Received {
    pub manner: Manner,
    pub path: String,
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    /// Whether the signature is that of the secret, over time and body.
    pub fn is_signed(&self, secret: &str) -> bool {
        let signature = self.header("pgsluice-signature");
        let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{time}.{}", self.body).as_bytes());
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let now = jiff::Timestamp::now().as_second();
        expected == hex && (now - time.parse::<i64>().unwrap()).abs() < 600
    }
}

#[derive(Clone)]
pub struct Receiver {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, manner: Arc::new(Mutex::new(Manner::Takes)), received: Arc::default() };
        let serves = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serves = serves.clone();
                thread::spawn(move || serves.serve(stream));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/t0ken-in-the-path", self.port)
    }

    pub fn is_to(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
            }
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).ok()?;
            let manner = *self.manner.lock().unwrap();
            if manner == Manner::Gone {
                return None;
            }
            let path = head.split(' ').nth(1)?.to_owned();
            let body = String::from_utf8(body).ok()?;
            self.received.lock().unwrap().push(Received { manner, path, head, body });
            match manner {
                Manner::Takes => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?,
                Manner::Fails => {
                    stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno").ok()?;
                }
                Manner::Hangs | Manner::Gone => {
                    thread::sleep(Duration::from_secs(300));
                    return None;
                }
            }
        }
    }

    /// Everything that has come.
    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What it has taken, without what has come twice.
    pub fn taken(&self) -> Vec<Received> {
        let mut taken: Vec<Received> = Vec::new();
        for one in self.all() {
            let known = |other: &Received| other.json()["id"] == one.json()["id"];
            if one.manner == Manner::Takes && !taken.iter().any(known) {
                taken.push(one);
            }
        }
        taken
    }
}
