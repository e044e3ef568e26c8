//! Files of a deployment: identities, which are secret, plans, which are public, and images.

use crate::error::{Error, FileKind, FileProblem};
/// Files for their owner alone, written whole or not at all.
pub use amicus_files::private_file as private;
pub use amicus_files::private_file::Existing;

use amicus_files::private_file;
use amicus_net::{Identity, NetError, clock};
use amicus_plan::encoding::MAX_BYTES;
use amicus_plan::{Plan, Printable};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest file of an identity, in bytes.
const MAX_IDENTITY: usize = 1 << 16;
/// An hour.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Longest name in a certificate, in bytes.
const MAX_NAME: usize = 64;
/// Permissions of others than the file's owner.
const OTHERS: u32 = 0o077;
/// What compiled models begin with.
const COMPILED: &[u8] = b"amc.modl";

/// Reads an identity: a certificate and its private key in PEM.
///
/// # Errors
/// A file that cannot be read, that others can read or write, or that holds no such pair.
pub fn read_identity(path: &Path) -> Result<Identity, Error> {
    let error = |problem| Error::file(path, problem);
    let mut file = open(path, FileKind::Identity)?;
    let mode = file.metadata().map_err(|e| error(FileProblem::System(e)))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(error(FileProblem::OpenToOthers { mode }));
    }
    // Never moved while it grows: no copy of the key is left behind.
    let mut bytes = Zeroizing::new([0; MAX_IDENTITY + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(error(FileProblem::System(e))),
        }
    }
    if len > MAX_IDENTITY {
        let most = MAX_IDENTITY as u64;
        return Err(error(FileProblem::TooLong { kind: FileKind::Identity, most }));
    }
    let none =
        |reason: &dyn Display| FileProblem::NoIdentity(NetError::Identity { reason: reason.to_string() });
    let text = std::str::from_utf8(&bytes[..len]).map_err(|e| error(none(&e)))?;
    Identity::from_pem(text).map_err(|e| error(FileProblem::NoIdentity(e)))
}

/// Makes an identity and writes it to a file that its owner alone can read (mode 0600). The name goes
/// into the certificate for people; others know the identity by its fingerprint, and refuse it when
/// these days are over, if any are named.
///
/// # Errors
/// A file that is there already, which is kept; one that cannot be written; a name that is empty,
/// longer than 64 bytes or not printable.
pub fn new_identity(
    path: &Path,
    name: &str,
    days: Option<u32>,
    existing: Existing,
) -> Result<Identity, Error> {
    let error = |problem| Error::file(path, problem);
    if name.is_empty() || name.len() > MAX_NAME || !Printable::is(name) {
        return Err(error(FileProblem::Name(name.to_owned())));
    }
    let now = clock::of_day();
    let identity = match days {
        None => Identity::generate(name),
        // An hour for clocks that are late.
        Some(days) => Identity::generate_valid(name, now - HOUR, now + 24 * HOUR * days),
    };
    let identity = identity.map_err(|e| error(FileProblem::NoIdentity(e)))?;
    write(path, existing, identity.to_pem().as_bytes())?;
    Ok(identity)
}

/// Reads a plan, the public part of a compiled model.
///
/// # Errors
/// A file that cannot be read or holds no plan.
pub fn read_plan(path: &Path) -> Result<Plan, Error> {
    let bytes = read(path, FileKind::Plan, MAX_BYTES as u64)?;
    Plan::decode(&bytes).map_err(|e| {
        let compiled = bytes.starts_with(COMPILED);
        Error::file(path, if compiled { FileProblem::CompiledModel } else { FileProblem::NoPlan(e) })
    })
}

/// Writes a plan, wholly or not at all.
///
/// # Errors
/// A plan that is not valid, a file that is there and is to be kept, one that cannot be written.
pub fn write_plan(path: &Path, plan: &Plan, existing: Existing) -> Result<(), Error> {
    let bytes = plan.encode().map_err(|e| Error::file(path, FileProblem::NoPlan(e)))?;
    write(path, existing, &bytes)
}

/// Reads one input of a plan's network: its numbers as float32, little-endian, in the order of the
/// input's shape.
///
/// # Errors
/// A file that cannot be read or has another length.
pub fn read_image(path: &Path, plan: &Plan) -> Result<Vec<f32>, Error> {
    let shape = plan.input.shape.clone();
    let expected = 4 * shape.iter().product::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    let mut file = open(path, FileKind::Image)?;
    let system = |e| Error::file(path, FileProblem::System(e));
    let said = file.metadata().map_err(system)?.len();
    Read::by_ref(&mut file).take(expected as u64 + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() != expected {
        // What it says of itself is more than was read, where it is longer.
        let found = said.max(bytes.len() as u64);
        return Err(Error::file(path, FileProblem::ImageSize { found, expected, shape }));
    }
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|n| f32::from_le_bytes(*n)).collect())
}

