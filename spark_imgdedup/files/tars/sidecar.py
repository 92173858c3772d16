"""The json beside an image: its fields as values of the types that a table asks for. No Spark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from spark_imgdedup.config.values import JsonType

# A longer json has no fields: one of 4 MiB takes up to 0.9 s, and 134 MB once it is parsed.
MAX_JSON_BYTES = 2**22
# Longer whole numbers have no value: reading one takes time by the square of its length. Python's own bound.
MAX_DIGITS = 4300

JsonValue = str | int | float | bool | None


def read_fields(data: bytes | None, fields: Mapping[str, JsonType]) -> tuple[JsonValue, ...]:
    """The named fields of a json, in that order; None for one that is missing or is no value of its type.

    A number is also text for `string`, and a whole one also a `bigint`: 3.0 is 3. Only true and false are `boolean`.

    Args:
        data: The json as its file holds it. None, what is no json, or is longer than MAX_JSON_BYTES, has no fields.
        fields: Name to type. A name is a key of the json, or keys with dots between them: meta.source.
    """
    record = _parse(data) if fields else None
    return tuple(_typed(_look_up(record, name), kind) for name, kind in fields.items())


def _parse(data: bytes | None) -> Any:
    if data is None or len(data) > MAX_JSON_BYTES:
        return None
    try:
        # NaN and Infinity are Python's own, and no json.
        return json.loads(data, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _look_up(record: Any, name: str) -> Any:
    if not isinstance(record, dict):
        return None
    if name in record:
        return record[name]
    head, _, rest = name.partition(".")
    return _look_up(record.get(head), rest) if rest else None


def _typed(value: Any, kind: JsonType) -> JsonValue:
    if isinstance(value, bool):
        return value if kind == "boolean" else None
    if isinstance(value, str):
        # A lone surrogate ("\ud800") is text for json, and for no table.
        return value.encode("utf-8", "backslashreplace").decode() if kind == "string" else None
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if kind == "string":
        return str(value)
    if kind == "double":
        return _as_double(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return int(value) if kind == "bigint" and is_whole and -(2**63) <= value < 2**63 else None


def _as_double(value: int | float) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
