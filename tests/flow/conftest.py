"""A finished run over tiny tars: it is made once, and copied for each test that changes something."""

from __future__ import annotations

import pytest

from spark_imgdedup.pipeline import run
from tests.flow.tiny import copy_run, settings, write_shards


@pytest.fixture(scope="session")
def first_run(_session, tmp_path_factory):
    """The folder and the summary of a finished run, its page included."""
    folder = tmp_path_factory.mktemp("flow")
    write_shards(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        summary = run(settings(report={"page": True}), _session)
    return folder, summary


@pytest.fixture
def finished(first_run, tmp_path, monkeypatch):
    """A copy of the finished run, with its times, to work in."""
    copy_run(first_run[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A folder with shards in which nothing has run."""
    write_shards(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path
