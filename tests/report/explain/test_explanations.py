"""Why an image went or stayed, and why two are a pair or none, from rows of tables as a run leaves them."""

from __future__ import annotations

import html

import numpy as np
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.kernels.content import PLAIN_BYTES
from spark_imgdedup.kernels.evidence import Evidence, Hashes, Pairs, Plain
from spark_imgdedup.kernels.vectors import UnitRows
from spark_imgdedup.report.explain.ask import page_of
from spark_imgdedup.report.explain.evidence import measure_pair
from spark_imgdedup.report.explain.model import Check, Explanation, Gathered
from spark_imgdedup.report.explain.one import explain_one
from spark_imgdedup.report.explain.ranked import better_of
from spark_imgdedup.report.explain.two import explain_two
from spark_imgdedup.report.page.model import Picture
from spark_imgdedup.stages.grouping.members import reach_at

ZERO = bytes(8)


def config_of(**sections):
    return parse_config({"input": {"path": "data"}, "output": {"path": "out"}, "work_dir": "it's work", **sections})


def image(sha="s", bits=0, pixels=100, **more):
    """A row of `embeddings` whose hash differs from ZERO in so many bits."""
    phash = ((1 << bits) - 1).to_bytes(8, "little")
    seen = {"sha256": sha, "pixel_sha256": sha, "phash": phash, "phash_views": b"\x55" * 8, "plain_pixels": None}
    kinds = {"width": pixels, "height": 1, "image_format": "png", "image_bytes": 10, "rejected_because": None}
    return {**seen, **kinds, "pixels": pixels, "is_grey": False} | more


