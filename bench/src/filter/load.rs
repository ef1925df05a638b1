//! Load over HTTP/1.1 on kept connections, and a check of every answer.

use std::hint;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::filter::requests::Requests;

/// Requests that are under way at the same time: enough that a worker always has one to go on with.
const CONNECTIONS: usize = 8;
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Looks at a connection between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 4_096;
/// Room for one answer of the routes that the benchmark sets up.
const ANSWER_BYTES_MAX: usize = 4_096;

/// How a connection waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// By looking again and again, on a core of its own: then Envoy never has to wake anybody.
    Spinning,
    /// In the kernel: where the cores are shared.
    Sleeping,
}

/// One connection with at most one request under way.
pub(crate) struct Connection {
    stream: TcpStream,
    waiting: Waiting,
    buffer: Box<[u8; ANSWER_BYTES_MAX]>,
}

/// Some connections that always have a request under way each.
pub(crate) struct ClosedLoop {
    connections: Vec<Connection>,
}

/// When a closed loop ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// After so many answers.
    Answers(u64),
    /// After so long.
    Time(Duration),
}

// === impl Connection ===

impl Connection {
    /// Connects.
    pub(crate) fn open(to: SocketAddr, waiting: Waiting) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(waiting == Waiting::Spinning)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        Ok(Self { stream, waiting, buffer: Box::new([0; ANSWER_BYTES_MAX]) })
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        // With nothing under way the kernel has room for a request, so this does not wait.
        self.stream.write_all(request).context("a request cannot be sent")
    }

    /// The body of the answer; an error for any status but 200.
    pub(crate) fn answer(&mut self) -> Result<&[u8]> {
        let mut filled = 0;
        loop {
            filled += self.read(filled)?;
            let answer = self.buffer.get(..filled).unwrap_or_default();
            if let Some(start) = body_of_whole(answer)? {
                return Ok(self.buffer.get(start..filled).unwrap_or_default());
            }
        }
    }

    fn read(&mut self, filled: usize) -> Result<usize> {
        let room = self.buffer.get_mut(filled..).unwrap_or_default();
        ensure!(!room.is_empty(), "an answer is longer than {ANSWER_BYTES_MAX} bytes");
        let mut waiting_since = None;
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                match self.stream.read(room) {
                    Ok(0) => bail!("the connection was closed"),
                    Ok(bytes) => return Ok(bytes),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.waiting.go_on()?,
                    Err(error) => return Err(error).context("an answer cannot be read"),
                }
            }
            let since: &Instant = waiting_since.get_or_insert_with(Instant::now);
            ensure!(since.elapsed() < ANSWER_DEADLINE, "{}", no_answer());
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", ANSWER_DEADLINE.as_secs())
}

/// Where the body of a whole answer starts; none while a part is missing.
fn body_of_whole(answer: &[u8]) -> Result<Option<usize>> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(end) = find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = answer.get(..end).unwrap_or_default();
    if !head.starts_with(b"HTTP/1.1 200 ") {
        bail!("the answer is no 200: {}", String::from_utf8_lossy(answer));
    }
    let length = find(head, LENGTH).and_then(|at| head.get(at + LENGTH.len()..));
    let digits =
        length.context("the answer tells no length")?.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    let start = end + 4;
    ensure!(answer.len() <= start + length, "there is more than one answer to one request");
    Ok((answer.len() == start + length).then_some(start))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

// === impl ClosedLoop ===

impl ClosedLoop {
    /// Opens the connections.
    pub(crate) fn open(to: SocketAddr, waiting: Waiting) -> Result<Self> {
        let connections = (0..CONNECTIONS).map(|_| Connection::open(to, waiting));
        Ok(Self { connections: connections.collect::<Result<_>>()? })
    }

    /// Sends requests, checks every answer, and gives how many there were. All are answered when this returns.
    pub(crate) fn run(&mut self, requests: &mut Requests, until: Until) -> Result<u64> {
        let started = Instant::now();
        let mut answered = 0;
        for connection in &mut self.connections {
            connection.send(requests.next())?;
        }
        while !until.is_over(answered, started) {
            for connection in &mut self.connections {
                connection.check(requests.body)?;
                connection.send(requests.next())?;
            }
            answered += CONNECTIONS as u64;
        }
        for connection in &mut self.connections {
            connection.check(requests.body)?;
        }
        Ok(answered + CONNECTIONS as u64)
    }
}

// === impl Connection, as a loop uses it ===

impl Connection {
    fn check(&mut self, expected: &str) -> Result<()> {
        let body = self.answer()?;
        if body != expected.as_bytes() {
            bail!("{:?} answered, not {expected:?}", String::from_utf8_lossy(body));
        }
        Ok(())
    }
}

// === impl Waiting ===

impl Waiting {
    /// What to do when there is nothing to read.
    fn go_on(self) -> Result<()> {
        match self {
            Self::Spinning => {
                hint::spin_loop();
                Ok(())
            }
            // The kernel waited for as long as it was told to.
            Self::Sleeping => bail!(no_answer()),
        }
    }
}

// === impl Until ===

impl Until {
    fn is_over(self, answered: u64, started: Instant) -> bool {
        match self {
            Self::Answers(wanted) => answered >= wanted,
            Self::Time(wanted) => started.elapsed() >= wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_200_is_an_answer() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nserver: envoy\r\n\r\ngray";
        assert_eq!(body_of_whole(whole).unwrap(), Some(whole.len() - 4));
        for end in 0..whole.len() {
            assert_eq!(body_of_whole(&whole[..end]).unwrap(), None, "{end}");
        }
        assert!(body_of_whole(&[&whole[..], b"H"].concat()).is_err());
        assert!(body_of_whole(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(body_of_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
