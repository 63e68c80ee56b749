"""The class of patches, and the list of all patches."""

PATCHES = []


class Patch:
    """A correction of MiniStack, made from the function that applies it.

    The function's docstring says what MiniStack does (Upstream) and why that is corrected (Reason).
    Each check tells whether MiniStack does that: a check is true without the patch, and false with it.
    """

    def __init__(self, apply):
        self.apply = apply
        self.name = f"{apply.__module__}.{apply.__name__}"
        self.checks = []
        PATCHES.append(self)

    def needed_while(self, check):
        self.checks.append(check)
        return check
