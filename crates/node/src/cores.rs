//! Which cores threads run on.

/// The cores this process may use, if the operating system says so.
pub(crate) fn usable() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect();
    }
    Vec::new()
}

/// Keeps the calling thread on one core. The system may refuse: where it does, the thread runs
/// anywhere.
pub(crate) fn stay_on(core: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_its_core_and_leaves_the_others_alone() {
        let before = usable();
        let last = *before.last().unwrap();
        let seen = std::thread::spawn(move || {
            stay_on(last);
            usable()
        });
        assert_eq!(seen.join().unwrap(), [last]);
        assert_eq!(usable(), before);
    }
}
