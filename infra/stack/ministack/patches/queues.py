"""How queues start functions."""

import contextlib
from unittest import mock

from ministack.services import lambda_svc

from patches.patch import Patch


@Patch
def look_at_queues_at_once():
    """Upstream: if MiniStack finds nothing in the queues of event sources, it sleeps for 50 ms before
    it waits for the next message.

    Reason: a message that comes during this sleep waits for its end."""
    lambda_svc._ESM_IDLE_WAKE_GAP_SECONDS = 0.001


@look_at_queues_at_once.needed_while
def it_sleeps_after_a_look_that_finds_nothing():
    with (
        mock.patch("time.sleep") as sleep,
        mock.patch.object(lambda_svc, "_esm_wake") as wake,
        contextlib.suppress(TimeoutError),
    ):
        wake.wait.side_effect = [True, TimeoutError]
        lambda_svc._poll_loop()
    return any(gap > 0.001 for (gap,), _ in sleep.call_args_list)


@Patch
def throttle_queues_as_other_callers():
    """Upstream: a queue never calls a function beyond the function's reserved concurrency.

    Reason: on AWS it calls, and is throttled. The alarm on throttles reads that."""
    concurrency = lambda_svc._sqs_esm_concurrency

    def unlimited(mapping, function, config, queue=None):
        return concurrency(mapping, {}, {}, queue)

    lambda_svc._sqs_esm_concurrency = unlimited


@throttle_queues_as_other_callers.needed_while
def a_queue_does_not_call_a_function_without_concurrency():
    mapping = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:checked"}
    return lambda_svc._sqs_esm_concurrency(mapping, {"concurrency": 0}, {}, {"messages": [{}]}) == 0
