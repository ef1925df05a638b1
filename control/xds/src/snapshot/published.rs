//! What one publish put in place: an immutable set of resources, and who is sent which.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;
use std::time::Instant;

use super::Past;
use crate::canary::{Group, Pace};
use crate::ecds::{self, FilterSettings};
use crate::limits::MAX_TENANTS;
use crate::offer::{Offer, Standing};
use crate::resource::{Publication, PublishError, Resource, content};
use crate::version::Version;

/// All resources of one publish. Never changes; a publish makes another one.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(super) by_name: BTreeMap<String, Offer>,
}

/// Resources that are ready to be published, by name.
#[derive(Debug)]
pub(crate) struct Encoded(BTreeMap<String, Arc<Resource>>);

// === impl Encoded ===

impl Encoded {
    /// The versions by resource.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&str, Version)> {
        self.0.iter().map(|(name, resource)| (name.as_str(), resource.version))
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The resource that is sent to that node under that name, if there is one.
    pub(crate) fn served(&self, name: &str, node: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name)?.served(node)
    }

    /// What a node may be sent instead of what it refused: what did well before, unless what it refused takes people back.
    pub(crate) fn instead(&self, name: &str) -> Option<&Arc<Resource>> {
        let offer = self.by_name.get(name)?;
        if matches!(offer.standing, Standing::Firm) { None } else { offer.earlier() }
    }

    /// What is there under a name.
    pub(crate) fn offer(&self, name: &str) -> Option<&Offer> {
        self.by_name.get(name)
    }

    /// The resource that proxies should have under that name, if it is published.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Arc<Resource>> {
        Some(&self.by_name.get(name)?.wanted)
    }

    /// What is on trial, and by whom.
    pub(crate) fn trials(&self) -> impl Iterator<Item = (&Offer, &Group)> {
        self.by_name.values().filter_map(|offer| match &offer.standing {
            Standing::Trial(group) => Some((offer, group)),
            _ => None,
        })
    }

    /// The groups that are sent something else than by the snapshot before; none when it may be anybody. Where publishes follow each
    /// other in a row, the group is called when the last of them came.
    pub(super) fn called_after(&self, before: &Self, now: Instant) -> Option<Vec<&Group>> {
        let mut groups = Vec::new();
        for (name, offer) in &self.by_name {
            let before = before.by_name.get(name);
            if before.is_some_and(|before| before.wanted.version == offer.wanted.version) {
                continue;
            }
            match (&offer.standing, before.map(|before| &before.standing)) {
                // All others were sent what they fall back on.
                (
                    Standing::Trial(group),
                    Some(Standing::Trial(_) | Standing::Proven | Standing::Firm | Standing::Accepted),
                ) => groups.extend(Some(group).filter(|_| offer.pace.is_calm(now))),
                _ => return None,
            }
        }
        Some(groups)
    }

    /// What a publish puts in place, sharing with this snapshot what stays the same.
    pub(super) fn encode(
        &self,
        publications: &[Publication],
        settings: &FilterSettings,
    ) -> Result<Encoded, PublishError> {
        if publications.len() > MAX_TENANTS {
            return Err(PublishError::TooMany(publications.len()));
        }
        let mut by_name = BTreeMap::new();
        for publication in publications {
            publication.check()?;
            let resource = self.reuse(publication, settings)?;
            let resource = resource.unwrap_or_else(|| Arc::new(Resource::new(publication, settings)));
            match by_name.entry(resource.name.clone()) {
                btree_map::Entry::Occupied(_) => return Err(PublishError::Twice(publication.tenant.clone())),
                btree_map::Entry::Vacant(place) => place.insert(resource),
            };
        }
        Ok(Encoded(by_name))
    }

    fn reuse(
        &self,
        publication: &Publication,
        settings: &FilterSettings,
    ) -> Result<Option<Arc<Resource>>, PublishError> {
        let name = ecds::resource_name(&publication.tenant);
        let known = self.wanted(&name);
        match known.filter(|known| known.version.revision == publication.revision) {
            Some(known) if known.content == content(&name, settings, publication) => Ok(Some(known.clone())),
            Some(_) => Err(PublishError::RevisionReused {
                tenant: publication.tenant.clone(),
                revision: publication.revision,
            }),
            None => Ok(None),
        }
    }

    /// The snapshot after a publish.
    pub(super) fn next(
        &self,
        encoded: Encoded,
        past: &mut Past,
        now: Instant,
        trial: impl Fn(&Resource, Group) -> Option<Group>,
    ) -> Self {
        let offer = |(name, wanted): (String, Arc<Resource>)| {
            let before = self.by_name.get(&name);
            if let Some(same) = before.filter(|before| before.wanted.version == wanted.version) {
                return (name, same.clone());
            }
            let fallback = match before {
                Some(before) => before.proven(),
                None => past.fallbacks.remove(&name),
            };
            let pace = Pace::next(before.map(|before| before.pace), now);
            let mut offer = Offer { wanted, fallback, standing: Standing::Firm, pace };
            if !offer.wanted.is_firm {
                offer.standing = match past.refusals.against(&offer.wanted) {
                    Some(refusal) => Standing::HeldBack(refusal),
                    None if offer.says_nothing_new() => Standing::Proven,
                    // Who tries the one before tries this one, too: no more proxies than needed see what nobody knows yet.
                    None => {
                        let group = trial(&offer.wanted, before.map(Offer::group).unwrap_or_default());
                        group.map_or(Standing::Open, Standing::Trial)
                    }
                };
            }
            (name, offer)
        };
        Self { by_name: encoded.0.into_iter().map(offer).collect() }
    }

    /// The snapshot in which the offer under a name is another one.
    pub(super) fn with(&self, name: &str, offer: Offer) -> Self {
        let mut by_name = self.by_name.clone();
        if let Some(before) = by_name.get_mut(name) {
            *before = offer;
        }
        Self { by_name }
    }
}
