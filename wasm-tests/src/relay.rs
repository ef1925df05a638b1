//! A relay between a proxy and the daemon that counts what the proxy sends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A relay. Its connections end with those of their clients.
pub struct Relay {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

// === impl Relay ===

impl Relay {
    /// Begins to relay connections to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, sent) = (listener.local_addr()?, Arc::<AtomicU64>::default());
        let count = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Who finds nobody tries again.
                let _ = relay(client, target, &count);
            }
        });
        Ok(Self { address, sent })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that its clients sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn relay(client: TcpStream, target: SocketAddr, sent: &Arc<AtomicU64>) -> Result<()> {
    let server = TcpStream::connect(target)?;
    let (from_server, to_client, sent) = (server.try_clone()?, client.try_clone()?, Arc::clone(sent));
    thread::spawn(move || pump(client, server, &sent));
    thread::spawn(move || pump(from_server, to_client, &AtomicU64::new(0)));
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        count.fetch_add(bytes as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
