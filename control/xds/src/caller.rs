//! Who is at the other end of a connection, as its certificate says.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::Status;

use crate::spiffe::{Grants, SpiffeId};

/// Who opened a connection. Without TLS nobody knows, and everybody is served everything. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<Arc<Client>>);

/// What a certificate says of its owner.
#[derive(Debug)]
struct Client {
    id: SpiffeId,
    /// When it ends, by the clock that nobody sets: a jump of the wall clock ends no stream.
    ends: Instant,
    grants: Arc<Grants>,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(id: SpiffeId, ends: Instant, grants: Arc<Grants>) -> Self {
        Self(Some(Arc::new(Client { id, ends, grants })))
    }

    /// The one of the connection that a request came on.
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Option<&SpiffeId> {
        self.0.as_ref().map(|client| &client.id)
    }

    /// Whether it may be served a resource. What it may not is for it as if nobody had published it.
    pub(crate) fn may_see(&self, resource: &str) -> bool {
        self.0.as_ref().is_none_or(|client| client.grants.allow(&client.id, resource))
    }

    pub(crate) fn ends(&self) -> Option<Instant> {
        self.0.as_ref().map(|client| client.ends)
    }

    /// Ready when its certificate has ended, with what it is told.
    pub(crate) async fn expired(&self) -> Status {
        match self.ends() {
            Some(ends) => tokio::time::sleep_until(ends).await,
            None => std::future::pending().await,
        }
        expired()
    }

    /// Whether its certificate is still good. A connection outlives it a little.
    pub(crate) fn check(&self) -> Result<(), Status> {
        match self.ends() {
            Some(ends) if ends <= Instant::now() => Err(expired()),
            _ => Ok(()),
        }
    }
}

fn expired() -> Status {
    Status::unauthenticated("the client's certificate has expired; connect again with its successor")
}
