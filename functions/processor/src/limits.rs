//! The time limits of the processor's calls to AWS.

use std::time::Duration;

use shared::aws::CallLimits;

/// The limits of calls that can be repeated without harm. A second attempt is better than a long
/// wait.
pub const REPEATABLE: CallLimits = CallLimits {
    connect: CONNECT,
    // Two attempts fit into the shortest time for marking.
    attempt: Duration::from_millis(450),
    call: Duration::from_secs(2),
    pause: Duration::from_millis(100),
};

/// The limits of publishing. It waits for the bus's answer, because a repeated call may publish an
/// event twice.
pub const PUBLISHING: CallLimits = CallLimits {
    connect: CONNECT,
    attempt: Duration::from_secs(10),
    call: Duration::from_secs(20),
    pause: Duration::from_millis(100),
};

const CONNECT: Duration = Duration::from_secs(1);
