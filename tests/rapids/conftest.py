"""The plugin's verdicts on the plans of the real steps, from one process of Spark that has the plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 900


@pytest.fixture(scope="session")
def jar():
    """The plugin's jar: scripts/fetch_rapids.sh fetches it once for all runs on this machine."""
    done = subprocess.run(
        [str(ROOT / "scripts/fetch_rapids.sh")],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def verdicts(jar, tmp_path_factory):
    """{flow: {step: [[operator, verdict, reason], …]}}, see explain.py."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("explain.py")), str(jar), str(tmp_path_factory.mktemp("rapids"))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
