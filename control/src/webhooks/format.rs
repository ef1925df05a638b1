//! How receivers want it, and what they answer.

use crate::webhooks::message::Message;
use crate::webhooks::signature::{Keys, SignatureError, dingtalk, feishu};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use thiserror::Error;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{Response, StatusCode};

/// Characters of an answer that are shown.
const MAX_SHOWN: usize = 200;

/// What stands before the sentence in a chat. Robots that are secured by a keyword can take this one.
const IN_CHAT: &str = "Graylane: ";

/// For whom a webhook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A program: JSON, signed as Standard Webhooks.
    #[default]
    Json,
    /// An incoming webhook of Slack.
    Slack,
    /// A workflow of Microsoft Teams that posts an adaptive card.
    Teams,
    /// A custom robot of DingTalk (钉钉).
    Dingtalk,
    /// A group robot of WeCom (企业微信).
    Wecom,
    /// A custom bot of Feishu (飞书), or of Lark.
    Feishu,
}

/// What a format does with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    /// There has to be one.
    Always,
    /// The robot may want it.
    Maybe,
    /// The robot knows no signatures: who knows its URL may speak.
    Never,
}

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) query: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// Why a receiver did not take a message.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// It may take it later: it is not there, busy, or not what it should be.
    #[error("{problem}")]
    Later {
        /// What is wrong.
        problem: String,
        /// When it wants to be asked again.
        asked: Option<Duration>,
    },
    /// It does not want this message, and may want the next one.
    #[error("{0}")]
    Refused(String),
}

// === impl Format ===

impl Format {
    /// Its name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Dingtalk => "dingtalk",
            Self::Wecom => "wecom",
            Self::Feishu => "feishu",
        }
    }

    /// What it does with a secret.
    pub(crate) const fn signing(self) -> Signing {
        match self {
            Self::Json => Signing::Always,
            Self::Dingtalk | Self::Feishu => Signing::Maybe,
            Self::Slack | Self::Teams | Self::Wecom => Signing::Never,
        }
    }

    /// Whether this can be the secret of such a webhook.
    pub(super) fn check_secret(self, secret: &str) -> Result<(), SignatureError> {
        match self {
            Self::Json => Keys::parse(secret).map(drop),
            _ => Ok(()),
        }
    }

    /// A message as it is sent at this time.
    pub(super) fn prepare(
        self,
        message: &Message,
        secret: Option<&str>,
        now: Timestamp,
    ) -> Result<Prepared, SignatureError> {
        let text = format!("{IN_CHAT}{}", message.text);
        let (mut query, mut headers) = (String::new(), vec![("content-type", "application/json".to_owned())]);
        let mut body = match self {
            Self::Json => message.json(),
            // What is in angle brackets would call people, or lead somewhere.
            Self::Slack => json!({ "text": escaped_for_slack(&text) }),
            Self::Teams => card(&text),
            Self::Dingtalk | Self::Wecom => json!({ "msgtype": "text", "text": { "content": text } }),
            Self::Feishu => post(&text),
        };
        match (self, secret) {
            (Self::Dingtalk, Some(secret)) => {
                let time = now.as_millisecond();
                query = format!("timestamp={time}&sign={}", escaped(&dingtalk(secret, time)?));
            }
            (Self::Feishu, Some(secret)) => {
                let time = now.as_second();
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("timestamp".into(), time.to_string().into());
                    fields.insert("sign".into(), feishu(secret, time)?.into());
                }
            }
            _ => {}
        }
        let body = body.to_string().into_bytes();
        if let (Self::Json, Some(secret)) = (self, secret) {
            let time = now.as_second();
            headers.push(("webhook-signature", Keys::parse(secret)?.sign(&message.id, time, &body)?));
            headers.push(("webhook-id", message.id.clone()));
            headers.push(("webhook-timestamp", time.to_string()));
        }
        Ok(Prepared { query, headers, body })
    }

    /// Whether this is the answer of a receiver that took the message.
    pub(super) fn judge(self, answer: &Response<Vec<u8>>, now: Timestamp) -> Result<(), Failure> {
        let status = answer.status();
        let problem = format!("it answered {status}{}", shown(answer.body()));
        if !status.is_success() {
            return Err(match status {
                StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::UNPROCESSABLE_ENTITY => Failure::Refused(problem),
                _ => Failure::Later { problem, asked: asked(answer, now) },
            });
        }
        // The fields of the answer's number, and the number that says: too many messages.
        let (fields, busy): (&[&str], i64) = match self {
            Self::Json | Self::Slack | Self::Teams => return Ok(()),
            Self::Dingtalk => (&["errcode"], 130_101),
            Self::Wecom => (&["errcode"], 45_009),
            Self::Feishu => (&["code", "StatusCode"], 11_232),
        };
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        match fields.iter().find_map(|field| said.get(field)?.as_i64()) {
            Some(0) => Ok(()),
            Some(code) if code != busy => Err(Failure::Refused(problem)),
            _ => Err(Failure::Later { problem, asked: None }),
        }
    }
}

