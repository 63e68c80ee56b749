"""Corrections of MiniStack, by topic. The launcher applies them in the order of the imports here: a
later one may wrap an earlier one."""

from patches import lambda_runtime, queues, accounts, secrets, cloudformation, alarms, metrics, events, replays, logs, apis
from patches import domains, iam, api_destinations, web_pages
from patches.patch import PATCHES
