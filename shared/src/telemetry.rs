//! Logs and metrics of a function: one structured line per unit of work.
//!
//! The line is a metrique entry in CloudWatch's embedded metric format. The few numbers that alarms
//! read ([`levels::METRICS`]) are metrics. All others are fields of the same JSON object, as its
//! texts are, so that metrics and log can't disagree. The line is written when the unit of work
//! ends. It is on stdout before the handler returns, because Lambda freezes the process after that.
//!
//! `tracing` carries everything else: faults, and what `LOG_LEVEL` asks for. That level is for this
//! workspace's own crates. Libraries always stay at `warn`, because at `debug` and `trace` the
//! Lambda runtime and the SDKs print payloads and headers.
//!
//! A panic is logged by its place only, because its message may quote what the code was working on.

pub mod levels;
pub mod lines;

use std::error::Error;
use std::process::ExitCode;
use std::{io, panic};

use metrique::emf::Emf;
use metrique::writer::sink::FlushImmediatelyBuilder;
use metrique::writer::{BoxEntrySink, FormatExt as _};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{ConfigError, Environment};

/// The crates that `LOG_LEVEL` applies to.
const OWN_CRATES: [&str; 5] = ["shared", "ingest", "processor", "registrar", "reconciler"];

/// Starts logging, and returns the sink for the lines of units of work.
///
/// Reads `LOG_LEVEL` (`error`, `warn`, `info`, `debug` or `trace`; `info` if absent) and
/// `METRICS_NAMESPACE`.
pub fn start(environment: &Environment) -> Result<BoxEntrySink, ConfigError> {
    let level = match environment.optional("LOG_LEVEL") {
        Some(_) => environment.parsed::<LevelFilter>("LOG_LEVEL")?,
        None => LevelFilter::INFO,
    };
    let namespace = environment.required("METRICS_NAMESPACE")?;
    // This fails only if there is a subscriber already, as in a test that calls this twice.
    let _ = tracing::subscriber::set_global_default(subscriber(level, io::stdout));
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panicked");
    }));
    Ok(sink(namespace, io::stdout()))
}

/// Ends `main`. An error that stopped the function is written to standard error in words, because
/// logging may not have been started.
#[must_use]
pub fn end(result: Result<(), Box<dyn Error + Send + Sync>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the function ended: {error}");
            ExitCode::FAILURE
        }
    }
}

fn subscriber<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // The runtime would log a panic with its message. The hook has already logged its place.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
        .with_targets(OWN_CRATES.map(|name| (name, level)));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        // The filter alone decides.
        .with_max_level(LevelFilter::TRACE)
        .with_writer(writer)
        .finish()
        .with(filter)
}

/// Metrics have no dimensions. So two functions that write a metric of the same name count together.
fn sink(namespace: &str, output: impl io::Write + Send + Sync + 'static) -> BoxEntrySink {
    let no_dimensions = vec![Vec::new()];
    let format = Emf::no_validations(namespace.to_owned(), no_dimensions);
    FlushImmediatelyBuilder::new().build_boxed(format.output_to(output))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged_at(level: LevelFilter, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn at_the_lowest_level_libraries_stay_quiet_and_our_crates_speak() {
        let log = logged_at(LevelFilter::TRACE, || {
            tracing::trace!(target: "ingest::handler", "ours");
            tracing::info!(target: "lambda_runtime::requests", "a payload");
            tracing::debug!(target: "aws_smithy_runtime::client", "a header");
            tracing::error!(target: "lambda_runtime::layers::panic", "a panic's message");
            tracing::warn!(target: "aws_config", "a library's warning");
        });
        assert!(
            log.contains("ours") && log.contains("a library's warning"),
            "{log}"
        );
        for secret in ["a payload", "a header", "a panic's message"] {
            assert!(!log.contains(secret), "{log}");
        }
    }

    #[test]
    fn the_level_is_obeyed() {
        let log = logged_at(LevelFilter::WARN, || {
            tracing::info!(target: "processor", "quiet");
            tracing::warn!(target: "processor", "loud");
        });
        assert!(log.contains("loud") && !log.contains("quiet"), "{log}");
    }

    #[test]
    fn an_unknown_level_is_refused_by_name() {
        let environment = Environment::from([("LOG_LEVEL", "loud"), ("METRICS_NAMESPACE", "n")]);
        let error = start(&environment).err().unwrap().to_string();
        assert!(error.contains("LOG_LEVEL"), "{error}");
    }
}
