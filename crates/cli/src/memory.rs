//! How much memory this process may still take: what the system has left, and every limit that is
//! set for it.

use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the system shows control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What sets the limit that is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The machine.
    Machine,
    /// A control group, such as a container's.
    ControlGroup,
    /// A limit on the address space of the process (`ulimit -v`).
    AddressSpace,
    /// A limit on the data of the process (`ulimit -d`).
    Data,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Machine => "this machine",
            Limit::ControlGroup => "the control group",
            Limit::AddressSpace => "the limit on the address space, `ulimit -v`",
            Limit::Data => "the limit on data, `ulimit -d`",
        })
    }
}

/// Bytes that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// How many.
    pub bytes: u64,
    /// What keeps it from being more.
    pub limit: Limit,
}

/// What this process may still take; `None` where the system does not tell.
pub fn available() -> Option<Available> {
    let status = |key| bytes_in(Path::new("/proc/self/status"), key);
    let under = |resource, used: Option<u64>| Some(getrlimit(resource).current?.saturating_sub(used?));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    [
        (bytes_in(Path::new("/proc/meminfo"), "MemAvailable:"), Limit::Machine),
        (group_left(Path::new(CGROUPS), &groups), Limit::ControlGroup),
        (under(Resource::As, status("VmSize:")), Limit::AddressSpace),
        (under(Resource::Data, status("VmData:")), Limit::Data),
    ]
    .into_iter()
    .filter_map(|(bytes, limit)| Some(Available { bytes: bytes?, limit }))
    .min_by_key(|available| available.bytes)
}

/// The largest resident memory of this process so far, where the system tells.
pub fn peak() -> Option<u64> {
    bytes_in(Path::new("/proc/self/status"), "VmHWM:")
}

/// A figure of the kernel's in kilobytes.
fn bytes_in(file: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// What the control groups of a process leave it; `groups` is its `/proc/self/cgroup`. Limits hold
/// for all groups below.
fn group_left(root: &Path, groups: &str) -> Option<u64> {
    let left = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        match controllers {
            "" => above(root, path, ["memory.max", "memory.current", "inactive_file"]),
            c if c.split(',').any(|c| c == "memory") => above(
                &root.join("memory"),
                path,
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
            ),
            _ => None,
        }
    });
    left.min()
}

/// The least that a group and those above it have left.
fn above(root: &Path, path: &str, [limit, used, reclaimable]: [&str; 3]) -> Option<u64> {
    let number = |folder: &Path, file: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let left = |folder: PathBuf| {
        let (limit, used) = (number(&folder, limit)?, number(&folder, used)?);
        // Pages of files that nobody uses at the moment count as used, but give way.
        let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let value = stat.lines().find_map(|line| line.strip_prefix(reclaimable)?.trim().parse().ok());
        Some(limit.saturating_sub(used.saturating_sub(value.unwrap_or(0))))
    };
    // Inside a container the path may be that of the host: then only the root is there.
    let inside = Path::new(path).ancestors().map(|path| root.join(path));
    inside.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |folder: &Path, file: &str, text: &str| std::fs::write(folder.join(file), text).unwrap();
        let left = || group_left(root.path(), "0::/a/b\n");
        assert_eq!(left(), None);
        write(&folder, "memory.max", "max\n");
        write(&folder, "memory.current", "100\n");
        assert_eq!(left(), None);
        write(&root.path().join("a"), "memory.max", "1000\n");
        write(&root.path().join("a"), "memory.current", "700\n");
        assert_eq!(left(), Some(300));
        write(&root.path().join("a"), "memory.stat", "anon 500\ninactive_file 150\nactive_file 50\n");
        assert_eq!(left(), Some(450));
        write(&folder, "memory.max", "400\n");
        assert_eq!(left(), Some(300));
        // Below its host's path a container sees its own group as the root.
        write(root.path(), "memory.max", "50\n");
        write(root.path(), "memory.current", "60\n");
        assert_eq!(group_left(root.path(), "0::/docker/1234\n"), Some(0));
    }

    #[test]
    fn the_older_version_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("memory/box");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("memory.limit_in_bytes"), "5000\n").unwrap();
        std::fs::write(folder.join("memory.usage_in_bytes"), "1000\n").unwrap();
        let groups = "12:cpu,cpuacct:/box\n4:memory:/box\n1:name=systemd:/\n";
        assert_eq!(group_left(root.path(), groups), Some(4000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_may_take_something() {
        assert!(available().is_some_and(|a| a.bytes > 0));
        assert!(peak().is_some_and(|bytes| bytes > 0));
    }
}
