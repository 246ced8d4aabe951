//! Whose word a component rests on: minisign signatures (Ed25519 over a BLAKE2b hash), checked
//! offline. The signature is the author's and covers the component; the manifest is the operator's
//! own, and is not signed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minisign_verify::{Error, PublicKey, Signature};

/// The name of the file beside `component.wasm`, as `minisign -S` writes it.
pub const SIGNATURE_FILE: &str = "component.wasm.minisig";

/// The public keys of which one must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

/// A text that is no public key of minisign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no public key of minisign: it is the second line of its .pub file, RW…")]
pub struct KeyError(String);

/// Why a component's signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "the component is not signed: this host loads only what a listed key signed; put the \
         author's {SIGNATURE_FILE} beside it"
    )]
    Unsigned,
    #[error("{SIGNATURE_FILE} is no signature of minisign")]
    Malformed,
    #[error(
        "the component is signed by the key {key_id}, which this host does not trust: to trust it, \
         list its public key in plugins.require_signature"
    )]
    UnknownKey { key_id: String },
    #[error(
        "the signature by the key {key_id} does not fit the component: one of the two was changed \
         after signing"
    )]
    Tampered { key_id: String },
}

impl TrustedKeys {
    /// # Errors
    /// A text is no public key.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let parsed = keys.into_iter().map(|key| {
            PublicKey::from_base64(key.trim()).map_err(|_| KeyError(key.chars().take(80).collect()))
        });
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// The id of the key that signed these bytes, as minisign prints it.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn check(
        &self,
        component: &[u8],
        signature: Option<&str>,
    ) -> Result<String, SignatureError> {
        let text = signature.ok_or(SignatureError::Unsigned)?;
        let key_id = key_id(text).ok_or(SignatureError::Malformed)?;
        let signature = Signature::decode(text).map_err(|_| SignatureError::Malformed)?;
        let mut fits = Err(SignatureError::UnknownKey { key_id: key_id.clone() });
        for key in &self.0 {
            // No legacy signatures: those are over the component itself, and minisign no longer
            // makes them.
            match key.verify(component, &signature, false) {
                Ok(()) => return Ok(key_id),
                Err(Error::UnexpectedKeyId) => {}
                Err(Error::UnsupportedLegacyMode | Error::UnsupportedAlgorithm) => {
                    fits = Err(SignatureError::Malformed);
                }
                // A key id is eight bytes that anybody may choose: another key may fit yet.
                Err(_) => fits = Err(SignatureError::Tampered { key_id: key_id.clone() }),
            }
        }
        fits.map(|()| key_id)
    }
}

/// The eight bytes after the algorithm of the second line: little-endian, in hexadecimal.
fn key_id(signature: &str) -> Option<String> {
    let line = signature.lines().nth(1)?;
    let bytes = BASE64_STANDARD.decode(line.trim()).ok()?;
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with minisign 0.11: `minisign -G -W`, `minisign -S -W -m component.wasm`.
    const KEY: &str = "RWQOPCPFXcXLvMwUm1B+4CdFJpXOID5tnKtLcJdM8z6jdyh3CXq21b7e";
    const OTHER_KEY: &str = "RWRqRzegFOY73KKQ+1BTqJwZdL+lEYPdFZGMzkU24Sfiqgl7Qx65gU+n";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUQOPCPFXcXLvAtCS8DYXWfh01kFRekgMUR+1xRKUL9voigu9jDiVpRyyiX19e5mORqVs1Xw2vXj0VMuXCIlQmAUz35elgLW+QU=\n\
        trusted comment: partner-sync 1.2.3\n\
        4akv/g9CeS2neiD9yuOymySm6/vtwnYkvGsEDOFBudbiqpUouWeBgX0fLZeTs03SdTqSt17okQXzunAhnQfxBw==\n";
    const KEY_ID: &str = "BCCBC55DC5233C0E";

    fn trusted(keys: &[&str]) -> TrustedKeys {
        TrustedKeys::new(keys.iter().copied()).unwrap()
    }

    #[test]
    fn what_a_listed_key_signed_holds() {
        for keys in [&[KEY][..], &[OTHER_KEY, KEY]] {
            assert_eq!(trusted(keys).check(COMPONENT, Some(SIGNATURE)), Ok(KEY_ID.to_owned()));
        }
    }

    #[test]
    fn each_way_to_fail_has_its_own_reason() {
        let keys = trusted(&[KEY]);
        let key_id = KEY_ID.to_owned();
        assert_eq!(keys.check(COMPONENT, None), Err(SignatureError::Unsigned));
        assert_eq!(keys.check(COMPONENT, Some("RUQ")), Err(SignatureError::Malformed));
        assert_eq!(keys.check(COMPONENT, Some("a\nRUQ=\nb\nc\n")), Err(SignatureError::Malformed));
        let unknown = SignatureError::UnknownKey { key_id: key_id.clone() };
        assert_eq!(trusted(&[OTHER_KEY]).check(COMPONENT, Some(SIGNATURE)), Err(unknown.clone()));
        assert_eq!(trusted(&[]).check(COMPONENT, Some(SIGNATURE)), Err(unknown));
        let tampered = SignatureError::Tampered { key_id };
        assert_eq!(keys.check(b"\0asm\x0d\0\x01\x01", Some(SIGNATURE)), Err(tampered.clone()));
        let comment = SIGNATURE.replace("1.2.3", "1.2.4");
        assert_eq!(keys.check(COMPONENT, Some(&comment)), Err(tampered));
    }

    #[test]
    fn what_is_no_key_is_told_without_a_key() {
        let error = TrustedKeys::new(["RWQ", KEY]).unwrap_err().to_string();
        assert!(error.starts_with("\"RWQ\" is no public key of minisign"), "{error}");
    }
}
