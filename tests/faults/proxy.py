"""Stands before an S3 server and gives trouble: answers 500 and 503, hangs up, is slow, or is not there.

It knows as much of HTTP as it takes to hand on one request and one answer after another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

ANSWERS = {
    500: b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
    503: b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
}
SLOW_SECONDS = (0.2, 1.5)


@dataclass(frozen=True)
class Trouble:
    """What is done to requests.

    Attributes:
        kind: errors, drops or slow.
        share: Of the requests that it is done to.
        most: Then the server is as it should be.
        seed: Which requests, and how.
    """

    kind: str
    share: float
    most: int
    seed: int


class Proxy:
    """On loopback, in a thread of its own, from `__enter__` to `__exit__`."""

    def __init__(self, endpoint: str, trouble: Trouble | None = None) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._server = (host, int(port))
        self._trouble = trouble
        self._random = random.Random(trouble.seed if trouble else 0)
        self._writers: set[asyncio.StreamWriter] = set()
        self.n_hit = 0
        self.is_away = False

    def __enter__(self) -> Proxy:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Hang up on everybody, until `come_back`."""
        self.is_away = True
        self.n_hit += 1
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in self._writers])

    def come_back(self) -> None:
        self.is_away = False

    def _call(self, work: Awaitable):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _close(self) -> None:
        self._listening.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        behind: list[asyncio.StreamWriter] = []
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if not self.is_away:
                from_server, to_server = await asyncio.open_connection(*self._server)
                behind.append(to_server)
                while not self.is_away and await self._hand_on(reader, writer, from_server, to_server):
                    pass
        self._writers.discard(writer)
        for one in (writer, *behind):
            one.transport.abort() if self.is_away else one.close()

    async def _hand_on(self, reader, writer, from_server, to_server) -> bool:
        """One request and its answer; False where the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        method = head.split(b" ", 1)[0]
        kind = self._drawn()
        if kind == "slow":
            await asyncio.sleep(self._random.uniform(*SLOW_SECONDS))
        to_server.write(head)
        if b"100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind == "drops" and self._random.random() < 0.3:  # before the server has all of it
            return False
        await _body(reader, head, to_server.write)
        await to_server.drain()
        answer = b""
        while not answer or answer.split(b" ", 2)[1].startswith(b"1"):
            answer = await from_server.readuntil(b"\r\n\r\n")
        parts = [answer]
        if method != b"HEAD" and answer.split(b" ", 2)[1] not in (b"204", b"304"):
            await _body(from_server, answer, parts.append)
        data = b"".join(parts)
        if kind == "drops":  # the server has done it, and the client does not know
            writer.write(data[: self._random.randrange(len(data))])
            await writer.drain()
            return False
        if kind == "errors":
            data = _refusal(self._random.choice(sorted(ANSWERS)), is_head=method == b"HEAD")
        writer.write(data)
        await writer.drain()
        return True

    def _drawn(self) -> str:
        """The kind of trouble that this request gets, if any."""
        trouble = self._trouble
        if trouble is None or self.n_hit >= trouble.most or self._random.random() >= trouble.share:
            return ""
        self.n_hit += 1
        return trouble.kind


async def _body(reader: asyncio.StreamReader, head: bytes, write: Callable[[bytes], object]) -> None:
    """Hand on what follows a head, as its length or its chunks say."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        size = None
        while size != 0:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            write(line)
            write(await reader.readexactly(size + 2))
        return
    left = int(fields.get(b"content-length", b"0"))
    while left:
        data = await reader.read(min(left, 2**16))
        if not data:
            raise asyncio.IncompleteReadError(data, left)
        left -= len(data)
        write(data)


def _refusal(status: int, *, is_head: bool) -> bytes:
    body = ANSWERS[status]
    head = f"HTTP/1.1 {status} Trouble\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if is_head else body)
