"""What giving names to the tars of an output costs on an object store that answers slowly, and looking for them again.

python benchmarks/publish.py [--files 100] [--delay-ms 40] [--label after]

The store is `scripts/s3_server.sh` on this machine; a proxy before it holds back each request for so long, as a store
that is far away does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spark_imgdedup.config import parse_config
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.owning import publishing

RESULTS = Path(__file__).parent / "results"
SERVER = Path(__file__).parent.parent / "scripts/s3_server.sh"
MANY = 100_000


class SlowProxy:
    """Hands on what comes after a while, on a port of its own."""

    def __init__(self, host, port, delay):
        self.behind, self.delay, self.n_requests, self.port = (host, port), delay, 0, None
        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True).start()
        started.wait()

    async def _serve(self, started):
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await server.serve_forever()

    async def _connection(self, reader, writer):
        there, back = await asyncio.open_connection(*self.behind)
        await asyncio.gather(self._hand_on(reader, back, self.delay), self._hand_on(there, writer, 0))

    async def _hand_on(self, source, target, delay):
        while data := await source.read(2**18):
            if delay:
                self.n_requests += data.split(b" ", 1)[0] in (b"GET", b"PUT", b"HEAD", b"POST", b"DELETE")
                await asyncio.sleep(delay)
            target.write(data)
            await target.drain()
        target.close()


def measured(proxy, call):
    """Its seconds, what it sent and what it gave."""
    start, before = time.monotonic(), proxy.n_requests
    found = call()
    return round(time.monotonic() - start, 2), proxy.n_requests - before, found


def write_temporary(path, names, options):
    urls = {name: storage.join(path, publishing.TEMPORARY, uuid.uuid4().hex + ".tar") for name in names}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda url: writing.write_bytes(url, b"x" * 10_240, options), urls.values()))
    return urls


def measure(proxy, options, n_files):
    bucket = f"publish-{uuid.uuid4().hex[:8]}"
    filesystem(f"s3://{bucket}", options)[0].mkdir(bucket)
    path = f"s3://{bucket}/out"
    config = parse_config({"input": {"path": "data"}, "output": {"path": path, "storage_options": options}})
    old, new = ([f"{name}/{number:06d}.tar" for number in range(n_files)] for name in ("old", "new"))
    rows = []
    for what, names in (("publish", old), ("publish over another dataset", new)):
        publishing.begin(path, config)
        placed = write_temporary(path, names, options)
        rows.append((what, *measured(proxy, lambda placed=placed: publishing.publish_files(path, placed, config))[:2]))
    seconds, n_requests, is_there = measured(proxy, lambda: publishing.is_published(config))
    assert is_there
    rows.append(("look whether all are there", seconds, n_requests))
    return [
        {
            "what": what,
            "seconds": seconds,
            "requests": n_requests,
            "ms_a_file": round(1000 * seconds / n_files, 2),
            f"minutes_for_{MANY}": round(seconds / n_files * MANY / 60, 1),
        }
        for what, seconds, n_requests in rows
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--delay-ms", type=float, default=40)
    parser.add_argument("--label", default="after")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = subprocess.run([SERVER, "start", folder], capture_output=True, text=True, check=True)
        try:
            told = dict(line.removeprefix("export ").split("=", 1) for line in started.stdout.splitlines())
            host, _, port = told["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
            proxy = SlowProxy(host, int(port), arguments.delay_ms / 1000)
            options = {"key": told["AWS_ACCESS_KEY_ID"], "secret": told["AWS_SECRET_ACCESS_KEY"]}
            options["endpoint_url"] = f"http://127.0.0.1:{proxy.port}"
            rows = measure(proxy, options, arguments.files)
        finally:
            subprocess.run([SERVER, "stop", folder], check=True, capture_output=True)
    for row in rows:
        print(json.dumps(row))
    place = RESULTS / "publish.json"
    result = json.loads(place.read_text()) if place.exists() else {}
    about = {"files": arguments.files, "delay_ms": arguments.delay_ms, "load": round(os.getloadavg()[0], 1)}
    place.write_text(json.dumps(result | {arguments.label: about | {"rows": rows}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
