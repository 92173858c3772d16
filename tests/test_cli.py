"""The command line as a user meets it: commands, exit codes, one line for what can be mended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from spark_imgdedup import cli
from spark_imgdedup.config import STEP, STEP_NAMES, Config
from spark_imgdedup.errors import ConfigError, ModelError
from spark_imgdedup.pipeline import WORK

COMMANDS = (
    *("run", "dedup-embeddings", "embed", "score", "detect", "cluster", "pairwise", "identify", "remove", "report"),
    *("eps", "sample", "export", "fetch-model", "demo", "doctor", "config"),
)
ROOT = Path(cli.__file__).parent.parent


def call(*arguments):
    """(exit code, standard output, standard error) of a command, in this process and with its active session."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def call_main(capsys, *arguments):
    """(exit code or line, standard output) of the console script."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code, capsys.readouterr().out


def test_a_command_that_succeeds_returns_to_who_called_it(capsys):
    cli.main(["config"])  # Databricks takes even SystemExit(0) for a failure

    assert "n_clusters: auto" in capsys.readouterr().out


def test_the_commands_are_those_of_the_documentation():
    code, out, _ = call("--help")

    assert code == 0
    assert {name for name in COMMANDS if name in out} == set(COMMANDS)
    registered = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert registered == set(COMMANDS)


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
    assert yaml.safe_load(out)["identify"] == {"eps": "auto", "target_keep_fraction": None, "rule": "greedy"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--set", "embed.batchsize=3"], "ConfigError: --set: unknown key 'embed.batchsize'. Did you mean"),
        (["run", "--config", "absent.yaml"], "ConfigError: absent.yaml: no such file."),
        (["run"], "ConfigError: input.path is not set."),
        (["embed"], "ConfigError: input.path is not set."),
        (["run", "--set", "input.path=x"], "ConfigError: output.path is not set."),
        (["remove", "--set", "output.path=x"], "ConfigError: input.path is not set."),
        (["identify", "--set", "identify.eps=null"], "ConfigError: identify: identify.eps is null."),
        (["identify", "--set", "embed.model=timm:x"], "ConfigError: identify: identify.eps is null."),
        (["remove", "--set", "identify.eps=null"], "ConfigError: remove: identify.eps is null."),
        (["eps", "--levels", "0.1,often"], "ConfigError: --levels needs numbers in [0, 1)"),
        (["eps", "--levels", "2"], "ConfigError: --levels needs numbers in [0, 1)"),
        (["fetch-model"], "ConfigError: embed.model_dir is not set."),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_1(capsys, tmp_path, monkeypatch, arguments, line):
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

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "SchemaError: work: no step has run there yet. Run spark-imgdedup run, or correct work_dir.\n"
    )


def test_a_bug_of_ours_keeps_its_traceback():
    def bug():
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        cli._guarded(bug)


@pytest.mark.spark
def test_an_error_raised_in_a_worker_is_one_line_too(spark):
    def fail(batches):
        raise ModelError("weights.onnx: no such file. Fetch it.")
        yield from batches

    with pytest.raises(SystemExit) as ended:
        cli._guarded(lambda: spark.range(1).mapInArrow(fail, "id long").collect())

    assert ended.value.code == "ModelError: weights.onnx: no such file. Fetch it."


@pytest.mark.spark
def test_a_bug_in_a_worker_keeps_its_traceback(spark):
    def fail(batches):
        raise ArithmeticError("a bug")
        yield from batches

    with pytest.raises(Exception, match=r"ArithmeticError: a bug"):
        cli._guarded(lambda: spark.range(1).mapInArrow(fail, "id long").collect())


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
    assert call("run", *own_embeddings, "--set", "identify.eps=null")[0] == 0

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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("spark_imgdedup.errors.ConfigError: wrong", "ConfigError: wrong"),
        ("Traceback\n  File x\nspark_imgdedup.errors.ModelError: one\n\nmore\n", "ModelError: one"),
        ("pydantic.ValidationError: wrong", None),
        ("a ConfigError: in prose", None),
    ],
)
def test_a_workers_error_is_found_in_what_spark_says(text, line):
    assert cli.worker_error(RuntimeError(text)) == line


def test_levels_are_numbers_below_one():
    assert cli._parse_levels("0, 0.5") == [0.0, 0.5]
    with pytest.raises(ConfigError):
        cli._parse_levels("1")


def test_a_step_is_described_in_the_same_words_everywhere():
    described = {name: step.__doc__.splitlines()[0] for name, step in WORK.items()}

    assert described == {name: STEP[name].purpose for name in STEP_NAMES if name != "report"}
