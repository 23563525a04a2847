//! The comparison of a recorded answer with one of the stand-in.
//!
//! Ids that the server made are captured: wherever the recording repeats one, the stand-in must repeat its
//! own. Secrets are only compared for being there. The order of keys does not count. Dates and `$sequence`
//! are compared as they are, since the clock of the replay follows the recording.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields whose values are secrets, or made from secrets.
const SECRETS: [&str; 3] = ["password", "secret", "jwt"];
/// Headers of the recording that are compared.
const HEADERS: [&str; 6] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-appwrite-cache",
    "cache-control",
    "content-type",
];

/// How all ids begin that the server made on the day of the recording.
const MADE_BY_SERVER: &str = "6b01";

/// Which id of the stand-in stands for which recorded one.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    ours: BTreeMap<String, String>,
    recorded: BTreeMap<String, String>,
}

fn is_made_by_server(text: &str) -> bool {
    text.len() == 20 && text.starts_with(MADE_BY_SERVER) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Ids {
    /// A text of a recorded request with all captured ids in the place of the recorded ones.
    pub(crate) fn translate(&self, text: &str) -> String {
        let mut translated = text.to_owned();
        if !text.contains(MADE_BY_SERVER) {
            return translated;
        }
        for (recorded, ours) in &self.ours {
            if translated.contains(recorded) {
                translated = translated.replace(recorded, ours);
            }
        }
        translated
    }

    fn capture(&mut self, recorded: &str, ours: &str) -> bool {
        let known = self
            .ours
            .entry(recorded.to_owned())
            .or_insert_with(|| ours.to_owned());
        let back = self
            .recorded
            .entry(ours.to_owned())
            .or_insert_with(|| recorded.to_owned());
        known == ours && back == recorded
    }

    /// Compares two values; says where they differ.
    pub(crate) fn compare(&mut self, place: &str, recorded: &Value, ours: &Value) -> Result<(), String> {
        let differ = || Err(format!("{place}: recorded {recorded}, got {ours}"));
        match (recorded, ours) {
            (Value::Object(recorded), Value::Object(ours)) => {
                if let Some(key) = recorded.keys().find(|key| !ours.contains_key(*key)) {
                    return Err(format!("{place}: {key} is missing"));
                }
                if let Some(key) = ours.keys().find(|key| !recorded.contains_key(*key)) {
                    return Err(format!("{place}: {key} is not in the recording"));
                }
                for (key, value) in recorded {
                    let inner = format!("{place}.{key}");
                    if SECRETS.contains(&key.as_str()) && value.is_string() {
                        let filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
                        if filled(value) != filled(&ours[key]) {
                            return Err(format!("{inner}: a secret is there in one only"));
                        }
                    } else {
                        self.compare(&inner, value, &ours[key])?;
                    }
                }
                Ok(())
            }
            (Value::Array(recorded), Value::Array(ours)) => {
                if recorded.len() != ours.len() {
                    return Err(format!(
                        "{place}: recorded {} items, got {}",
                        recorded.len(),
                        ours.len()
                    ));
                }
                for (at, (recorded, ours)) in recorded.iter().zip(ours).enumerate() {
                    self.compare(&format!("{place}[{at}]"), recorded, ours)?;
                }
                Ok(())
            }
            (Value::String(text), Value::String(other)) if is_made_by_server(text) => {
                if self.capture(text, other) {
                    Ok(())
                } else {
                    differ()
                }
            }
            _ if recorded == ours => Ok(()),
            (Value::String(text), Value::String(other)) if self.translate(text) == *other => Ok(()),
            (Value::Number(left), Value::Number(right)) if left.as_f64() == right.as_f64() => Ok(()),
            _ => differ(),
        }
    }

    /// Compares the headers that the recording kept.
    pub(crate) fn compare_headers(
        &self,
        recorded: &Value,
        ours: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        for name in HEADERS {
            let (recorded, ours) = (recorded[name].as_str(), ours.get(name).map(String::as_str));
            if recorded != ours {
                return Err(format!("header {name}: recorded {recorded:?}, got {ours:?}"));
            }
        }
        for name in ["set-cookie", "x-fallback-cookies"] {
            if recorded.get(name).is_some() != ours.contains_key(name) {
                return Err(format!("header {name} is there in one only"));
            }
        }
        Ok(())
    }
}
