use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::clusters::MAX_PORT_DIGITS;
use super::*;

fn target(service: &str, version: &str, host: &str) -> Target {
    Target { service: service.into(), version: version.into(), host: host.into() }
}

fn clusters(template: &str, targets: &[Target]) -> Clusters {
    Template::parse(template).unwrap().clusters(targets.to_vec())
}

#[test]
fn names_by_hand_and_of_istio_are_looked_up() {
    let known = [target("pay-api", "v2", "pay.bank"), target("pay-api", "v1", "pay.bank")];
    for (template, cluster) in [
        ("{service}-{version}", "pay-api-v2"),
        ("outbound|{port}|{version}|{host}", "outbound|8080|v2|pay.bank"),
        ("{version}.{service}:{port}", "v2.pay-api:80"),
        (r"regex:(?<service>[a-z-]+)-(?<version>v\d+)", "pay-api-v2"),
        (r"regex:outbound\|\d+\|(?<version>[^|]*)\|(?<host>.*)", "outbound|8080|v2|pay.bank"),
        ("regex:(?x) (?<host>[a-z.]+) / (?<version>.+) # by hand", "pay.bank/v2"),
    ] {
        let clusters = clusters(template, &known);
        assert_eq!(clusters.find(cluster), Match::Target(&known[0]), "{template}");
        for other in [format!("{cluster}x"), format!("x{cluster}"), String::new(), "x".repeat(2_000)] {
            assert_eq!(clusters.find(&other), Match::Unknown, "{template}: {other}");
        }
    }
    let istio = clusters("outbound|{port}|{version}|{host}", &known);
    for odd in ["outbound||v2|pay.bank", "outbound|123456|v2|pay.bank", "outbound|80a|v2|pay.bank"] {
        assert_eq!(istio.find(odd), Match::Unknown, "{odd}");
    }
}

#[test]
fn a_name_of_two_is_nobodys() {
    let (a, b) = (target("pay", "api-v2", "pay"), target("pay-api", "v2", "api"));
    let both = clusters("{service}-{version}", &[a.clone(), b.clone()]);
    assert_eq!(both.find("pay-api-v2"), Match::Ambiguous(&a, &b));
    assert_eq!(
        clusters("{service}-{version}", std::slice::from_ref(&a)).find("pay-api-v2"),
        Match::Target(&a)
    );
    let (one, three) = (target("a", "v1", "h"), target("a", "v18", "h"));
    let ported = clusters("{service}{version}{port}", &[one.clone(), three.clone()]);
    assert!(matches!(ported.find("av1808"), Match::Ambiguous(..)));
    assert_eq!(ported.find("av109"), Match::Target(&one));
    let [one, two, other] = [target("1", "1", "a"), target("1", "1", "a1"), target("11", "1", "a")];
    let ported = clusters("{host}{service}{version}{port}", &[one.clone(), two, other.clone()]);
    assert_eq!(ported.find("a1119"), Match::Ambiguous(&one, &other), "and not of one version twice");
    let hosts = [target("a", "v1", "one"), target("a", "v1", "two")];
    assert_eq!(clusters("{service}-{version}", &hosts).find("a-v1"), Match::Target(&hosts[0]));
}

#[test]
fn a_pattern_is_of_the_clusters_of_one_version_alone() {
    let [a, b] = [target("loan", "v1", "loan.a"), target("loan", "v1", "loan.b")];
    let istio = clusters("outbound|{port}|{version}|{host}", &[a.clone(), b, target("loan", "v2", "loan.a")]);
    let pattern = istio.pattern("loan", "v1").unwrap();
    assert_eq!(pattern, r"outbound\|[0-9]{1,5}\|v1\|loan\.a|outbound\|[0-9]{1,5}\|v1\|loan\.b");
    assert_eq!(istio.example("loan", "v1").as_deref(), Some("outbound|{port}|v1|loan.a"));
    assert_eq!((istio.pattern("loan", "v3"), istio.example("loan", "v3")), (None, None));
    let both =
        clusters("{service}-{version}", &[target("pay", "api-v2", "pay"), target("pay-api", "v2", "api")]);
    assert_eq!(both.pattern("pay-api", "v2"), None, "it is nobody's");
    assert_eq!(clusters("regex:(?<service>.+)-(?<version>v.+)", &[a]).pattern("loan", "v1"), None);
}

#[test]
fn other_texts_are_refused_for_their_reason() {
    for (template, part) in [
        ("", "the version is missing"),
        ("{service}", "the version is missing"),
        ("{version}", "service and host are missing"),
        ("{service}-{version", "a brace has no other one"),
        ("{service}-version}", "a brace has no other one"),
        ("{service}-{{version}}", "a brace has no other one"),
        ("{service}-{version}}", "a brace has no other one"),
        ("{service}-{Version}", "there is no \"Version\""),
        ("{service}-{version}-{version}", "{version} stands there twice"),
        ("regex:(?<service>.*)", "the version is missing"),
        ("regex:(?<version>.*)", "service and host are missing"),
        ("regex:(?<service>.*)-(?<version>.*)(?<zone>.)", "there is no \"zone\""),
        ("regex:(?<service>.*", "unclosed group"),
        ("regex:(?<service>a))|((?<version>b)", "unopened group"),
        ("regex:(?<service>.{5000})-(?<version>.{5000})", "write a simpler one"),
    ] {
        let error = Template::parse(template).unwrap_err().to_string();
        assert!(error.contains(part), "{template}: {error}");
    }
    let long = Template::parse(&"x".repeat(1_025)).unwrap_err();
    assert_eq!(long, TemplateError::TooLong { bytes: 1_025 });
}

