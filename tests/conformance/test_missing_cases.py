"""Cases that NeMo Curator's tests leave out: odd names and broken images through the whole flow, odd clusters, eps.

Those that a test of one stage shows already are listed in docs/parity.md, with the test.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_imgdedup.config import parse_config
from spark_imgdedup.errors import ConfigError
from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.pipeline import run
from spark_imgdedup.stages.centroids import fit_centroids
from spark_imgdedup.stages.cluster import assign_clusters
from spark_imgdedup.stages.identify import identify_duplicates
from spark_imgdedup.stages.local_rows import local_rows
from spark_imgdedup.stages.pairwise import score_pairs
from tests.conformance.test_kernels_against_oracle import ours
from tests.flow.tiny import STEPS
from tests.tars import encoded, jpeg, make_tar, members_of, png

# --- odd names and broken images, through the whole flow

TARS = {
    "a/000.tar": [
        *(("plain.jpg", jpeg(1)), ("plain.txt", b"a caption"), ("plain.json", b'{"n": 1}\n')),
        *(("UPPER.JPG", jpeg(2)), ("UPPER.txt", b"shouted")),
        *(("x.y/multi.dot.v1.jpeg", jpeg(3)), ("x.y/multi.dot.txt", b"many dots")),
        *(("photo.png", png(4)), ("web.webp", encoded("WEBP", 5)), ("Scan.TIF", encoded("TIFF", 6))),
        *(("zero.jpg", b""), ("corrupt.jpg", b"not a picture"), ("truncated.jpg", jpeg(7, (64, 64))[:-200])),
        ("alone.txt", b"no image"),
    ],
    # The same stem and keys: one of the pictures is a repeat, in another format, and one is not.
    "b/000.tar": [("plain.png", png(1)), ("plain.txt", b"again"), ("UPPER.JPG", jpeg(8)), ("UPPER.txt", b"another")],
}
PAIR = {"a/000/plain", "b/000/plain"}


def settings(source, name):
    return parse_config(
        {
            "input": {"path": source},
            "output": {"path": f"out-{name}"},
            "work_dir": f"work-{name}",
            "steps": STEPS,
            "embed": {"model": "tests.encoders:ColourEncoder"},
            "identify": {"eps": 0.01},
        }
    )


def members_below(folder):
    return {path.relative_to(folder).as_posix(): members_of(path) for path in sorted(folder.rglob("*.tar"))}


def image_id(tar, member):
    """By hand: the path of the shard, and the member's up to the first dot of its base name."""
    folder, _, base = member.rpartition("/")
    key = base.split(".")[0]
    return f"{tar.removesuffix('.tar')}/{folder + '/' if folder else ''}{key}"


@pytest.fixture(scope="module")
def odd(_session, tmp_path_factory):
    """The folder and the summary of a run over TARS."""
    folder = tmp_path_factory.mktemp("odd")
    for name, members in TARS.items():
        make_tar(folder / "data" / name, members)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run(settings("data", "once"), _session)


def test_every_spelling_and_format_is_read_and_each_broken_image_has_a_reason(odd):
    folder, summary = odd
    rows = pq.read_table(folder / "work-once/embeddings").to_pylist()

    assert {row["image_id"]: row["rejected_because"] for row in rows} == {
        **dict.fromkeys(("a/000/plain", "b/000/plain", "a/000/UPPER", "b/000/UPPER", "a/000/x.y/multi")),
        **dict.fromkeys(("a/000/photo", "a/000/web", "a/000/Scan")),
        **{f"a/000/{key}": "unreadable" for key in ("zero", "corrupt", "truncated")},
        "a/000/alone": "no_image",
    }
    assert {row["image_format"] for row in rows} == {"jpeg", "png", "webp", "tiff", None}
    assert dict(summary.unreadable) == {"no_image": 1, "unreadable": 3}


