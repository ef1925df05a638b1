//! An operator who works on one tenant until the daemon does not answer, and remembers what was acknowledged.

use fastrand::Rng;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An operator, with what they know.
pub struct Operator {
    pub tenant: String,
    rng: Rng,
    asked: u64,
    /// The owner that the plan names, as it was acknowledged last.
    pub owner: u64,
    /// The order as it was seen last, while it is active.
    pub order: Option<Value>,
    /// Reasons of what was acknowledged since somebody looked last, in order.
    pub acknowledged: Vec<String>,
    /// What was asked last and got no answer.
    pub unanswered: Option<Asked>,
}

/// Something that was asked for.
pub struct Asked {
    pub reason: String,
    pub deed: &'static str,
    pub owner: u64,
}

// === impl Operator ===

impl Operator {
    pub fn new(tenant: &str, seed: u64) -> Self {
        Self {
            tenant: tenant.to_owned(),
            rng: Rng::with_seed(seed),
            asked: 0,
            owner: 0,
            order: None,
            acknowledged: Vec::new(),
            unanswered: None,
        }
    }

    /// The plan that this operator releases, with an owner that tells one version from another.
    fn plan(&self, owner: u64) -> String {
        let Self { tenant, .. } = self;
        format!(
            "apiVersion: graylane.dev/v1alpha1\nkind: ReleasePlan\nmetadata: {{ name: p, tenant: {tenant} }}\nspec:\n  \
             owner: owner-{owner}\n  services: [{{ name: loan, hosts: [loan.{tenant}], stable: v1, gray: v2 }}, \
             {{ name: ledger, hosts: [ledger.{tenant}], stable: v1, gray: v2 }}]\n  stages:\n    \
             - {{ name: a, scope: {{ include: {{ teller: [T1] }} }} }}\n    \
             - {{ name: b, scope: {{ include: {{ branch: [B1] }} }} }}\n    - {{ name: c, scope: {{ all: true }} }}\n"
        )
    }

    /// Works until the daemon does not answer; counts what it acknowledges.
    pub fn work(&mut self, server: &str, count: &AtomicUsize) {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.timeout_global(Some(Duration::from_secs(20))).build().into();
        loop {
            let asked = self.choose();
            let (path, content, body) = self.request(&asked);
            let request = ureq::http::Request::post(format!("{server}/api/v1/{path}"));
            let request = request.header("Content-Type", content).header("Graylane-Reason", &asked.reason);
            let answered = agent.run(request.body(body).unwrap());
            let answered =
                answered.and_then(|mut answer| Ok((answer.status(), answer.body_mut().read_to_string()?)));
            match answered {
                Err(_) => {
                    self.unanswered = Some(asked);
                    return;
                }
                Ok((status, text)) if status.is_success() => {
                    self.take(&asked, &serde_json::from_str(&text).unwrap());
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok((status, text)) => assert!(status.is_client_error(), "{}: {text}", asked.deed),
            }
        }
    }

    /// Something that changes something, if the daemon takes it.
    fn choose(&mut self) -> Asked {
        self.asked += 1;
        let deeds: &[&str] = match self.order.as_ref().and_then(|order| order["phase"].as_str()) {
            _ if self.owner == 0 => &["apply"],
            None => &["start", "start", "apply"],
            Some("Paused") => &["resume", "adjust", "rollback"],
            Some("Retained") => &["rollback", "adjust", "apply"],
            _ => &["advance", "advance", "adjust", "pause", "apply", "rollback"],
        };
        let deed = deeds[self.rng.usize(..deeds.len())];
        Asked { reason: format!("{} asks {}", self.tenant, self.asked), deed, owner: self.owner + 1 }
    }

    fn request(&self, asked: &Asked) -> (String, &'static str, String) {
        let id = self.order.as_ref().map_or(0, |order| order["id"].as_u64().unwrap());
        let json = "application/json";
        match asked.deed {
            "apply" => ("plans".into(), "application/yaml", self.plan(asked.owner)),
            "start" => ("orders".into(), json, json!({ "plan": "p", "tenant": self.tenant }).to_string()),
            "adjust" => {
                let scope = json!({ "include": { "teller": ["T1", format!("T{}", self.asked)] } });
                (format!("orders/{id}/adjust"), json, json!({ "scope": scope }).to_string())
            }
            deed => (format!("orders/{id}/{deed}"), json, "{}".into()),
        }
    }

    /// Remembers what was acknowledged.
    fn take(&mut self, asked: &Asked, answer: &Value) {
        self.acknowledged.push(asked.reason.clone());
        if asked.deed == "apply" {
            self.owner = asked.owner;
        } else {
            self.see(answer.clone());
        }
    }

    /// Takes an order as it is now; one that is over is nobody's business any more.
    pub fn see(&mut self, order: Value) {
        let is_over = matches!(order["phase"].as_str(), Some("RollingBack" | "RolledBack" | "Finished"));
        self.order = (!is_over).then_some(order);
    }
}
