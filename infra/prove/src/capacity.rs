//! `cargo prove capacity`: simulates a mass incident on AWS, with the quotas of three regions.
//!
//! | module | does |
//! | --- | --- |
//! | [`load`] | draws the deliveries |
//! | [`quotas`] | has the limits and the times of each step |
//! | [`model`] | takes each delivery through the system, event by event |
//! | [`findings`] | says when the last event is published, what was met first and what to raise |
//! | [`plots`] | draws the findings as SVG |
//! | [`check`] | compares the model with the local stack |

pub mod bucket;
pub mod check;
pub mod findings;
pub mod load;
pub mod model;
pub mod plots;
pub mod quotas;

use std::path::Path;

use anyhow::{Result, bail};

use self::findings::{Findings, Question};
use self::quotas::Figures;

/// Simulates what was asked, and prints the findings. Draws the plots of all rates and regions into a
/// folder, if one is given.
///
/// # Errors
///
/// Fails if no region has the name, or a plot can't be written.
pub fn simulate(question: &Question, json: bool, plots: Option<&Path>) -> Result<()> {
    let figures = Figures::read()?;
    let findings = Findings::find(&figures, question)?;
    if findings.cases.is_empty() {
        let names: Vec<_> = figures
            .regions
            .iter()
            .map(|its| its.name.as_str())
            .collect();
        bail!("--region must be one of: {}", names.join(", "));
    }
    if let Some(folder) = plots {
        plots::write(&findings, folder)?;
    }
    if json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        println!("{}", findings.table());
    }
    Ok(())
}