def test_of_one_stem_in_two_folders_only_the_repeat_goes_and_the_rest_is_byte_identical(odd):
    folder, summary = odd
    (gone,) = pq.read_table(folder / "work-once/removed")["image_id"].to_pylist()

    assert gone in PAIR
    assert (summary.read, summary.kept, summary.removed) == (12, 11, {"duplicate": 1})
    assert members_below(folder / "out-once") == {
        name: [(member, data) for member, data in members if image_id(name, member) != gone]
        for name, members in TARS.items()
    }


def test_embedding_again_replaces_the_rows_and_adds_none(spark, odd, monkeypatch):
    folder, _ = odd
    monkeypatch.chdir(folder)
    before = pq.read_table("work-once/embeddings").sort_by("image_id").to_pylist()

    run(settings("data", "once"), spark, steps=["embed"], force=True)

    assert pq.read_table("work-once/embeddings").sort_by("image_id").to_pylist() == before


def test_deduplicating_what_is_left_once_more_removes_nothing(spark, odd, monkeypatch):
    folder, first = odd
    monkeypatch.chdir(folder)

    second = run(settings("out-once", "twice"), spark)

    assert (second.read, second.kept, dict(second.removed)) == (first.kept, first.kept, {})
    assert members_below(folder / "out-twice") == members_below(folder / "out-once")


# --- nothing to work on


