//! A relay before the server: it notes the frames that the server sends, and lets a reader be slow.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::stage::Stage;

/// The types of HTTP/2 frames that are looked for.
pub const HEADERS: u8 = 1;
pub const GOAWAY: u8 = 7;
/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;
/// Bytes before what a frame carries.
const FRAME_HEAD_BYTES: usize = 9;

/// A frame's type, and whether it is the last of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: u8,
    pub is_last: bool,
}

/// One connection to a server, through here.
pub struct Relay {
    address: String,
    sent: Arc<Mutex<Vec<u8>>>,
    count: watch::Receiver<usize>,
    frozen: watch::Sender<bool>,
}

// === impl Relay ===

impl Relay {
    /// A relay that hands on at most so many bytes at a time, and then pauses.
    pub async fn start(stage: &Stage, chunk: usize, pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = stage.address().trim_start_matches("http://").to_owned();
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let (counted, count) = watch::channel(0);
        let kept = sent.clone();
        let frozen = watch::Sender::new(false);
        let mut thaw = frozen.subscribe();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await?;
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            let mut part = vec![0; chunk];
            loop {
                let count = from_server.read(&mut part).await?;
                if count == 0 {
                    return io::Result::Ok(());
                }
                let _ = thaw.wait_for(|is_frozen| !is_frozen).await;
                kept.lock().unwrap().extend_from_slice(&part[..count]);
                to_client.write_all(&part[..count]).await?;
                counted.send_modify(|sum| *sum += count);
                tokio::time::sleep(pause).await;
            }
        });
        Self { address, sent, count, frozen }
    }

    /// Hands on nothing of the server any more, as a network that is cut.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// A connection through here.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address.clone()).unwrap().connect_lazy()
    }

    /// Waits until so many bytes of the server were handed on.
    pub async fn until_sent(&self, bytes: usize) {
        self.count.clone().wait_for(|count| *count >= bytes).await.unwrap();
    }

    /// Waits until a frame of this type was handed on, and gives all that were by then.
    pub async fn until_frame(&self, kind: u8) -> Vec<Seen> {
        let mut count = self.count.clone();
        loop {
            let frames = self.frames();
            if frames.iter().any(|frame| frame.kind == kind) {
                return frames;
            }
            count.changed().await.unwrap();
        }
    }

    /// Bytes of the server that were handed on.
    pub fn sent(&self) -> usize {
        *self.count.borrow()
    }

    /// The frames of the server so far.
    pub fn frames(&self) -> Vec<Seen> {
        let sent = self.sent.lock().unwrap();
        let (mut rest, mut frames) = (sent.as_slice(), Vec::new());
        while let Some((head, behind)) = rest.split_at_checked(FRAME_HEAD_BYTES) {
            let [a, b, c, kind, flags, ..] = head else { unreachable!() };
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            frames.push(Seen { kind: *kind, is_last: flags & END_STREAM != 0 });
            let Some(next) = behind.get(length..) else { break };
            rest = next;
        }
        frames
    }
}
