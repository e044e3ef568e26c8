//! Processor time of this process's threads by their names, where the system tells.

use std::collections::BTreeMap;
use std::time::Duration;

/// What threads of each name have computed so far, those that have ended left out; empty where the
/// system does not tell.
pub fn by_thread() -> BTreeMap<String, Duration> {
    let mut all = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return all };
    for task in tasks.flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).ok();
        let (Some(name), Some(times)) = (read("comm"), read("schedstat")) else { continue };
        let Some(nanoseconds) = times.split(' ').next().and_then(|first| first.parse().ok()) else {
            continue;
        };
        *all.entry(name.trim_end().to_owned()).or_default() += Duration::from_nanos(nanoseconds);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_computes_is_seen_by_its_name() {
        let spin = || {
            let mut number = 1u64;
            while by_thread().get("a busy thread").is_none_or(Duration::is_zero) {
                (0..100_000).for_each(|_| number = std::hint::black_box(number.wrapping_mul(3)));
            }
        };
        std::thread::Builder::new().name("a busy thread".into()).spawn(spin).unwrap().join().unwrap();
        assert!(by_thread().values().sum::<Duration>() > Duration::ZERO);
    }
}