fn open(path: &Path, kind: FileKind) -> Result<File, Error> {
    File::open(path).map_err(|e| {
        let missing = e.kind() == io::ErrorKind::NotFound;
        Error::file(path, if missing { FileProblem::Missing(kind) } else { FileProblem::System(e) })
    })
}

/// Reads a whole file of at most so many bytes; of a longer one no more is read.
fn read(path: &Path, kind: FileKind, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let taken = open(path, kind)?.take(most + 1).read_to_end(&mut bytes);
    taken.map_err(|e| Error::file(path, FileProblem::System(e)))?;
    if bytes.len() as u64 > most {
        return Err(Error::file(path, FileProblem::TooLong { kind, most }));
    }
    Ok(bytes)
}

fn write(path: &Path, existing: Existing, bytes: &[u8]) -> Result<(), Error> {
    private_file::write(path, existing, |file| file.write_all(bytes)).map_err(|e| {
        let exists = e.kind() == io::ErrorKind::AlreadyExists;
        Error::file(path, if exists { FileProblem::Exists } else { FileProblem::System(e) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn identities_are_private_kept_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("party.pem");
        let made = new_identity(&path, "party 1", None, Existing::Keep).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_identity(&path).unwrap().fingerprint(), made.fingerprint());
        let error = new_identity(&path, "party 1", None, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("party.pem") && error.contains("is kept"), "{error}");
        assert_eq!(read_identity(&path).unwrap().fingerprint(), made.fingerprint());
        let replaced = new_identity(&path, "party 1", None, Existing::Replace).unwrap();
        assert_ne!(replaced.fingerprint(), made.fingerprint());
        assert_eq!(
            (read_identity(&path).unwrap().fingerprint(), mode(&path)),
            (replaced.fingerprint(), 0o600)
        );
        for name in ["", "a\nb", &"x".repeat(65)] {
            let error = new_identity(&folder.path().join("other"), name, None, Existing::Keep)
                .unwrap_err()
                .to_string();
            assert!(error.contains("no name for a certificate"), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_or_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("party.pem");
        new_identity(&path, "party 1", None, Existing::Keep).unwrap();
        for open in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let error = read_identity(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600") && error.contains(&format!("{open:o}")), "{error}");
        }
        for closed in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, Permissions::from_mode(closed)).unwrap();
            read_identity(&path).unwrap();
        }
    }

    #[test]
    fn plans_are_replaced_with_leave_only_and_images_have_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let (path, image) = (folder.path().join("tiny.plan"), folder.path().join("image"));
        let plan = tiny::compiled().plan;
        write_plan(&path, &plan, Existing::Keep).unwrap();
        let error = write_plan(&path, &plan, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        write_plan(&path, &plan, Existing::Replace).unwrap();
        assert_eq!(read_plan(&path).unwrap(), plan);
        fs::write(&image, [0.5f32.to_le_bytes(), (-1f32).to_le_bytes()].concat()).unwrap();
        assert_eq!(read_image(&image, &plan).unwrap(), [0.5, -1.0]);
        for size in [0, 7, 9, 1 << 16] {
            fs::write(&image, vec![0; size]).unwrap();
            let error = read_image(&image, &plan).unwrap_err().to_string();
            assert!(error.contains(&format!("has {size} bytes")) && error.contains("has 8"), "{error}");
        }
        let missing = read_image(&folder.path().join("none"), &plan).unwrap_err().to_string();
        assert!(missing.contains("no such file; give the numbers"), "{missing}");
    }

    #[test]
    fn files_of_another_kind_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            private_file::write(&path, Existing::Keep, |file| file.write_all(bytes)).unwrap();
            path
        };
        let none = folder.path().join("none");
        let long = at("long", &vec![b'x'; MAX_IDENTITY + 1]);
        let (compiled, text) = (at("compiled", b"amc.modl..."), at("text", b"text \xff"));
        for (error, words) in [
            (read_identity(&none).map(drop), "no such file; `amicus keygen`"),
            (read_identity(&long).map(drop), "more than 65536 bytes"),
            (read_identity(&text).map(drop), "is no identity"),
            (read_identity(folder.path()).map(drop), "others may"),
            (read_plan(&none).map(drop), "no such file; the model owner"),
            (read_plan(&text).map(drop), "is no plan"),
            (read_plan(&compiled).map(drop), "is a compiled model, which holds the weights"),
        ] {
            let error = error.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            // What a `main` prints that returns it.
            assert_eq!(format!("{error:?}"), error.to_string());
        }
        let steering = Error::file(Path::new("\x1b[2J"), FileProblem::Exists).to_string();
        assert!(!steering.contains('\x1b'), "{steering:?}");
    }
}
