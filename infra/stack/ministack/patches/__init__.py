"""Corrections of MiniStack, by topic. They are applied in the order in which they are imported here:
a later one may wrap an earlier one."""

from patches import lambda_runtime, queues, accounts, secrets, cloudformation, iam, web_pages
from patches.patch import PATCHES
