//! The way between the two processes: messages over a pair of unix sockets, each with the descriptors that belong to it.
//!
//! A message is its length, the number of its descriptors, and JSON. A thread writes and another one reads, so that neither the
//! workers nor the main loop ever wait for the other process. What was written before a process is killed is read all the same.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// Length and number of descriptors.
const HEAD: usize = 5;
/// Longest message (bytes): a client may have sent much that nobody has looked at.
const LONGEST: usize = 1 << 30;
/// Descriptors that come with one message.
const MOST_SOCKETS: usize = 4;
/// Bytes of room for those.
const ROOM: usize = 64;
/// Messages that wait for a thread.
const QUEUE: usize = 64;

/// A message as it is on its way.
struct Outgoing {
    json: Zeroizing<Vec<u8>>,
    sockets: Vec<OwnedFd>,
    written: Option<oneshot::Sender<()>>,
}

/// Says something to the other process.
#[derive(Clone)]
pub struct Speaker(mpsc::Sender<Outgoing>);

/// What the other process has said.
pub struct Heard {
    json: Zeroizing<Vec<u8>>,
    /// Descriptors that came with it.
    pub sockets: Vec<OwnedFd>,
}

impl Heard {
    /// The message. An error: it is none that this program knows.
    pub fn read<'h, T: Deserialize<'h>>(&'h self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.json)
    }
}

/// Both ends of this side.
pub fn open(stream: UnixStream) -> io::Result<(Speaker, mpsc::Receiver<Heard>)> {
    stream.set_nonblocking(false)?;
    let writes = stream.try_clone()?;
    let (speaker, mut said) = mpsc::channel::<Outgoing>(QUEUE);
    let (hear, heard) = mpsc::channel(QUEUE);
    let write = move || {
        while let Some(message) = said.blocking_recv() {
            if write(&writes, &message).is_err() {
                break;
            }
            if let Some(written) = message.written {
                let _ = written.send(());
            }
        }
        let _ = writes.shutdown(Shutdown::Both);
    };
    let read = move || {
        let mut sockets = VecDeque::new();
        while let Ok(message) = read(&stream, &mut sockets) {
            if hear.blocking_send(message).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    };
    std::thread::Builder::new().name("takeover-write".to_owned()).spawn(write)?;
    std::thread::Builder::new().name("takeover-read".to_owned()).spawn(read)?;
    Ok((Speaker(speaker), heard))
}

impl Speaker {
    async fn put(&self, message: &impl Serialize, sockets: Vec<OwnedFd>, written: Option<oneshot::Sender<()>>) -> bool {
        let Ok(json) = serde_json::to_vec(message) else { return false };
        self.0.send(Outgoing { json: Zeroizing::new(json), sockets, written }).await.is_ok()
    }

    /// Says it. False: the other process is gone.
    pub async fn say(&self, message: &impl Serialize, sockets: Vec<OwnedFd>) -> bool {
        self.put(message, sockets, None).await
    }

    /// As [`Self::say_for_sure`], of who may wait with the whole thread.
    pub fn say_and_wait(&self, message: &impl Serialize) -> bool {
        let Ok(json) = serde_json::to_vec(message) else { return false };
        let (tell, told) = oneshot::channel();
        let message = Outgoing { json: Zeroizing::new(json), sockets: Vec::new(), written: Some(tell) };
        self.0.blocking_send(message).is_ok() && told.blocking_recv().is_ok()
    }

    /// Says it and waits until the kernel has it: the other process hears it even if this one is killed now.
    pub async fn say_for_sure(&self, message: &impl Serialize) -> bool {
        let (tell, told) = oneshot::channel();
        self.put(message, Vec::new(), Some(tell)).await && told.await.is_ok()
    }
}

fn write(stream: &UnixStream, message: &Outgoing) -> io::Result<()> {
    let length = u32::try_from(message.json.len()).map_err(io::Error::other)?;
    let count = u8::try_from(message.sockets.len()).map_err(io::Error::other)?;
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = count;
    let sockets: Vec<BorrowedFd<'_>> = message.sockets.iter().map(|one| one.as_fd()).collect();
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("too many sockets"));
    }
    // They go with the first bytes, so that no other message can come between.
    let sent = sendmsg(stream, &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut stream = stream;
    stream.write_all(head.get(sent..).unwrap_or_default())?;
    stream.write_all(&message.json)
}

fn read(stream: &UnixStream, sockets: &mut VecDeque<OwnedFd>) -> io::Result<Heard> {
    let mut head = [0; HEAD];
    let mut got = 0;
    while got < HEAD {
        let n = receive(stream, head.get_mut(got..).unwrap_or_default(), sockets)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        got += n;
    }
    let [a, b, c, d, count] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(io::Error::other)?;
    if length > LONGEST || usize::from(count) > MOST_SOCKETS || sockets.len() < usize::from(count) {
        return Err(io::Error::other("not a message"));
    }
    let mut json = Zeroizing::new(vec![0; length]);
    let mut from = stream;
    from.read_exact(&mut json)?;
    Ok(Heard { json, sockets: sockets.drain(..usize::from(count)).collect() })
}

fn receive(stream: &UnixStream, into: &mut [u8], sockets: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let received = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(into)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_whole_and_with_their_own_descriptors_though_the_sender_is_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (speaker, _) = open(ours).unwrap();
        let (_unused, mut heard) = open(theirs).unwrap();
        let long = "x".repeat(300_000);
        let (mut near, far) = UnixStream::pair().unwrap();
        speaker.say(&"first", vec![]).await;
        speaker.say(&long, vec![far.into()]).await;
        assert!(speaker.say_for_sure(&"last").await);
        drop(speaker);
        assert_eq!(heard.recv().await.unwrap().read::<String>().unwrap(), "first");
        let mut second = heard.recv().await.unwrap();
        assert_eq!((second.read::<String>().unwrap(), second.sockets.len()), (long, 1));
        let passed = UnixStream::from(second.sockets.remove(0));
        (&passed).write_all(b"hello").unwrap();
        drop(passed);
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(heard.recv().await.unwrap().read::<String>().unwrap(), "last");
        assert!(heard.recv().await.is_none());
    }
}
