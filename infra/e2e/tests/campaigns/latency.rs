//! A short run of `cargo prove latency`.

use anyhow::Result;
use e2e::Local;
use prove::latency::{self, Rig, Series};
use stack::package::Profile;
use stack::progress::Progress;
use stack::report::Report as _;

/// Says nothing about how long the hops take, because the machine runs other tests too.
#[tokio::test]
async fn each_hop_of_each_delivery_is_measured_also_when_the_functions_have_to_start() -> Result<()>
{
    let local = Local::shared().await?;
    let rig = Rig::before(local.endpoint())?;
    let template = rig.around_the_functions(local.template())?;
    let system = local.system_from(template).await?;
    let series = Series {
        deliveries: 20,
        per_second: 4,
        first: 2,
        profile: Profile::Dev,
    };
    let report = latency::run(&system, &rig, series, Progress::to_stderr()).await?;
    assert!(report.is_success(), "{:#?}", report.summary());
    assert_eq!((report.usual.deliveries, report.first.deliveries), (20, 2));
    Ok(())
}
