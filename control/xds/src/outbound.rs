//! The body of a discovery stream: the pieces of each response as they lie in memory, and the status at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame as HttpFrame};
use tokio::sync::mpsc;
use tonic::Status;

use crate::telemetry::Queued;

/// A response, or the status at the end. Boxed, because the channel keeps room for 32 of them, for each of ten thousand streams.
pub(crate) type Word = Box<Result<Queued, Status>>;

/// What a stream sends. The next response is taken only when the one before was handed to the connection.
#[derive(Debug)]
pub(crate) struct Outbound {
    receiver: mpsc::Receiver<Word>,
    /// What is left of the response that was taken last.
    pieces: VecDeque<Bytes>,
    /// Whether the status was sent, behind which nothing may come.
    is_over: bool,
}

// === impl Outbound ===

impl Outbound {
    pub(crate) fn new(receiver: mpsc::Receiver<Word>) -> Self {
        Self { receiver, pieces: VecDeque::new(), is_over: false }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(HttpFrame::data(piece))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let status = match ready!(self.receiver.poll_recv(context)).map(|word| *word) {
                Some(Ok(queued)) => {
                    self.pieces.extend(queued.take().pieces());
                    continue;
                }
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.is_over = true;
            return Poll::Ready(Some(Ok(HttpFrame::trailers(trailers(&status)))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.pieces.is_empty()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It fails for a text that is no header value, and none of ours is one. Then the client sees a stream with no status.
    let _ = status.add_header(&mut trailers);
    trailers
}
