//! As much of a delta stream as a client needs that looks at names and versions, and not into the rules.

use anyhow::{Context, Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// Bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// At the start of a response the daemon says all but the resource, which can be megabytes.
const HEAD_BYTES: usize = 256;

/// What a response says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The resource's version, as the daemon wrote it.
    pub(crate) version: String,
    /// The rule set's revision.
    pub(crate) revision: u64,
    /// What the answer has to name.
    pub(crate) nonce: String,
    /// Its size.
    pub(crate) bytes: usize,
}

/// Puts responses together from the pieces in which they come, and keeps the start of each.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    prefix: BytesMut,
    /// Bytes of the current message, and how many of them are still to come.
    bytes: usize,
    missing: usize,
    head: BytesMut,
    /// The whole message, where it is wanted.
    whole: Option<BytesMut>,
}

// === impl Reader ===

impl Reader {
    /// One that keeps each message whole, too.
    pub(crate) fn keeping() -> Self {
        Self { whole: Some(BytesMut::new()), ..Self::default() }
    }

    /// The last message, of one that keeps them.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.whole.as_deref()
    }

    /// Takes a piece, and gives the response that it ends. The daemon has one outstanding at a time, so a piece ends one at most.
    ///
    /// # Errors
    /// When it is no response of one resource.
    pub(crate) fn take(&mut self, mut piece: Bytes) -> Result<Option<Response>> {
        let mut done = None;
        while piece.has_remaining() {
            ensure!(done.is_none(), "a response came before the one before it was answered");
            if self.missing == 0 {
                let prefix = piece.split_to(piece.len().min(PREFIX_BYTES - self.prefix.len()));
                self.prefix.extend_from_slice(&prefix);
                if self.prefix.len() == PREFIX_BYTES {
                    self.begin()?;
                }
                continue;
            }
            let part = piece.split_to(piece.len().min(self.missing));
            self.keep(&part);
            if self.missing == 0 {
                done = Some(self.finish()?);
            }
        }
        Ok(done)
    }

    fn begin(&mut self) -> Result<()> {
        ensure!(self.prefix.get_u8() == 0, "a compressed response");
        self.missing = self.prefix.get_u32() as usize;
        self.bytes = self.missing;
        self.head.clear();
        self.whole.iter_mut().for_each(BytesMut::clear);
        ensure!(self.missing > 0, "an empty response");
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) {
        self.missing -= part.len();
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(part);
        }
    }

    /// Reads the version (field 1), the type (4) and the nonce (5), which stand before the resource.
    fn finish(&self) -> Result<Response> {
        let version = field(&self.head, 1).context("a response without a version")?;
        let type_url = field(&self.head, 4).context("a response without a type")?;
        ensure!(type_url == TYPE_URL, "a response of type {type_url:?}");
        let nonce = field(&self.head, 5).context("a response without a nonce")?;
        let revision = version.split_once('-').and_then(|(revision, _)| revision.parse().ok());
        let revision = revision.with_context(|| format!("version {version:?} has no revision"))?;
        Ok(Response { version, revision, nonce, bytes: self.bytes })
    }
}

/// The text of a field that stands before any long one: each of those has less than 128 bytes.
fn field(mut bytes: &[u8], number: u8) -> Option<String> {
    while let [tag, length @ ..=127, rest @ ..] = bytes {
        let (text, behind) = rest.split_at_checked(usize::from(*length))?;
        if *tag == number << 3 | 2 {
            return String::from_utf8(text.to_vec()).ok();
        }
        bytes = behind;
    }
    None
}

/// The first message of a stream, by a proxy that may hold a version.
pub(crate) fn subscription(node: String, resource: &str, held: Option<&str>) -> Bytes {
    let held = held.map(|version| (resource.to_owned(), version.to_owned()));
    frame(&DeltaDiscoveryRequest {
        node: Some(Node { id: node, cluster: "bench".to_owned(), ..Node::default() }),
        type_url: TYPE_URL.to_owned(),
        resource_names_subscribe: vec![resource.to_owned()],
        initial_resource_versions: held.into_iter().collect(),
        ..DeltaDiscoveryRequest::default()
    })
}

/// The acknowledgement of a response.
pub(crate) fn acknowledgement(nonce: String) -> Bytes {
    let type_url = TYPE_URL.to_owned();
    frame(&DeltaDiscoveryRequest { type_url, response_nonce: nonce, ..DeltaDiscoveryRequest::default() })
}

/// A message of a gRPC stream.
pub(crate) fn frame(request: &impl prost::Message) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + request.encoded_len());
    framed.put_u8(0);
    framed.put_u32(request.encoded_len() as u32);
    framed.extend_from_slice(&request.encode_to_vec());
    framed.freeze()
}

/// Checks that a response ends with these rules.
///
/// # Errors
/// When it does not.
pub(crate) fn check_rules(response: &[u8], rules: &[u8]) -> Result<()> {
    let (bytes, expected) = (response.len(), rules.len());
    ensure!(
        response.ends_with(rules),
        "a response of {bytes} bytes does not end with the {expected} of the rules"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message as _;

    use super::*;

    fn response(nonce: &str, rules: usize) -> Vec<u8> {
        let any = Any { type_url: TYPE_URL.to_owned(), value: vec![b'x'; rules] };
        let resource = Resource { version: "7-ab".to_owned(), resource: Some(any), ..Resource::default() };
        let resources =
            DeltaDiscoveryResponse { resources: vec![resource], ..DeltaDiscoveryResponse::default() };
        let own = DeltaDiscoveryResponse {
            system_version_info: "7-ab".to_owned(),
            type_url: TYPE_URL.to_owned(),
            nonce: nonce.to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        let mut framed = vec![0];
        framed.extend(((own.encoded_len() + resources.encoded_len()) as u32).to_be_bytes());
        framed.extend(own.encode_to_vec());
        framed.extend(resources.encode_to_vec());
        framed
    }

    #[test]
    fn responses_are_read_whatever_the_pieces_are() {
        for rules in [0, 1, 200, 5_000, 300_000] {
            let bytes = response("12", rules);
            for size in [1, 7, 300, 16_384, usize::MAX] {
                let mut reader = Reader::keeping();
                let pieces = bytes.chunks(size.min(bytes.len())).map(Bytes::copy_from_slice);
                let found: Vec<_> = pieces.filter_map(|piece| reader.take(piece).unwrap()).collect();
                let expected = Response {
                    version: "7-ab".into(),
                    revision: 7,
                    nonce: "12".into(),
                    bytes: bytes.len() - 5,
                };
                assert_eq!(found, [expected], "{rules} in pieces of {size}");
                check_rules(reader.whole().unwrap(), &vec![b'x'; rules.max(1)]).unwrap_or_else(|error| {
                    assert_eq!(rules, 0, "{error}");
                });
            }
        }
    }
}
