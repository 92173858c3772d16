from __future__ import annotations

import subprocess
import sys

from spark_imgdedup.files.reach import without


def test_no_value_of_the_options_is_in_a_text_and_what_one_must_see_is():
    options = {
        "key": "AKIAEXAMPLE",
        "secret": "abcd/efgh",
        "client_kwargs": {"aws_session_token": "abcd", "endpoint_url": "http://own:1"},
        "anon": False,
        "profile": "x",
    }

    text = without("refused AKIAEXAMPLE with abcd/efgh and abcd\n at http://own:1, extra False.", options)

    assert text == "refused ********** with ********** and ********** at http://own:1, extra False"


def test_a_library_that_is_not_installed_is_one_line_with_the_remedy():
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from spark_imgdedup.cli import main\n"
        "main(['run', '--set', 'input.path=s3://bucket/shards'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.strip() == (
        "ConfigError: input.path: s3://bucket/shards: the library for s3:// is not installed. Run `pip install "
        "'spark-imgdedup[s3]'`, here and on workers."
    )