#[test]
fn a_long_name_of_digits_is_looked_up_in_no_time() {
    let clusters = clusters("{service}{port}{version}", &[target("1", "v1", "h"), target("11", "v1", "h")]);
    let (name, begun) = ("1".repeat(MAX_CLUSTER_BYTES), Instant::now());
    for _ in 0..20_000 {
        assert_eq!(clusters.find(&name), Match::Unknown);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// The versions whose name this can be, by each one's own name.
fn naive(template: &str, targets: &[Target], cluster: &str) -> BTreeSet<(String, String)> {
    let is_name = |of: &&Target| {
        let name = template
            .replace("{service}", &of.service)
            .replace("{version}", &of.version)
            .replace("{host}", &of.host);
        let Some((before, behind)) = name.split_once("{port}") else { return name == cluster };
        let port = cluster.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
        port.is_some_and(|port| {
            (1..=MAX_PORT_DIGITS).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    targets.iter().filter(is_name).map(|of| (of.service.clone(), of.version.clone())).collect()
}

proptest! {
    /// What is filled in is found again, or belongs to two.
    #[test]
    fn each_target_is_found_by_its_name(
        names in prop::collection::btree_set(("[ab1-]{1,4}", "[ab1-]{1,3}", "[ab.]{1,3}"), 1..12),
        template in prop::sample::select(vec![
            "{service}-{version}", "{service}{version}", "{version}|{host}|{service}", "o|{port}|{version}|{host}-{service}",
            "{service}{port}{version}",
        ]),
        port in 1_u16..,
    ) {
        let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
        let clusters = clusters(template, &targets);
        let name = |of: &Target| template
            .replace("{service}", &of.service).replace("{version}", &of.version)
            .replace("{host}", &of.host).replace("{port}", &port.to_string());
        for of in &targets {
            match clusters.find(&name(of)) {
                Match::Target(found) => prop_assert!(found.is_same_version(of), "{found:?} {of:?}"),
                Match::Ambiguous(a, b) => prop_assert!(!a.is_same_version(b)),
                Match::Unknown => prop_assert!(false, "{of:?} is lost"),
            }
        }
    }

    #[test]
    fn a_name_is_of_all_whose_it_can_be(
        names in prop::collection::btree_set(("[ab1]{1,3}", "[ab1]{1,2}", "[a1.]{1,2}"), 1..12),
        template in prop::sample::select(vec![
            "{service}{version}", "{version}|{service}", "{port}{service}{version}", "{service}{port}{version}", "{host}{service}{version}{port}",
        ]),
        names_of_clusters in prop::collection::vec("[ab1.|]{1,8}", 8),
        ports in prop::collection::vec("[01]{0,6}", 4),
    ) {
        let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
        let clusters = clusters(template, &targets);
        let filled = targets.iter().zip(ports.iter().cycle()).map(|(of, port)| template
            .replace("{service}", &of.service).replace("{version}", &of.version)
            .replace("{host}", &of.host).replace("{port}", port));
        for name in names_of_clusters.into_iter().chain(filled) {
            let can_be = naive(template, &targets, &name);
            let is_one = |of: &Target| can_be.contains(&(of.service.clone(), of.version.clone()));
            match clusters.find(&name) {
                Match::Unknown => prop_assert!(can_be.is_empty(), "{} is of {:?}", name, can_be),
                Match::Target(of) => prop_assert!(is_one(of) && can_be.len() == 1, "{} is of {:?}", name, can_be),
                Match::Ambiguous(a, b) => prop_assert!(is_one(a) && is_one(b) && !a.is_same_version(b)),
            }
        }
    }

    /// What the pattern of a version matches as a whole is found to be of that version, or of two of which one is a slip of ports.
    #[test]
    fn a_pattern_matches_what_is_found(
        names in prop::collection::btree_set(("[ab1.]{1,3}", "[ab.]{1,2}", "[ab.|]{1,3}"), 1..8),
        template in prop::sample::select(vec!["{service}-{version}", "o|{port}|{version}|{host}", "{version}{service}"]),
        cluster in "[ab1.|-]{1,8}",
    ) {
        let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
        let clusters = clusters(template, &targets);
        for of in &targets {
            let Some(pattern) = clusters.pattern(&of.service, &of.version) else { continue };
            let matches = |name: &str| Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(name.as_bytes());
            let filled = template
                .replace("{service}", &of.service).replace("{version}", &of.version)
                .replace("{host}", &of.host).replace("{port}", "80");
            let example = clusters.example(&of.service, &of.version).map(|name| name.replace("{port}", "80"));
            prop_assert!(example.is_some_and(|name| matches(&name)), "{}", pattern);
            for name in [&filled, &cluster] {
                let is_found = matches!(clusters.find(name), Match::Target(found) if found.is_same_version(of));
                prop_assert_eq!(matches(name), is_found, "{} {}", name, pattern);
            }
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,40}", cluster in ".{0,40}") {
        for text in [text.clone(), format!("regex:(?<service>a)(?<version>b){text}")] {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.clusters([target("a", "b", "c")]).find(&cluster);
            }
        }
    }
}
