//! A small campaign of `cargo prove torture`.

use anyhow::Result;
use e2e::Local;
use prove::torture;
use prove::torture::campaign::Campaign;
use prove::torture::rig::Rig;
use prove::torture::verdict::{Double, Reason};
use stack::progress::Progress;
use stack::report::Report as _;
use stack::workspace::Workspace;

#[tokio::test]
async fn killed_at_every_step_and_with_failing_services_nothing_is_lost_and_doubles_are_explained()
-> Result<()> {
    let local = Local::shared().await?;
    let rig = Rig::before(local.endpoint(), &Workspace::here()?)?;
    let template = rig.around_the_processor(local.template())?;
    let system = local.system_from(template).await?;
    let campaign = Campaign::new(4, 12, 200);
    let report = torture::run(&system, &rig, &campaign, Progress::to_stderr()).await?;
    assert!(report.is_success(), "{:#?}", report.summary());
    assert_eq!(report.kills.values().collect::<Vec<_>>(), [&3; 4]);
    assert_eq!((report.events, report.faults > 0), (200, true));
    // Without a double by a kill, the campaign would have tested no explanation.
    let by_kills = |double: &Double| matches!(double.reason, Reason::Killed { .. });
    assert!(
        report.doubles.iter().any(by_kills),
        "no kill led to a double"
    );
    Ok(())
}
