"""Every hostile file is read or named: none crashes or hangs the reader, and nothing beside the fault is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a decoding thread may hold beyond the interpreter and its libraries, see docs/reliability.md.
MOST_BYTES = 2**30


@cache
def tries_of(kind):
    """What became of each file of a kind, tried in a process of its own."""
    command = [sys.executable, "-m", "tests.hostile.trying", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"the interpreter died after {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


KINDS = {"tars": 480, "images": 250, "sidecars": 40, "tables": 200}


@pytest.mark.parametrize(("kind", "at_least"), KINDS.items())
def test_no_hostile_file_crashes_hangs_or_hides_another(kind, at_least, capsys):
    tried = tries_of(kind)
    counts = Counter(each["outcome"] for each in tried)
    lost = {each["name"]: each["lost"] for each in tried if each["lost"]}
    with capsys.disabled():
        sys.stdout.write(f"\n{len(tried)} files tried: {dict(counts)}, lost: {len(lost)}\n")
    assert len(tried) >= at_least
    assert not [each for each in tried if each["outcome"] in ("crash", "hang")]
    assert not lost


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_file_takes_more_memory_than_the_docs_say(kind):
    tried = tries_of(kind)
    # The first line is of a small file, so what it holds is the interpreter and its libraries.
    grown = {each["name"]: each["peak"] - tried[0]["peak"] for each in tried}
    assert max(grown.values()) < MOST_BYTES, max(grown, key=grown.__getitem__)


@pytest.mark.parametrize("kind", ["tars", "images", "tables"])
def test_texts_of_errors_hold_nothing_that_moves_a_cursor(kind):
    assert not [each["error"] for each in tries_of(kind) if not each["error"].isprintable()]
