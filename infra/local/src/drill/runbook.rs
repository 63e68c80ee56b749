//! Reads the runbook: the sections of its pages, and their commands as they stand there.

use anyhow::{Context as _, Result, ensure};
use stack::workspace::Workspace;

/// The language of a block of commands for a person with AWS's command line.
const FENCE: &str = "```sh aws";
/// What stands before a command in the text of a section that has no block.
const FIRST: &str = "Type `";

/// A page of the runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// What to set up before a shift.
    OnCall,
    /// One section for each alarm.
    Operate,
    /// The longer procedures.
    Procedures,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::OnCall => "docs/on-call.md",
            Self::Operate => "docs/operate.md",
            Self::Procedures => "docs/procedures.md",
        }
    }
}

/// The pages of the runbook.
#[derive(Debug)]
pub struct Runbook {
    pages: Vec<(Page, Vec<Section>)>,
}

/// A section of a page: its headings, which may be several, and what follows up to the next heading.
#[derive(Debug, Default)]
pub struct Section {
    /// The headings above the text, without their number signs.
    pub headings: Vec<String>,
    /// The blocks of commands.
    pub blocks: Vec<String>,
    /// The text without blocks, each run of white space as one space.
    text: String,
}

impl Runbook {
    /// Reads the pages of a checkout.
    ///
    /// # Errors
    ///
    /// A page can't be read.
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let pages = [Page::OnCall, Page::Operate, Page::Procedures].map(|page| {
            let path = workspace.root().join(page.path());
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Ok((page, sections(&text)))
        });
        let pages = pages.into_iter().collect::<Result<_>>()?;
        Ok(Self { pages })
    }

    /// All sections of a page.
    pub fn sections(&self, page: Page) -> impl Iterator<Item = &Section> {
        let its = self.pages.iter().filter(move |(its, _)| *its == page);
        its.flat_map(|(_, sections)| sections)
    }

    /// The section with this heading.
    ///
    /// # Errors
    ///
    /// The page has no such heading.
    pub fn section(&self, page: Page, heading: &str) -> Result<&Section> {
        let has = |section: &&Section| section.headings.iter().any(|its| its == heading);
        let found = self.sections(page).find(has);
        found.with_context(|| format!("{} has no section `{heading}`", page.path()))
    }

    /// The commands that a person types first: those that define the shell's functions.
    ///
    /// # Errors
    ///
    /// The page doesn't have them.
    pub fn variables(&self) -> Result<&str> {
        let section = self.section(Page::OnCall, "Set these variables first")?;
        let block = section.blocks.first();
        Ok(block.context("docs/on-call.md has no block of variables")?)
    }
}

impl Section {
    /// What a person types first: the blocks. A section without a block has a command in its text.
    ///
    /// # Errors
    ///
    /// The section has neither.
    pub fn commands(&self) -> Result<Vec<&str>> {
        if !self.blocks.is_empty() {
            return Ok(self.blocks.iter().map(String::as_str).collect());
        }
        let typed = self.text.split_once(FIRST);
        let typed = typed.and_then(|(_, rest)| rest.split_once('`'));
        let (command, _) =
            typed.with_context(|| format!("the section {:?} has no command", self.headings))?;
        Ok(vec![command])
    }

    /// What stands between backquotes in the section's text: commands, and names.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.text.split('`').skip(1).step_by(2)
    }

    /// The command in the section's text that begins like this.
    ///
    /// # Errors
    ///
    /// The text doesn't have exactly one such command.
    pub fn inline(&self, beginning: &str) -> Result<&str> {
        let mut found = self.codes().filter(|code| code.starts_with(beginning));
        let first = found.next();
        let command = first.with_context(|| {
            let headings = &self.headings;
            format!("the section {headings:?} has no command that begins with `{beginning}`")
        })?;
        ensure!(
            found.all(|other| other == command),
            "the section {:?} has two commands that begin with `{beginning}`",
            self.headings
        );
        Ok(command)
    }
}

fn sections(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_owned();
            match sections.last_mut() {
                Some(above) if above.is_empty() => above.headings.push(heading),
                _ => sections.push(Section {
                    headings: vec![heading],
                    ..Section::default()
                }),
            }
        } else if line.trim_start().starts_with("```") {
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            let block: Vec<_> = block.collect();
            if let Some(section) = sections.last_mut().filter(|_| line.trim() == FENCE) {
                section.blocks.push(block.join("\n"));
            }
        } else if let Some(section) = sections.last_mut() {
            for word in line.split_whitespace() {
                section.text.push_str(word);
                section.text.push(' ');
            }
        }
    }
    sections
}

impl Section {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.blocks.is_empty()
    }
}

/// How many commands a block has: its lines, without those that continue a command.
#[must_use]
pub fn count(block: &str) -> usize {
    let whole = block.replace("\\\n", " ");
    let begins = |line: &&str| {
        let ends_another = ["done", "}", "fi", ")", "#"];
        let first = line.chars().next();
        first.is_some_and(|first| !first.is_whitespace())
            && !ends_another.iter().any(|end| line.starts_with(end))
    };
    whole.lines().filter(begins).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Operate

Text.

### OneAlarm
### OtherAlarm

A text with `a
command` and `another one`.

```sh aws
# A comment, no heading
log Ingest 'x' \\
    --more
for kind in a b; do
    echo \"$kind\"
done
```

```text
no command
```

### ThirdAlarm

Type
`log Access` first.
";

    #[test]
    fn headings_that_follow_each_other_share_a_section() {
        let sections = sections(PAGE);
        let headings: Vec<_> = sections.iter().map(|its| its.headings.join("+")).collect();
        assert_eq!(headings, ["Operate", "OneAlarm+OtherAlarm", "ThirdAlarm"]);
        assert_eq!(sections[1].blocks.len(), 1);
        assert_eq!(count(&sections[1].blocks[0]), 2);
    }

    #[test]
    fn a_command_in_the_text_may_go_over_a_line_break() {
        let sections = sections(PAGE);
        assert_eq!(sections[1].inline("a c").unwrap(), "a command");
        assert_eq!(sections[2].commands().unwrap(), ["log Access"]);
        assert!(sections[1].inline("a").is_err());
        assert!(sections[0].commands().is_err());
    }
}
