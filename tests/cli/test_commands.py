"""The command line as a user meets it: commands, exit codes, one line for what can be mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import spark_imgdedup
from spark_imgdedup import cli, console
from spark_imgdedup.cli import looking
from spark_imgdedup.config import STEP, STEP_NAMES, Config
from spark_imgdedup.errors import ConfigError, ModelError
from spark_imgdedup.pipeline import WORK

COMMANDS = (
    *("run", "dedup-embeddings", "embed", "score", "detect", "cluster", "pairwise", "identify", "remove", "report"),
    *("sample", "eps", "review", "explain", "restore", "status", "export", "fetch-model", "demo", "doctor", "config"),
)
ROOT = Path(spark_imgdedup.__file__).parent.parent


def call(*arguments):
    """(exit code, standard output, standard error) of a command, in this process and with its active session."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def call_main(capsys, *arguments):
    """(line, standard output) of the console script, which ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.endswith(f"{ended.value}\n")
    return str(ended.value), printed.out


def test_a_command_that_succeeds_returns_to_who_called_it(capsys):
    cli.main(["config"])  # Databricks takes even SystemExit(0) for a failure

    assert "n_clusters: auto" in capsys.readouterr().out


def test_the_commands_are_those_of_the_documentation():
    code, out, _ = call("--help")

    assert code == 0
    assert {name for name in COMMANDS if name in out} == set(COMMANDS)
    assert list(get_command(cli.app).commands) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    code, out, _ = call(command, "--help")

    assert code == 0
    assert "Usage:" in out


def test_every_step_has_a_command_and_a_job():
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")}

    assert jobs == (set(Config().steps) | {"dedup", "dedup_embeddings"})


def test_config_prints_every_default_as_yaml():
    _, out, _ = call("config")

    assert yaml.safe_load(out)["remove"]["unreadable"] == "keep"
    assert yaml.safe_load(out)["identify"]["rule"] == "greedy"
    assert yaml.safe_load(out)["identify"]["eps"] == "auto"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--set", "embed.batchsize=3"], "ConfigError: --set: unknown key 'embed.batchsize'. Did you mean"),
        (["run", "--config", "absent.yaml"], "ConfigError: absent.yaml: no such file."),
        (["run"], "ConfigError: input.path is not set."),
        (["embed"], "ConfigError: input.path is not set."),
        (["run", "--set", "input.path=."], "ConfigError: output.path is not set."),
        (["remove", "--set", "output.path=x"], "ConfigError: input.path is not set."),
        (["identify", "--set", "identify.eps=null"], "ConfigError: identify: identify.eps is null."),
        (["identify", "--set", "embed.model=timm:x"], "ConfigError: identify: identify.eps is null."),
        (["remove", "--set", "identify.eps=null"], "ConfigError: remove: identify.eps is null."),
        (["eps", "--levels", "0.1,often"], "ConfigError: --levels needs numbers in [0, 1)"),
        (["eps", "--levels", "2"], "ConfigError: --levels needs numbers in [0, 1)"),
        (["fetch-model"], "ConfigError: embed.model_dir is not set."),
        (["run", "--fail-if", "duplicates"], "ConfigError: --fail-if: 'duplicates' is no limit."),
        (["run", "dedup.yaml"], "ConfigError: dedup.yaml is a file of settings, and PATH names what is read."),
        (["run", "in", "--set", "input.path=x"], "ConfigError: the input is named twice, as in and by --set input"),
        (["run", "no-such-folder"], "ConfigError: input.path: there is nothing at no-such-folder."),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)

    said, _ = call_main(capsys, *arguments)

    assert said.startswith(line)
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_line_goes_to_standard_error_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", "report"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "SchemaError: work: no step has run there yet. Run spark-imgdedup run, or correct work_dir.\n"
    )


def test_the_version_and_help_are_at_hand(monkeypatch):
    assert call("--version") == (0, f"spark-imgdedup {spark_imgdedup.__version__}\n", "")
    assert call("run", "-h")[:2] == call("run", "--help")[:2]
    assert "--show-completion" in call("-h")[1]


def test_config_prints_what_is_in_effect_and_where_it_comes_from(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.jpg").write_bytes(b"x")
    file = tmp_path / "dedup.yaml"
    file.write_text(f"input:\n  path: {tmp_path / 'in'}\nspark:\n  spark.hadoop.fs.s3a.secret.key: hunter2\n")
    arguments = ["--config", file, "--set", "embed.batch_size=8"]

    code, out, _ = call("config", *arguments)
    found = json.loads(call("config", "--json", *arguments)[1])

    assert code == 0
    assert f"path: {tmp_path / 'in'}  # {file}, line 2\n" in out
    assert "format: images  # found out\n" in out
    assert "batch_size: 8  # --set\n" in out
    assert "eps: 0.22  # found out\n" in out
    assert "hunter2" not in out
    assert yaml.safe_load(out) == found["settings"]
    assert found["origins"]["embed.batch_size"] == "--set"
    assert (found["schema_version"], found["command"]) == (console.SCHEMA_VERSION, "config")


def test_json_of_all_settings_is_one_object():
    found = json.loads(call("config", "--json")[1])

    assert {"name": "embed.batch_size", "default": 32, "meaning": "Images per model call"} in found["settings"]


def test_json_is_whole_and_has_no_secrets(capsys):
    console.say_json(
        "run", {"places": ["s3://key:hunter2@host/x"], "text": 'see https://h/x?sig=hunter2\\"\n', "n": 1.5}
    )

    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert json.loads(out)["n"] == 1.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_json(command):
    assert "--json" in call(command, "--help")[1]


def test_a_bug_of_ours_keeps_its_traceback_and_is_no_failed_gate(capsys):
    def bug():
        raise KeyError("a bug")

    with pytest.raises(SystemExit, match="KeyError: 'a bug'") as ended:
        console.guarded(bug)

    assert ended.value.code == 2
    assert isinstance(ended.value.__cause__, KeyError)
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


def test_a_closed_pipe_and_a_lost_terminal_are_no_failed_gate():
    def pipe():
        raise SystemExit(1)  # what typer makes of EPIPE and of the end of input

    with pytest.raises(SystemExit) as ended:
        console.guarded(pipe)

    assert ended.value.code == 2


@pytest.mark.parametrize("arguments", [["no-such-command"], ["run", "--no-such-option"], ["sample"]])
def test_wrong_usage_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2


@pytest.mark.spark
def test_an_error_raised_in_a_worker_is_one_line_too(spark):
    def fail(batches):
        raise ModelError("weights.onnx: no such file. Fetch it.")
        yield from batches

    with pytest.raises(SystemExit) as ended:
        console.guarded(lambda: spark.range(1).mapInArrow(fail, "id long").collect())

    assert (str(ended.value), ended.value.code) == ("ModelError: weights.onnx: no such file. Fetch it.", 2)


@pytest.mark.spark
def test_a_bug_in_a_worker_keeps_its_traceback(spark, capsys):
    def fail(batches):
        raise ArithmeticError("a bug")
        yield from batches

    with pytest.raises(SystemExit, match=r"a bug|PythonException") as ended:
        console.guarded(lambda: spark.range(1).mapInArrow(fail, "id long").collect())

    assert ended.value.code == 2
    assert "ArithmeticError: a bug" in capsys.readouterr().err


@pytest.fixture
def own_embeddings(tmp_path, spark):
    """Arguments for a run from a table of (id, embedding): 1 repeats 0 exactly, 3 repeats 2 nearly, 4 is alone."""
    vectors = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.1], [-1.0, -1.0, 1.0]]
    table = pa.table({"id": range(5), "embedding": pa.array(vectors, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "mine.parquet")
    return [
        *("--set", f"work_dir={tmp_path / 'work'}", "--set", f"cluster.embeddings_path={tmp_path / 'mine.parquet'}"),
        *("--set", "cluster.n_clusters=1"),
    ]


@pytest.mark.spark
def test_eps_prints_what_each_level_would_remove(own_embeddings, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert call("run", *own_embeddings, "--set", "identify.eps=null", "--set", "report.page=false")[0] == 0

    code, out, _ = call("eps", *own_embeddings, "--levels", "0,0.01,0.1,0.9")

    assert code == 0
    table = [line.split() for line in out.splitlines()]
    assert table[0][:2] == ["5", "rows;"]
    assert [row[:4] for row in table[3:6]] == [
        ["0.000", "1.000000", "1", "20.00%"],
        ["0.010", "0.990000", "2", "40.00%"],
        ["0.100", "0.900000", "2", "40.00%"],  # 0.9 is beyond the search
    ]
    assert table[4][-1] == "identify.eps"  # 0.01 is what `identify` would take


@pytest.mark.spark
def test_eps_without_similarities_says_which_step_to_run(capsys, own_embeddings):
    said, _ = call_main(capsys, "eps", *own_embeddings)

    assert said.startswith("SchemaError: ")
    assert "Run step 'pairwise' first" in said


@pytest.mark.spark
def test_a_run_prints_its_summary_and_a_step_alone_does_not(own_embeddings):
    code, out, _ = call("run", *own_embeddings)
    alone, nothing, _ = call("identify", *own_embeddings)
    again, summary, _ = call("report", *own_embeddings)

    assert (code, alone, again) == (0, 0, 0)
    assert "duplicates   2 (40.0%) by greedy at eps 0.01" in out
    assert nothing == ""
    assert summary == out


@pytest.mark.spark
def test_a_run_says_where_its_result_is_and_holds_it_against_limits(capsys, own_embeddings, tmp_path):
    code, out, _ = call("run", *own_embeddings, "--json", "--fail-if", "duplicates > 40%")
    found = json.loads(out)
    alone = json.loads(call("identify", *own_embeddings, "--json")[1])
    lines = call("report", *own_embeddings)[1].splitlines()
    with pytest.raises(SystemExit) as failed:
        cli.main(["report", *own_embeddings, "--fail-if", "duplicates>=40%", "--fail-if", "uncovered > 3"])
    printed = capsys.readouterr()
    uncounted, _ = call_main(capsys, "report", *own_embeddings, "--fail-if", "kept < 1")

    assert (code, found["schema_version"], found["command"]) == (0, 1, "run")
    assert (found["summary"]["read"], found["summary"]["duplicates"]) == (5, 2)
    assert found["gates"] == [{"gate": "duplicates > 40%", "value": 2, "of": 5, "failed": False}]
    assert Path(found["places"]["report"]).is_file()
    assert alone["summary"] == found["summary"]
    assert lines[-1].startswith(f"next         spark-imgdedup eps --config {tmp_path / 'work'}/config.yaml ")
    assert call(*lines[-1].split()[2:5])[0] == 0  # the command does what it says
    assert failed.value.code == 1
    assert str(failed.value) == "gate failed: duplicates>=40%: 2 of 5 (40.0%)"
    assert printed.err.endswith(f"{failed.value}\n")
    assert printed.out.splitlines() == lines
    assert uncounted.startswith("ConfigError: --fail-if: 'kept < 1': no step has counted kept yet.")


@pytest.mark.spark
def test_export_needs_embeddings_and_writes_over_nothing(capsys, own_embeddings, tmp_path):
    (tmp_path / "there").mkdir()

    taken, _ = call_main(capsys, "export", "--to", tmp_path / "there", *own_embeddings)
    missing, _ = call_main(capsys, "export", "--to", tmp_path / "new", *own_embeddings)

    assert taken == f"ConfigError: --to {tmp_path / 'there'} exists already. Name a folder that does not: " + (
        "nothing is overwritten."
    )
    assert "Run step 'embed' first" in missing


def test_fetching_a_model_that_needs_no_download_fetches_nothing(tmp_path):
    assert call("fetch-model", "--set", f"embed.model_dir={tmp_path}") == (0, "", "")
    assert json.loads(call("fetch-model", "--json", "--set", f"embed.model_dir={tmp_path}")[1])["files"] == []


def test_levels_are_numbers_below_one():
    assert looking._parse_levels("0, 0.5") == [0.0, 0.5]
    with pytest.raises(ConfigError):
        looking._parse_levels("1")


def test_a_step_is_described_in_the_same_words_everywhere():
    described = {name: step.__doc__.splitlines()[0] for name, step in WORK.items()}

    assert described == {name: STEP[name].purpose for name in STEP_NAMES if name != "report"}
