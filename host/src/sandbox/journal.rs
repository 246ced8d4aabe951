//! What a stand-in remembers: a file of JSON lines that only grows.
//!
//! `append` returns after the operating system has the bytes, so killing this process loses
//! nothing. It does not sync: a stand-in need not survive the loss of the machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest record that is written or read: a message of the broker with its body in
/// hexadecimal, and room around it.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is used by another process", path.display())]
    Locked { path: PathBuf },
    #[error("{}, line {line}, is not a record: {reason}; remove the data directory to begin anew", path.display())]
    Corrupt { path: PathBuf, line: usize, reason: String },
    #[error("a record of {bytes} bytes is larger than {LINE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("{} is closed", path.display())]
    Closed { path: PathBuf },
}

/// An open journal, locked against other processes.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None once it is closed.
    file: Mutex<Option<Tail>>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    /// Where the last whole record ends.
    length_bytes: u64,
}

impl Journal {
    /// Opens or creates the file and gives its records, oldest first, to `replay`. A last line
    /// without its end is what a crash during a write leaves: its record was never answered
    /// for, so it is cut off.
    ///
    /// # Errors
    /// The file cannot be read, is in use, or has a line that is no record.
    pub fn open<T: DeserializeOwned>(
        path: &Path,
        mut replay: impl FnMut(T) -> Result<(), String>,
    ) -> Result<Self, JournalError> {
        let io_error = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        let mut length_bytes = 0;
        let mut reader = BufReader::new(&file);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = read_line(&mut reader, &mut line).map_err(io_error)?;
            if line.last() != Some(&b'\n') {
                if read > 0 {
                    tracing::warn!(path = %path.display(), bytes = read, "cut off a record that was half written");
                }
                break;
            }
            number += 1;
            serde_json::from_slice(&line)
                .map_err(|error| error.to_string())
                .and_then(&mut replay)
                .map_err(|reason| JournalError::Corrupt {
                    path: path.to_owned(),
                    line: number,
                    reason,
                })?;
            length_bytes += read as u64;
        }
        file.set_len(length_bytes).map_err(io_error)?;
        file.seek(SeekFrom::End(0)).map_err(io_error)?;
        let file = Mutex::new(Some(Tail { file, length_bytes }));
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn append<T: Serialize>(&self, record: &T) -> Result<(), JournalError> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Writes the records with one write, all or none.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn append_all<T: Serialize>(&self, records: &[T]) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for record in records {
            let start = bytes.len();
            serde_json::to_writer(&mut bytes, record)
                .map_err(|error| self.io_error(error.into()))?;
            bytes.push(b'\n');
            if bytes.len() - start > LINE_BYTES_MAX {
                return Err(JournalError::TooLarge { bytes: bytes.len() - start });
            }
        }
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tail) = slot.as_mut() else {
            return Err(self.closed());
        };
        if let Err(error) = tail.file.write_all(&bytes) {
            // Part of it may be there (a full disk). Nobody was answered, so it must go; if even
            // that fails, a later record must not be glued to it.
            if tail.file.set_len(tail.length_bytes).is_err() {
                *slot = None;
            }
            return Err(self.io_error(error));
        }
        tail.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file free at once, whoever still holds the journal; `append` fails from now on.
    pub fn close(&self) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn closed(&self) -> JournalError {
        JournalError::Closed { path: self.path.clone() }
    }

    fn io_error(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }
}

/// Reads up to and with the next line break, and fails on a line that no `append` wrote.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let read = io::Read::take(reader, LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    if read > LINE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Result<Journal, JournalError>, Vec<u32>) {
        let mut records = Vec::new();
        let journal = Journal::open(path, |record: u32| {
            records.push(record);
            Ok(())
        });
        (journal, records)
    }

    #[test]
    fn records_come_back_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (journal, records) = open(&path);
        assert!(records.is_empty());
        let journal = journal.unwrap();
        journal.append(&1).unwrap();
        journal.append_all(&[2, 3]).unwrap();
        drop(journal);
        assert_eq!(open(&path).1, [1, 2, 3]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        std::fs::write(&path, b"1\n2\n3").unwrap();
        let (journal, records) = open(&path);
        assert_eq!(records, [1, 2]);
        journal.unwrap().append(&4).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n2\n4\n");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        std::fs::write(&path, b"1\nx\n3\n").unwrap();
        assert!(matches!(open(&path).0, Err(JournalError::Corrupt { line: 2, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"1\nx\n3\n");
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_closes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let first = open(&path).0.unwrap();
        assert!(matches!(open(&path).0, Err(JournalError::Locked { .. })));
        first.close();
        assert!(matches!(first.append(&1), Err(JournalError::Closed { .. })));
        open(&path).0.unwrap().append(&2).unwrap();
    }

    #[test]
    fn a_record_that_is_too_large_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let journal = open(&path).0.unwrap();
        let large = "x".repeat(LINE_BYTES_MAX);
        assert!(matches!(journal.append(&large), Err(JournalError::TooLarge { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
