"""A Spark Connect server of the pyspark wheel, in a process of its own on loopback."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/connect_server.sh"
SECONDS_TO_START = 300


@contextmanager
def connect_server(folder, settings):
    """Start a server, give its URL, and end it.

    Args:
        folder: Where the server and its workers stand, so that a relative path that reaches them is noticed.
        settings: Spark's own, of the server.
    """
    port = _free_port()
    options = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    with (folder / "server.log").open("wb") as log:
        # The script execs spark-submit, and that java: this is the process to end.
        process = subprocess.Popen(
            [SCRIPT, str(port), *options],
            cwd=folder,
            env=os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_port(port, process, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _await_port(port, process, log):
    end = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"no Spark Connect server (exit code {process.poll()}): {log.read_text()[-2000:]}")
