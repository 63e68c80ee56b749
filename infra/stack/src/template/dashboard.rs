//! Tests of the dashboard: what stands on it, and that CloudWatch can draw it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::telemetry::levels::METRICS;

use super::wiring::{Resource, of_kind};

/// The number of columns of a dashboard.
const COLUMNS: u64 = 24;

const TELEMETRY: &str = include_str!("../../../../docs/telemetry.md");

/// A metric: its namespace, its name, and its dimensions' names and values. Values are written as in
/// the template, such as `!Ref IngestFunction`.
type Metric = Vec<String>;

/// The dashboard as the template has it.
struct Dashboard {
    body: Value,
    /// The body's own variables: each name, and what the template puts in its place.
    variables: BTreeMap<&'static str, &'static str>,
    /// The text of the variables that hold the alarms with a condition.
    conditional_alarms: &'static str,
}

impl Dashboard {
    fn read() -> Self {
        let [Resource { text, .. }] = of_kind("CloudWatch::Dashboard").try_into().unwrap();
        let (_, text) = text.split_once("        - |\n").unwrap();
        let (body, variables) = text.split_once("        # A rule's name").unwrap();
        let (rules, conditional_alarms) = variables.split_once("CanaryAlarms: ").unwrap();
        let rules = rules.lines().filter_map(|line| line.split_once(": "));
        let (_, widgets) = conditional_alarms.split_once("- |-\n").unwrap();
        let (widgets, _) = widgets.split_once("              - Forward").unwrap();
        // The widget of the backend has variables of its own.
        let own = conditional_alarms.lines();
        let own = own.filter_map(|line| line.split_once(": ").filter(|_| line.contains("!Select")));
        let body = body.replace("${CanaryAlarms}${ConsumerAlarms}${ForwardAlarms}", "");
        let body = body.replace("${ForwardWidgets}", widgets);
        Self {
            body: serde_json::from_str(&body).unwrap(),
            variables: rules
                .chain(own)
                .map(|(name, value)| (name.trim_start_matches([' ', '-']), value))
                .collect(),
            conditional_alarms,
        }
    }

    fn widgets(&self) -> &[Value] {
        self.body["widgets"].as_array().unwrap()
    }

    fn metrics(&self) -> BTreeSet<Metric> {
        let widgets = self.widgets().iter();
        let rows = widgets.filter_map(|widget| widget["properties"]["metrics"].as_array());
        let texts = |row: &Value| -> Metric {
            let texts = row.as_array().unwrap().iter().filter_map(Value::as_str);
            texts.map(|text| self.as_in_the_template(text)).collect()
        };
        rows.flatten().map(texts).collect()
    }

    /// What stands in the template where the dashboard has a placeholder, such as `${IngestFunction}`.
    fn as_in_the_template(&self, text: &str) -> String {
        let name = text
            .strip_prefix("${")
            .and_then(|text| text.strip_suffix('}'));
        let Some(name) = name else {
            return text.to_owned();
        };
        match self.variables.get(name) {
            Some(value) => (*value).to_owned(),
            None if name.contains('.') => format!("!GetAtt {name}"),
            None => format!("!Ref {name}"),
        }
    }
}

/// The metrics that an alarm reads. One with metric math reads several.
fn read_by(alarm: &Resource) -> Vec<Metric> {
    let mut found: Vec<Metric> = vec![];
    for line in alarm.text.lines().map(str::trim) {
        if let Some(namespace) = line.strip_prefix("Namespace: ") {
            found.push(vec![namespace.to_owned()]);
        } else if let Some(name) = line.strip_prefix("MetricName: ") {
            found.last_mut().unwrap().push(name.to_owned());
        } else if let Some(dimension) = line.strip_prefix("- {Name: ") {
            let (name, value) = dimension.split_once(", Value: ").unwrap();
            let value = value.strip_suffix('}').unwrap();
            let its = found.last_mut().unwrap();
            its.extend([name.to_owned(), value.to_owned()]);
        }
    }
    assert!(!found.is_empty(), "{} reads no metric", alarm.name);
    found
}

#[test]
fn each_metric_that_an_alarm_reads_is_on_the_dashboard() {
    let shown = Dashboard::read().metrics();
    for alarm in of_kind("CloudWatch::Alarm") {
        for metric in read_by(&alarm) {
            assert!(shown.contains(&metric), "{}: {metric:?}", alarm.name);
        }
    }
}

#[test]
fn each_metric_of_ours_is_on_the_dashboard() {
    let shown = Dashboard::read().metrics();
    for (_, metric) in METRICS {
        let metric = ["!Ref AWS::StackName", metric].map(str::to_owned);
        assert!(shown.contains(metric.as_slice()), "{metric:?}");
    }
}

#[test]
fn each_alarm_is_in_the_dashboards_list_of_alarms() {
    let dashboard = Dashboard::read();
    let widgets = dashboard.widgets().iter();
    let lists = widgets.filter_map(|widget| widget["properties"]["alarms"].as_array());
    let listed: Vec<_> = lists.flatten().filter_map(Value::as_str).collect();
    for alarm in of_kind("CloudWatch::Alarm") {
        let arn = format!("${{{}.Arn}}", alarm.name);
        let found = if alarm.text.contains("\n    Condition: ") {
            dashboard.conditional_alarms.contains(&format!("\"{arn}\""))
        } else {
            listed.contains(&arn.as_str())
        };
        assert!(found, "{}", alarm.name);
    }
}

#[test]
fn no_two_widgets_of_the_dashboard_overlap_and_none_is_too_wide() {
    let dashboard = Dashboard::read();
    let mut taken = BTreeSet::new();
    for widget in dashboard.widgets() {
        let [x, y, width, height] =
            ["x", "y", "width", "height"].map(|name| widget[name].as_u64().unwrap());
        assert!(width > 0 && height > 0 && x + width <= COLUMNS, "{widget}");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{cell:?} of {widget} is taken");
        }
    }
}

/// A misspelled field doesn't fail a query: it is absent from each line.
#[test]
fn each_field_of_a_saved_query_is_in_the_documentation_of_the_log_lines() {
    const WORDS: &str = "and as asc by coalesce count desc fields filter in ispresent max min or \
                         sort stats";
    for query in of_kind("Logs::QueryDefinition") {
        let (_, text) = query.text.split_once("QueryString: |\n").unwrap();
        let lines = text.lines().take_while(|line| !line.is_empty());
        let lines = lines.filter(|line| !line.trim().starts_with('#'));
        let text: Vec<_> = lines.collect();
        let text = text.join(" ");
        // Every second part is a text between quotes.
        let code: String = text.split('\'').step_by(2).collect();
        let is_end = |char: char| !(char.is_ascii_alphanumeric() || "_@".contains(char));
        let words: Vec<_> = code.split(is_end).filter(|word| !word.is_empty()).collect();
        let named: BTreeSet<_> = words
            .windows(2)
            .filter(|pair| pair[0] == "as")
            .map(|pair| pair[1])
            .collect();
        let mut fields: BTreeSet<_> = words.into_iter().collect();
        fields.retain(|word| {
            word.starts_with(|first: char| first.is_ascii_alphabetic())
                && !named.contains(word)
                && !WORDS.split(' ').any(|its| its == *word)
        });
        assert!(!fields.is_empty(), "{}", query.name);
        for field in fields {
            let documented = TELEMETRY.contains(&format!("`{field}`"));
            assert!(documented, "{}: {field}", query.name);
        }
    }
}
