//! The time limits of each step of a request. AURA doesn't document how long it waits. An answer
//! comes within [`ANSWER`] whatever fails, and within milliseconds if nothing fails.
//!
//! | step | at most | within it |
//! | --- | --- | --- |
//! | a cold start: reading the secret, connecting to SQS | [`START`] | |
//! | reading the secret again, for a value that isn't known | [`SECRET_WAIT`] | |
//! | the end of reading it again, because it is old | [`REFRESH_WAIT`] | after the queue, and never after the spill |
//! | the queue | [`QUEUE`]`.call` | up to three attempts of at most `.attempt`, each with at most `.connect` to connect |
//! | the spill, if the queue has not confirmed | [`SPILL`]`.call` | the same with the spill's limits |
//! | everything else | what remains | parsing a body of 1 MiB takes some milliseconds |
//!
//! Lambda's own time to start a process comes on top.

use std::time::Duration;

use shared::aws::CallLimits;

/// From the request's start to its answer.
pub const ANSWER: Duration = Duration::from_secs(5);

/// How long a cold start waits for the secret and for a connection to SQS. Both continue after that
/// time.
pub const START: Duration = Duration::from_millis(250);

/// How long a request waits for Secrets Manager. The reading itself continues.
pub const SECRET_WAIT: Duration = Duration::from_millis(800);

/// How long a request waits for a reading in the background. It is shorter than the spill's limit, and a
/// delivery that had to be spilled doesn't wait.
pub const REFRESH_WAIT: Duration = Duration::from_millis(300);

/// The time to connect. It is the same for all services, because the SDK keeps a pool of connections for
/// each value.
const CONNECT: Duration = Duration::from_millis(350);

/// The pause between attempts. It is short for two reasons: an emergency waits, and a service that
/// is down stays down for longer than a request lasts.
const PAUSE: Duration = Duration::from_millis(50);

/// One reading of one version of the secret. An attempt is short, so that a connection that died
/// while the process was frozen leaves time for another one within [`SECRET_WAIT`].
pub const SECRET: CallLimits = CallLimits {
    connect: CONNECT,
    attempt: Duration::from_millis(350),
    call: Duration::from_millis(1500),
    pause: PAUSE,
};

/// One call to SQS.
pub const QUEUE: CallLimits = CallLimits {
    connect: CONNECT,
    attempt: Duration::from_millis(900),
    call: Duration::from_millis(2100),
    pause: PAUSE,
};

/// One call to DynamoDB.
pub const SPILL: CallLimits = CallLimits {
    connect: CONNECT,
    attempt: Duration::from_millis(700),
    call: Duration::from_millis(1600),
    pause: PAUSE,
};

const _: () = {
    let steps = START.as_millis()
        + SECRET_WAIT.as_millis()
        + QUEUE.call.as_millis()
        + SPILL.call.as_millis();
    assert!(steps + 250 <= ANSWER.as_millis());
};