/// An adaptive card with one text, in which nothing is markup.
fn card(text: &str) -> Value {
    let text = json!({ "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": text }] });
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [text],
    });
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": card });
    json!({ "type": "message", "attachments": [attachment] })
}

/// A post with one text, in which nothing is markup, as it would be in a message of type text.
fn post(text: &str) -> Value {
    let line = json!([{ "tag": "text", "text": text }]);
    json!({ "msg_type": "post", "content": { "post": { "zh_cn": { "title": "", "content": [line] } } } })
}

fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Base64 as a query may have it.
fn escaped(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// When a receiver wants to be asked again, in seconds or as a date (RFC 9110, section 10.2.3).
fn asked(answer: &Response<Vec<u8>>, now: Timestamp) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

/// The start of an answer, for people, in which nothing draws lines in a log.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let letters = text.trim().chars().take(MAX_SHOWN);
    let shown: String = letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if shown.is_empty() { shown } else { format!(": {shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_793_600_000, 123_000_000);

    fn message() -> Message {
        let mut message = Message::test("ops", "ann", 7, NOW);
        message.text = "order 7 <!here> & <at user_id=\"all\"></at> *is* Paused".into();
        message
    }

    fn prepared(format: Format, secret: Option<&str>) -> (String, Value) {
        let prepared = format.prepare(&message(), secret, NOW).unwrap();
        assert_eq!(prepared.headers[0], ("content-type", "application/json".to_owned()));
        (prepared.query, serde_json::from_slice(&prepared.body).unwrap())
    }

    #[test]
    fn each_robot_gets_its_format_in_which_nothing_is_markup() {
        let text = "Graylane: order 7 <!here> & <at user_id=\"all\"></at> *is* Paused";
        let slack = "Graylane: order 7 &lt;!here&gt; &amp; &lt;at user_id=\"all\"&gt;&lt;/at&gt; *is* Paused";
        assert_eq!(prepared(Format::Slack, None).1, json!({ "text": slack }));
        let plain = json!({ "msgtype": "text", "text": { "content": text } });
        assert_eq!(prepared(Format::Wecom, None), (String::new(), plain.clone()));
        assert_eq!(prepared(Format::Dingtalk, None), (String::new(), plain.clone()));
        let line = json!([{ "tag": "text", "text": text }]);
        let post = json!({ "post": { "zh_cn": { "title": "", "content": [line] } } });
        assert_eq!(prepared(Format::Feishu, None).1, json!({ "msg_type": "post", "content": post }));
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": [{ "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": text }] }],
        });
        let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": card });
        assert_eq!(
            prepared(Format::Teams, None).1,
            json!({ "type": "message", "attachments": [attachment] })
        );
    }

    #[test]
    fn robots_that_want_it_get_a_signature_where_they_look_for_it() {
        let (query, body) = prepared(Format::Dingtalk, Some("SEC7"));
        let sign = dingtalk("SEC7", 1_793_600_000_123).unwrap();
        assert!(sign.contains(['+', '/', '=']), "it has something to escape");
        assert_eq!(query, format!("timestamp=1793600000123&sign={}", escaped(&sign)));
        assert!(!query.contains(['+', '/']) && body.get("sign").is_none());
        let (query, body) = prepared(Format::Feishu, Some("s"));
        let sign = feishu("s", 1_793_600_000).unwrap();
        assert_eq!(
            (query.as_str(), &body["timestamp"], &body["sign"]),
            ("", &json!("1793600000"), &json!(sign))
        );
    }

    fn judged(format: Format, status: u16, retry_after: &str, body: &str) -> &'static str {
        let mut answer = Response::builder().status(status);
        if !retry_after.is_empty() {
            answer = answer.header(RETRY_AFTER, retry_after);
        }
        match format.judge(&answer.body(body.as_bytes().to_vec()).unwrap(), NOW) {
            Ok(()) => "taken",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::Later { asked: Some(asked), .. }) => {
                // A date has no milliseconds.
                assert_eq!(asked.as_secs_f64().round(), 100.0);
                "later, in 100 s"
            }
            Err(Failure::Later { asked: None, .. }) => "later",
        }
    }

    #[test]
    fn an_answer_says_whether_this_message_any_message_or_none_will_do() {
        for (status, expected) in [
            (200, "taken"),
            (202, "taken"),
            (204, "taken"),
            (301, "later"),
            (400, "refused"),
            (401, "later"),
            (403, "later"),
            (404, "later"),
            (408, "later"),
            (410, "later"),
            (413, "refused"),
            (422, "refused"),
            (429, "later"),
            (500, "later"),
            (503, "later"),
        ] {
            assert_eq!(judged(Format::Json, status, "", "{}"), expected, "{status}");
            assert_eq!(judged(Format::Dingtalk, status, "", "{\"errcode\":0}"), expected, "{status}");
        }
        assert_eq!(judged(Format::Json, 503, "100", ""), "later, in 100 s");
        let date = rfc2822::DateTimePrinter::new();
        let at = NOW + jiff::SignedDuration::from_millis(99_877);
        let date = date.timestamp_to_rfc9110_string(&at).unwrap();
        assert_eq!(judged(Format::Json, 429, &date, ""), "later, in 100 s");
        assert_eq!(judged(Format::Json, 429, "Mon, 01 Jan 2024 00:00:00 GMT", ""), "later");
        assert_eq!(judged(Format::Json, 429, "soon", ""), "later");
    }

    #[test]
    fn robots_refuse_with_200_and_a_number() {
        for (format, body, expected) in [
            (Format::Dingtalk, r#"{"errcode":0,"errmsg":"ok"}"#, "taken"),
            (Format::Dingtalk, r#"{"errcode":310000,"errmsg":"sign not match"}"#, "refused"),
            (Format::Dingtalk, r#"{"errcode":130101,"errmsg":"send too fast"}"#, "later"),
            (Format::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#, "taken"),
            (Format::Wecom, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#, "refused"),
            (Format::Wecom, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, "later"),
            (Format::Feishu, r#"{"code":0,"msg":"success","data":{}}"#, "taken"),
            (Format::Feishu, r#"{"Extra":null,"StatusCode":0,"StatusMessage":"success"}"#, "taken"),
            (Format::Feishu, r#"{"code":19021,"msg":"sign match fail"}"#, "refused"),
            (Format::Feishu, r#"{"code":11232,"msg":"frequency limited"}"#, "later"),
            (Format::Feishu, "<html>log in first</html>", "later"),
            (Format::Wecom, "{}", "later"),
            (Format::Slack, "ok", "taken"),
        ] {
            assert_eq!(judged(format, 200, "", body), expected, "{format:?} {body}");
        }
    }
}
