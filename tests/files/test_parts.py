"""Tables in parts: whatever happens to the input and to the runs before, the table is that of a fresh run."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_imgdedup.errors import TableError
from spark_imgdedup.files.parts import part_files, plan
from spark_imgdedup.files.parts.packages import Package, packages_of
from spark_imgdedup.files.parts.part_files import (
    SPARK_SCHEMA,
    PartForm,
    keep_only,
    list_parts,
    missing_parts,
    open_round,
    write_part,
)
from spark_imgdedup.files.parts.plan import Part, Source, Usual, plan_parts

SCHEMA = pa.schema([("shard", pa.string()), ("n", pa.int32()), ("box", pa.list_(pa.int32())), ("vector", pa.binary())])
FORM = PartForm("settings", SCHEMA, '{"fields": []}', "shard", plain=("vector",))
USUAL = Usual(0, 3)


def sources_of(there):
    """The sources of a mapping of names to versions, sorted."""
    return [Source(name, 1, str(version)) for name, version in sorted(there.items())]


def rows_of(files):
    """As many rows as the version of a file says, in two batches."""
    for name, _, version in files:
        for numbers in (range(0, int(version), 2), range(1, int(version), 2)):
            yield pa.record_batch(
                [
                    pa.array([name] * len(numbers)),
                    pa.array(numbers, pa.int32()),
                    pa.array([[n, n] for n in numbers], pa.list_(pa.int32())),
                    pa.array([f"{name}{n}".encode() for n in numbers], pa.binary()),
                ],
                schema=SCHEMA,
            )


def stored(folder):
    """The rows of each file, in the order that they are stored in."""
    return {path.name: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*"))}


def fresh(there):
    return [row for batch in rows_of(sources_of(there)) for row in batch.to_pylist()]


def write(folder, there, crash_after=None):
    """What a run does in a folder, and the names of the sources that it read; broken off after so many parts."""
    sources, read, folder = sources_of(there), [], str(folder)

    def read_rows(files):
        for name, *rest in files:
            read.append(name)
            yield from rows_of([(name, *rest)])

    done = plan_parts(sources, list_parts(folder, FORM.key), [1] * len(sources), USUAL)
    keep_only(folder, done.needed)
    one = open_round(folder, FORM)
    packages = [*packages_of(done, sources, lambda place: tuple(sources[place]))]
    for package in packages[:crash_after]:
        Package.unpack(package.pack()).write(one, read_rows)
    if crash_after is None:
        keep_only(folder, {part.name for part in done.kept} | {FORM.name(package.sources) for package in packages})
    return read


@st.composite
def histories(draw):
    """What the input is in each of some runs, and after how many parts a run is broken off, or None."""
    inputs = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 4), min_size=1)
    return draw(st.lists(st.tuples(inputs, st.none() | st.integers(0, 3)), min_size=1, max_size=5))


@settings(max_examples=30)
@given(histories())
@example([({"a": 1, "c": 2}, None), ({"a": 1, "b": 3, "c": 2}, 0), ({"b": 3, "c": 2}, None)])
def test_after_any_changes_and_crashes_the_rows_are_those_of_a_fresh_run_and_none_is_made_again(history):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FEWEST_PARTS", 2)  # so that parts are merged
        folder, made = Path(name) / "table", {}
        for there, crash_after in history:
            read = write(folder, there, crash_after)
            assert not [each for each in read if made.get(each) == there[each]]
            known = {part for found in list_parts(str(folder), FORM.key) for part in found.sources}
            made = {source.name: int(source.stamp) for source in sources_of(there) if source.digest in known}

        there = history[-1][0]
        write(folder, there)

        tables = stored(folder)
        assert sorted(map(str, chain(*tables.values()))) == sorted(map(str, fresh(there)))
        for rows in tables.values():
            assert rows == fresh({row["shard"]: there[row["shard"]] for row in rows})
        assert all(name.startswith("part-") for name in tables)
        assert write(folder, there) == []
        assert sorted(map(str, chain(*stored(folder).values()))) == sorted(map(str, fresh(there)))


def test_a_new_source_at_the_front_leaves_the_other_parts_as_they_are(tmp_path):
    there = {f"{n:02}": 1 for n in range(40)}
    write(tmp_path, there)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    read = write(tmp_path, {"!": 2, **there})

    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert read == ["!"]
    assert before.items() < after.items()
    assert len(after) == len(before) + 1


def test_parts_hold_what_is_usual_and_less_where_few_parts_would_be_all():
    def sizes(n, usual, weight=1):
        sources = [Source(f"{number:06}", 1, "") for number in range(n)]
        made = plan_parts(sources, [], [weight] * n, usual).made
        assert [place for group in made for place in group] == [*range(n)]
        return Counter(map(len, made))

    assert sizes(3, Usual(0, 64)) == {1: 3}  # all cores have something to do
    assert sizes(100, Usual(32, 1024)) == {32: 3, 4: 1}  # whole batches of a model
    assert sizes(1024, Usual(0, 64)) == {4: 256}
    assert sizes(256 * 64, Usual(0, 64)) == {64: 256}
    assert sizes(64_000, Usual(0, 64)) == {64: 1000}
    assert sum(sizes(64_000, Usual(0, 1)).values()) <= plan.MOST_PARTS
    assert sizes(3, Usual(0, 64), weight=1000) == {1: 3}  # a large tar is a part by itself


def test_the_parts_of_many_small_runs_stay_few_and_are_seldom_copied(monkeypatch):
    monkeypatch.setattr(plan, "FEWEST_PARTS", 16)
    parts, copied, most = [], 0, 0
    sources = [Source(f"{number:04}", 1, "") for number in range(600)]
    for n in range(1, len(sources) + 1):
        found = plan_parts(sources[:n], parts, [1] * n, Usual(0, 64))
        assert len(found.made) == 1
        copied += sum(len(piece.places) for part in found.rewritten for piece in part)
        merged = [
            Part(
                f"m{n}-{number}",
                sum(piece.part.n_bytes for piece in pieces),
                tuple(digest for piece in pieces for digest in piece.part.sources),
            )
            for number, pieces in enumerate(found.rewritten)
        ]
        parts = [*found.kept, *merged, Part(f"n{n}", 100, (sources[n - 1].digest,))]
        most = max(most, len(parts))

    assert most <= plan.FEWEST_PARTS + 1
    assert sum(len(part.sources) for part in parts) == len(sources)
    assert copied < 60 * len(sources)


@pytest.mark.parametrize("spoil", ["cut", "no bytes", "zeros within", "no part", "other settings"])
def test_what_is_no_whole_part_of_these_settings_counts_as_not_there(tmp_path, spoil):
    one = open_round(str(tmp_path), FORM)
    written = write_part(one, [sources_of({"a": 2})[0].digest], rows_of([("a", 1, "2")]))
    file = tmp_path / written.name
    data = file.read_bytes()
    assert [part.n_bytes for part in list_parts(str(tmp_path), FORM.key)] == [written.n_bytes] == [len(data)]
    if spoil == "cut":
        file.write_bytes(data[:-10])
    elif spoil == "no bytes":
        file.write_bytes(b"")
    elif spoil == "zeros within":
        file.write_bytes(bytes(len(data) - 8) + data[-8:])
    elif spoil == "no part":
        pq.write_table(pa.table({"a": [1]}), file)
    key = PartForm("others", SCHEMA, "{}", "shard").key if spoil == "other settings" else FORM.key

    assert list_parts(str(tmp_path), key) == []


def test_a_task_of_an_earlier_round_writes_no_more_and_leaves_nothing(tmp_path):
    earlier = open_round(str(tmp_path), FORM)
    digest = sources_of({"a": 1})[0].digest
    open_round(str(tmp_path), FORM)

    with pytest.raises(TableError, match="another run writes this table"):
        write_part(earlier, [digest], rows_of([("a", 1, "1")]))
    assert [path.name for path in tmp_path.iterdir()] == ["_round"]

    keep_only(str(tmp_path), [])

    with pytest.raises(TableError, match="or has finished it"):
        write_part(earlier, [digest], rows_of([("a", 1, "1")]))


def test_a_task_that_fails_leaves_nothing(tmp_path):
    one = open_round(str(tmp_path), FORM)

    def broken():
        yield from rows_of([("a", 1, "3")])
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_part(one, [b"twelve bytes"], broken())

    assert [path.name for path in tmp_path.iterdir()] == ["_round"]


def test_a_part_that_a_lost_task_has_written_is_not_made_again(tmp_path):
    one = open_round(str(tmp_path), FORM)
    digests = [source.digest for source in sources_of({"a": 3, "b": 1})]
    written = write_part(one, digests, rows_of([("a", 1, "3"), ("b", 1, "1")]))

    def never():
        yield pytest.fail("its images are read again")

    assert write_part(one, digests, never()) == written


def test_only_what_is_named_stays_in_a_folder(tmp_path):
    for name in ("part-a.parquet", "part-b.parquet", ".part-b.parquet.0.tmp", "_SUCCESS", "_delta_log/0.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    keep_only(str(tmp_path), ["part-b.parquet", "part-c.parquet"])

    assert [path.name for path in tmp_path.iterdir()] == ["part-b.parquet"]
    assert missing_parts(str(tmp_path), ["part-b.parquet", "part-c.parquet"]) == ["part-c.parquet"]
    keep_only(str(tmp_path / "none"), [])
    assert not (tmp_path / "none").exists()


def test_rows_come_in_groups_that_readers_can_share_out(tmp_path, monkeypatch):
    monkeypatch.setattr(part_files, "ROW_GROUP_BYTES", 1000)
    one = open_round(str(tmp_path), FORM)

    written = write_part(one, [b"twelve bytes"], rows_of([(name, 1, "20") for name in "abcdefgh"]))

    footer = pq.read_metadata(tmp_path / written.name)
    assert (written.n_rows, footer.num_rows) == (160, 160)
    assert footer.num_row_groups > 2
    assert footer.metadata[SPARK_SCHEMA] == FORM.spark_schema.encode()
    assert {footer.row_group(0).column(place).compression for place in range(4)} == {"SNAPPY"}
