"""Pages of runs that never were: numbers, names of every script, and pictures of a few bytes."""

from __future__ import annotations

import functools
import html
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from spark_imgdedup.report.page.model import Band, Curve, Group, Level, Member, Page, Pair, Picture, Reason, Undo
from spark_imgdedup.report.page.thumbnails import Thumbnails
from spark_imgdedup.report.page.undo import undo_command

SCRIPTS = (
    "Café au lait, été",
    "日本の写真、富士山",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "مرحبا بالعالم abc",
    "emoji \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET} & \"quotes\" 'too'",
    "a\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "x" * 5000,
    "half \ud83d of a pair, and \x00",
)


def photo(seed, size=(96, 64)):
    """A picture that compresses badly: the worst case of a page's size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@functools.cache
def noise(n, side):
    """Four pictures as a page of n has them."""
    small = Thumbnails.of(n, 10**8)
    return [small(photo(seed, (side, side * 2 // 3))) for seed in range(4)]


def picture(number, uri, status):
    facts = {
        "size": f"{number + 10} × 64",  # noqa: RUF001  # as the page has it
        "bytes": f"{1000 + number:,}",
        "format": "png",
        "caption": SCRIPTS[number % len(SCRIPTS)],
    }
    image_id = f"shard/{number:05d} {SCRIPTS[number % len(SCRIPTS)]}"
    undo = undo_command(image_id, "work/config.yaml") if status == "removed" else None
    return Picture(image_id, status, facts, uri, undo=undo)


def sizes(before, after):
    return {
        "samples_before": before,
        "samples_after": after,
        "image_bytes_before": before * 1000,
        "image_bytes_after": after * 1000,
    }


def table(counts, order="samples before", of=None):
    rows = [{"value": value, **sizes(*pair)} for value, pair in counts.items()]
    return {"shown": len(rows), "of": of or len(rows), "order": order, "rows": rows, "rest": None}


def report_of(n):
    """report.json of a run that read n images."""
    gone = n // 4
    summary = {
        "read": n,
        "unreadable": {"unreadable": 3},
        "not_read": {"heic": 12},
        "damaged_shards": ["t.tar: cut"],
        "clusters": 4,
        "largest_cluster": n // 2,
        "clustered": n - 3,
        "probes": "margin",
        "why": "as the sample asks for",
        "comparisons": n * 10,
        "recall": {"value": 0.995, "low": 0.99, "high": 0.9975, "pairs": 1200, "rows": 512},
        "searched_eps": 0.2,
        "eps": 0.1,
        "duplicates": gone,
        "rule": "greedy",
        "uncovered": 0,
        "groups": gone // 2,
        "wiped_out": 0,
        "both_stay": 0,
        "measured_for": None,
        "removed": {"duplicate": gone, "aesthetic": 5},
        "ids_unmatched": 0,
        "cut": 1,
        "kept": n - gone - 6,
        "bytes_before": n * 2000,
        "bytes_after": (n - gone) * 2000,
        "seconds": {"embed": 2.0},
        "output": "out",
        "versions": None,
        "unit": "image",
    }
    fields = {"caption": table({text: (10, 5) for text in SCRIPTS}, of=61204)}
    breakdowns = {
        "sizes": {
            "leaving": "removed",
            "total": sizes(n, n - gone - 5),
            "by_reason": [{"reason": "duplicate", "samples": gone, "image_bytes": gone * 1000}],
            "by_shard": table({f"s{i}": (10, 10 - i % 3) for i in range(1000)}, "samples removed", 30_000),
            "by_format": table({"png": (n, n - gone - 5)}),
            "by_resolution": None,
            "by_field": fields,
        },
        "found_by": {"exact": gone // 2, "phash": 1, "embedding": gone - gone // 2 - 1},
        "clusters": {
            "clusters": 4,
            "rows": n - 3,
            "share_of_largest": 0.5,
            "sizes": [{"at_least": 1, "at_most": 1, "clusters": 4, "rows": n - 3}],
            "largest": {"shown": 0, "of": 4, "rows": []},
        },
        "similarity": {"rows": n, "first": 4, "bins": [{"from": 0.9, "below": 1.0, "rows": n - 4}]},
        "value_pairs": {
            "field split": {
                "shown": 2,
                "of": 2,
                "pairs": 9,
                "across": 4,
                "rows": [
                    {"goes": "train", "stays": "train", "duplicates": 5},
                    {"goes": "test", "stays": None, "duplicates": 4},
                ],
            }
        },
        "computed_from": {},
    }
    step = {"step": "embed", "seconds": 2.0, "counts": {"samples": n, "rejected": {}}}
    return {"summary": summary, "breakdowns": breakdowns, "steps": {"embed": step}}


def page_of(n=10_000, n_pairs=20, side=96):
    """A page of a run of n images, with as many bands, pairs and groups as a real one has at most."""
    gone = n // 4
    uris = noise(13 * 2 * n_pairs + 120, side)
    levels = tuple(
        Level(
            step / 50, 1 - step / 50, gone * step // 5, *((gone * step // 5, step * 7, step + 1) if step < 11 else ())
        )
        for step in range(21)
    )
    pairs = [
        Pair(picture(at, uris[at % 4], "kept"), picture(at + 1, uris[(at + 1) % 4], "removed"), f"cosine 0.9{at:02d}")
        for at in range(n_pairs)
    ]
    inside = (None, None, *(True,) * 6, *(False,) * 5)
    kinds = ("exact", "phash", *("embedding",) * 11)
    bands = tuple(
        Band(kind, f"band {at}", side_of, 61_204, tuple(pairs), f"work/{kind}")
        for at, (kind, side_of) in enumerate(zip(kinds, inside, strict=True))
    )
    members = tuple(Member(picture(at, uris[at % 4], "removed"), f"cosine 0.8{at}") for at in range(5))
    groups = tuple(
        Group(picture(at, uris[0], "kept"), 100 - at, members, 0.81, {"embedding": 100}, 0.75, 50) for at in range(20)
    )
    return Page(
        report=report_of(n),
        dataset="s3://bucket/日本 <b>",
        tables={"duplicates": "work/duplicates"},
        curve=Curve(n, levels, 0.1, 12, 0.2),
        bands=bands,
        groups=groups,
        n_groups=gone // 2,
        reasons=(Reason("read", "unreadable", 3, SCRIPTS[:3], "work/embeddings"),),
        trimmed=7,
        settings="input:\n  path: s3://bucket/日本 <b>\n",
        versions={"Spark": "4.1.3"},
        notes=("A note with <i>marks</i>",),
        undo=Undo(
            ("spark-imgdedup restore --config work/config.yaml --all-of duplicate",), "work/removed", "out/removed.csv"
        ),
    )


def text_of(work):
    """The words of a run's page, in one line."""
    page = (Path(work) / "report" / "index.html").read_text(encoding="utf-8").partition("<body>")[2]
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())
