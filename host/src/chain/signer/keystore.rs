//! Keys: encrypted at rest in the Web3 Secret Storage format (version 3), in memory only here.
//!
//! No key and no passphrase reaches a log, a `Debug` text or an error.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, Signature, keccak256};
use async_trait::async_trait;
use eth_keystore::{EthKeystore, KdfparamsType};
use k256::ecdsa::SigningKey;
use k256::elliptic_curve::rand_core::OsRng;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::locked::LockedKey;
use super::{Signer, SignerError};

/// What a keystore file is encrypted with.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a keystore cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error("keystore {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Never overwritten: the key in it may hold money.
    #[error("keystore {} exists already", .0.display())]
    Exists(PathBuf),
    #[error("keystore {} is open to everyone: its mode is {mode:o}; chmod 600 it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("keystore {} is not in the Web3 Secret Storage format, version 3: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("keystore {}: the passphrase is wrong, or the file is damaged", .0.display())]
    WrongPassphrase(PathBuf),
    #[error("keystore {}: it could not be decrypted: {what}", path.display())]
    Cipher { path: PathBuf, what: String },
}

/// A private key and the account that it signs for.
pub(in crate::chain) struct AccountKey {
    key: LockedKey,
    address: Address,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey").field("address", &self.address).finish_non_exhaustive()
    }
}

impl AccountKey {
    /// Decrypts a keystore file. The key derivation takes a while by design, so it is not done on
    /// a thread that serves others.
    pub(in crate::chain) async fn load(
        path: &Path,
        passphrase: &Passphrase,
    ) -> Result<Self, KeystoreError> {
        let (owned, passphrase) = (path.to_owned(), passphrase.clone());
        tokio::task::spawn_blocking(move || decrypt(&owned, &passphrase)).await.unwrap_or_else(
            |_| Err(KeystoreError::Cipher { path: path.to_owned(), what: "it panicked".into() }),
        )
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = SigningKey::from_slice(bytes).ok()?;
        let address = Address::from_private_key(&key);
        Some(Self { key: LockedKey::new(key), address })
    }

    #[cfg(test)]
    pub(in crate::chain) fn for_tests(byte: u8) -> Self {
        Self::from_bytes(&[byte; 32]).unwrap()
    }
}

#[async_trait]
impl Signer for AccountKey {
    fn address(&self) -> Address {
        self.address
    }

    /// With the curve's lower `s`, as nodes want it (EIP-2), and the same each time (RFC 6979).
    async fn sign(&self, unsigned: &[u8]) -> Result<Signature, SignerError> {
        let digest = keccak256(unsigned);
        let signed = self.key.key().sign_prehash_recoverable(digest.as_slice());
        let (signature, recovery) = signed.map_err(|_| SignerError::NoSignature)?;
        Ok(Signature::from((signature, recovery)))
    }
}

/// The largest file that is looked at. A keystore has about 500 bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// scrypt takes 128·N·r bytes of memory: this allows the heaviest parameters in use (N = 2¹⁸,
/// r = 8, 256 MiB) fourfold, and stops a file that would take all memory.
const SCRYPT_N_TIMES_R_MAX: u64 = 1 << 23;

/// Makes a new key and writes its keystore, readable by its owner only. Answers the account's
/// address with its checksum. An existing file is never touched.
///
/// It blocks for the key derivation, about 0.1 s.
///
/// # Errors
/// [`KeystoreError::Exists`], or the file cannot be written.
pub fn create_keystore(path: &Path, passphrase: &Passphrase) -> Result<String, KeystoreError> {
    let file_error = |source| KeystoreError::File { path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let key = SigningKey::random(&mut OsRng);
    let address = Address::from_private_key(&key);
    // Written beside the target and linked into place, so that a crash leaves a whole file or
    // none, and two makers cannot overwrite each other's key.
    let temporary_name = format!(".keystore-{}", Uuid::now_v7().simple());
    let temporary = folder.join(&temporary_name);
    let written = write_private(&temporary).map_err(file_error).and_then(|file| {
        let encrypted = eth_keystore::encrypt_key(
            folder,
            &mut OsRng,
            &key.to_bytes()[..],
            passphrase.0.as_bytes(),
            Some(&temporary_name),
        );
        encrypted.map_err(|e| cipher_error(path, &e))?;
        file.sync_all().map_err(file_error)?;
        fs::hard_link(&temporary, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeystoreError::Exists(path.to_owned()),
            _ => file_error(source),
        })?;
        // Without this the directory may forget a file whose account already got money.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error)
    });
    // What is left of a failure here is an encrypted file under a name that nobody reads.
    let _ = fs::remove_file(&temporary);
    written.map(|()| address.to_checksum(None))
}

/// The address of the account in a keystore, with its checksum. Blocks like [`create_keystore`].
///
/// # Errors
/// The file cannot be read, or not with this passphrase.
pub fn keystore_address(path: &Path, passphrase: &Passphrase) -> Result<String, KeystoreError> {
    decrypt(path, passphrase).map(|key| key.address.to_checksum(None))
}

fn write_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn decrypt(path: &Path, passphrase: &Passphrase) -> Result<AccountKey, KeystoreError> {
    let file_error = |source| KeystoreError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(file_error)?;
    refuse_exposed(path, &file)?;
    let mut text = String::new();
    file.by_ref().take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(file_error)?;
    refuse_malformed(path, &text)?;
    let bytes = eth_keystore::decrypt_key(path, passphrase.0.as_bytes())
        .map_err(|error| cipher_error(path, &error))?;
    let bytes = Zeroizing::new(bytes);
    AccountKey::from_bytes(&bytes).ok_or_else(|| KeystoreError::Malformed {
        path: path.to_owned(),
        what: "what is encrypted in it is no key of secp256k1".into(),
    })
}

