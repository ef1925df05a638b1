//! A discovery response as it travels: a few bytes of its own around the resource, whose rules all streams share.

use bytes::Bytes;

use crate::ecds;
use crate::pieces::{Pieces, start, text};
use crate::resource::Resource;

/// What each gRPC message begins with: whether it is compressed. Its length follows.
const NOT_COMPRESSED: &[u8] = &[0];
/// Bytes of both.
#[cfg(test)]
const PREFIX_BYTES: usize = 5;

/// The field of the version in both responses, and in a delta resource.
const VERSION: u32 = 1;
/// The field of the resource in both responses, and of its body in a delta resource.
const RESOURCE: u32 = 2;
/// The field of the name in a delta resource.
const NAME: u32 = 3;
/// The field of the type in both responses.
const TYPE_URL: u32 = 4;
/// The field of the nonce in both responses.
const NONCE: u32 = 5;

/// One gRPC message, in the pieces in which it is handed to the socket.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The prefix, and all that comes before the resource.
    head: Bytes,
    /// The resource, shared by every stream.
    resource: Pieces,
}

// === impl Frame ===

impl Frame {
    /// A `DiscoveryResponse` with this resource.
    pub(crate) fn sotw(version_info: &String, nonce: &String, resource: &Resource) -> Self {
        Self::response(version_info, nonce, &[], resource)
    }

    /// A `DeltaDiscoveryResponse` with this resource, under a version of the stream's choice.
    pub(crate) fn delta(version: &String, nonce: &String, resource: &Resource) -> Self {
        let named = [text(NAME, &resource.name), text(VERSION, version)].concat();
        let inner = [named, start(RESOURCE, resource.body.len())].concat();
        Self::response(&resource.version.to_string(), nonce, &inner, resource)
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.resource.len()
    }

    /// The pieces in the order of the wire.
    pub(crate) fn pieces(self) -> [Bytes; 3] {
        let Pieces { head, rules } = self.resource;
        [self.head, head, rules]
    }

    /// A response of either kind: its resource begins with `inner`.
    fn response(version: &String, nonce: &String, inner: &[u8], resource: &Resource) -> Self {
        let resource = resource.body.clone();
        let own = [text(VERSION, version), text(TYPE_URL, &ecds::type_url()), text(NONCE, nonce)].concat();
        let before = [&own, &start(RESOURCE, inner.len() + resource.len()), inner].concat();
        // A resource is at most some bytes over `MAX_RULES_BYTES`, so its length has room here.
        let length = u32::try_from(before.len() + resource.len()).unwrap_or(u32::MAX);
        let head = [NOT_COMPRESSED, &length.to_be_bytes(), &before].concat();
        Self { head: head.into(), resource }
    }

    /// A message of any bytes.
    #[cfg(test)]
    pub(crate) fn of(bytes: &'static [u8]) -> Self {
        let resource = Pieces::new(Bytes::from_static(bytes));
        Self { head: Bytes::new(), resource }
    }

    /// What a client reads.
    #[cfg(test)]
    pub(crate) fn decoded<M: prost::Message + Default>(self) -> M {
        let bytes = self.pieces().concat();
        let (prefix, message) = bytes.split_at(PREFIX_BYTES);
        assert_eq!(prefix[0], 0, "not compressed");
        assert_eq!(prefix[1..], u32::try_from(message.len()).unwrap().to_be_bytes());
        let decoded = M::decode(message).unwrap();
        assert_eq!(decoded.encoded_len(), message.len(), "nothing is there that prost does not know");
        decoded
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource as DeltaResource,
    };
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message as _;

    use super::*;
    use crate::canary::CanaryShare;
    use crate::ecds::FilterSettings;
    use crate::resource::Publication;
    use crate::snapshot::Snapshots;

    /// Around the lengths at which a varint becomes longer, and one of a large list.
    const SIZES: [usize; 8] = [0, 1, 100, 127, 128, 16_000, 16_384, 2 << 20];

    fn check(size: usize) {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let rules = Bytes::from(vec![b'x'; size]);
        let publication =
            Publication { tenant: "retail".to_owned(), revision: 7, rules, content_hash: 7, is_firm: false };
        snapshots.publish(&[publication]).unwrap();
        let resource = snapshots.current().wanted("graylane.v1.retail").unwrap().clone();
        // What a retry says: another text than the version itself.
        let (version, nonce) = (format!("{}+x", resource.version), "12".to_owned());
        let any = Any::decode(resource.body.in_order().concat().as_slice()).unwrap();
        let sotw = DiscoveryResponse {
            version_info: version.clone(),
            resources: vec![any.clone()],
            type_url: ecds::type_url(),
            nonce: nonce.clone(),
            ..DiscoveryResponse::default()
        };
        let delta = DeltaDiscoveryResponse {
            system_version_info: resource.version.to_string(),
            resources: vec![DeltaResource {
                name: resource.name.clone(),
                version: version.clone(),
                resource: Some(any),
                ..DeltaResource::default()
            }],
            type_url: ecds::type_url(),
            nonce: nonce.clone(),
            ..DeltaDiscoveryResponse::default()
        };
        assert!(Frame::sotw(&version, &nonce, &resource).decoded::<DiscoveryResponse>() == sotw);
        assert!(Frame::delta(&version, &nonce, &resource).decoded::<DeltaDiscoveryResponse>() == delta);
    }

    #[test]
    fn a_client_reads_what_prost_would_have_written() {
        SIZES.into_iter().for_each(check);
    }

    #[test]
    fn all_streams_share_the_resource() {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let rules = Bytes::from_static(b"rules");
        snapshots
            .publish(&[Publication {
                tenant: "a".to_owned(),
                revision: 1,
                rules: rules.clone(),
                content_hash: 1,
                is_firm: false,
            }])
            .unwrap();
        let resource = snapshots.current().wanted("graylane.v1.a").unwrap().clone();
        let nonce = "1".to_owned();
        let frames = [Frame::delta(&nonce, &nonce, &resource), Frame::sotw(&nonce, &nonce, &resource)];
        assert!(frames.iter().all(|frame| frame.resource.rules.as_ptr() == rules.as_ptr()));
    }
}
