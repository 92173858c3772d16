"""Files beside an image that are no json, or are json that costs a reader dearly."""

from __future__ import annotations

from collections.abc import Iterator

SOUND = b'{"uid": "here"}'


def all_sidecars() -> Iterator[tuple[str, bytes]]:
    """(name, file) of every case."""
    yield "sound", SOUND
    texts = [b"", b"null", b"[]", b"1", b'"uid"', b"{", b"{}", b'{"uid"', b'{"uid": }', b"\xff\xfe"]
    for number, text in enumerate([*texts, b"\xef\xbb\xbf" + SOUND]):
        yield f"odd-{number}", text
    values = [
        b"NaN",
        b"-Infinity",
        b"1e999",
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\\u001b[2J"',
        b"true",
        b"{}",
        b"[1]",
        b"-0",
    ]
    for number, value in enumerate([*values, b"9" * 400]):
        yield f"value-{number}", b'{"uid": %s}' % value
    yield "deep-lists", b'{"uid": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    yield "deep-objects", b'{"uid":' * 50_000 + b"1" + b"}" * 50_000
    yield "long-number", b'{"uid": ' + b"1" * 10**6 + b"}"
    yield "long-text", b'{"uid": "' + b"a" * 10**7 + b'"}'
    yield "many-keys", b'{"uid": 1' + b"".join(b', "%d": 0' % place for place in range(10**6)) + b"}"
    for cut in range(len(SOUND)):
        yield f"cut-{cut}", SOUND[:cut]
