//! A short run of `cargo prove soak`.

use std::time::Duration;

use anyhow::Result;
use e2e::Local;
use prove::soak;
use prove::soak::order::{Order, USUAL_SCHEDULE};
use prove::soak::report::Shortcoming;
use stack::progress::Progress;
use stack::report::Report as _;

#[tokio::test]
async fn what_an_unreliable_aura_did_not_send_is_found_though_the_reconciler_is_killed()
-> Result<()> {
    let schedule = Duration::from_secs(USUAL_SCHEDULE);
    let order = Order::new(1, 1, schedule, 5, None)?;
    let parameters = order.parameters();
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let system = Local::shared().await?.system(&parameters).await?;
    let report = soak::run(&system, &order, Progress::to_stderr()).await?;
    let mut shortcomings = report.shortcomings();
    // This test doesn't judge the speed, because the machine runs other tests too.
    shortcomings.retain(|shortcoming| *shortcoming != Shortcoming::Slow);
    assert_eq!(shortcomings, [], "{:#?}", report.summary());
    // Without these, the reconciler would have had nothing to find out and no kill to survive.
    assert!(report.recovery.count > 0, "{:#?}", report.classes);
    assert!(report.runs.died > 0, "{:?}", report.runs);
    assert!(report.classes.duplicates > 0, "{:#?}", report.classes);
    Ok(())
}
