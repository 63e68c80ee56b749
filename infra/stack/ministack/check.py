"""Checks that MiniStack still does what each patch corrects, and that the patch corrects it."""

import contextvars
import signal
import sys

from patches import PATCHES

# A check takes milliseconds. One that waits for what no longer happens must not hang.
SECONDS = 5


class Hung(Exception):
    """A check took too long."""


def check(version: str) -> int:
    """The exit status: 1 if a patch is no longer needed or doesn't work, or a check can't tell."""
    signal.signal(signal.SIGALRM, hung)
    wrong = [f"{patch.name} has no check" for patch in PATCHES if not patch.checks]
    wrong += [
        told or f"remove this patch: {patch.name}. In MiniStack {version} it isn't so that {rule}"
        for patch, rule, told in unlike(True)
    ]
    for patch in PATCHES:
        patch.apply()
    # Now each check must turn around: one that can't proves nothing.
    wrong += [told or f"{patch.name} doesn't work: with it, {rule}" for patch, rule, told in unlike(False)]
    print("\n".join(wrong) or f"MiniStack {version} needs each of its {len(PATCHES)} patches", file=sys.stderr)
    return 1 if wrong else 0


def unlike(expected: bool):
    """The checks that don't say what is expected, with their patch and, if they can't run, the reason."""
    for patch in PATCHES:
        for one in patch.checks:
            rule = one.__name__.replace("_", " ")
            signal.alarm(SECONDS)
            try:
                if contextvars.copy_context().run(one) != expected:
                    yield patch, rule, None
            except Exception as error:
                yield patch, rule, f"{patch.name}: the check that {rule} can't run: {error!r}"
            finally:
                signal.alarm(0)


def hung(*_):
    raise Hung(f"it takes more than {SECONDS} s")
