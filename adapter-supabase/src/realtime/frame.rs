//! Frames of the Phoenix protocol, in both of its forms.

use serde_json::{Value, json};
use sync_http::WebSocketMessage;

/// The form of the realtime protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhoenixVersion {
    /// 1.0.0, which every realtime server speaks: frames are objects.
    V1,
    /// 2.0.0, the default of the official clients: frames are arrays, and broadcasts may be binary.
    #[default]
    V2,
}

/// The kind of a binary frame that carries a broadcast.
const USER_BROADCAST: u8 = 4;

/// How the payload of a binary frame says that it is JSON.
const JSON_ENCODING: u8 = 1;

/// One message to the server or from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) join_ref: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) payload: Value,
}

impl PhoenixVersion {
    /// The version as it stands in the address.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2 => "2.0.0",
        }
    }

    pub(super) fn write(self, frame: &Frame) -> WebSocketMessage {
        let Frame {
            join_ref,
            reference,
            topic,
            event,
            payload,
        } = frame;
        let text = match self {
            Self::V1 => {
                json!({"join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload})
            }
            Self::V2 => json!([join_ref, reference, topic, event, payload]),
        };
        WebSocketMessage::Text(text.to_string())
    }

    /// Reads a frame; `None` if it is none.
    pub(super) fn read(self, message: &WebSocketMessage) -> Option<Frame> {
        match (self, message) {
            (_, WebSocketMessage::Binary(bytes)) => read_broadcast(bytes),
            (Self::V1, WebSocketMessage::Text(text)) => {
                let mut value: Value = serde_json::from_str(text).ok()?;
                let payload = value.get_mut("payload")?.take();
                Frame::of(
                    &value["join_ref"],
                    &value["ref"],
                    &value["topic"],
                    &value["event"],
                    payload,
                )
            }
            (Self::V2, WebSocketMessage::Text(text)) => {
                let [join_ref, reference, topic, event, payload]: [Value; 5] =
                    serde_json::from_str(text).ok()?;
                Frame::of(&join_ref, &reference, &topic, &event, payload)
            }
        }
    }
}

impl Frame {
    fn of(join_ref: &Value, reference: &Value, topic: &Value, event: &Value, payload: Value) -> Option<Self> {
        Some(Self {
            join_ref: join_ref.as_str().map(str::to_owned),
            reference: reference.as_str().map(str::to_owned),
            topic: topic.as_str()?.to_owned(),
            event: event.as_str()?.to_owned(),
            payload,
        })
    }
}

/// Reads the one binary frame that servers send: a kind, the lengths of topic, event and metadata, the encoding of
/// the payload, and these parts in a row.
fn read_broadcast(bytes: &[u8]) -> Option<Frame> {
    let (&[kind, topic, event, metadata, encoding], rest) = bytes.split_first_chunk()?;
    if kind != USER_BROADCAST {
        return None;
    }
    let (topic, rest) = rest.split_at_checked(topic.into())?;
    let (event, rest) = rest.split_at_checked(event.into())?;
    let (_, payload) = rest.split_at_checked(metadata.into())?;
    let payload = match encoding {
        JSON_ENCODING => serde_json::from_slice(payload).ok()?,
        _ => Value::Null,
    };
    Some(Frame {
        join_ref: None,
        reference: None,
        topic: std::str::from_utf8(topic).ok()?.to_owned(),
        event: "broadcast".to_owned(),
        payload: json!({"type": "broadcast", "event": std::str::from_utf8(event).ok()?, "payload": payload}),
    })
}

#[cfg(test)]
mod tests {
    use sync_http::Bytes;

    use super::*;

    fn join() -> Frame {
        Frame {
            join_ref: Some("1".to_owned()),
            reference: Some("2".to_owned()),
            topic: "realtime:sync:team".to_owned(),
            event: "phx_join".to_owned(),
            payload: json!({"config": {"private": true}}),
        }
    }

    fn text(message: WebSocketMessage) -> String {
        let WebSocketMessage::Text(text) = message else {
            panic!("frames are sent as text")
        };
        text
    }

    #[test]
    fn each_form_writes_what_the_protocol_says_and_reads_only_its_own() {
        assert_eq!(
            text(PhoenixVersion::V2.write(&join())),
            r#"["1","2","realtime:sync:team","phx_join",{"config":{"private":true}}]"#
        );
        let object: Value = serde_json::from_str(&text(PhoenixVersion::V1.write(&join()))).unwrap();
        assert_eq!(
            object,
            json!({"join_ref": "1", "ref": "2", "topic": "realtime:sync:team", "event": "phx_join",
                "payload": {"config": {"private": true}}})
        );
        for (own, other) in [
            (PhoenixVersion::V1, PhoenixVersion::V2),
            (PhoenixVersion::V2, PhoenixVersion::V1),
        ] {
            assert_eq!(own.read(&own.write(&join())), Some(join()));
            assert_eq!(own.read(&other.write(&join())), None);
        }
    }

    #[test]
    fn a_heartbeat_has_no_join_reference() {
        let heartbeat = Frame {
            join_ref: None,
            topic: "phoenix".to_owned(),
            event: "heartbeat".to_owned(),
            payload: json!({}),
            ..join()
        };
        assert_eq!(
            text(PhoenixVersion::V2.write(&heartbeat)),
            r#"[null,"2","phoenix","heartbeat",{}]"#
        );
    }

    #[test]
    fn what_is_no_frame_is_told_so_and_harms_nothing() {
        for version in [PhoenixVersion::V1, PhoenixVersion::V2] {
            for text in [
                "",
                "{",
                "[]",
                "{}",
                "[1,2]",
                "null",
                r#"[null,null,1,"e",{}]"#,
                r#"[1,2,3,4,5,6]"#,
            ] {
                assert_eq!(
                    version.read(&WebSocketMessage::Text(text.to_owned())),
                    None,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_broadcast_may_come_in_a_binary_frame() {
        let mut bytes = vec![4, 8, 4, 2, 1];
        bytes.extend_from_slice(br#"realtimepoke{}{"seq":7}"#);
        let frame = PhoenixVersion::V2
            .read(&WebSocketMessage::Binary(Bytes::from(bytes.clone())))
            .unwrap();
        assert_eq!(
            (frame.topic.as_str(), frame.event.as_str()),
            ("realtime", "broadcast")
        );
        assert_eq!(frame.payload["event"], "poke");
        assert_eq!(frame.payload["payload"], json!({"seq": 7}));
        for length in 0..bytes.len() {
            let cut = WebSocketMessage::Binary(Bytes::copy_from_slice(&bytes[..length]));
            assert_eq!(PhoenixVersion::V2.read(&cut), None, "{length} bytes");
        }
    }
}
