//! Packages the real template: points each function's `CodeUri` at its zip in S3.
//!
//! Only these lines change. All other bytes stay the same, so that the local stack deploys what AWS
//! gets. If a line to change doesn't occur exactly once, that is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::proxy::FaultProxy;

/// A line that only ingest's environment has.
pub const OF_INGEST: &str =
    "ALLOWED_SOURCE_CIDRS: !If [AnyAddress, \"\", !Join [\",\", !Ref AllowedSourceCidrs]]";
/// A line that only the processor's environment has.
const OF_THE_PROCESSOR: &str = "LEDGER_RETENTION_DAYS: \"35\"";

/// An action that a role's policy permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The role's name in the template, such as `IngestRole`.
    pub role: String,
    /// The statement's `Sid`.
    pub sid: String,
    /// The action, such as `sqs:SendMessage`.
    pub action: String,
}

/// A SAM template with local paths.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
}

impl Template {
    /// Reads a template, such as `template.yaml`.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { text })
    }

    /// A template from its text, for a test that changes it.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self { text }
    }

    /// The template's text, with local paths.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The template with the first occurrence of a text replaced.
    ///
    /// # Errors
    ///
    /// The template doesn't have the text.
    pub fn with_first(&self, text: &str, other: &str) -> Result<Self> {
        ensure!(self.text.contains(text), "the template has no `{text}`");
        Ok(Self::from_text(self.text.replacen(text, other, 1)))
    }

    /// Adds variables to one function's environment, after the line `after`.
    ///
    /// # Errors
    ///
    /// The template doesn't have that line exactly once.
    pub fn with_variables(&self, after: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let line = format!("          {after}\n");
        ensure!(
            self.text.matches(&line).count() == 1,
            "the template doesn't have the line `{after}` exactly once"
        );
        let added = variables
            .iter()
            .map(|(name, value)| format!("          {name}: {value}\n"));
        let lines: String = std::iter::once(line.clone()).chain(added).collect();
        Ok(Self::from_text(self.text.replace(&line, &lines)))
    }

    /// Puts proxies between the processor and services, and adds variables to the processor's
    /// environment. A service has its name in the SDKs' variables, such as `DYNAMODB`.
    ///
    /// # Errors
    ///
    /// The line after which the variables go doesn't occur exactly once.
    pub fn with_processor_behind(
        &self,
        proxies: &[(&str, &FaultProxy)],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let endpoint = |(service, proxy): &(&str, &FaultProxy)| {
            (format!("AWS_ENDPOINT_URL_{service}"), proxy.url())
        };
        let endpoints: Vec<_> = proxies.iter().map(endpoint).collect();
        let endpoints = endpoints
            .iter()
            .map(|(name, url)| (name.as_str(), url.as_str()));
        let all: Vec<_> = endpoints.chain(variables.iter().copied()).collect();
        self.with_variables(OF_THE_PROCESSOR, &all)
    }

    /// All permissions of the functions' roles, one for each action, in the template's order.
    #[must_use]
    pub fn permissions(&self) -> Vec<Permission> {
        self.statements()
            .flat_map(|(role, statement)| {
                let sid = sid(&statement).unwrap_or_default().to_owned();
                actions(&statement)
                    .into_iter()
                    .map(move |action| Permission {
                        role: role.clone(),
                        sid: sid.clone(),
                        action,
                    })
            })
            .collect()
    }

    /// Removes one statement from a role's policy.
    ///
    /// # Errors
    ///
    /// The role doesn't have exactly one statement with this `Sid`.
    pub fn without_permission(&self, role: &str, sid: &str) -> Result<Self> {
        self.with_actions(role, sid, |_| false)
    }

    /// Removes one action from a statement, and the statement too if it has no other action.
    ///
    /// # Errors
    ///
    /// The role doesn't have exactly one statement with this `Sid`, or the statement doesn't permit the
    /// action.
    pub fn without_action(&self, Permission { role, sid, action }: &Permission) -> Result<Self> {
        ensure!(
            self.permissions()
                .iter()
                .any(|its| its.role == *role && its.sid == *sid && its.action == *action),
            "{role} has no statement {sid} with the action {action}"
        );
        self.with_actions(role, sid, |its| its != action)
    }

    fn with_actions(&self, role: &str, of: &str, keep: impl Fn(&str) -> bool) -> Result<Self> {
        let mut found = self
            .statements()
            .filter(|(its, statement)| its == role && sid(statement) == Some(of));
        let (Some((_, statement)), None) = (found.next(), found.next()) else {
            bail!("{role} doesn't have exactly one statement {of}");
        };
        let mut kept = actions(&statement);
        kept.retain(|action| keep(action));
        let other = if kept.is_empty() {
            let indent: String = statement.chars().take_while(|char| *char == ' ').collect();
            format!("{indent}- !Ref AWS::NoValue\n")
        } else {
            let (before, after) = (statement.find("Action:"), statement.find("Resource:"));
            let before = statement
                .get(..before.unwrap_or_default())
                .unwrap_or_default();
            let after = statement
                .get(after.unwrap_or_default()..)
                .unwrap_or_default();
            format!(
                "{before}Action: [{}]\n{}{after}",
                kept.join(", "),
                " ".repeat(indent(&statement) + 2)
            )
        };
        // Two roles may have statements with the same text, so the search begins at the role.
        let role_line = format!("\n  {role}:\n");
        let (before, its) = self
            .text
            .split_once(&role_line)
            .with_context(|| format!("the template has no role {role}"))?;
        let its = its.replacen(&statement, &other, 1);
        Ok(Self::from_text(format!("{before}{role_line}{its}")))
    }

    /// The statements of all roles' policies: each role's name and the statement's text.
    fn statements(&self) -> impl Iterator<Item = (String, String)> {
        let mut resource = "";
        let mut found: Vec<(String, String)> = Vec::new();
        let mut open = false;
        for line in self.text.split_inclusive('\n') {
            if indent(line) == 2 && line.trim_end().ends_with(':') {
                resource = line.trim().trim_end_matches(':');
            }
            open = open
                && found
                    .last()
                    .is_some_and(|(_, its)| indent(line) > indent(its));
            if sid(line).is_some() && resource.ends_with("Role") {
                found.push((resource.to_owned(), String::new()));
                open = true;
            }
            if let Some((_, its)) = found.last_mut().filter(|_| open) {
                its.push_str(line);
            }
        }
        found.into_iter()
    }

    /// The text with each function's `CodeUri` replaced. `uris` has the new ones by the functions'
    /// names.
    ///
    /// # Errors
    ///
    /// A function's line doesn't occur exactly once.
    pub fn packaged(&self, uris: &BTreeMap<&str, String>) -> Result<String> {
        uris.iter()
            .try_fold(self.text.clone(), |text, (function, uri)| {
                with_code_uri(&text, function, uri)
            })
    }
}