def test_shards_without_a_sample_become_shards_without_a_sample(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tar(tmp_path / "data/empty.tar", [])

    summary = run(settings("data", "none"), spark)

    assert (summary.read, summary.clusters, summary.duplicates, summary.kept) == (0, 0, 0, 0)
    assert members_below(tmp_path / "out-none") == {"empty.tar": []}


def test_a_folder_without_shards_is_an_error_and_not_an_empty_run(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/00000.jsonl").write_text("{}")

    with pytest.raises(ConfigError, match="data"):
        run(settings("data", "none"), spark)

    assert not list(tmp_path.glob("work-none/*/*.parquet"))


def test_a_table_of_no_embeddings_has_no_duplicates(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema = pa.schema({"id": pa.string(), "embedding": pa.list_(pa.float32())})
    pq.write_table(schema.empty_table(), "mine.parquet")

    cluster = {"embeddings_path": "mine.parquet"}
    steps = ["cluster", "pairwise", "identify"]
    summary = run(parse_config({"cluster": cluster, "work_dir": "work", "steps": steps}), spark)

    assert (summary.clusters, summary.duplicates) == (0, 0)
    assert pq.read_table("work/duplicates").column_names[:3] == ["id", "max_id", "cosine_sim_score"]


# --- odd clusters


def own(eps=0.01, **cluster):
    cluster |= {"embeddings_path": "mine", "id_field": "id", "embedding_field": "embedding"}
    return parse_config({"cluster": cluster, "identify": {"eps": eps}})


def table(spark, vectors):
    rows = [(number, [float(x) for x in vector]) for number, vector in enumerate(vectors)]
    return local_rows(spark, rows, "id bigint, embedding array<float>")


def duplicates_of(df, centroids, eps=0.01):
    config = own(eps)
    found = identify_duplicates(score_pairs(assign_clusters(df, centroids, config), config), config)
    return {row.id: row.max_id for row in found.collect()}


def at_angle(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


def test_a_centroid_that_no_row_is_nearest_to_is_a_cluster_without_rows(spark):
    centroids = np.eye(3, dtype=np.float32)
    df = table(spark, [[1, 0, 0.1], [1, 0, 0.1], [0, 0, 1]])

    clusters = assign_clusters(df, centroids, own())

    assert {row.id: row.cluster_id for row in clusters.collect()} == {0: 0, 1: 0, 2: 2}
    assert duplicates_of(df, centroids) == {0: 1}


def test_all_rows_in_one_of_many_clusters_are_compared_and_scored_as_the_oracle_does(spark):
    rng = np.random.default_rng(5)
    noise = rng.choice([0.0, 1e-3, 0.1], (600, 1)) * rng.standard_normal((600, 8))
    vectors = l2_normalize(np.eye(1, 8) + 0.1 * rng.standard_normal((40, 8))[rng.integers(0, 40, 600)] + noise)
    centroids = np.vstack([np.eye(1, 8), -np.eye(7, 8)]).astype(np.float32)
    config = own(0.003)

    scored = score_pairs(assign_clusters(table(spark, vectors), centroids, config), config)

    expected = ours.score(vectors, list(range(600)), centroids, "hard")
    assert {row.cluster_id for row in expected.values()} == {0}
    assert {row.id: (row.cluster_id, row.max_id, row.cosine_sim_score) for row in scored.collect()} == {
        id_: (row.cluster_id, row.max_id, row.cosine_sim_score) for id_, row in expected.items()
    }
    removed = {row.id for row in identify_duplicates(scored, config).collect()}
    assert removed == ours.removed_by_semdedup(expected, 0.003)
    assert 300 < len(removed) < 560


def test_three_rows_and_a_hundred_clusters_find_the_exact_copy(spark):
    df = table(spark, [[3, 0, 0], [0, 1, 0], [1, 0, 0]])

    centroids = fit_centroids(df, own(n_clusters=100))

    assert len(centroids) <= 3
    assert duplicates_of(df, centroids) == {0: 2}


def test_exact_copies_share_a_cluster_and_a_near_pair_across_a_border_is_found_with_one_cluster_alone(spark):
    centroids = np.eye(2, dtype=np.float32)
    df = table(spark, [at_angle(44.9), at_angle(45.1), at_angle(45.0), at_angle(45.0)])

    of_two, of_one = duplicates_of(df, centroids), duplicates_of(df, centroids[:1])

    assert duplicates_of(df, centroids, eps=0.0) == {2: 3}  # on the border, both in the first cluster
    assert 1 not in {*of_two, *of_two.values()}
    assert of_one == {3: 1, 2: 3, 0: 3}  # farthest first: 1, 3, 2, 0


def test_seven_rows_in_three_clusters_lose_the_two_that_repeat_others(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    angles = [0, 1, 40, 120, 121, 240, 280]
    pq.write_table(pa.table({"id": list(range(7)), "embedding": [at_angle(angle) for angle in angles]}), "mine.parquet")
    settings = {
        "cluster": {"embeddings_path": "mine.parquet", "n_clusters": 3},
        "identify": {"eps": 0.1},
        "work_dir": "work",
        "steps": ["cluster", "pairwise", "identify"],
    }

    summary = run(parse_config(settings), spark)

    rows = pq.read_table("work/duplicates").to_pylist()
    assert (summary.clusters, summary.duplicates) == (3, 2)
    assert {frozenset((row["id"], row["max_id"])) for row in rows} == {frozenset((0, 1)), frozenset((3, 4))}


# --- eps


@pytest.mark.parametrize(
    ("eps", "removed"),
    [(0.0, {4}), (0.009999, {4}), (0.01, {3, 4}), (0.010001, {2, 3, 4}), (1 - 1e-9, {1, 2, 3, 4})],
)
def test_a_score_on_the_threshold_is_a_duplicate_and_one_a_millionth_below_is_not(spark, eps, removed):
    rows = [(0, 0, 0.0), (1, 0, 0.5), (2, 0, 0.989999), (3, 0, 0.99), (4, 0, 1.0)]
    df = local_rows(
        spark,
        [(id_, 0, max_id, score, 0.0) for id_, max_id, score in rows],
        "id bigint, cluster_id int, max_id bigint, cosine_sim_score double, cosine_dist_to_cent double",
    )

    assert {row.id for row in identify_duplicates(df, own(eps)).collect()} == removed


@pytest.mark.parametrize("eps", [1, 1.5, -0.01, float("nan")])
def test_an_eps_outside_of_its_range_is_refused_when_the_settings_are_read(eps):
    with pytest.raises(ConfigError, match=r"identify\.eps: "):
        parse_config({"identify": {"eps": eps}})