fn cipher_error(path: &Path, error: &eth_keystore::KeystoreError) -> KeystoreError {
    let path = path.to_owned();
    match error {
        eth_keystore::KeystoreError::MacMismatch => KeystoreError::WrongPassphrase(path),
        eth_keystore::KeystoreError::StdIo(_)
        | eth_keystore::KeystoreError::SerdeJson(_)
        | eth_keystore::KeystoreError::ScryptInvalidParams(_)
        | eth_keystore::KeystoreError::ScryptInvalidOuputLen(_)
        | eth_keystore::KeystoreError::AesInvalidKeyNonceLength(_) => {
            KeystoreError::Cipher { path, what: error.to_string() }
        }
    }
}

#[cfg(unix)]
pub(super) fn refuse_exposed(path: &Path, file: &File) -> Result<(), KeystoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata =
        file.metadata().map_err(|source| KeystoreError::File { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    // The group may read: that is how orchestrators hand secrets to a process without root.
    if mode & 0o007 == 0 {
        Ok(())
    } else {
        Err(KeystoreError::Exposed { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
pub(super) fn refuse_exposed(_path: &Path, _file: &File) -> Result<(), KeystoreError> {
    Ok(())
}

/// The decryption library indexes into these fields unchecked, and takes any cipher for its own.
fn refuse_malformed(path: &Path, text: &str) -> Result<(), KeystoreError> {
    let malformed = |what: String| KeystoreError::Malformed { path: path.to_owned(), what };
    // The parser's own text would quote the file, so only the place is told.
    let parsed: EthKeystore = serde_json::from_str(text).map_err(|e| {
        malformed(format!("it does not parse at line {}, column {}", e.line(), e.column()))
    })?;
    let crypto = &parsed.crypto;
    let dklen = match &crypto.kdfparams {
        KdfparamsType::Pbkdf2 { dklen, .. } => *dklen,
        KdfparamsType::Scrypt { dklen, n, r, .. } => {
            if !n.is_power_of_two() || u64::from(*n) * u64::from(*r) > SCRYPT_N_TIMES_R_MAX {
                return Err(malformed("its scrypt parameters are out of bounds".into()));
            }
            *dklen
        }
    };
    let fits = parsed.version == 3
        && crypto.cipher == "aes-128-ctr"
        && crypto.cipherparams.iv.len() == 16
        && crypto.ciphertext.len() == 32
        && dklen == 32;
    if fits { Ok(()) } else { Err(malformed("version, cipher or a length is another".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase() -> Passphrase {
        Passphrase::new("correct horse".into())
    }

    #[tokio::test]
    async fn a_created_keystore_is_private_and_loads_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let address = create_keystore(&path, &passphrase()).unwrap();
        let key = AccountKey::load(&path, &passphrase()).await.unwrap();
        assert_eq!(key.address().to_checksum(None), address);
        assert_eq!(keystore_address(&path, &passphrase()).unwrap(), address);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let wrong = AccountKey::load(&path, &Passphrase::new("wrong".into())).await;
        assert!(matches!(wrong, Err(KeystoreError::WrongPassphrase(_))), "{wrong:?}");
    }

    #[test]
    fn an_existing_keystore_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        create_keystore(&path, &passphrase()).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(create_keystore(&path, &passphrase()), Err(KeystoreError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn a_keystore_that_everyone_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        create_keystore(&path, &passphrase()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let refused = keystore_address(&path, &passphrase());
        assert!(matches!(refused, Err(KeystoreError::Exposed { mode: 0o604, .. })), "{refused:?}");
    }

    #[test]
    fn damaged_keystores_are_errors_and_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        create_keystore(&path, &passphrase()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&good).unwrap();
        let edits: [(&str, serde_json::Value); 7] = [
            ("/version", 4.into()),
            ("/crypto/cipher", "aes-256-gcm".into()),
            ("/crypto/cipherparams/iv", "00".into()),
            ("/crypto/ciphertext", "00".into()),
            ("/crypto/kdfparams/dklen", 8.into()),
            ("/crypto/kdfparams/n", 3.into()),
            ("/crypto/kdfparams/n", (1_u64 << 31).into()),
        ];
        let mut texts: Vec<String> = vec![String::new(), "{}".into(), good[..40].into()];
        for (pointer, new) in edits {
            let mut edited = value.clone();
            *edited.pointer_mut(pointer).unwrap() = new;
            texts.push(edited.to_string());
        }
        for text in texts {
            fs::write(&path, &text).unwrap();
            let result = keystore_address(&path, &passphrase());
            assert!(matches!(result, Err(KeystoreError::Malformed { .. })), "{text}: {result:?}");
        }
    }

    #[test]
    fn a_key_is_in_memory_that_is_not_swapped_out() {
        // Some systems allow none of it; then it is told, and the key is used all the same.
        let allowed = region::lock([0_u8; 1].as_ptr(), 1).is_ok();
        assert_eq!(AccountKey::for_tests(7).key.is_locked(), allowed);
    }

    #[test]
    fn no_debug_text_shows_a_secret() {
        let key = AccountKey::for_tests(7);
        let shown = format!("{:?} {key:?}", passphrase());
        assert!(!shown.contains("correct horse") && !shown.contains("0707"), "{shown}");
    }
}
