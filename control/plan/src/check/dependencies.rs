//! Which service needs which: only services of the plan, and never in a circle.

use crate::model::ServiceSpec;
use crate::nearest::did_you_mean;
use crate::problem::{Problems, element, field, shown};
use graylane_rules::limits::MAX_SERVICES;
use std::collections::{BTreeMap, BTreeSet};

/// Services of a cycle that a message names.
const MAX_CYCLE_SHOWN: usize = 16;

/// The services of a plan and what they need, by index; and how far the search for cycles came.
struct Search<'a> {
    services: &'a [ServiceSpec],
    needs: Vec<Vec<usize>>,
    /// Those from which everything was followed.
    done: BTreeSet<usize>,
}

pub(super) fn check(services: &[ServiceSpec], problems: &mut Problems) {
    if services.len() > MAX_SERVICES {
        return;
    }
    let mut at_by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, service) in services.iter().enumerate() {
        at_by_name.entry(&service.name).or_insert(at);
    }
    let mut needs = vec![Vec::new(); services.len()];
    for ((at, service), needs) in services.iter().enumerate().zip(&mut needs) {
        let mut seen = BTreeSet::new();
        for (number, name) in service.depends_on.iter().enumerate() {
            let path = element(&field(&element("spec.services", at), "dependsOn"), number);
            match at_by_name.get(name.as_str()) {
                _ if !seen.insert(name) => {
                    problems.error(path, format!("{} stands in this list already; remove it", shown(name)));
                }
                Some(_) if *name == service.name => {
                    problems.error(path, format!("{} is the service itself; remove it", shown(name)));
                }
                Some(needed) => needs.push(*needed),
                None => {
                    let hint = did_you_mean(name, at_by_name.keys().copied());
                    let message =
                        format!("{} is no service of this plan{hint}; add it or remove it here", shown(name));
                    problems.error(path, message);
                }
            }
        }
    }
    let mut search = Search { services, needs, done: BTreeSet::new() };
    (0..services.len()).for_each(|at| search.follow(at, problems));
}

// === impl Search ===

impl Search<'_> {
    /// Walks everything that `start` needs, with the way there on a stack of its own: a chain may be 4,096 long.
    fn follow(&mut self, start: usize, problems: &mut Problems) {
        let mut way = vec![(start, 0)];
        let mut on_way = BTreeSet::from([start]);
        while let Some((at, next)) = way.last_mut().filter(|_| !self.done.contains(&start)) {
            let (at, needed) = (*at, self.needs.get(*at).and_then(|needs| needs.get(*next)).copied());
            *next += 1;
            match needed {
                Some(needed) if on_way.contains(&needed) => {
                    let from = way.iter().position(|(at, _)| *at == needed).unwrap_or_default();
                    let circle: Vec<usize> = way.iter().skip(from).map(|(at, _)| *at).collect();
                    self.report(&circle, problems);
                }
                Some(needed) if !self.done.contains(&needed) => {
                    on_way.insert(needed);
                    way.push((needed, 0));
                }
                Some(_) => {}
                None => {
                    way.pop();
                    on_way.remove(&at);
                    self.done.insert(at);
                }
            }
        }
    }

    /// Names a circle, at the service that comes first in the plan.
    fn report(&self, circle: &[usize], problems: &mut Problems) {
        let first = circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(place, _)| place);
        let in_order = circle.iter().cycle().skip(first).take(circle.len() + 1);
        let names = in_order.filter_map(|at| self.services.get(*at)).map(|service| service.name.as_str());
        let mut names: Vec<&str> = names.collect();
        if names.len() > MAX_CYCLE_SHOWN {
            names.splice(MAX_CYCLE_SHOWN / 2..names.len() - MAX_CYCLE_SHOWN / 2, ["..."]);
        }
        let at = circle.get(first).copied().unwrap_or_default();
        let path = field(&element("spec.services", at), "dependsOn");
        problems.error(
            path,
            format!("the services need each other in a circle: {}; remove one link", names.join(" -> ")),
        );
    }
}
