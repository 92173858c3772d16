"""Some four hundred tars that somebody damaged, forged or wrote with an odd tool, and what must be read of each."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.hostile.headers import BLOCK, END, FIELDS, header, member, padded, pax
from tests.tars import jpeg

N_SAMPLES = 6
# Where a fault is put: before this sample.
MIDDLE = 3
KEYS = tuple(f"{place:04d}" for place in range(N_SAMPLES))
# Types that tell something about the next member, or are no file by POSIX.
NO_FILE = frozenset(b"123456xgXLKS")
N_MUTANTS = 120


@dataclass(frozen=True)
class HostileTar:
    """A tar, and the keys of those samples that must be read from it whatever else is wrong."""

    name: str
    data: bytes
    whole: frozenset[str]
    is_sound: bool = False  # nothing is lost, so nothing may be reported as damaged
    suffix: str = ".tar"


@cache
def sample(place: int) -> bytes:
    """The members of one sample."""
    key = KEYS[place].encode()
    return member(key + b".jpg", jpeg(place)) + member(key + b".json", b'{"uid": "%s"}' % key)


def _tar(*between: bytes) -> bytes:
    """All samples, with something before the one in the middle."""
    first, last = (b"".join(map(sample, part)) for part in (range(MIDDLE), range(MIDDLE, N_SAMPLES)))
    return first + b"".join(between) + last + END


ALL = frozenset(KEYS)
FIRST = frozenset(KEYS[:MIDDLE])


def all_tars() -> Iterator[HostileTar]:
    """Every case; names are unique."""
    for cases in (_kinds, _cuts, _fields, _extensions, _names, _joined, _packed, _mutants):
        yield from cases()


def _kinds() -> Iterator[HostileTar]:
    for kind in range(32, 127):
        sound = kind not in NO_FILE
        data = _tar(member(b"extra.bin", b"\x07" * 700, bytes([kind])))
        yield HostileTar(f"kind-{kind}", data, ALL if sound else FIRST, sound)


def _cuts() -> Iterator[HostileTar]:
    data = _tar()
    for place in range(BLOCK // 2, len(data) - len(END), BLOCK // 2):
        whole, end = set(), 0
        for number, key in enumerate(KEYS):
            end += len(sample(number))
            if end <= place:
                whole.add(key)
        yield HostileTar(f"cut-{place}", data[:place], frozenset(whole))


def _fields() -> Iterator[HostileTar]:
    values = [b"", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-1", b"99999999", b"7" * 12, b"abc", b" " * 12, b"\x1b[31m"]
    for name in FIELDS:
        for number, value in enumerate(values):
            forged = member(b"extra.bin", b"\x07" * 700, **{name: value})
            yield HostileTar(f"field-{name}-{number}", _tar(forged), FIRST)
    wrong_sum = header(b"extra.bin", 700, keep_sum=True, uid=b"0000001\0") + padded(b"\x07" * 700)
    yield HostileTar("wrong-sum", _tar(wrong_sum), FIRST)


def _extensions() -> Iterator[HostileTar]:
    records = {
        "size-negative": (b"size", b"-1"),
        "size-huge": (b"size", b"9" * 30),
        "size-words": (b"size", b"many"),
        "mtime-nan": (b"mtime", b"nan"),
        "mtime-inf": (b"mtime", b"inf"),
        "charset": (b"hdrcharset", b"nonsense"),
        "keyword-bytes": (b"\xff\xfe", b"value"),
        "value-bytes": (b"comment", b"\xff\xfe"),
        "path-up": (b"path", b"../../outside.jpg"),
        "path-absolute": (b"path", b"/tmp/outside.jpg"),
        "path-empty": (b"path", b""),
        "sparse-map": (b"GNU.sparse.map", b"0,1,999999999999,1"),
        "sparse-odd": (b"GNU.sparse.map", b"0,1,2"),
        "sparse-realsize": (b"GNU.sparse.realsize", b"1" + b"0" * 18),
        "sparse-major": (b"GNU.sparse.major", b"1"),
    }
    for kind in b"xg":
        for name, record in records.items():
            yield HostileTar(f"pax-{chr(kind)}-{name}", _tar(pax(record, kind=bytes([kind]))), FIRST)
    for name, record in {"length-zero": b"0 a=b\n", "length-long": b"99 a=b\n", "no-equals": b"6 abc\n"}.items():
        yield HostileTar(f"pax-{name}", _tar(member(b"././@PaxHeader", record, b"x")), FIRST)
    chain = pax((b"comment", b"x")) * 1500
    yield HostileTar("pax-chain", _tar(chain), FIRST)
    long_name = member(b"././@LongLink", b"a/long/name.jpg\0", b"L")
    yield HostileTar("long-name-chain", _tar(long_name * 1500), FIRST)
    for kind in b"LK":
        yield HostileTar(f"long-{chr(kind)}-empty", _tar(member(b"././@LongLink", b"", bytes([kind]))), FIRST)
        claimed = header(b"././@LongLink", 10**8, bytes([kind]))
        yield HostileTar(f"long-{chr(kind)}-huge", _tar(claimed), FIRST)


def _names() -> Iterator[HostileTar]:
    names = [
        *(b"../up.jpg", b"/absolute.jpg", b"a/../../b.jpg", b".hidden.jpg", b".jpg", b"noext", b"a.", b"a..jpg"),
        *(b"__meta__/x.jpg", b"__train__.jpg", b"dir/__x__.jpg", b"a\nb.jpg", b"a\x1b[2Jb.jpg", b"a\tb.jpg"),
        *(b"a\\b.jpg", b"C:\\x.jpg", b"con.jpg", b"a b.jpg", b"a%2e.jpg", b"\xe2\x80\xae.jpg", b"\\xff.jpg"),
        *(b"\xff\xfe.jpg", b"x" * 100),
        *(b"d/" * 40 + b"x.jpg", b"-rf.jpg", b"*.jpg", b"$(id).jpg", b"'.jpg", b'".jpg', b";.jpg", b" .jpg", b"A.JPG"),
    ]
    for number, name in enumerate(names):
        yield HostileTar(f"name-{number}", _tar(member(name, jpeg(50 + number))), ALL, is_sound=True)


def _joined() -> Iterator[HostileTar]:
    halves = [b"".join(map(sample, part)) for part in (range(MIDDLE), range(MIDDLE, N_SAMPLES))]
    yield HostileTar("joined", (halves[0] + END) + (halves[1] + END), ALL, is_sound=True)
    yield HostileTar("joined-padded", (halves[0] + bytes(20 * BLOCK)) + (halves[1] + END), ALL, is_sound=True)
    yield HostileTar("zero-block", halves[0] + bytes(BLOCK) + halves[1] + END, ALL, is_sound=True)
    yield HostileTar("garbage-behind", _tar() + b"garbage" * 300, ALL)
    yield HostileTar("html-behind", _tar() + b"<html>404</html>", ALL)
    yield HostileTar("padding-behind", _tar() + bytes(50 * BLOCK), ALL, is_sound=True)
    yield HostileTar("empty", b"", frozenset())
    yield HostileTar("zeros", bytes(20 * BLOCK), frozenset())
    yield HostileTar("html", b"<html><body>403 Forbidden</body></html>" * 40, frozenset())


def _packed() -> Iterator[HostileTar]:
    ways = {".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}
    for suffix, pack in ways.items():
        name = suffix.strip(".").replace(".", "-")
        yield HostileTar(f"packed-{name}", pack(_tar()), ALL, is_sound=True, suffix=suffix)
        yield HostileTar(f"packed-{name}-misnamed", pack(_tar()), ALL, is_sound=True)
        yield HostileTar(f"packed-{name}-cut", pack(_tar())[:-40], frozenset(), suffix=suffix)
    parts = gzip.compress(_tar()[: 7 * BLOCK]) + gzip.compress(_tar()[7 * BLOCK :])
    yield HostileTar("packed-in-parts", parts, ALL, is_sound=True, suffix=".tar.gz")
    yield HostileTar("packed-bomb", gzip.compress(_tar()[: -len(END)] + bytes(2**27)), ALL, suffix=".tar.gz")


def _mutants() -> Iterator[HostileTar]:
    """The middle of a tar with some bytes changed, blocks taken out, doubled or exchanged."""
    sound = _tar()
    first = sum(len(sample(place)) for place in range(MIDDLE))
    for seed in range(N_MUTANTS):
        rng = random.Random(seed)
        tail = bytearray(sound[first:])
        for _ in range(rng.randint(1, 8)):
            tail[rng.randrange(len(tail))] = rng.randrange(256)
        at = rng.randrange(len(tail) // BLOCK) * BLOCK
        match seed % 4:
            case 1:
                del tail[at : at + BLOCK]
            case 2:
                tail[at:at] = rng.randbytes(BLOCK)
            case 3:
                tail[at : at + BLOCK] = bytes(BLOCK)
        yield HostileTar(f"mutant-{seed}", sound[:first] + bytes(tail), FIRST)
