"""scripts/s3_server.sh: what it starts, starts again, and leaves alone."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from tests.object_stores.stores import S3, script


def pid_of(folder):
    return int((folder / "server.pid").read_text())


def test_starting_it_again_changes_nothing_and_its_credentials_are_for_its_owner_alone(s3):
    pid = pid_of(s3.folder)

    again = script("start", s3.folder)
    status = script("status", s3.folder)

    assert S3.from_exports(s3.folder, again.stdout).environment == s3.environment
    assert pid_of(s3.folder) == pid
    assert status.stdout.splitlines() == [f"server runs, pid {pid}", s3.endpoint]
    assert stat.S_IMODE((s3.folder / "s3.env").stat().st_mode) == 0o600
    assert "datasets" in s3.fs.ls("")
    arguments = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert s3.secret not in arguments.stdout


def test_stop_leaves_a_process_alone_that_has_got_the_number_of_ours(tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "server.pid").write_text(f"{other.pid}\n")

        stopped = script("stop", tmp_path)

        assert (stopped.returncode, stopped.stdout) == (0, "")
        assert other.poll() is None
        assert not (tmp_path / "server.pid").exists()
    finally:
        other.kill()
        other.wait()


def test_stopping_takes_it_away_and_what_it_stores_is_there_at_the_next_start(strict_s3, tmp_path):
    first = S3.from_exports(tmp_path, script("start", tmp_path).stdout)
    first.fs.pipe_file("datasets/a", b"kept")

    stopped = script("stop", tmp_path)
    again = script("stop", tmp_path)
    gone = script("status", tmp_path)
    second = S3.from_exports(tmp_path, script("start", tmp_path).stdout)
    try:
        assert stopped.stdout == "server stopped\n"
        assert (again.returncode, again.stdout) == (0, "")
        assert gone.returncode == 1
        assert second.secret == first.secret
        assert second.fs.cat_file("datasets/a") == b"kept"
    finally:
        script("stop", tmp_path)


def test_a_slow_build_takes_nothing_from_the_time_that_the_server_has(strict_s3, tmp_path):
    built = next(Path.home().glob(".cache/spark-imgdedup/bin/versitygw-v*"))
    go = tmp_path / "path/go"
    go.parent.mkdir()
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {built} "$@"\n')
    go.write_text(f'#!/bin/sh\nsleep 5\ncp {slow} "$GOBIN/versitygw"\n')
    for file in (go, slow):
        file.chmod(0o755)
    path = f"{go.parent}:{os.environ['PATH']}"

    started = script("start", tmp_path, PATH=path, S3_BIN=str(tmp_path / "bin"), START_SECONDS="4")

    try:
        assert started.returncode == 0, started.stderr
    finally:
        script("stop", tmp_path)
