from __future__ import annotations

import json
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.files.tars.sidecar import MAX_JSON_BYTES, read_fields

TYPES = {"string": str, "double": float, "bigint": int, "boolean": bool}


@pytest.mark.parametrize(
    ("value", "as_string", "as_double", "as_bigint", "as_boolean"),
    [
        ('"laion"', "laion", None, None, None),
        ('"3"', "3", None, None, None),  # text is no number
        ('""', "", None, None, None),
        ("3", "3", 3.0, 3, None),
        ("3.0", "3.0", 3.0, 3, None),
        ("3.5", "3.5", 3.5, None, None),
        ("-1e3", "-1000.0", -1000.0, -1000, None),
        ("9223372036854775807", "9223372036854775807", 9223372036854775807.0, 2**63 - 1, None),
        ("9223372036854775808", "9223372036854775808", 9223372036854775808.0, None, None),
        ("-9223372036854775808", "-9223372036854775808", -9223372036854775808.0, -(2**63), None),
        ("1" + "0" * 400, "1" + "0" * 400, None, None, None),  # more than a double holds
        ("1e999", None, None, None, None),
        ("NaN", None, None, None, None),
        ("-Infinity", None, None, None, None),
        ("true", None, None, None, True),
        ("false", None, None, None, False),
        ("1", "1", 1.0, 1, None),  # and no truth
        ("null", None, None, None, None),
        ('["a"]', None, None, None, None),
        ('{"a": 1}', None, None, None, None),
        ('"\\ud800"', "\\ud800", None, None, None),  # half a character, which a table cannot hold
    ],
)
def test_a_value_is_taken_where_it_is_of_the_type_asked_for(value, as_string, as_double, as_bigint, as_boolean):
    data = f'{{"field": {value}}}'.encode()

    found = [read_fields(data, {"field": kind})[0] for kind in ("string", "double", "bigint", "boolean")]

    assert found == [as_string, as_double, as_bigint, as_boolean]
    assert [type(each) for each in found if each is not None] == [
        kind for kind, each in zip((str, float, int, bool), found, strict=True) if each is not None
    ]


@pytest.mark.parametrize(
    "data", [None, b"", b"{", b"[1]", b"7", b"null", b"\xff\xfe{", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object_has_no_fields(data):
    assert read_fields(data, {"a": "string", "b.c": "bigint"}) == (None, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_json_may_be_written_in_any_unicode(encoding):
    assert read_fields('{"a": "é"}'.encode(encoding), {"a": "string"}) == ("é",)


def test_dots_lead_into_objects_and_a_key_with_dots_comes_first():
    data = b'{"meta": {"source": "web", "license": {"id": 4}}, "a.b": 1, "a": {"b": 2}, "list": [{"c": 1}]}'
    names = ["meta.source", "meta.license.id", "meta.license", "meta.none", "a.b", "list.c", "meta.", ".meta"]

    assert read_fields(data, dict.fromkeys(names, "string")) == ("web", "4", None, None, "1", None, None, None)


def test_fields_come_in_the_order_asked_for_and_none_are_parsed_for_none():
    assert read_fields(b'{"a": 1, "b": 2}', {"b": "bigint", "a": "double"}) == (2, 1.0)
    assert read_fields(b"not looked at", {}) == ()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(anything, st.sampled_from(["string", "double", "bigint", "boolean"]))
def test_whatever_a_json_holds_the_value_fits_a_column_of_its_type(value, kind):
    (found,) = read_fields(json.dumps({"a": value}).encode(), {"a": kind})

    assert found is None or type(found) is TYPES[kind]
    arrow = {"string": pa.string(), "double": pa.float64(), "bigint": pa.int64(), "boolean": pa.bool_()}[kind]
    assert pa.array([found], arrow).to_pylist() == [found]


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" + b"[]," * (30 * 2**20) + b"[]]",
        b"[" * 2**22,
        b'{"a":' * 200_000,
        b'{"uid": "u1", "rest": "' + b"x" * MAX_JSON_BYTES + b'"}',
    ],
    ids=["90 MB of lists", "deep lists", "deep objects", "one byte too long"],
)
def test_a_json_made_to_hurt_has_no_fields_and_takes_no_memory(bomb):
    tracemalloc.start()
    found = read_fields(bomb, {"uid": "string"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == (None,)
    assert peak < 2**25


def test_a_number_of_a_million_digits_has_no_value_and_the_fields_beside_it_have():
    data = b'{"uid": "u1", "width": ' + b"9" * 10**6 + b', "height": 3}'

    found = read_fields(data, {"uid": "string", "width": "bigint", "height": "bigint"})

    assert found == ("u1", None, 3)
