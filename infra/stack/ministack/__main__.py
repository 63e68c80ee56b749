"""Runs MiniStack, the local AWS, in the foreground, with the patches that it needs.

`cargo local` and the end-to-end tests start it as `python infra/stack/ministack`, with a pipe as
standard input. When that pipe closes, it ends, with every function process that it started. So
nothing stays behind, however its parent ends. SIGTERM, SIGINT and SIGHUP end it in the same way. Its
exit status is then 0. If the server ends by itself, the exit status is the server's.

With `--check` it starts no server, and prints which patches MiniStack no longer needs.

The environment is MiniStack's: GATEWAY_PORT, BIND_HOST, AWS_ENDPOINT_URL (for the functions),
MINISTACK_REGION, LOG_LEVEL, AUTH. In addition, ALSO_ON is the address through which containers call,
if there is one. ALARM_PERIODS_DIVIDED_BY is a number from 1 to 60. All periods of alarms are shorter by
this factor, and alarms are evaluated 60 seconds divided by it apart. Thresholds stay as they are. Without
it, alarms take as long as on AWS. RETRIES_DIVIDED_BY is the factor by which EventBridge's waits between two
tries of an API destination are shorter, those of the header Retry-After included. The launcher writes only below TMPDIR.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import tempfile
import threading
from importlib import metadata

# The version in requirements.txt. After a change to both, `--check` names the patches to remove.
VERSION = "1.5.33"


def main() -> int:
    check_version()
    # The patches are in the checkout, where no compiled files may appear.
    sys.dont_write_bytecode = True
    if sys.argv[1:] == ["--check"]:
        return check_patches()
    adopt_orphans()
    # The server and its functions share a process group, so that one kill ends them all. This process
    # only waits for a reason to do that. A socket pair tells each of the two when the other ends,
    # whatever the cause.
    ours, theirs = socket.socketpair()
    server = os.fork()
    if server == 0:
        ours.close()
        os.setpgid(0, 0)
        serve(theirs)
        return 0
    theirs.close()
    os.setpgid(server, server)  # both processes do this, because either may be first
    ended_by_itself = wait_for_reason_to_end(ours)
    status = os.waitpid(server, 0)[1] if ended_by_itself else None
    kill_group(server)
    wait_for_group(server)
    return 0 if status is None else os.waitstatus_to_exitcode(status) & 0xFF or 1


def check_version() -> None:
    try:
        found = metadata.version("ministack")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        sys.exit(
            f"infra/stack/ministack patches MiniStack {VERSION}, but {sys.executable} has version {found}. "
            f"Install the pinned version: {sys.executable} -m pip install -r "
            f"{os.path.abspath(os.path.join(os.path.dirname(__file__), '../requirements.txt'))}"
        )


def wait_for_reason_to_end(server: socket.socket) -> bool:
    """Waits until standard input closes, a signal comes or the server ends. True if the server ended."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    while True:
        readable, _, _ = select.select([0, woken, server], [], [])
        if server in readable:
            return True
        if woken in readable or not os.read(0, 4096):
            return False


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def adopt_orphans() -> None:
    """Lets this process inherit the functions when the server is dead, so that it can wait for their
    end. Otherwise init would inherit them, and init may be slow, or not a real one."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def wait_for_group(group: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def serve(parent: socket.socket) -> None:
    # If the waiting process is killed, the server ends too, with its group.
    def end_with_parent() -> None:
        parent.recv(1)
        kill_group(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # The server must not read the pipe from the parent.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    configure(tempfile.gettempdir())
    from ministack import app
    from patches import PATCHES

    for patch in PATCHES:
        patch.apply()
    sys.argv = ["ministack"]
    try:
        app.main()
    except OSError as error:
        sys.exit(f"infra/stack/ministack: MiniStack can't listen: {error}")


def configure(folder: str) -> None:
    """Replaces MiniStack's defaults: folders in /tmp, and two more servers on fixed ports. MiniStack
    reads these settings when it is imported."""
    os.environ["STATE_DIR"] = os.path.join(folder, "state")
    os.environ["S3_DATA_DIR"] = os.path.join(folder, "s3")
    os.environ["IOT_MTLS_ENABLED"] = "0"
    os.environ["SFTP_ENABLED"] = "0"


def check_patches() -> int:
    with tempfile.TemporaryDirectory() as folder:
        configure(folder)
        os.environ["LOG_LEVEL"] = "CRITICAL"
        from check import check

        return check(VERSION)


if __name__ == "__main__":
    sys.exit(main())
