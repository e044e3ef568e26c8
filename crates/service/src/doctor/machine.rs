//! The node's certificate, folder, disk, clock and monitor.

use super::{Finding, Subject, Whose};
use crate::config::{Bytes, NodeConfig};
use crate::monitor::Monitor;
use amicus::Identity;
use amicus::net::clock;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Room that a node's disk has, at least, unless its file says otherwise.
const ROOM: Bytes = Bytes(256 << 20);
/// How far a file's time may be ahead of the clock.
const AHEAD: Duration = Duration::from_secs(60);

/// How long before its end a certificate is to be replaced.
const SOON: Duration = Duration::from_secs(30 * DAY);
/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Whether others accept the node's own certificate, now and for some time.
pub(super) fn certificate(identity: &Identity, now: SystemTime) -> Finding {
    let advice = "make a new key, and have all take up its fingerprint beside the old one";
    let Some(until) = identity.valid_until() else {
        let text = "the certificate does not say until when it is valid";
        return Finding::fault(Subject::Key, Whose::Ours, text, advice);
    };
    match until.duration_since(now) {
        Err(ago) => {
            let text = format!("the certificate expired {} days ago", ago.duration().as_secs() / DAY);
            Finding::fault(Subject::Key, Whose::Ours, text, advice)
        }
        Ok(left) if left < SOON => {
            let text = format!("the certificate expires in {} days", left.as_secs() / DAY);
            Finding::warning(Subject::Key, Whose::Ours, text, advice)
        }
        Ok(left) => {
            let text = format!("the certificate is valid for {} days", left.as_secs() / DAY);
            Finding::fine(Subject::Key, text)
        }
    }
}

/// The nearest folder that is there: the node makes its own.
fn existing(folder: &Path) -> &Path {
    let mut at = folder;
    while !at.exists() {
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => return Path::new("."),
        }
    }
    at
}

/// Whether the folder can be used, by this user alone, and has room.
pub(super) fn folder(config: &NodeConfig) -> Vec<Finding> {
    let (folder, name) = (&config.folder, config.folder.display());
    let at = existing(folder);
    let mut findings = Vec::new();
    match tempfile::tempfile_in(at).and_then(|_| at.metadata()) {
        Err(error) => findings.push(Finding::fault(
            Subject::Folder,
            Whose::Ours,
            format!("{}: {error}", at.display()),
            "let the user that runs the node write there",
        )),
        Ok(about) if at == folder.as_path() && about.mode() & 0o077 != 0 => findings.push(Finding::warning(
            Subject::Folder,
            Whose::Ours,
            format!("{name}: others may look into it (mode {:03o})", about.permissions().mode() & 0o777),
            "chmod 700 keeps them out",
        )),
        Ok(_) => findings.push(Finding::fine(Subject::Folder, format!("{name}: can be written"))),
    }
    let wanted = config.limits.disk.unwrap_or(ROOM);
    match rustix::fs::statvfs(at) {
        Ok(disk) => {
            let free = Bytes(disk.f_bavail.saturating_mul(disk.f_frsize));
            findings.push(match free >= wanted {
                true => Finding::fine(Subject::Disk, format!("{name}: {free} are free")),
                false => Finding::fault(
                    Subject::Disk,
                    Whose::Ours,
                    format!("{name}: {free} are free, {wanted} are wanted"),
                    "make room, or set `disk` of limits to what is enough",
                ),
            });
        }
        Err(error) => findings.push(Finding::warning(
            Subject::Disk,
            Whose::Ours,
            format!("{name}: {error}"),
            "look at the disk yourself",
        )),
    }
    findings
}

/// Whether the machine has cores for the node's threads, where it has more than one for arithmetic.
pub(super) fn threads(config: &NodeConfig) -> Option<Finding> {
    let (threads, cores) = (config.threads as usize, std::thread::available_parallelism().ok()?.get());
    let text = format!("`threads` is {threads}, for each of the node's two threads, on {cores} cores");
    match threads {
        0 | 1 => None,
        _ if threads <= cores => Some(Finding::fine(Subject::Files, text)),
        _ => {
            let advice = format!("set `threads` to {cores} at most: threads without a core wait for one");
            Some(Finding::warning(Subject::Files, Whose::Ours, text, &advice))
        }
    }
}

/// Whether the clock is behind files that the node has written: releases that wait for their
/// receivers are kept by it, and logs are compared by it.
pub(super) fn clock(config: &NodeConfig) -> Option<Finding> {
    let now = clock::of_day();
    let entries = std::fs::read_dir(&config.folder).ok()?.flatten();
    let newest = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()?;
    let ahead = newest.duration_since(now).unwrap_or(Duration::ZERO);
    Some(match ahead > AHEAD {
        false => Finding::fine(Subject::Clock, "it is not behind what the node has written"),
        true => Finding::fault(
            Subject::Clock,
            Whose::Ours,
            format!("it is {} minutes behind the files of {}", ahead.as_secs() / 60, config.folder.display()),
            "set it, and keep it by NTP",
        ),
    })
}

/// Whether the monitor's address is free, or the node's own.
pub(super) fn monitor(config: &NodeConfig, runs: bool) -> Option<Finding> {
    let address = config.monitor?;
    Some(match Monitor::bind(address) {
        Ok(_) if runs => Finding::warning(
            Subject::Port,
            Whose::Ours,
            format!("the node runs and does not answer at `monitor`, {address}"),
            "restart it with this file",
        ),
        Ok(_) => Finding::fine(Subject::Port, format!("`monitor`, {address}: is free")),
        Err(_) if runs => {
            Finding::fine(Subject::Port, format!("`monitor`, {address}: is in use, and the node runs"))
        }
        Err(error) => Finding::fault(Subject::Port, Whose::Ours, error.to_string(), "choose another address"),
    })
}
