"""A secret in the settings is nowhere but there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from tests.object_stores.stores import ROOT, bare_environment, one_line, run_cli, write_settings


def texts_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_its_pictures_and_sparks_event_log_hold_no_secret(s3, bucket, dataset, tmp_path):
    nested = {"endpoint_url": s3.endpoint, "client_kwargs": {"aws_access_key_id": s3.options["key"]}}
    nested["client_kwargs"]["aws_secret_access_key"] = s3.secret
    (tmp_path / "events").mkdir()
    settings = {
        "storage_options": s3.options,
        "input": {"path": dataset, "storage_options": nested},
        "work_dir": f"s3://{bucket}/work",
        "output": {"path": f"s3://{bucket}/rows", "format": "parquet", "storage_options": s3.options},
        "spark": {
            "spark.eventLog.enabled": True,
            "spark.eventLog.dir": str(tmp_path / "events"),
            "spark.eventLog.compress": False,
            "spark.eventLog.logBlockUpdates.enabled": True,
            "spark.log.level": "INFO",
        },
    }
    config = write_settings(tmp_path / "dedup.yaml", settings)

    done = run_cli("run", "--config", config)
    sampled = run_cli("sample", "--config", config, "--n", "3", "--to", f"s3://{bucket}/review")
    told = run_cli("report", "--config", config, "--details")

    for each in (done, sampled, told):
        assert each.returncode == 0, each.stderr[-3000:]
        assert s3.secret not in each.stdout + each.stderr
    written = s3.names(bucket)
    assert {"work/config.yaml", "work/report/report.json", "work/_steps/remove.json", "review/pairs.csv"} <= set(
        written
    )
    assert not [name for name in written if s3.secret.encode() in s3.fs.cat_file(f"{bucket}/{name}")]
    stored = yaml.safe_load(s3.fs.cat_file(f"{bucket}/work/config.yaml"))["storage_options"]
    assert stored == {name: s3.endpoint if name == "endpoint_url" else "**********" for name in s3.options}
    logs = texts_of(tmp_path / "events")
    assert any(b"fs.s3a.bucket" in text for text in logs.values()), "the event log shows no settings at all"
    assert not [path for path, text in logs.items() if s3.secret.encode() in text]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"secret": "recognisable-and-wrong"}, "input.path"),
        ({"key": "recognisable-key"}, "input.path"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1/"),
    ],
)
def test_options_that_do_not_let_us_in_are_one_line_before_any_work(
    strict_s3, bucket, dataset, tmp_path, changed, expected
):
    options = strict_s3.options | changed
    settings = {"storage_options": options, "input": {"path": dataset}, "work_dir": f"s3://{bucket}/work"}

    done = run_cli("run", "--config", write_settings(tmp_path / "dedup.yaml", settings))

    line = one_line(done)
    assert line.startswith("ConfigError: input.path: s3://")
    assert expected in line
    assert not [value for value in (options["secret"], options["key"]) if value in done.stdout + done.stderr]


def test_a_bucket_that_is_not_there_is_one_line_before_any_work(s3, dataset, tmp_path):
    settings = {"storage_options": s3.options, "input": {"path": dataset}, "work_dir": "s3://no-such-bucket/work"}

    done = run_cli("run", "--config", write_settings(tmp_path / "dedup.yaml", settings))

    assert "work_dir: s3://no-such-bucket/work cannot be reached" in one_line(done)
    assert s3.secret not in done.stderr


def test_a_jvm_that_is_refused_is_one_line_without_the_secret(strict_s3, bucket, dataset, tmp_path):
    code = (
        "import spark_imgdedup.stages.object_stores as stores\n"
        "from spark_imgdedup.files import s3a\n"
        "from spark_imgdedup.cli import main\n"
        # What the two sides are told differs on a cluster with credentials of its own.
        "given = s3a.s3a_settings\n"
        "def other(bucket, options, environment=None):\n"
        "    return given(bucket, dict(options, secret='recognisable-and-wrong'), environment)\n"
        "stores.s3a_settings = other\n"
        "import sys; main(sys.argv[1:])\n"
    )
    options = strict_s3.options
    settings = {"storage_options": options, "input": {"path": dataset}, "work_dir": f"s3://{bucket}/work"}
    config = write_settings(tmp_path / "dedup.yaml", settings)

    done = subprocess.run(
        [sys.executable, "-c", code, "embed", "--config", str(config)],
        env={**bare_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert one_line(done).startswith("ConfigError: Spark's JVM was refused by the store: ")
    assert not [value for value in (options["secret"], "recognisable-and-wrong") if value in done.stdout + done.stderr]


def test_no_plan_shows_a_secret(spark, s3, bucket, dataset, capsys):
    from spark_imgdedup import read_images, register
    from spark_imgdedup.config import parse_config

    register(spark)
    config = parse_config({"storage_options": s3.options, "input": {"path": dataset}})
    options = {f"storage.{name}": value for name, value in s3.options.items()}
    options["storage.client_kwargs"] = f'{{"aws_secret_access_key": "{s3.secret}"}}'
    reader = spark.read.format("webdataset").options(**options)

    for mode in ("simple", "extended", "formatted", "cost"):
        read_images(spark, config).explain(mode=mode)
        reader.load(dataset).explain(mode=mode)

    shown = capsys.readouterr().out
    assert "MapInArrow" in shown
    assert "webdataset" in shown
    assert s3.secret not in shown
