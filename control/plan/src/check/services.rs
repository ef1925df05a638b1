//! The services of a plan: names, hosts, versions.

use super::head::check_name;
use crate::model::{ReleasePlan, ServiceSpec};
use crate::problem::{Problems, element, field, shown};
use crate::world::{Baseline, World};
use graylane_rules::is_host;
use graylane_rules::limits::{MAX_HOST_BYTES, MAX_HOSTS, MAX_SERVICES};
use std::collections::{BTreeMap, BTreeSet};

const PATH: &str = "spec.services";

pub(super) fn check(plan: &ReleasePlan, world: &World<'_>, problems: &mut Problems) {
    let services = &plan.spec.services;
    check_counts(services, problems);
    let mut first_by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, service) in services.iter().enumerate() {
        let path = element(PATH, at);
        check_name(&field(&path, "name"), "service", &service.name, problems);
        match first_by_name.get(service.name.as_str()) {
            Some(first) if !service.name.is_empty() => {
                let name = shown(&service.name);
                let message =
                    format!("{name} is {} already; merge the two, or rename one", element(PATH, *first));
                problems.error(field(&path, "name"), message);
            }
            _ => drop(first_by_name.insert(&service.name, at)),
        }
        check_versions(&path, service, world, problems);
    }
    check_hosts(plan, world, problems);
}

fn check_counts(services: &[ServiceSpec], problems: &mut Problems) {
    let hosts: usize = services.iter().map(|service| service.hosts.len()).sum();
    if services.is_empty() {
        problems.error(PATH, "the plan has no service; give at least one");
    }
    if services.len() > MAX_SERVICES {
        let count = services.len();
        problems
            .error(PATH, format!("{count} services are over the limit of {MAX_SERVICES}; split the plan"));
    }
    if hosts > MAX_HOSTS {
        problems.error(
            PATH,
            format!("{hosts} hosts of all services are over the limit of {MAX_HOSTS}; split the plan"),
        );
    }
}

fn check_versions(path: &str, service: &ServiceSpec, world: &World<'_>, problems: &mut Problems) {
    check_name(&field(path, "stable"), "version", &service.stable, problems);
    check_name(&field(path, "gray"), "version", &service.gray, problems);
    if service.stable == service.gray && !service.gray.is_empty() {
        let version = shown(&service.gray);
        let message = format!(
            "{version} is the stable version too, so that nothing would change; name the new version"
        );
        problems.error(field(path, "gray"), message);
    }
    if let Some(baseline) = world.baselines.get(&service.name) {
        check_baseline(path, service, baseline, problems);
    }
}

/// A release starts from what the service runs, on every host where it runs it.
fn check_baseline(path: &str, service: &ServiceSpec, baseline: &Baseline, problems: &mut Problems) {
    let version = &baseline.version;
    if *version != service.stable {
        let message = format!(
            "{} is not what service {} runs, which is {}; write stable: {version}",
            shown(&service.stable),
            service.name,
            shown(version)
        );
        problems.error(field(path, "stable"), message);
    }
    let hosts: BTreeSet<&String> = service.hosts.iter().collect();
    for host in baseline.hosts.iter().filter(|host| !hosts.contains(host)) {
        let (host, name) = (shown(host), shown(&service.name));
        let message = format!("host {host} of service {name} runs its baseline {version}; keep it in hosts");
        problems.error(field(path, "hosts"), message);
    }
}

fn check_hosts(plan: &ReleasePlan, world: &World<'_>, problems: &mut Problems) {
    let mut service_by_host: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (at, service) in plan.spec.services.iter().enumerate() {
        let hosts_path = field(&element(PATH, at), "hosts");
        if service.hosts.is_empty() {
            problems.error(
                &hosts_path,
                "is missing or empty; give at least one host by which the service is called",
            );
        }
        for (number, host) in service.hosts.iter().enumerate() {
            let path = element(&hosts_path, number);
            if !is_host(host) {
                problems.error(&path, refusal(host));
                continue;
            }
            match service_by_host.get(host.as_str()) {
                Some((owner, _)) if *owner == at => {
                    problems.error(&path, format!("{} stands in this list already; remove it", shown(host)));
                }
                Some((owner, name)) => {
                    let owner = element(PATH, *owner);
                    let message =
                        format!("{} belongs to service {} ({owner}) already", shown(host), shown(name));
                    problems.error(&path, message + "; give each host to one service");
                }
                None => drop(service_by_host.insert(host, (at, &service.name))),
            }
            if let Some(message) = claimed(host, &plan.metadata.name, &service.name, world) {
                problems.error(&path, message);
            }
        }
    }
}

/// Why a service of `plan` cannot have `host`: another plan gives it to another service. The same service may be in
/// many plans, one after the other.
fn claimed(host: &str, plan: &str, service: &str, world: &World<'_>) -> Option<String> {
    let claim = world.hosts.get(host).filter(|claim| claim.plan != plan && claim.service != service)?;
    Some(format!(
        "{} belongs to service {} of plan {} already; give each host to one service",
        shown(host),
        shown(&claim.service),
        shown(&claim.plan)
    ))
}

/// Why a text is no host, with the right form when one is plain.
fn refusal(host: &str) -> String {
    if host.is_empty() {
        return "an empty host is never called; remove it".to_owned();
    }
    if host.len() > MAX_HOST_BYTES {
        let bytes = host.len();
        return format!("{} has {bytes} bytes, over the limit of {MAX_HOST_BYTES}; shorten it", shown(host));
    }
    let lower = host.trim().to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default();
    let bare = match (bare.rsplit_once(':'), bare.ends_with(']')) {
        (Some((name, port)), false) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => bare,
    };
    let rule = "hosts are in lower case, with no scheme, port or path";
    match is_host(bare) {
        true => format!("{} is no host: {rule}; write {bare}", shown(host)),
        false => format!("{} is no host: {rule}, like loan.retail.svc.cluster.local", shown(host)),
    }
}
