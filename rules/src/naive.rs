//! The oracle: section 3 of the semantics, as plainly as it can be written, straight from the model.

use crate::model::{Action, Entry, RuleSet, Service};
use crate::xxh64::xxh64;
use std::string::{String, ToString};
use std::vec::Vec;

/// The output header's value and the entry that decided, if one did: by level (`None` for all) and entry.
pub type Naive = (Option<String>, Option<(Option<usize>, Entry)>);

/// Decides by scanning everything.
#[must_use]
pub fn decide(rules: &RuleSet, host: &[u8], headers: &[(Vec<u8>, Vec<u8>)]) -> Naive {
    let host = host_name(&String::from_utf8_lossy(host).to_ascii_lowercase());
    let Some(service) = rules.services.iter().find(|service| service.hosts.contains(&host)) else {
        return (None, None);
    };
    let mut present = Vec::new();
    for dimension in &rules.dimensions {
        let is_it = |name: &[u8]| name.to_ascii_lowercase() == dimension.header.as_bytes();
        let values: Vec<&Vec<u8>> =
            headers.iter().filter(|(name, _)| is_it(name)).map(|(_, value)| value).collect();
        if values.len() > 1 {
            return (header(service, &service.stable), None);
        }
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let trim = |value: &[u8]| {
            let left: Vec<u8> = value.iter().copied().skip_while(blank).collect();
            let mut right: Vec<u8> = left.into_iter().rev().skip_while(blank).collect();
            right.reverse();
            right
        };
        let value = values.first().map(|value| trim(value)).unwrap_or_default();
        present.push(Some(value).filter(|value| !value.is_empty() && value.len() <= 256));
    }
    match winner(service, &present) {
        Some((level, entry)) if entry.action == Action::Exclude => {
            (header(service, &service.stable), Some((level, entry)))
        }
        Some(found) => {
            let gray = service.release.as_ref().map_or(String::new(), |release| release.gray.clone());
            (header(service, &gray), Some(found))
        }
        None => (header(service, &service.stable), None),
    }
}

fn winner(service: &Service, present: &[Option<Vec<u8>>]) -> Option<(Option<usize>, Entry)> {
    let table = &service.release.as_ref()?.table;
    let key = present.iter().flatten().next();
    let ends = |entry: &Entry| match (entry.action, key) {
        (Action::Percent(percent), Some(key)) => {
            let salted = [table.plan.as_bytes(), b"\0", key].concat();
            xxh64(0, &salted) % 10_000 < u64::from(percent.hundredths())
        }
        (Action::Percent(_), None) => false,
        _ => true,
    };
    for (at, value) in present.iter().enumerate() {
        let groups = table.levels.get(at).into_iter().flatten();
        let holds = |ids: &crate::IdSet| value.as_ref().is_some_and(|value| ids.iter().any(|id| id == value));
        let strongest = groups.filter(|group| holds(&group.ids)).map(|group| group.entry).min();
        if let Some(entry) = strongest.filter(ends) {
            return Some((Some(at), entry));
        }
    }
    table.all.filter(ends).map(|entry| (None, entry))
}

fn header(service: &Service, version: &str) -> Option<String> {
    (version != service.route_default).then(|| version.to_string())
}

fn host_name(authority: &str) -> String {
    match authority.split_once(']') {
        Some((address, _)) if authority.starts_with('[') => std::format!("{address}]"),
        _ => authority.split(':').next().unwrap_or_default().to_string(),
    }
}
