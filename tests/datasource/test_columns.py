from __future__ import annotations

import pyarrow as pa
import pytest

from spark_imgdedup.datasource.columns import OWN, ReadColumns, WriteColumns, row_bytes
from spark_imgdedup.errors import SchemaError

MAP = OWN["members"]


def test_own_columns_are_found_in_any_case_and_all_others_are_members():
    columns = ReadColumns((("KEY", "string"), ("Jpg", "binary"), ("seg.png", "binary")), 100)

    assert columns.own == {"key"}
    assert columns.to_batch([("a", b"1", None)]).schema == pa.schema(
        [("KEY", pa.string()), ("Jpg", pa.binary()), ("seg.png", pa.binary())]
    )


def test_a_row_weighs_its_bytes():
    assert row_bytes(("abc", None, b"12345", {"jpg": bytes(7), "txt": bytes(2)})) == 256 + 3 + 5 + 9


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (("n", "int"), "'n' is asked for as int, but a member is binary or string"),
        (("image", "string"), "'image' is binary, but is asked for as string"),
        (("members", "map<string,string>"), "'members' is map<string,binary>"),
    ],
)
def test_a_column_of_a_type_that_cannot_be_read_is_refused(column, message):
    with pytest.raises(SchemaError, match=message):
        ReadColumns((column,), 100)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([("jpg", "binary")], "needs a column 'image_id' or 'key' of type string"),
        ([("image_id", "bigint"), ("jpg", "binary")], "needs a column 'image_id' or 'key' of type string"),
        ([("key", "string"), ("image", "binary")], "'image' says nothing of its extension"),
        ([("key", "string"), ("score", "double")], "'score' is double, but a member is binary or string"),
        ([("key", "string"), ("members", "binary")], "'members' is binary, but .* 'members' is map<string,binary>"),
        ([("key", "string"), ("shard", "string")], "needs a column for each member"),
    ],
)
def test_columns_that_make_no_samples_are_refused(columns, message):
    with pytest.raises(SchemaError, match=message):
        WriteColumns(tuple(columns))


def samples(columns, **values):
    kinds = {"string": pa.string(), "binary": pa.binary(), MAP: pa.map_(pa.string(), pa.binary())}
    arrays = [pa.array(values[name], kinds[kind]) for name, kind in columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in columns])
    return list(WriteColumns(tuple(columns)).samples(batch))


def test_a_row_is_a_sample_of_its_columns_in_their_order_and_a_null_is_no_member():
    columns = [("key", "string"), ("txt", "string"), ("members", MAP), ("shard", "string"), ("cls", "binary")]

    found = samples(
        columns,
        key=["a", "b"],
        txt=["é", None],
        members=[[("jpg", b"1"), ("json", None)], None],
        shard=["s", "s"],
        cls=[b"", b"7"],
    )

    assert [(key, list(members.items())) for key, members in found] == [
        ("a", [("txt", "é".encode()), ("jpg", b"1"), ("cls", b"")]),
        ("b", [("cls", b"7")]),
    ]


def test_image_ids_name_the_samples_where_there_are_keys_too():
    columns = [("key", "string"), ("image_id", "string"), ("jpg", "binary")]

    assert samples(columns, key=["0"], image_id=["s/0"], jpg=[b"1"]) == [("s/0", {"jpg": b"1"})]


def test_a_row_without_a_key_and_one_that_has_a_member_twice_are_refused():
    with pytest.raises(SchemaError, match="a row has no key, such as that of a damaged shard"):
        samples([("key", "string"), ("jpg", "binary")], key=[None], jpg=[b""])
    with pytest.raises(SchemaError, match="two columns have a member 'jpg' for 'a'"):
        samples(
            [("key", "string"), ("jpg", "binary"), ("members", MAP)],
            **{"key": ["a"], "jpg": [b""], "members": [[("jpg", b"")]]},
        )
