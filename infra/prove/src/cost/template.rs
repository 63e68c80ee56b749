//! What `template.yaml` says about costs.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use processor::timing::Deliveries;

const TEMPLATE: &str = include_str!("../../../../template.yaml");
/// Conditions that no stack fulfils unless somebody asks for it.
const OFF_BY_DEFAULT: [&str; 2] = ["ConsumersWatched", "Forwarded"];
/// The longest interval that [`seconds_between_notes`] looks for.
const LONGEST: i64 = 3600;

/// Alarms on one metric of a stack with default parameters, and the metrics of the alarm on several.
///
/// # Errors
///
/// The template doesn't have the alarm on several metrics.
pub fn alarms() -> Result<(u64, u64)> {
    let alarms: Vec<_> = resources().filter(|text| is_alarm(text)).collect();
    let several = alarms
        .iter()
        .find(|text| text.starts_with("RulesFailAlarm:"));
    let several = several.context("the template has no RulesFailAlarm")?;
    let metrics = several.matches("MetricStat:").count();
    Ok((u64::try_from(alarms.len() - 1)?, u64::try_from(metrics)?))
}

/// The text of each resource, beginning with its name.
fn resources() -> impl Iterator<Item = String> {
    let mut resources: Vec<String> = Vec::new();
    for line in TEMPLATE.lines() {
        let name = line.strip_prefix("  ");
        if let Some(name) = name.filter(|name| !name.starts_with([' ', '#'])) {
            resources.push(name.to_owned());
        } else if let Some(resource) = resources.last_mut() {
            resource.push('\n');
            resource.push_str(line);
        }
    }
    resources.into_iter()
}

fn is_alarm(resource: &str) -> bool {
    let mut off = OFF_BY_DEFAULT
        .iter()
        .map(|name| format!("\n    Condition: {name}\n"));
    resource.contains("\n    Type: AWS::CloudWatch::Alarm\n")
        && !off.any(|condition| resource.contains(&condition))
}

/// Whether Lambda writes its lines `START`, `END` and `REPORT` for each request.
#[must_use]
pub fn lambda_writes_lines() -> bool {
    !TEMPLATE.contains("SystemLogLevel: WARN")
}

/// After how many seconds the processor notes again when AURA delivered last.
///
/// # Errors
///
/// The processor notes less often than once an hour.
pub fn seconds_between_notes() -> Result<u64> {
    let is_due = |seconds: &i64| {
        let deliveries = Deliveries::default();
        if let Ok(arrived) = Timestamp::from_second(*seconds) {
            deliveries.see(arrived);
        }
        deliveries.to_note().is_some()
    };
    let seconds = (1..=LONGEST).find(is_due);
    let seconds = seconds.context("the processor doesn't note when AURA delivered last")?;
    Ok(u64::try_from(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_that_a_parameter_turns_on_are_not_counted() {
        let (one, several) = alarms().unwrap();
        let all = TEMPLATE.matches("Type: AWS::CloudWatch::Alarm\n").count();
        let off = OFF_BY_DEFAULT.map(|name| {
            let condition = format!("Type: AWS::CloudWatch::Alarm\n    Condition: {name}\n");
            TEMPLATE.matches(&condition).count()
        });
        assert!(off.iter().all(|count| *count > 0), "{off:?}");
        assert_eq!(one + 1, (all - off.iter().sum::<usize>()) as u64);
        assert_eq!(several, 8);
    }
}
