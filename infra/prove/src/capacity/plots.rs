//! Draws the findings as SVG: events on the bus over time, with a line for each region.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

use crate::capacity::bucket::float;
use crate::capacity::findings::{Case, Findings, plain};

/// The size of a picture, in pixels.
const SIZE: (u32, u32) = (800, 320);
/// The room for the names of the lines, right of them.
const NAMES: i32 = 170;
/// The longest time that a picture shows, in seconds. What takes longer leaves the picture.
const LONGEST: usize = 600;

/// Writes one picture for each rate from 100 a second on.
///
/// # Errors
///
/// Fails if a picture can't be drawn or written.
pub fn write(findings: &Findings, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, picture) in pictures(findings)? {
        let path = folder.join(name);
        fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The pictures with the names of their files: one for each rate, with all regions.
///
/// # Errors
///
/// Fails if a picture can't be drawn.
pub fn pictures(findings: &Findings) -> Result<Vec<(String, String)>> {
    let mut rates: Vec<_> = findings.cases.iter().map(|case| case.rate).collect();
    rates.sort_unstable();
    rates.dedup();
    let picture = |rate: u32| {
        let cases: Vec<_> = findings
            .cases
            .iter()
            .filter(|case| case.rate == rate)
            .collect();
        anyhow::Ok((format!("{rate}-a-second.svg"), picture(rate, &cases)?))
    };
    rates
        .into_iter()
        .filter(|rate| *rate >= 100)
        .map(picture)
        .collect()
}

/// One line for each region: as it is, and after the limits were raised.
fn picture(rate: u32, cases: &[&Case]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, rate, cases).map_err(|error| anyhow!("cannot draw {rate} a second: {error}"))?;
    Ok(svg + "\n")
}

fn draw(
    svg: &mut String,
    rate: u32,
    cases: &[&Case],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let lines = cases
        .iter()
        .flat_map(|case| [&case.published, &case.published_raised]);
    let longest = lines
        .clone()
        .map(Vec::len)
        .max()
        .unwrap_or(1)
        .clamp(2, LONGEST);
    let most = lines
        .filter_map(|line| line.last())
        .max()
        .copied()
        .unwrap_or(1);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{} deliveries a second for a minute", plain(rate.into()));
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .margin_right(NAMES)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..float(longest), 0.0..float(most) * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds since the first delivery")
        .y_desc("events on the bus")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| plain(*value))
        .draw()?;
    // Lines that lie on each other stay visible: the later ones are thinner.
    let styles = [(BLUE, 6), (RED, 3), (BLACK, 1)];
    let mut names = Vec::new();
    for (case, (colour, width)) in cases.iter().zip(styles.iter().cycle()) {
        let style = colour.stroke_width(*width);
        chart.draw_series(LineSeries::new(points(&case.published), style))?;
        names.push((format!("{}, as it is", case.region), style));
        if !case.raise.is_empty() {
            let style = colour.mix(0.4).stroke_width(*width);
            chart.draw_series(LineSeries::new(points(&case.published_raised), style))?;
            names.push((format!("{}, raised", case.region), style));
        }
    }
    let left = i32::try_from(SIZE.0)? - NAMES;
    for ((name, style), y) in names.into_iter().zip((40..).step_by(20)) {
        area.draw(&PathElement::new([(left + 10, y), (left + 30, y)], style))?;
        let text = (left + 36, y - 5);
        area.draw(&Text::new(name, text, ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}

fn points(line: &[usize]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let points = line.iter().take(LONGEST).enumerate();
    points.map(|(second, count)| (float(second), float(*count)))
}
