//! What a node logs, and how: one line an event, as text or JSON, on standard error.
//!
//! Everything that is logged is a [`Notice`] or a sentence of this crate. Neither can hold a key, a
//! share, an image or an answer: events of nodes carry ids, counts and errors, and types that hold
//! secrets show nothing of them.

use crate::config::{LogConfig, LogFormat, LogLevel};
use amicus::Notice;
use amicus::node::event::Event;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Logs from now on to standard error, for the whole process; a process logs to the first place only
/// that it was told.
pub fn start(config: LogConfig) {
    // Someone who uses this library may log already, in another way.
    let _ = tracing::subscriber::set_global_default(subscriber(config, std::io::stderr));
}

/// What writes a node's log.
pub(crate) fn subscriber<W>(config: LogConfig, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let plain = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(writer);
    match config.format {
        LogFormat::Text => Box::new(plain.with_ansi(false).finish()),
        LogFormat::Json => Box::new(plain.json().flatten_event(true).with_current_span(false).finish()),
    }
}

/// Logs what a node tells.
pub(crate) fn notice(notice: &Notice) {
    let (level, event) = kind(notice);
    match level {
        Level::ERROR => tracing::error!(event, "{notice}"),
        Level::WARN => tracing::warn!(event, "{notice}"),
        Level::INFO => tracing::info!(event, "{notice}"),
        _ => tracing::debug!(event, "{notice}"),
    }
}

/// How much a notice matters, and its kind, by which logs are searched.
fn kind(notice: &Notice) -> (Level, &'static str) {
    match notice {
        Notice::Event(event) => match event {
            Event::SessionOpened { .. } => (Level::INFO, "session"),
            Event::SessionFailed { .. } => (Level::WARN, "session_failed"),
            Event::Loaded { .. } => (Level::INFO, "loaded"),
            Event::Recalled { .. } => (Level::INFO, "recalled"),
            Event::Retired { .. } => (Level::WARN, "retired"),
            Event::Unconfirmed { .. } => (Level::ERROR, "unconfirmed"),
            Event::Unusable { .. } => (Level::ERROR, "unusable"),
            Event::LoadFailed { error } if error.is_rejection() => (Level::ERROR, "check_failed"),
            Event::LoadFailed { .. } => (Level::WARN, "load_failed"),
            Event::Dealt { .. } => (Level::DEBUG, "dealt"),
            Event::DealFailed { .. } => (Level::WARN, "dealing_failed"),
            Event::Finished { .. } => (Level::DEBUG, "finished"),
            Event::Failed { error, .. } if error.is_rejection() => (Level::ERROR, "check_failed"),
            Event::Failed { .. } => (Level::WARN, "failed"),
            Event::Unauthenticated { .. } => (Level::WARN, "unauthenticated"),
            Event::Missed { .. } => (Level::WARN, "missed"),
            Event::Repaired { .. } => (Level::WARN, "repaired"),
            Event::Fatal { .. } => (Level::ERROR, "fatal"),
        },
        Notice::Connection(_) => (Level::WARN, "connection"),
        _ => (Level::INFO, "other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amicus::protocol::InferenceId;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of a log of notices.
    fn logged(format: LogFormat, level: LogLevel, notices: &[Notice]) -> Vec<String> {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = subscriber(LogConfig { format, level }, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || notices.iter().for_each(notice));
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn notices() -> [Notice; 3] {
        let finished = Event::Finished {
            id: InferenceId(7),
            sent: Vec::new(),
            waited_for_material: false,
            rounds: 0,
            phases: Vec::new(),
        };
        let missed = Event::Missed { events: 3 };
        [finished, missed, Event::Fatal { error: amicus::node::NodeError::Stopped }].map(Notice::Event)
    }

    #[test]
    fn a_line_is_one_event_of_the_level_asked_for() {
        for (level, lines) in
            [(LogLevel::Error, 1), (LogLevel::Warn, 2), (LogLevel::Info, 2), (LogLevel::Debug, 3)]
        {
            assert_eq!(logged(LogFormat::Text, level, &notices()).len(), lines, "{level:?}");
        }
        let text = logged(LogFormat::Text, LogLevel::Debug, &notices());
        assert!(text[0].contains("DEBUG") && text[0].contains("ended well"), "{text:?}");
        assert!(text.iter().all(|line| line.chars().all(amicus::plan::printable::is_printable)));
    }

    #[test]
    fn a_line_of_json_has_level_kind_and_message() {
        let lines = logged(LogFormat::Json, LogLevel::Debug, &notices());
        let parsed: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 3);
        assert_eq!((&parsed[2]["level"], &parsed[2]["event"]), (&"ERROR".into(), &"fatal".into()));
        assert!(parsed[2]["timestamp"].is_string());
        assert!(parsed[1]["message"].as_str().unwrap().contains("3 events were not heard"));
    }
}
