"""Checks that MiniStack still does what each patch corrects, and that the patch corrects it."""

import contextvars
import signal
import sys

from patches import PATCHES

# A check takes milliseconds. This limit ends a check that waits for something that no longer happens.
SECONDS = 5


class Hung(Exception):
    """A check took too long."""


def check(version: str) -> int:
    """Runs the checks and returns the exit status: 1 if a patch is no longer needed or doesn't work, or
    if a check fails to run."""
    signal.signal(signal.SIGALRM, hung)
    wrong = [f"{patch.name} has no check" for patch in PATCHES if not patch.checks]
    wrong += [
        told or f"remove this patch: {patch.name}. In MiniStack {version} it is no longer true that {rule}"
        for patch, rule, told in unlike(True)
    ]
    for patch in PATCHES:
        patch.apply()
    # With the patches, each check must have the opposite result. Otherwise it proves nothing.
    wrong += [told or f"{patch.name} doesn't work: it is still true that {rule}" for patch, rule, told in unlike(False)]
    print("\n".join(wrong) or f"MiniStack {version} needs each of its {len(PATCHES)} patches", file=sys.stderr)
    return 1 if wrong else 0


def unlike(expected: bool):
    """The checks with another result than expected: each with its patch, its rule in words and, if the
    check fails to run, the reason."""
    for patch in PATCHES:
        for one in patch.checks:
            rule = one.__name__.replace("_", " ")
            signal.alarm(SECONDS)
            try:
                if contextvars.copy_context().run(one) != expected:
                    yield patch, rule, None
            except Exception as error:
                yield patch, rule, f"{patch.name}: the check that {rule} failed to run: {error!r}"
            finally:
                signal.alarm(0)


def hung(*_):
    raise Hung(f"it takes more than {SECONDS} s")
