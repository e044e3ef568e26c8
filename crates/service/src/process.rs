//! What this process takes of its machine.

/// Bytes of memory that the process has, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Files and sockets that are open, where the system tells.
pub(crate) fn open_files() -> Option<u64> {
    // The listing itself is one of them.
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_files() {
        assert!(resident_bytes().unwrap() > 1 << 16);
        let before = open_files().unwrap();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_files().unwrap() >= before.max(3) + 40);
        drop(files);
    }
}
