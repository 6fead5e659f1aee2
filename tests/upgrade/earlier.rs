//! The program takes over from one of the version before it: this test is that one, and says what that said (`format_1`).

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Login, Raw};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::stand::{SOON, config, pgsluice, value};

/// As it was first written: it has to be understood for as long as the format is.
const GATES: &str = include_str!("format_1/gates.json");
const BEGIN: &str = include_str!("format_1/begin.json");
const CLIENT: &str = include_str!("format_1/client.json");

/// The former process's end of the link: the length, the number of descriptors, and JSON.
struct Link(UnixStream);

impl Link {
    fn say(&mut self, message: &Value, socket: Option<BorrowedFd<'_>>) {
        let text = message.to_string();
        let sockets: Vec<_> = socket.into_iter().collect();
        let mut head = [0; 5];
        head[..4].copy_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
        head[4] = u8::try_from(sockets.len()).unwrap();
        let mut room = [MaybeUninit::uninit(); 64];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        if !sockets.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
        }
        let sent = sendmsg(&self.0, &[IoSlice::new(&head)], &mut ancillary, SendFlags::empty()).unwrap();
        assert_eq!(sent, head.len());
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_le_bytes(head[..4].try_into().unwrap());
        let mut text = vec![0; length as usize];
        self.0.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

/// Ends with the test.
struct New(Child);

impl Drop for New {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one answer's rows are, on a connection that nobody has logged in on.
fn ask(stream: &mut TcpStream, bytes: &[u8]) -> Vec<Vec<u8>> {
    stream.write_all(bytes).unwrap();
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        match head[0] {
            // The only column, behind their number and its length.
            b'D' => rows.push(body[6..].to_vec()),
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            b'Z' => return rows,
            _ => {}
        }
    }
}

#[test]
fn a_process_of_the_format_before_gives_its_gates_and_clients_to_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // As a process hands it over.
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let text = config("", "").replace("{port}", &address.port().to_string());
    let text = text.replace("state_file = \"{dir}/state.json\"", "state_file = \"\"");
    let text = text.replace("unix_socket_dir = \"{dir}\"\n", "").replace("{dir}", &folder.path().display().to_string());
    let path = folder.path().join("pgsluice.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("users"), "\"app\" \"app\"\n\"admin\" \"secret\"\n").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(SOON)).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new(pgsluice());
    command.args(["run", "--config"]).arg(&path).env("PGSLUICE_TAKEOVER", "1");
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(log).current_dir(folder.path());
    let _new = New(command.spawn().unwrap());
    drop(command);
    let mut link = Link(ours);
    let hello = link.hear();
    assert!(hello["hello"]["formats"][0] == 1, "{hello}");

    let mut begin: Value = serde_json::from_str(BEGIN).unwrap();
    let gates: Value = serde_json::from_str(GATES).unwrap();
    begin["begin"]["gates"] = gates.to_string().into();
    link.say(&begin, None);
    link.say(&json!({ "socket": { "clients": [address, false] } }), Some(listener.as_fd()));
    assert_eq!(link.hear(), "ready", "{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    link.say(&json!("serve"), None);
    assert_eq!(link.hear(), "serving");

    // A client that has logged in there, and has sent a message that nobody has read.
    let pair = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(pair.local_addr().unwrap()).unwrap();
    near.set_read_timeout(Some(SOON)).unwrap();
    let far = pair.accept().unwrap().0;
    link.say(&serde_json::from_str(CLIENT).unwrap(), Some(far.as_fd()));
    assert_eq!(link.hear(), json!({ "answer": { "number": 1, "refused": null } }));
    assert_eq!(answer(&mut near), [b"not read yet"]);
    for (sql, wanted) in [("show timezone", "Asia/Tokyo"), ("show work_mem", "7MB"), ("execute q1", "2")] {
        assert_eq!(ask(&mut near, &message::query(sql)), [wanted.as_bytes()], "{sql}");
    }
    let bind = [message::bind("", "s1", &[Some(b"41")]), message::execute("", 0), message::sync()].concat();
    assert_eq!(ask(&mut near, &bind), [b"42"]);

    // What a later version would say is passed over, and the gate that was closed is closed.
    link.say(&json!({ "later": { "n": 1 } }), None);
    let login = |database: &str| Login::new("app", database).password("app");
    let connect = |database: &str| Raw::connect(&Address::Tcp(address), &login(database));
    let error = connect("shut").unwrap().query("insert into w values (-2)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"));
    assert_eq!(value(&mut connect("shut").unwrap(), "show pgsluice.epoch"), "7");
    assert!(connect("session").is_err(), "it was disabled");

    // The former process has ended.
    drop((link, far));
    assert_eq!(value(&mut connect("app").unwrap(), "select 1"), "1");
    assert_eq!(ask(&mut near, &message::query("show work_mem")), [b"7MB"]);
}
