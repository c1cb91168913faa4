"""Middleware in front of the workers, with limits on requests and Prometheus metrics at /metrics."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Guard:
    """ASGI middleware that limits the size of requests, rejects those that no worker could answer, and counts them."""

    def __init__(self, app: App, max_bytes: int, timeout: float = 30) -> None:
        """Wrap `app`; request bodies have at most `max_bytes`, and answers are due within `timeout` seconds.

        The timeout is needed because a worker that dies never answers.
        """
        self.app, self.max_bytes, self.timeout = app, max_bytes, timeout
        self.registry = CollectorRegistry()
        of = self.registry
        self.requests = Counter("cascade_rcnn_requests", "Requests by status", ["status"], registry=of)
        self.seconds = Histogram("cascade_rcnn_request_seconds", "Time to answer", buckets=_SECONDS, registry=of)
        self.active = Gauge("cascade_rcnn_active_requests", "Requests being answered", registry=of)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer /metrics, check POST requests, and pass everything else on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == "/metrics" and not _has_key(scope):
            await _reject(send, 401, "send the key of this service in the header X-API-Key")
        elif scope["path"] == "/metrics":
            await _reply(send, 200, generate_latest(self.registry), CONTENT_TYPE_LATEST)
        elif scope["method"] == "POST":
            await self._counted(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _counted(self, scope: Message, receive: Receive, send: Send) -> None:
        status, start = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with self.active.track_inprogress():
            try:
                await self._guarded(scope, receive, noted)
            finally:
                self.requests.labels(str(status)).inc()
                self.seconds.observe(time.perf_counter() - start)

    async def _guarded(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        body = await self._body(headers, receive)
        media, semicolon, parameters = headers.get(b"content-type", b"").partition(b";")
        kind = media.strip().lower()
        if scope["query_string"]:
            return await _reject(send, 400, "a query in the address (?...) is not read; send fields in the body")
        if kind not in (b"application/json", b"multipart/form-data"):
            return await _reject(send, 415, "send multipart/form-data or application/json")
        # LitServe only recognises the media type in lower case; parameters, such as the boundary, keep their case.
        others = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
        scope = {**scope, "headers": [*others, (b"content-type", kind + semicolon + parameters)]}
        if body is None:
            return await _reject(send, 413, f"the request is larger than {self.max_bytes / 1e6:g} MB")
        if kind == b"application/json" and not _is_object(body):
            return await _reject(send, 400, "the body is not a JSON object")
        if kind != b"application/json" and not await _is_form(scope, body):
            return await _reject(send, 400, "the body is not a form")
        try:
            async with asyncio.timeout(self.timeout):
                await self.app(scope, _once(body, receive), send)
        except TimeoutError:
            await _reject(send, 504, f"no answer within {self.timeout:g} s")
        return None

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Return the body, None if it is too large.

        The rest of that is received, too, unless it takes too long: a client that is still sending when the connection
        is closed sees an error instead of the answer. A client that asks first (Expect) gets the answer at once.
        """
        declared = headers.get(b"content-length", b"")
        too_large = declared.isdigit() and int(declared) > self.max_bytes
        if too_large and b"expect" in headers:
            return None
        body, more = bytearray(), True
        while more and not too_large:
            more = await _part(receive, body)
            too_large = len(body) > self.max_bytes
        if not too_large:
            return bytes(body)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeout):
                while more:
                    body.clear()
                    more = await _part(receive, body)
        return None


async def _part(receive: Receive, body: bytearray) -> bool:
    """Append the next part of a body; return whether there are more."""
    message = await receive()
    body += message.get("body", b"")
    return message.get("more_body", False)


def _has_key(scope: Message) -> bool:
    """Return whether a request has the key that LitServe requires for everything else, if any."""
    key = os.environ.get("LIT_SERVER_API_KEY", "")
    given = next((value for name, value in scope["headers"] if name.lower() == b"x-api-key"), b"")
    return not key or secrets.compare_digest(given, key.encode())


def _once(body: bytes, after: Receive) -> Receive:
    """Return a channel that replays a body and then continues with the original channel."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await after()

    return receive


async def _is_form(scope: Message, body: bytes) -> bool:
    async def ended() -> Message:
        return {"type": "http.disconnect"}

    try:
        await Request(scope, _once(body, ended)).form()
    except Exception:  # noqa: BLE001  the parser's errors for a bad body are of many types
        return False
    return True


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


async def _reject(send: Send, status: int, reason: str) -> None:
    await _reply(send, status, json.dumps({"error": reason}).encode(), "application/json")


async def _reply(send: Send, status: int, body: bytes, kind: str) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
