//! Asks a person before something is changed, and notes the change in the audit trail.

use std::fmt::{self, Display, Formatter};
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::audit::{Change, Trail};
use crate::stack::Stack;

/// How a person agrees to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// By the option `--yes`, or on the page.
    Given,
    /// By an answer in the terminal.
    Asked,
    /// Not yet: the page first shows what would be changed. [`make`] fails with [`NotYet`].
    NotYet,
}

/// Nobody has agreed yet. It holds the sentence that says what the change will do.
#[derive(Debug)]
pub struct NotYet(pub String);

impl Display for NotYet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing was changed, because nobody has agreed to it: {}",
            self.0
        )
    }
}

impl std::error::Error for NotYet {}

impl Consent {
    /// The consent that the option `--yes` gives, or that has to be asked for.
    #[must_use]
    pub fn of_option(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Asked }
    }
}

/// Says what a change will do, asks, notes it in the audit trail, makes it, and notes how it ended. `work`
/// returns how many things it changed, also if it failed in the middle.
///
/// # Errors
///
/// Nobody agreed, the audit trail can't be written, or the work failed. If the trail can't be written,
/// nothing is changed.
pub async fn make<T>(
    stack: &Stack,
    change: Change,
    consent: Consent,
    work: impl Future<Output = (usize, Result<T>)>,
) -> Result<T> {
    match consent {
        Consent::Given => eprintln!("{}", change.sentence),
        Consent::Asked => ask(&change.sentence).await?,
        Consent::NotYet => bail!(NotYet(change.sentence)),
    }
    let trail = Trail::of(stack)?;
    let entry = trail.begin(stack, &change).await?;
    let (count, done) = work.await;
    let ended = trail.end(&entry, count, done.as_ref().err()).await;
    let done = done?;
    ended.context("the change is made, but its audit entry has no end")?;
    Ok(done)
}

async fn ask(sentence: &str) -> Result<()> {
    eprintln!("{sentence}");
    if !std::io::stdin().is_terminal() {
        bail!("nothing was changed, because nobody can be asked: repeat the command with --yes");
    }
    eprint!("Type yes to do it: ");
    std::io::stderr().flush().context("cannot ask")?;
    let mut answer = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    input
        .read_line(&mut answer)
        .await
        .context("cannot read the answer")?;
    if answer.trim() != "yes" {
        bail!("nothing was changed");
    }
    Ok(())
}
