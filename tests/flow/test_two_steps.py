"""Two steps for eps through the command line: look at the scores, then remove, one command at a time."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from spark_imgdedup.cli import app
from tests.tars import jpeg, make_tar, members_of, png

# A copy, a picture in another format, and two that nothing repeats: 6 images, 2 of them repeats.
MEMBERS = [("0.jpg", jpeg(1)), ("1.jpg", jpeg(1)), ("2.jpg", jpeg(2)), ("3.png", png(2)), ("4.jpg", jpeg(3))]
SETTINGS = (
    *("--set", "input.path=data", "--set", "output.path=out", "--set", "work_dir=work"),
    *("--set", "embed.model=tests.encoders:ColourEncoder", "--set", "cluster.n_clusters=1"),
    *("--set", "detect.prepass=[]"),  # what it finds goes at any eps
    *("--set", "report.page=false"),
)


def call(command, *overrides, options=()):
    """Standard output of a command that ends well."""
    sets = [word for override in overrides for word in ("--set", override)]
    result = CliRunner().invoke(app, [command, *SETTINGS, *sets, *options])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def looked_at(_session, tmp_path_factory):
    """A folder in which a run stopped at the scores."""
    folder = tmp_path_factory.mktemp("two_steps")
    make_tar(folder / "data/a.tar", [*MEMBERS, ("5.jpg", jpeg(4))])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call("run", "identify.eps=null")
    return folder


def kept(folder):
    return {name for name, _ in members_of(folder / "out/a.tar")}


@pytest.mark.connect
def test_first_the_scores_then_identify_and_remove_alone(spark, looked_at, monkeypatch):
    monkeypatch.chdir(looked_at)
    assert not (looked_at / "work/duplicates").exists()
    assert not (looked_at / "out").exists()

    survey = json.loads(call("eps", "identify.eps=null", options=["--json", "--levels", "0,0.01"]))
    call("identify", "identify.eps=0")
    alone = json.loads((looked_at / "work/_steps/identify.json").read_text())["counts"]
    assert not (looked_at / "out").exists()
    call("remove", "identify.eps=0")

    assert [level["rows_removed"] for level in survey["levels"]] == [1, 2]
    assert (alone["eps"], alone["duplicates"]) == (0.0, 1)
    assert len(kept(looked_at)) == 5

    call("identify", "identify.eps=0.01")
    call("remove", "identify.eps=0.01")

    assert len(kept(looked_at)) == 4


def test_a_share_to_keep_picks_the_eps_that_the_eps_command_names_and_the_run_records(spark, looked_at, monkeypatch):
    monkeypatch.chdir(looked_at)
    target = "identify.target_keep_fraction=0.6"

    survey = json.loads(call("eps", target, options=["--json"]))
    summary = call("run", target)

    (named,) = [level for level in survey["levels"] if level["set_by"] == "target_keep_fraction"]
    counts = json.loads((looked_at / "work/_steps/identify.json").read_text())["counts"]
    assert counts["eps"] == named["eps"]
    assert counts["duplicates"] == named["rows_removed"] == 2
    assert f"at eps {named['eps']}" in summary
    assert len(kept(looked_at)) == 4


def test_eps_tells_of_a_share_that_cannot_be_kept_and_prints_the_rest(spark, looked_at, monkeypatch, caplog):
    monkeypatch.chdir(looked_at)

    shown = call("eps", "identify.target_keep_fraction=0.9", options=["--levels", "0", "--pairs", "0"])

    assert "of 6 rows 1 go at eps 0 already" in caplog.text
    assert shown.splitlines()[3].split() == ["0.000", "1.000000", "1", "16.67%", "1"]
    assert "Pairs" not in shown
