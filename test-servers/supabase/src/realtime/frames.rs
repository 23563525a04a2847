//! Frames of the Phoenix protocol, in its two forms.

use serde_json::{Value, json};

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serializer {
    /// An object with named fields.
    V1,
    /// An array: join reference, reference, topic, event, payload.
    V2,
}

/// One message of a client or to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) join_ref: Value,
    pub(super) reference: Value,
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) payload: Value,
}

impl Serializer {
    pub(super) fn read(self, text: &str) -> Option<Frame> {
        let value: Value = serde_json::from_str(text).ok()?;
        let (join_ref, reference, topic, event, payload) = match (self, &value) {
            (Self::V1, Value::Object(_)) => (
                &value["join_ref"],
                &value["ref"],
                &value["topic"],
                &value["event"],
                &value["payload"],
            ),
            (Self::V2, Value::Array(parts)) if parts.len() == 5 => {
                (&parts[0], &parts[1], &parts[2], &parts[3], &parts[4])
            }
            _ => return None,
        };
        Some(Frame {
            join_ref: join_ref.clone(),
            reference: reference.clone(),
            topic: topic.as_str()?.to_owned(),
            event: event.as_str()?.to_owned(),
            payload: payload.clone(),
        })
    }

    pub(super) fn write(self, frame: &Frame) -> String {
        let Frame {
            join_ref,
            reference,
            topic,
            event,
            payload,
        } = frame;
        match self {
            Self::V1 => {
                json!({"join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload})
            }
            Self::V2 => json!([join_ref, reference, topic, event, payload]),
        }
        .to_string()
    }
}

impl Frame {
    /// The answer to this frame.
    pub(super) fn reply(&self, status: &str, response: Value) -> Self {
        Self {
            event: "phx_reply".to_owned(),
            payload: json!({"status": status, "response": response}),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_as_they_are_written() {
        let frame = Frame {
            join_ref: json!("1"),
            reference: json!("2"),
            topic: "realtime:x".to_owned(),
            event: "phx_join".to_owned(),
            payload: json!({"a": 1}),
        };
        for (form, other) in [(Serializer::V1, Serializer::V2), (Serializer::V2, Serializer::V1)] {
            assert_eq!(form.read(&form.write(&frame)), Some(frame.clone()));
            assert_eq!(form.read(&other.write(&frame)), None);
        }
        assert_eq!(Serializer::V2.read("[1,2]"), None);
    }
}
