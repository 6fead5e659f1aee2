//! A JSON document that is replaced as a whole and knows whether it is whole:
//! `{"version":2,"checksum":"…","body":{…}}`, the checksum being over the bytes of `body`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    checksum: String,
    body: Box<RawValue>,
}

/// What a byte does to a checksum, for each of its values: documents are read by bytes, not by bits.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and stops at an index that is wrong")]
const OF_BYTES: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// CRC-32C: finds every torn write and flipped bit that a disk produces in practice.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ OF_BYTES.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    });
    format!("{:08x}", !crc)
}

/// The bytes of a document.
pub(crate) fn seal(version: u32, document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let body = RawValue::from_string(serde_json::to_string_pretty(document)?)?;
    let envelope = Envelope { version, checksum: checksum(body.get().as_bytes()), body };
    let mut bytes = serde_json::to_vec(&envelope)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Version and body of a document that is whole.
pub(crate) fn open(bytes: &[u8], known: RangeInclusive<u32>) -> Result<(u32, Box<RawValue>), String> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if !known.contains(&envelope.version) {
        return Err(format!("its version is {}, this pgsluice knows {}", envelope.version, known.end()));
    }
    if envelope.checksum != checksum(envelope.body.get().as_bytes()) {
        return Err("its checksum is wrong".into());
    }
    Ok((envelope.version, envelope.body))
}

/// A file beside another one.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A name not taken yet, so that older evidence stays; after a hundred the last one is given up.
pub(crate) fn unused(path: &Path) -> PathBuf {
    let numbered = (1..100).map(|n| beside(path, &format!(".{n}")));
    let free = [path.to_owned()].into_iter().chain(numbered).find(|p| !p.exists());
    free.unwrap_or_else(|| beside(path, &format!(".{}", std::process::id())))
}

/// Puts these bytes in the place of the file, on disk when this returns; with `backup` the version before stays as `….bak`.
pub(crate) fn replace(path: &Path, bytes: &[u8], backup: bool) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if backup && path.exists() {
        // By a second name for the old file, never by moving it: there is no moment without a state file.
        let link = beside(path, ".bak.new");
        match fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::hard_link(path, &link)?;
        fs::rename(&link, beside(path, ".bak"))?;
    }
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
