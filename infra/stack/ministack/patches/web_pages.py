"""Who may call the local AWS: programs of this machine, and no web page from elsewhere."""

import asyncio
import collections
import ipaddress
import os
import re

from ministack import app
from ministack.core.lambda_runtime import ProvidedWorker

from patches.lambda_runtime import runtime_api_writes
from patches.patch import Patch

HERE = "infra/stack/ministack/patches/web_pages.py"
FOREIGN = f"Refused: the request comes from a web page, or names another machine. See {HERE}"


@Patch
def keep_web_pages_out():
    """Upstream: MiniStack accepts every request, and runs code.

    Reason: a browser lets any web page send requests to 127.0.0.1. If the page's owner points its name
    there after it is loaded (DNS rebinding), the page can also read the answers. So a request is
    accepted only if it names this machine by a name that nobody else can own, and no browser says that
    it comes from elsewhere. AURA's stand-in has the same rules, in its `pages`. The Runtime API, where
    functions get work, needs them too: it is a separate server for each process."""
    take = app.app
    build_handler_class = ProvidedWorker._build_handler_class
    # Removed, because functions inherit the environment and don't need it.
    also_on = os.environ.pop("ALSO_ON", "")

    async def take_own(scope, receive, send):
        pairs = scope.get("headers", ())
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
        if scope["type"] == "lifespan" or not is_foreign(headers, also_on):
            await take(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before the connection is accepted, this is a 403
        else:
            kind = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": kind})
            await send({"type": "http.response.body", "body": FOREIGN.encode()})

    def build(self, generation, pending):
        handler = build_handler_class(self, generation, pending)
        parse_request = handler.parse_request

        def parse_own(request):
            if not parse_request(request):
                return False  # it has been refused already
            if is_foreign(request.headers.items(), ""):
                request.send_error(403, FOREIGN)
                return False
            return True

        handler.parse_request = parse_own
        return handler

    app.app = take_own
    ProvidedWorker._build_handler_class = build


def is_foreign(headers, also_on: str) -> bool:
    """Whether a request comes from a foreign page, or names another machine. Containers name this
    machine `also_on`, the address of a bridge."""
    values = collections.defaultdict(list)
    for name, value in headers:
        values[name.lower()].append(value)
    hosts = [host_of("http://" + host) for host in values["host"]]
    origins = [host_of(origin) for origin in values["origin"]]
    return not (
        hosts
        and all(is_own(host) or host in {"host.docker.internal", also_on} - {""} for host in hosts)
        and all(map(is_own, origins))
        and "cross-site" not in map(str.lower, values["sec-fetch-site"])
    )


def host_of(url: str) -> str:
    """The host of a URL that has only a scheme, a host and maybe a port; "" for any other text."""
    found = re.fullmatch(r"https?://(\[[^\]]*\]|[^][:/\\@?#]*)(:\d*)?", url)
    return found[1].strip("[]").lower() if found else ""


def is_own(host: str) -> bool:
    if host.rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@keep_web_pages_out.needed_while
def a_page_reaches_the_local_aws():
    headers = [(b"host", b"127.0.0.1"), (b"origin", b"https://page.example")]
    request = {"method": "GET", "path": "/_ministack/health", "query_string": b"", "headers": headers}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    asyncio.run(app.app({"type": "http", **request}, receive, send))
    return sent[0]["status"] != 403


@keep_web_pages_out.needed_while
def a_page_reaches_the_runtime_api():
    return b" 403 " not in runtime_api_writes("Host: page.example")[0]
