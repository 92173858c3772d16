"""What the tests of this folder do: start a server, look into a bucket, call the command line as a user would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import s3fs
import yaml

import spark_imgdedup

ROOT = Path(spark_imgdedup.__file__).parent.parent
LIMIT_SECONDS = 600


def bare_environment():
    """This environment without anybody's credentials for a store."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def script(action, folder, **environment):
    return subprocess.run(
        [str(ROOT / "scripts/s3_server.sh"), action, str(folder)],
        env={**bare_environment(), "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


@dataclass(frozen=True)
class S3:
    """What scripts/s3_server.sh started."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def from_exports(cls, folder, text):
        pairs = (line.removeprefix("export ").split("=", 1) for line in text.splitlines())
        return cls(folder, dict(pairs))

    @property
    def endpoint(self):
        return self.environment["AWS_ENDPOINT_URL"]

    @property
    def secret(self):
        return self.environment["AWS_SECRET_ACCESS_KEY"]

    @property
    def options(self):
        return {"key": self.environment["AWS_ACCESS_KEY_ID"], "secret": self.secret, "endpoint_url": self.endpoint}

    @cached_property
    def fs(self):
        return s3fs.S3FileSystem(**self.options, use_listings_cache=False, skip_instance_cache=True)

    def names(self, place):
        """What is visible below a bucket or folder, folder markers left out."""
        found = self.fs.find(place)
        return sorted(name.removeprefix(f"{place}/") for name in found if not name.endswith("/"))

    def unfinished(self, bucket):
        """The objects of which parts were uploaded, and no more."""
        return sorted(upload["Key"] for upload in self.fs.list_multipart_uploads(bucket))

    def download(self, place, folder):
        """All objects below a place, as files of a folder."""
        for name in self.names(place):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(f"{place}/{name}", str(folder / name))
        return folder


class Meter(ThreadingTCPServer):
    """Stands before the server, hands on what comes, and counts the bytes that go back to the client."""

    daemon_threads = True

    def __init__(self, endpoint):
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self.server = (host, int(port))
        self.n_bytes = 0
        super().__init__(("127.0.0.1", 0), _Connection)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Connection(BaseRequestHandler):
    def handle(self):
        with socket.create_connection(self.server.server) as behind:
            there = Thread(target=self.hand_on, args=(self.request, behind), daemon=True)
            there.start()
            self.hand_on(behind, self.request, is_counted=True)

    def hand_on(self, source, target, is_counted=False):
        with suppress(OSError):  # either side may hang up
            while data := source.recv(2**16):
                if is_counted:
                    self.server.n_bytes += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def write_settings(path, settings):
    path.write_text(yaml.safe_dump(settings))
    return path


def run_cli(*arguments, **environment):
    """spark-imgdedup as a user calls it."""
    return subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", *map(str, arguments)],
        env={**bare_environment(), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


def one_line(done):
    """What a failed command says to the user: its last line, after the log of what went well."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]
