//! The real template, packaged: each function's `CodeUri` points at its zip in S3.
//!
//! Only those lines change, and the rest stays as it is to the byte: what is deployed here is what
//! is deployed to AWS. A line that isn't there exactly once is an error, not a guess.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::proxy::FaultProxy;

/// A line of the processor's environment, and of no other function's.
const OF_THE_PROCESSOR: &str = "LEDGER_RETENTION_DAYS: \"35\"";

/// A SAM template with local paths.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
}

impl Template {
    /// Reads one, such as `template.yaml`.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { text })
    }

    /// A template from its text, for whoever bends it.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self { text }
    }

    /// The text, with local paths.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same with more variables in one function's environment, put after the line `after`.
    ///
    /// # Errors
    ///
    /// There is not one line like that.
    pub fn with_variables(&self, after: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let line = format!("          {after}\n");
        ensure!(
            self.text.matches(&line).count() == 1,
            "the template has not one line {after}"
        );
        let added = variables
            .iter()
            .map(|(name, value)| format!("          {name}: {value}\n"));
        let lines: String = std::iter::once(line.clone()).chain(added).collect();
        Ok(Self::from_text(self.text.replace(&line, &lines)))
    }

    /// The same with proxies between the processor and services, each by its name in the SDKs'
    /// variables, such as `DYNAMODB`; and with more variables in the processor's environment.
    ///
    /// # Errors
    ///
    /// The template has changed too much.
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

    /// The same without one statement of a role's policy.
    ///
    /// # Errors
    ///
    /// There is not one statement with this `Sid`.
    pub fn without_permission(&self, sid: &str) -> Result<Self> {
        let begins = |line: &&str| line.trim() == format!("- Sid: {sid}");
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut found = self.text.lines().filter(begins);
        let (Some(first), None) = (found.next(), found.next()) else {
            bail!("the template has not one statement {sid}");
        };
        let mut is_its = false;
        let lines = self.text.split_inclusive('\n').filter(|line| {
            is_its = begins(&line.trim_end()) || is_its && indent(line) > indent(first);
            !is_its
        });
        Ok(Self::from_text(lines.collect()))
    }

    /// The text with each function's `CodeUri` replaced: `uris` has the new ones by
    /// the functions' names.
    ///
    /// # Errors
    ///
    /// A function's line isn't there exactly once.
    pub fn packaged(&self, uris: &BTreeMap<&str, String>) -> Result<String> {
        uris.iter()
            .try_fold(self.text.clone(), |text, (function, uri)| {
                with_code_uri(&text, function, uri)
            })
    }
}

/// The template with the function's `CodeUri` replaced: the one behind the function's binary, before
/// another's.
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
        let indent: String = line.chars().take_while(|char| *char == ' ').collect();
        format!("{indent}CodeUri: {uri}\n")
    };
    let lines = text.split_inclusive('\n').map(line).collect();
    ensure!(
        found == 1,
        "the template has {found} lines `CodeUri` behind `{names_it}`, not one"
    );
    Ok(lines)
}

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

    #[test]
    fn a_permission_goes_with_all_its_lines_and_no_others() {
        let text = "\
            Statement:
              - Sid: One
                Action: a
                Resource:
                  - b
              # Of two.
              - Sid: Two
                Action: c
";
        let template = Template::from_text(text.to_owned());
        let without = template.without_permission("One").unwrap();
        let expected = text.replace(
            "              - Sid: One\n                Action: a\n                Resource:\n                  \
             - b\n",
            "",
        );
        assert_eq!(without.text(), expected);
        assert!(template.without_permission("Three").is_err());
        assert!(
            Template::from_text(text.repeat(2))
                .without_permission("One")
                .is_err()
        );
    }

    #[test]
    fn a_line_that_is_missing_or_there_twice_is_an_error() {
        assert!(with_code_uri(TEMPLATE, "registrar", "s3://b/k").is_err());
        let twice = format!("{TEMPLATE}      CodeUri: .\n");
        assert!(with_code_uri(&twice, "processor", "s3://b/k").is_err());
    }
}