def turned(degrees):
    """A unit vector at an angle to that of 0."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def cluster(number, distance=0.1, **more):
    return {"cluster_id": number, "cosine_dist_to_cent": distance, "rejected_because": None} | more


def goes_for(kept, found_by="embedding", cosine=0.9, hamming=None):
    decided = {"max_id": kept, "kept_id": kept, "found_by": found_by, "cosine_sim_score": cosine}
    return decided | {"hamming": hamming, "rule": "greedy", "group_id": kept}


def of(a, b, **more):
    rows = {"embeddings": {"a": a, "b": b}} | more.pop("rows", {})
    given = {"eps": 0.2, "searched_eps": 0.3, "vectors": {"a": turned(0), "b": turned(45)}}
    return Gathered(rows=rows, **(given | more))


def answers(checks):
    return {check.name: check.counts for check in checks if check.counts is not None}


@pytest.mark.parametrize(
    ("b", "degrees", "near", "said"),
    [
        (image("s"), 90, True, {"bytes (sha256)": True}),
        (image("t", bits=4), 90, True, {"perceptual hashes, as they are": True}),
        (image("t", bits=5), 90, False, {"perceptual hashes, as they are": False}),
        (image("t", bits=12), 53.1, True, {"hashes and embeddings together": True}),  # cosine 0.6004
        (image("t", bits=13), 53.1, False, {"hashes and embeddings together": False}),
        (image("t", bits=12), 53.2, False, {"hashes and embeddings together": False}),  # cosine 0.5990
        (image("t", bits=60), 36.86, True, {"cosine of the embeddings": True}),  # cosine 0.800103
        (image("t", bits=60), 36.88, False, {"cosine of the embeddings": False}),  # cosine 0.799894
        (image("t", bits=60, phash_views=ZERO), 90, True, {"perceptual hashes, one of them flip left right": True}),
        (image("t", bits=0, plain_pixels=b"x"), 0, False, {"images with next to nothing in them": False}),
    ],
)
def test_each_check_of_a_pair_is_made_as_identify_makes_it(b, degrees, near, said):
    gathered = of(image("s"), b, vectors={"a": turned(0), "b": turned(degrees)})

    measured = measure_pair("a", "b", gathered, config_of())

    assert measured.is_near is near
    assert said.items() <= answers(measured.checks).items()


def evidence_of(row, vector):
    """The same as tasks of `identify` hold it."""
    own, views = (np.frombuffer(row[name], np.uint8) for name in ("phash", "phash_views"))
    plain = row["plain_pixels"]
    pixels = np.frombuffer(plain or bytes(PLAIN_BYTES), np.uint8)[None]
    known = np.array([True])
    return Evidence(
        1,
        UnitRows.normalized(vector[None]),
        Hashes(own[None], views.reshape(1, -1, 8), known),
        Plain(pixels, np.array([plain is not None])),
    )


def test_whether_two_count_as_one_is_what_the_kernels_of_identify_say():
    rng, config, answers = np.random.default_rng(7), config_of(), []
    for _ in range(300):
        rows = [
            image(
                str(number),
                phash=bytes(rng.choice([0, 1, 3], 8, p=[0.6, 0.3, 0.1]).astype(np.uint8)),
                phash_views=bytes(rng.choice([0, 1, 15], 8).astype(np.uint8)),
                plain_pixels=bytes(rng.integers(0, 5, PLAIN_BYTES, np.uint8)) if rng.random() < 0.2 else None,
            )
            for number in range(2)
        ]
        vectors = [turned(degrees) for degrees in rng.choice([0, 30, 50, 90], 2)]
        one, other = map(evidence_of, rows, vectors)

        expected = bool(Pairs(one, other).within(reach_at(0.2, config))[0, 0])

        gathered = of(*rows, vectors=dict(zip("ab", vectors, strict=True)))
        assert measure_pair("a", "b", gathered, config).is_near is expected
        answers.append(expected)
    assert 50 < sum(answers) < 250


def test_without_vectors_and_hashes_it_is_not_known_whether_they_are_one():
    bare = {"phash": None, "sha256": None}
    gathered = of(bare, bare, vectors={})

    found = explain_two("a", "b", gathered, config_of())

    assert measure_pair("a", "b", gathered, config_of()).is_near is None
    assert (found.outcome, "identify has not run" in found.verdict) == ("not decided", True)


@pytest.mark.parametrize(
    ("a", "b", "settings", "first", "why"),
    [
        (image(pixels=9), image(pixels=100), {}, "b", "pixels 100, the other 9"),
        (image(), image(is_grey=True), {}, "a", "is_grey no, the other yes"),
        (image(), image(), {}, "a", "its id comes first; all else is equal"),
        (image(), image(pixels=None), {}, "a", "pixels 100, the other not known"),
        (image(), image(), {"which_to_keep": "hard"}, "b", "cosine_dist_to_cent 0.2, the other 0.1"),
        (image(), image(), {"which_to_keep": "easy"}, "a", "cosine_dist_to_cent 0.1, the other 0.2"),
        (image(pixels=9), image(), {"keep": "pixels asc"}, "a", "pixels 9, the other 100"),
    ],
)
def test_the_column_that_decides_who_stays_is_named(a, b, settings, first, why):
    rows = {"clusters": {"a": cluster(1, 0.1), "b": cluster(1, 0.2)}}

    assert better_of("a", "b", of(a, b, rows=rows), config_of(pairwise=settings)) == (first, why)
    assert better_of("b", "a", of(a, b, rows=rows), config_of(pairwise=settings)) == (first, why)
    must = {"remove.never": frozenset("ab") - {first}}
    assert better_of("a", "b", of(a, b, rows=rows, lists=must), config_of())[1] == "remove.never names it"


def two(decisions, degrees=10, **more):
    gathered = of(
        image("s"),
        image("t", bits=60, pixels=50),
        vectors={"a": turned(0), "b": turned(degrees)},
        rows={"clusters": {"a": cluster(1), "b": cluster(2)}, "duplicates": decisions},
        probes="home",
        **more,
    )
    return explain_two("a", "b", gathered, config_of())


def test_the_verdict_on_two_images_says_what_became_of_both():
    pair = frozenset("ab")

    found = two({"b": goes_for("a", cosine=0.984808)})
    assert found.outcome == "pair"
    assert "b goes for a: semantic match, found by embedding (cosine 0.984808), by rule greedy" in found.verdict
    assert "b goes for c instead" in two({"b": goes_for("c")}).verdict
    assert "Both go for c" in two({"a": goes_for("c"), "b": goes_for("c")}).verdict
    assert "a goes itself, for c, and rule greedy removes an image only for one that stays" in (
        two({"a": goes_for("c")}).verdict
    )
    missed = two({}, compared={pair: False})
    assert "the search did not compare them (probes home)" in missed.verdict
    assert [check.value for check in missed.checks if check.name.startswith("compared by")] == [False]
    must = two({}, compared={pair: True}, lists={"remove.never": pair})
    assert "must stay: remove.never names it" in must.verdict
    apart = two({"b": goes_for("c")}, degrees=90)
    assert apart.outcome == "no pair"
    assert apart.verdict == "They are no pair: none of the checks speaks for it. b goes for c."


def one(rows, config=None, **more):
    near = {"cluster_id": 1, "max_id": "a", "cosine_sim_score": 0.91, "cosine_dist_to_cent": 0.1}
    known = {"copies": {}, "similarities": {"b": near}} | rows
    return explain_one("b", of(image(), image(pixels=50), rows=known, **more), config or config_of())


def test_the_verdict_on_one_image_says_why_and_how_to_bring_it_back():
    gone = {"duplicates": {"b": goes_for("a")}, "removed": {"b": {"reason": "duplicate"}}}

    found = one(gone)
    assert (found.outcome, found.partner) == ("removed", "a")
    assert found.verdict == (
        "It was removed: goes for a: semantic match, found by embedding (cosine 0.900000), by rule greedy."
    )
    assert {check.name: check.found for check in found.checks}["a ranks before it"] == "pixels 100, the other 50"
    assert found.undo == """spark-imgdedup restore --config 'it'"'"'s work/config.yaml' --ids=b"""

    back = one(gone | {"removed": {}}, lists={"restored": frozenset("b")})
    assert (back.outcome, back.undo) == ("kept", None)
    assert back.verdict.startswith("It stays since it was brought back. Otherwise: goes for a: semantic match")
    assert one({"duplicates": {"b": goes_for("a")}}).outcome == "would go"
    kept = one({"duplicates": {}, "removed": {}}, gone_for={"b": 3})
    assert "ranks first of the images that count as one with it, and 3 of them go for it" in kept.verdict
    assert "identify has not run" in one({}).verdict
    listed = one({"removed": {"b": {"reason": "listed"}}}, lists={"remove.ids_path": frozenset("b")})
    assert listed.verdict == "It was removed: a list of remove.ids_path names it."


def test_a_filter_is_named_with_its_score_and_its_limit():
    config = config_of(score={"scorers": [{"name": "sharp", "min_score": 0.5}]})
    scored = {"b": {"sharp_score": 0.25, "rejected_because": "sharp"}}

    found = one({"scored": scored, "removed": {"b": {"reason": "sharp"}}}, config)

    check = next(check for check in found.checks if check.name == "filter sharp")
    assert (check.value, check.needed, check.counts) == (0.25, "at least 0.5", True)
    assert found.verdict == "It was removed: refused: sharp."


@pytest.mark.parametrize("n_ids", [1, 2])
def test_the_page_takes_names_as_text_and_asks_for_nothing(n_ids):
    odd = "</script><img src=x onerror=alert(2)>"
    check = Check(f"{odd} ranks before it", odd, odd, True)
    found = Explanation((odd, "b")[:n_ids], "removed", f"It was removed: {odd}", (check,), (odd,), undo=f"x '{odd}'")
    shown = [Picture(odd, "removed", {"size": "9"}, "data:image/webp;base64,AA"), Picture("b", "kept", problem=odd)]

    page = page_of(found, shown, [odd])

    assert page.count("<script>") == page.count("<img") == 1
    assert f"{html.escape(odd, quote=False)}" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in html.unescape(page)
    assert ("Are these two a pair?" if n_ids == 2 else "Why this image?") in page
    assert page_of(found, shown[:1]).count("<article") == 0