/// The `Sid` of a statement, or of its first line.
fn sid(statement: &str) -> Option<&str> {
    statement.lines().next()?.trim().strip_prefix("- Sid: ")
}

/// The actions between a statement's `Action` and its `Resource`, on one line or on several.
fn actions(statement: &str) -> Vec<String> {
    let lines = statement.lines().map(str::trim);
    let lines = lines.skip_while(|line| !line.starts_with("Action:"));
    let lines = lines.take_while(|line| !line.starts_with("Resource:"));
    let words = lines.flat_map(|line| line.split([' ', ',', '[', ']']));
    let is_action = |word: &&str| word.contains(':') && !word.ends_with(':');
    words.filter(is_action).map(str::to_owned).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The template with the function's `CodeUri` replaced. That is the one after the line with the
/// function's binary, and before the next such line.
fn with_code_uri(text: &str, function: &str, uri: &str) -> Result<String> {
    let names_it = format!("BuildProperties: {{Binary: {function}}}");
    let mut is_its = false;
    let mut found = 0;
    let line = |line: &str| {
        let content = line.trim();
        if content.starts_with("BuildProperties:") {
            is_its = content == names_it;
        }
        if !is_its || !content.starts_with("CodeUri:") {
            return line.to_owned();
        }
        found += 1;
        format!("{:1$}CodeUri: {uri}\n", "", indent(line))
    };
    let lines = text.split_inclusive('\n').map(line).collect();
    ensure!(
        found == 1,
        "the template has {found} lines `CodeUri` after `{names_it}`, not exactly one"
    );
    Ok(lines)
}

#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod wiring;

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "\
Resources:
  Ingest:
    Metadata:
      BuildProperties: {Binary: ingest}
    Properties:
      CodeUri: .
      # CodeUri: elsewhere would be another
  Processor:
    Metadata:
      BuildProperties: {Binary: processor}
    Properties:
      CodeUri: .
";

    #[test]
    fn only_the_functions_own_line_changes() {
        let (ingest, processor) = TEMPLATE.split_at(TEMPLATE.find("  Processor:").unwrap());
        let new = |text: &str| text.replace("CodeUri: .\n", "CodeUri: s3://b/k\n");
        assert_eq!(
            with_code_uri(TEMPLATE, "ingest", "s3://b/k").unwrap(),
            new(ingest) + processor
        );
        assert_eq!(
            with_code_uri(TEMPLATE, "processor", "s3://b/k").unwrap(),
            ingest.to_owned() + &new(processor)
        );
    }

    const ROLES: &str = "
  OneRole:
            Statement:
              - Sid: Logs
                Action: [a:One, a:Two]
                Resource: b
              # Of two.
              - !If
                - Traced
                - Sid: Two
                  Action:
                    - c:One
                    - c:Two
                  Resource: d
                - !Ref AWS::NoValue
  OtherRole:
            Statement:
              - Sid: Logs
                Action: [a:One, a:Two]
                Resource: b
  Policy:
            Statement:
              - Sid: NoRoles
                Action: a:One
                Resource: b
";

    fn permission(role: &str, sid: &str, action: &str) -> Permission {
        let (role, sid, action) = (role.into(), sid.into(), action.into());
        Permission { role, sid, action }
    }

    #[test]
    fn every_action_of_every_role_is_a_permission() {
        let expected = [
            permission("OneRole", "Logs", "a:One"),
            permission("OneRole", "Logs", "a:Two"),
            permission("OneRole", "Two", "c:One"),
            permission("OneRole", "Two", "c:Two"),
            permission("OtherRole", "Logs", "a:One"),
            permission("OtherRole", "Logs", "a:Two"),
        ];
        let template = Template::from_text(ROLES.to_owned());
        assert_eq!(template.permissions(), expected);
    }

    #[test]
    fn a_permission_is_removed_from_its_role_and_from_no_other() {
        let template = Template::from_text(ROLES.to_owned());
        for gone in template.permissions() {
            let without = template.without_action(&gone).unwrap();
            let mut expected = template.permissions();
            expected.retain(|its| *its != gone);
            assert_eq!(without.permissions(), expected);
        }
        let without = template.without_permission("OtherRole", "Logs").unwrap();
        let (before, after) = ROLES.split_once("  OtherRole:\n").unwrap();
        let logs = "              - Sid: Logs\n                Action: [a:One, a:Two]\n                \
             Resource: b\n";
        let after = after.replace(logs, "              - !Ref AWS::NoValue\n");
        assert_eq!(without.text(), format!("{before}  OtherRole:\n{after}"));
        assert!(template.without_permission("OtherRole", "Two").is_err());
        assert!(
            template
                .without_action(&permission("OneRole", "Two", "a:One"))
                .is_err()
        );
    }

    const DEPLOYED: &str = include_str!("../../../template.yaml");
    const SAMCONFIG: &str = include_str!("../../../samconfig.toml");

    /// The parameters that an environment of `samconfig.toml` sets.
    fn overrides(environment: &str) -> BTreeMap<&'static str, &'static str> {
        let section = format!("\n[{environment}.deploy.parameters]\n");
        let (_, section) = SAMCONFIG.split_once(&section).unwrap();
        let (_, list) = section.split_once("\nparameter_overrides = [\n").unwrap();
        let (list, _) = list.split_once("\n]").unwrap();
        let pairs = list.lines().map(|line| {
            let pair = line.trim().trim_matches([',', '"']);
            pair.split_once('=').unwrap()
        });
        pairs.collect()
    }

    #[test]
    fn an_environment_sets_only_parameters_of_the_template() {
        let (_, parameters) = DEPLOYED.split_once("\nParameters:\n").unwrap();
        let (parameters, _) = parameters.split_once("\nMappings:\n").unwrap();
        for environment in ["default", "staging", "production"] {
            for name in overrides(environment).keys() {
                assert!(parameters.contains(&format!("\n  {name}:\n")), "{name}");
            }
        }
    }

    #[test]
    fn with_auras_staging_a_webhook_that_is_down_raises_no_alarm_and_is_not_healed() {
        for environment in ["default", "staging", "production"] {
            let overrides = overrides(environment);
            let is_staging = overrides["AuraBaseUrl"].contains("staging");
            assert_eq!(is_staging, environment != "production");
            let expected = is_staging.then_some("false");
            for name in ["WebhookDownAlarmActions", "SelfHeal"] {
                assert_eq!(
                    overrides.get(name).copied(),
                    expected,
                    "{environment}: {name}"
                );
            }
        }
        let (_, alarm) = DEPLOYED.split_once("\n  WebhookDownAlarm:\n").unwrap();
        let (alarm, _) = alarm.split_once("\n\n").unwrap();
        assert!(alarm.contains("\n      ActionsEnabled: !If [WebhookDownTold, true, false]\n"));
        let condition = "WebhookDownTold: !Equals [!Ref WebhookDownAlarmActions, \"true\"]";
        assert!(DEPLOYED.contains(condition));
    }

    /// Ingest accepts a value while it is the current one, and then while it is the previous one.
    #[test]
    fn a_captured_header_is_refused_before_the_ledger_forgets_what_it_could_replay() {
        let days: u32 = overrides("production")["RotationDays"].parse().unwrap();
        let (_, remembered) = DEPLOYED.split_once("LEDGER_RETENTION_DAYS: \"").unwrap();
        let (remembered, _) = remembered.split_once('"').unwrap();
        assert!(days > 0 && 2 * days < remembered.parse().unwrap());
    }

    #[test]
    fn a_line_that_is_missing_or_occurs_twice_is_an_error() {
        assert!(with_code_uri(TEMPLATE, "registrar", "s3://b/k").is_err());
        let twice = format!("{TEMPLATE}      CodeUri: .\n");
        assert!(with_code_uri(&twice, "processor", "s3://b/k").is_err());
    }
}
