//! JSON web tokens, signed with a secret that the gateway and the data API share.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The secret of every stack: nothing here is reachable from elsewhere.
pub(crate) const SECRET: &str = "a secret of tests that is at least thirty-two bytes long";

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is no token, or not signed by us.
    Invalid,
    /// Its time is over, since so many seconds.
    Expired(i64),
}

pub(crate) fn sign(claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        encoded(&json!({"alg": "HS256", "typ": "JWT"})),
        encoded(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(mac(&signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The claims of a token that is good at `now`, in seconds since 1970.
pub(crate) fn verify(token: &str, now: i64) -> Result<Value, Refused> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Invalid)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Invalid)?;
    mac(signed)
        .verify_slice(&signature)
        .map_err(|_| Refused::Invalid)?;
    let (_, claims) = signed.split_once('.').ok_or(Refused::Invalid)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Refused::Invalid)?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| Refused::Invalid)?;
    match claims["exp"].as_i64() {
        Some(expires) if expires <= now => Err(Refused::Expired(now - expires)),
        _ => Ok(claims),
    }
}

fn mac(signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length is taken");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_with_its_signature() {
        let token = sign(&json!({"sub": "ada", "exp": 100}));
        assert_eq!(verify(&token, 99).unwrap()["sub"], "ada");
        assert_eq!(verify(&token, 103), Err(Refused::Expired(3)));
        let (signed, _) = token.rsplit_once('.').unwrap();
        for forged in [format!("{signed}.AAAA"), "x".to_owned(), format!("x{token}")] {
            assert_eq!(verify(&forged, 99), Err(Refused::Invalid), "{forged}");
        }
    }
}
