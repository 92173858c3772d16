"""The script that new users copy from, run on the sample shards: what it prints is what its tables and tars hold."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.tars import webdataset_samples

pytestmark = [pytest.mark.spark, pytest.mark.slow]  # embeds all sample shards once more

EXAMPLES = Path(__file__).parents[2] / "examples"
TRUTH = list(csv.DictReader((EXAMPLES / "shards" / "truth.csv").read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def workflow(_session, tmp_path_factory):
    """The folder and the standard output of the script, run once in this process."""
    spec = importlib.util.spec_from_file_location("complete_workflow", EXAMPLES / "complete_workflow.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    out = tmp_path_factory.mktemp("workflow") / "out"
    with redirect_stdout(io.StringIO()) as printed:
        script.main(["--out", str(out)])
    return out, printed.getvalue(), script


def number_after(said, words):
    (found,) = re.findall(rf"^{re.escape(words)}: (\d+)", said, re.MULTILINE)
    return int(found)


def kept_samples(out):
    """image_id -> the sample as webdataset reads it, of every tar written."""
    folder = out / "deduplicated"
    return {
        f"{tar.relative_to(folder).with_suffix('').as_posix()}/{sample['__key__']}": sample
        for tar in sorted(folder.rglob("*.tar"))
        for sample in webdataset_samples(tar)
    }


def test_the_numbers_printed_are_those_of_the_tables(workflow):
    out, said, _ = workflow
    ids = pq.read_table(out / "work/duplicates")["image_id"].to_pylist()
    reasons = Counter(pq.read_table(out / "work/removed")["reason"].to_pylist())

    assert number_after(said, "Total images marked for removal") == len(ids) == reasons["duplicate"] > 0
    assert number_after(said, "Unique images marked for removal") == len(set(ids)) == len(ids)
    assert f"Sample removed image IDs: {sorted(ids)[:10]}" in said
    assert number_after(said, "Original dataset") == len(TRUTH)
    assert number_after(said, "Deduplicated dataset") == len(kept_samples(out))
    # Of the sample that its tar ends in, nothing can be copied.
    assert number_after(said, "Reduction") == len(ids) + 1 == len(TRUTH) - len(kept_samples(out))
    assert f": duplicate {len(ids)}, cut off 1" in said


def test_what_is_left_is_read_by_webdataset_and_is_all_but_the_duplicates(workflow):
    out, _, _ = workflow
    removed = set(pq.read_table(out / "work/duplicates")["image_id"].to_pylist())
    kept = kept_samples(out)

    assert kept.keys() == {row["image_id"] for row in TRUTH if row["transform"] != "cut_tar"} - removed
    for row in TRUTH:
        if row["image_id"] in kept and row["expect"] == "ok":
            sample = kept[row["image_id"]]
            image = Image.open(io.BytesIO(sample[row["member"].removeprefix(f"{row['key']}.").lower()]))
            assert image.size == (int(row["width"]), int(row["height"]))
            assert sample["txt"]
            assert sample["json"]


def test_every_exact_copy_is_gone_and_one_of_each_group_stays(workflow):
    out, _, _ = workflow
    kept = kept_samples(out)
    groups = {row["group"] for row in TRUTH if row["role"] == "copy"}
    digests = Counter(row["sha256"] for row in TRUTH if row["image_id"] in kept and row["expect"] == "ok")

    assert max(digests.values()) == 1
    assert groups == {row["group"] for row in TRUTH if row["image_id"] in kept and row["group"] in groups}


def test_a_sample_of_the_removed_images_lies_beside_what_they_repeat(workflow):
    out, said, _ = workflow
    links = {row["image_id"]: row["max_id"] for row in pq.read_table(out / "work/duplicates").to_pylist()}
    pairs = list(csv.DictReader((out / "review/pairs.csv").read_text(encoding="utf-8").splitlines()))

    assert f"10 of {len(links)} duplicates" in said
    assert len(pairs) == 10
    assert all(links[pair["image_id"]] == pair["max_id"] for pair in pairs)
    assert all((out / "review" / pair[f"{role}_file"]).is_file() for pair in pairs for role in ("removed", "repeats"))
    assert (out / "review/index.html").read_text(encoding="utf-8").count("data:image/webp") == 20


def test_a_second_run_says_the_same_and_leaves_the_sample_alone(workflow, capsys):
    out, said, script = workflow
    before = {path: path.stat().st_mtime_ns for path in (out / "review").iterdir()}

    script.main(["--out", str(out)])

    again = capsys.readouterr().out
    for words in ("Total images marked for removal", "Deduplicated dataset", "Reduction"):
        assert number_after(again, words) == number_after(said, words)
    assert f"{out}/review is there already" in again
    assert {path: path.stat().st_mtime_ns for path in (out / "review").iterdir()} == before


def test_a_mistake_is_one_line(workflow, tmp_path):
    *_, script = workflow

    with pytest.raises(SystemExit, match=r"^\w+Error: .*nowhere"):
        script.main(["--input", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
