//! `cargo local send`: posts payload files as AURA would.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::stack_file::StackFile;
use stack::report::percentile;
use stack::system::Answer;
use stack::workspace::Workspace;

/// Posts each file to the running stack, one after the other, all of them `repeat` times, and prints
/// the answers. After more than one post, the last line sums up how long the answers took.
///
/// # Errors
///
/// A file can't be read, no local stack is ready, or a post was not answered 2xx.
pub async fn send(workspace: &Workspace, files: &[PathBuf], repeat: u32) -> Result<()> {
    let bodies = files
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>>>()?;
    let webhook = StackFile::read(&workspace.stack_file())?.webhook;
    let http = shared::http_client::build().context("cannot build an HTTP client")?;
    let mut refused = 0;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..repeat {
        for (path, body) in &bodies {
            let began = Instant::now();
            let answer = webhook.post(&http, body.clone()).await?;
            let took = began.elapsed();
            times.push(took);
            println!(
                "{} {} ms  {}",
                told(&answer),
                took.as_millis(),
                path.display()
            );
            refused += u64::from(!(200..300).contains(&answer.status));
        }
    }
    if let [_, _, ..] = times.as_slice() {
        println!("{}", summed_up(times));
    }
    if refused > 0 {
        bail!("posts that were not answered 2xx: {refused}. The lines above show the answers");
    }
    Ok(())
}

fn read(path: &Path) -> Result<(&Path, Vec<u8>)> {
    let body = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path, body))
}

/// The median, 95th percentile and maximum of the times.
fn summed_up(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent| {
        let time = percentile(&times, percent).unwrap_or_default();
        format!("{:.1}", time.as_secs_f64() * 1000.0)
    };
    format!(
        "{} answers in ms: median {}, p95 {}, max {}",
        times.len(),
        at(50),
        at(95),
        at(100)
    )
}

/// An answer as text: its status, result and delivery id, or the whole answer if it lacks these.
fn told(answer: &Answer) -> String {
    let status = answer.body.get("status").and_then(Value::as_str);
    match (answer.delivery_id(), status) {
        (Some(id), Some(status)) => format!("{} {status} {id}", answer.status),
        _ => format!("{} {}", answer.status, answer.body),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_summed_up_in_milliseconds() {
        let times = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(
            summed_up(times),
            "100 answers in ms: median 50.0, p95 95.0, max 100.0"
        );
    }

    #[test]
    fn an_answer_is_told_in_short_and_a_refusal_in_full() {
        let accepted = Answer {
            status: 202,
            body: json!({"deliveryId": "d-1", "status": "accepted"}),
        };
        assert_eq!(told(&accepted), "202 accepted d-1");
        let refused = Answer {
            status: 401,
            body: json!({"title": "Unauthorized"}),
        };
        assert_eq!(told(&refused), r#"401 {"title":"Unauthorized"}"#);
    }
}
