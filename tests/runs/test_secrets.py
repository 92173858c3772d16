"""A whole run whose settings hold secrets: none is in a file of it, on a terminal, or in an error."""

from __future__ import annotations

import logging
import traceback

import pytest
import yaml

from spark_imgdedup import console
from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ImgDedupError
from spark_imgdedup.pipeline import run
from tests.tars import jpeg, make_tar

SECRETS = {
    "storage_options": {"key": "SEEN0", "client_kwargs": {"endpoint_url": "https://u:SEEN1@h", "password": "SEEN2"}},
    "spark": {
        "spark.hadoop.fs.azure.account.key.a.dfs.core.windows.net": "SEEN3",
        "spark.hadoop.fs.azure.sas.c.a.blob.core.windows.net": "SEEN4",
        "spark.hadoop.fs.gs.auth.service.account.private.key": "SEEN5",
        "spark.hadoop.fs.s3a.server-side-encryption.key": "SEEN6",
        "spark.driver.extraJavaOptions": "-Djavax.net.ssl.keyStorePassword=SEEN7",
        "spark.executorEnv.MY_CREDENTIALS": "SEEN8",
    },
}


def test_no_file_of_a_run_and_no_line_of_it_holds_a_secret(spark, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="spark_imgdedup")
    make_tar(tmp_path / "in/a.tar", [("0.jpg", jpeg(1)), ("1.jpg", jpeg(1))])
    settings = SECRETS | {
        "input": {"path": str(tmp_path / "in")},
        "work_dir": str(tmp_path / "w"),
        "output": {"path": str(tmp_path / "o")},
        "detect": {"method": "exact"},
        "steps": ["detect", "identify", "remove", "report"],
    }

    summary = run(parse_config(settings), spark)
    with pytest.raises(ImgDedupError) as refused:
        run(parse_config(settings | {"cluster": {"embeddings_path": "s3://me:SEEN9@bucket/x?sig=SEEN10"}}), spark)

    assert summary.kept == 1
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"config.yaml", "report.json", "remove.json", "_spark_imgdedup.json"} <= {path.name for path in written}
    assert not [path for path, data in written.items() if b"SEEN" in data]
    assert "SEEN" not in caplog.text + "\n".join(summary.lines()) + str(refused.value)
    stored = yaml.safe_load((tmp_path / "w/config.yaml").read_text())
    assert set(stored["spark"]) == set(SECRETS["spark"])


def test_what_a_terminal_would_obey_is_escaped_in_lines_in_the_log_and_in_errors(capsys):
    log = logging.getLogger("spark_imgdedup.test")
    handler = logging.StreamHandler()
    handler.setFormatter(console._Shown("%(message)s"))
    log.addHandler(handler)

    console.say("damaged a/\x1b[2J.tar\nnext")
    log.warning("shard %s", "\x1b]0;mine\x07 of https://u:SEEN@h/x")

    printed = capsys.readouterr()
    assert printed.out == "damaged a/\\x1b[2J.tar\nnext\n"
    assert printed.err == "shard \\x1b]0;mine\\x07 of https://**********@h/x\n"


def test_the_stack_that_led_to_an_error_is_logged_for_those_who_ask(caplog):
    def fail():
        raise PermissionError(13, "Permission denied", "/o/a\x1b.tar")

    caplog.set_level(logging.DEBUG, logger="spark_imgdedup")  # put back when the test ends
    logging.getLogger("spark_imgdedup").setLevel(logging.INFO)
    for verbose in (False, True):
        caplog.clear()
        console.set_verbose(verbose)
        with pytest.raises(SystemExit, match=r"^StorageError: Permission denied: '/o/a\\x1b\.tar'\. Check who"):
            console.guarded(fail)
        # Not the text: PySpark gives handlers of others a formatter of its own once it has logged something.
        stacks = ["".join(traceback.format_exception(*record.exc_info)) for record in caplog.records if record.exc_info]
        assert any("in fail" in stack for stack in stacks) is verbose
