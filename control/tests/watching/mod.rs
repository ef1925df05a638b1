//! Somebody who reads the server-sent events of orders.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::daemon::Daemon;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who watches.
pub struct Watch {
    lines: BufReader<TcpStream>,
    pub status: u16,
    pub head: String,
    pub last_id: String,
}

impl Watch {
    pub fn open(daemon: &Daemon, path: &str, last_id: &str) -> Self {
        let address = daemon.server.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = if last_id.is_empty() { String::new() } else { format!("last-event-id: {last_id}\r\n") };
        write!(stream, "GET /api/v1/orders{path} HTTP/1.1\r\nhost: {address}\r\n{last}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { lines, status, head: head.to_lowercase(), last_id: last_id.to_owned() }
    }

    /// The next event's name and data; none when the stream ends.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", event)) => name = event.to_owned(),
                Some(("data", json)) => data = serde_json::from_str(json).unwrap(),
                Some(("id", id)) => self.last_id = id.to_owned(),
                // The end of an event; the sizes of chunks stand on lines of their own, too.
                None if line.trim_end().is_empty() && !name.is_empty() => return Some((name, data)),
                _ => {}
            }
        }
    }

    /// The next order that is told.
    pub fn order(&mut self) -> Value {
        let (name, order) = self.next().unwrap();
        assert_eq!(name, "order", "{order}");
        order
    }

    /// Reads until an order is told that is in a phase.
    pub fn until(&mut self, id: u64, phase: &str) -> Value {
        loop {
            let order = self.order();
            if order["id"] == id && order["phase"] == phase {
                return order;
            }
        }
    }

    pub fn synced(&mut self) {
        assert_eq!(self.next().unwrap().0, "synced");
    }
}
