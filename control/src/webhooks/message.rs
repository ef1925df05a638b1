//! What a receiver is told.

use crate::audit::Record;
use crate::config::WebhookSettings;
use crate::order_event::OrderEvent;
use graylane_order::{Actor, Phase};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of the sentence for people. WeCom's robots take the least: 2,048 with what stands before it.
const MAX_TEXT_BYTES: usize = 2_000;

/// Hexadecimal digits of a record's hash that name its message.
const ID_DIGITS: usize = 32;

/// Something that a receiver is told.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// By which a receiver knows it again: of the audit record, so the same at each try and unlike that of any other daemon.
    pub(super) id: String,
    /// When it happened.
    pub(super) at: Timestamp,
    /// What happened, in one sentence.
    pub(super) text: String,
    kind: &'static str,
    data: Value,
}

/// An order as an audit record shows it behind an action.
#[derive(Deserialize)]
struct After {
    order: u64,
    plan: String,
    tenant: String,
    phase: Phase,
    stage: Option<String>,
    /// A list of texts, if it was short enough for the record.
    what: Value,
    events: Vec<OrderEvent>,
}

// === impl Message ===

impl Message {
    /// What a webhook tells of an audit record; none when that is about no order, or about nothing that the webhook is for. Of more
    /// than one event, what matters most to it is the message's type.
    pub(super) fn of(record: &Record, webhook: &WebhookSettings) -> Option<Self> {
        let after = After::deserialize(&record.after).ok()?;
        let kind =
            after.events.iter().map(|event| event.kind).find(|kind| webhook.wants(&after.tenant, *kind))?;
        let what: Vec<&str> = match &after.what {
            Value::Array(what) => what.iter().filter_map(Value::as_str).collect(),
            _ => after.events.iter().map(|event| event.kind.label()).collect(),
        };
        let text = cut(told(record, &after, &what.join("; ")));
        let After { order, plan, tenant, phase, stage, events, .. } = &after;
        let data = json!({
            "text": text,
            "order": order,
            "plan": plan,
            "tenant": tenant,
            "phase": phase,
            "stage": stage,
            "events": events,
            "what": what,
            "actor": record.actor,
            "reason": record.reason,
            "record": record.number,
        });
        let id = format!("msg_{}", record.hash.get(..ID_DIGITS)?);
        Some(Self { id, at: record.at, text, kind: kind.label(), data })
    }

    /// What tells that somebody tries a webhook; `lot` makes it unlike any other.
    pub(super) fn test(webhook: &str, by: &str, lot: u64, at: Timestamp) -> Self {
        let text =
            format!("this is a test of webhook {webhook}, asked for by {by}; nothing happened to any order");
        let data = json!({ "text": text, "webhook": webhook, "actor": by });
        Self { id: format!("msg_test_{lot:016x}"), at, text, kind: "webhook.test", data }
    }

    /// The message as Standard Webhooks recommends it.
    pub(super) fn json(&self) -> Value {
        json!({ "type": self.kind, "timestamp": self.at, "data": self.data })
    }
}

fn told(record: &Record, after: &After, what: &str) -> String {
    let After { order, plan, tenant, phase, stage, .. } = after;
    let at = stage.as_ref().map(|stage| format!(" at stage {stage:?}")).unwrap_or_default();
    let by = match record.actor.as_str() {
        actor if actor == Actor::daemon().name => String::new(),
        actor => format!(", by {actor}"),
    };
    let why = if record.reason.is_empty() { String::new() } else { format!(" ({})", record.reason) };
    format!("order {order} of plan {plan}, tenant {tenant}, is {phase}{at}: {what}{by}{why}")
}

/// A text on one line, whatever people wrote into it, and no longer than any receiver takes.
fn cut(text: String) -> String {
    let mut text: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Deed, Head};
    use crate::order_event::EventKind;
    use crate::remote::{Endpoint, parse_url};
    use crate::webhooks::Format;

    fn webhook(events: &[EventKind], tenants: &[&str]) -> WebhookSettings {
        let url = parse_url("http://bank.example").unwrap();
        WebhookSettings {
            name: "ops".into(),
            endpoint: Endpoint { url, ca: None, token: None },
            format: Format::Json,
            secret: None,
            events: events.iter().copied().collect(),
            tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
        }
    }

    fn record(actor: &str, reason: &str, what: &Value) -> Record {
        let after = json!({
            "order": 7,
            "plan": "p",
            "tenant": "retail",
            "phase": "RollingBack",
            "stage": "one",
            "scope": { "include": { "teller": ["T0000017"] } },
            "what": what,
            "events": [{ "type": "order.faulty", "services": ["loan"] }, { "type": "order.rollingBack", "services": ["loan"] }],
        });
        let (actor, action) = (Actor { name: actor.into(), reason: reason.into() }, "order.health");
        let deed = Deed { actor, action, object: "order 7".into(), before: Value::Null, after };
        Head::default().append(deed, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_message_says_what_happened_why_and_what_was_done_and_names_no_teller() {
        let what = json!(["service \"loan\" is faulty: 31 of 400 failed", "rolled back loan"]);
        let record = record("graylane", "", &what);
        let message = Message::of(&record, &webhook(&[], &[])).unwrap();
        let text = "order 7 of plan p, tenant retail, is RollingBack at stage \"one\": service \"loan\" is faulty: \
            31 of 400 failed; rolled back loan";
        assert_eq!(message.text, text);
        assert_eq!(message.id, format!("msg_{}", &record.hash[..32]));
        let json = message.json();
        assert_eq!(
            (&json["type"], &json["timestamp"]),
            (&json!("order.faulty"), &json!("1970-01-01T00:00:00Z"))
        );
        assert_eq!(json["data"]["events"], record.after["events"]);
        assert!(!json.to_string().contains("T0000017"), "{json}");
    }

    #[test]
    fn a_webhook_is_told_what_it_is_for_and_of_that_what_matters_most() {
        let record = record("lin", "", &json!([]));
        let kind = |events: &[EventKind], tenants: &[&str]| {
            Message::of(&record, &webhook(events, tenants)).map(|message| message.kind)
        };
        assert_eq!(kind(&[], &["cards", "retail"]), Some("order.faulty"));
        assert_eq!(kind(&[EventKind::Paused, EventKind::RollingBack], &[]), Some("order.rollingBack"));
        assert_eq!(kind(&[EventKind::Paused], &[]), None);
        assert_eq!(kind(&[], &["cards"]), None);
        assert!(
            Message::of(&Record { after: json!({ "ids": 2 }), ..record.clone() }, &webhook(&[], &[]))
                .is_none()
        );
    }

    #[test]
    fn a_text_is_one_line_that_every_receiver_takes() {
        let long = "错".repeat(1_000);
        let message =
            Message::of(&record("lin", &long, &json!(["paused\nnow"])), &webhook(&[], &[])).unwrap();
        assert!(message.text.contains(": paused now, by lin (错错"), "{}", message.text);
        assert!((MAX_TEXT_BYTES - 3..=MAX_TEXT_BYTES).contains(&message.text.len()));
        assert!(message.text.ends_with('…'));
        let unlisted =
            Message::of(&record("lin", "", &json!({ "bytes": 20_000 })), &webhook(&[], &[])).unwrap();
        assert!(unlisted.text.ends_with(": order.faulty; order.rollingBack, by lin"), "{}", unlisted.text);
    }
}
