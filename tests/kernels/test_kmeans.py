from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from spark_imgdedup.kernels import assignment
from spark_imgdedup.kernels.arrays import to_host
from spark_imgdedup.kernels.kmeans import (
    CentroidIndex,
    auto_n_clusters,
    nearest_centroid,
    sample_rows_for,
    train_centroids,
)
from spark_imgdedup.kernels.vectors import UnitRows, l2_normalize


def unit_rows(n, dim, seed=0):
    return l2_normalize(np.random.default_rng(seed).standard_normal((n, dim)))


def blobs(n, n_blobs, dim, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_blobs, n)
    return l2_normalize(unit_rows(n_blobs, dim, seed)[truth] + noise * unit_rows(n, dim, seed + 1)), truth


def homes(xp, embeddings, centroids, **settings):
    cluster_id, distance = nearest_centroid(xp.asarray(embeddings), xp.asarray(centroids), **settings)
    return to_host(cluster_id).tolist(), to_host(distance).tolist()


class TestTrain:
    def test_clusters_that_lie_apart_are_each_found_once(self):
        embeddings, truth = blobs(3000, 4, 64)

        centroids = train_centroids(embeddings, n_clusters=4, random_state=1)

        home = nearest_centroid(embeddings, centroids)[0]
        assert sorted({(int(a), int(b)) for a, b in zip(truth, home, strict=True)}) == sorted(
            (blob, int(home[truth == blob][0])) for blob in range(4)
        )
        assert len(set(home.tolist())) == 4

    def test_centroids_are_float32_of_unit_length_and_the_same_again(self):
        embeddings, _ = blobs(2000, 20, 32)

        first, second = (train_centroids(embeddings, n_clusters=20, random_state=7) for _ in range(2))

        assert first.dtype == np.float32
        assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(20), abs=1e-6)
        assert first.tobytes() == second.tobytes()

    def test_every_row_counts_even_when_there_are_more_than_256_a_centroid(self):
        # One row in a thousand lies elsewhere; a sample of 256 a centroid could miss it.
        embeddings = np.repeat(np.eye(8, dtype=np.float32)[:2], [1998, 2], axis=0)

        centroids = train_centroids(embeddings, n_clusters=2, random_state=0)

        assert sorted(nearest_centroid(np.eye(8, dtype=np.float32)[:2], centroids)[0].tolist()) == [0, 1]

    def test_as_many_clusters_as_rows_makes_each_row_a_centroid_without_a_warning(self, capfd):
        embeddings = unit_rows(12, 6)

        centroids = train_centroids(embeddings, n_clusters=12, random_state=0)

        assert sorted(map(tuple, np.round(centroids, 5))) == sorted(map(tuple, np.round(embeddings, 5)))
        assert capfd.readouterr() == ("", "")

    def test_copies_of_one_row_still_give_usable_centroids(self):
        embeddings = np.repeat(unit_rows(1, 16), 500, axis=0)

        centroids = train_centroids(embeddings, n_clusters=10, random_state=0)

        home, distance = nearest_centroid(embeddings, centroids)
        assert len(set(home.tolist())) == 1
        assert distance.max() == 0.0

    def test_the_number_of_threads_changes_nothing_and_is_given_back(self):
        embeddings, _ = blobs(9000, 40, 24, noise=0.8)
        before = threadpool_info()

        alone, shared = (
            train_centroids(embeddings, n_clusters=30, random_state=0, max_iter=6, n_threads=n) for n in (1, 3)
        )

        assert alone.tobytes() == shared.tobytes()
        assert threadpool_info() == before

    def test_clusters_that_lose_their_rows_start_again_from_the_farthest_ones(self, xp):
        # Ten copies are drawn at first, unless the draw prefers what is far: then the two lone rows are.
        embeddings = np.repeat(np.eye(8, dtype=np.float32)[:3], [1000, 1, 1], axis=0)

        centroids = train_centroids(xp.asarray(embeddings), n_clusters=10, random_state=0)

        home, distance = homes(xp, embeddings, to_host(centroids))
        assert len(set(home)) == 3
        assert max(distance) == 0.0

    def test_each_centroid_is_the_mean_of_its_rows_once_nothing_moves(self, xp):
        embeddings, _ = blobs(500, 6, 16, noise=0.5)

        centroids = to_host(train_centroids(xp.asarray(embeddings), n_clusters=5, random_state=3, max_iter=200))

        home = np.array(homes(xp, embeddings, centroids)[0])
        means = np.stack([embeddings[home == k].astype(float).sum(axis=0) for k in range(5)])
        assert centroids == pytest.approx(means / np.linalg.norm(means, axis=1)[:, None], abs=1e-6)

    def test_training_takes_little_more_memory_than_its_sample(self):
        n_clusters, dim = 64, 128
        embeddings = unit_rows(n_clusters * 256, dim)

        tracemalloc.start()
        train_centroids(embeddings, n_clusters=n_clusters, random_state=0, max_iter=3)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        centroid_bytes = 2**20 * 3 + 200 * n_clusters * dim
        assert peak_bytes < 0.3 * embeddings.nbytes + centroid_bytes

    def test_one_cluster_is_the_direction_of_the_mean(self, xp):
        centroid = train_centroids(xp.asarray([[1, 0], [0, 1]], dtype=xp.float32), n_clusters=1, random_state=0)

        assert to_host(centroid) == pytest.approx(np.full((1, 2), 2**-0.5))

    def test_rows_that_cancel_out_leave_the_first_row_as_the_centroid(self):
        centroid = train_centroids(np.array([[0, 1], [0, -1]], np.float32), n_clusters=1, random_state=0)

        assert centroid.tolist() == [[0, 1]]

    def test_training_on_a_gpu_without_cupy_names_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)

        with pytest.raises(ModuleNotFoundError, match=r"Training on cuda:1 needs CuPy.*pip install cupy-cuda12x"):
            train_centroids(unit_rows(10, 4), n_clusters=2, random_state=0, device="cuda:1")

    @pytest.mark.parametrize(
        ("sample", "settings", "message"),
        [
            (unit_rows(3, 4), {"n_clusters": 4}, r"4 clusters need .* rows, got 3\. Lower cluster\.n_clusters"),
            (unit_rows(3, 4), {"n_clusters": 0}, r"n_clusters must be at least 1, got 0"),
            (unit_rows(3, 4), {"n_clusters": 1, "n_threads": 0}, r"n_threads must be at least 1, got 0"),
            (unit_rows(3, 4), {"n_clusters": 1, "max_iter": 0}, r"max_iter must be at least 1, got 0"),
            (
                unit_rows(3, 4),
                {"n_clusters": 1, "device": "gpu"},
                r"device must be 'cpu' or 'cuda:<number>', got 'gpu'",
            ),
            (np.full((3, 4), np.nan, np.float32), {"n_clusters": 2}, r"sample must have unit length.*invalid_rows"),
        ],
    )
    def test_what_cannot_be_trained_on_is_refused_with_the_remedy(self, sample, settings, message):
        with pytest.raises(ValueError, match=message):
            train_centroids(sample, random_state=0, **settings)


class TestAssign:
    def test_a_row_goes_to_the_centroid_with_the_highest_cosine(self, xp):
        centroids = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
        embeddings = np.array([[0.6, 0.8], [0.8, -0.6], [-1, 0]], np.float32)

        assert homes(xp, embeddings, centroids) == ([1, 0, 2], [0.2, 0.2, 0.0])

    def test_the_lowest_number_wins_among_equal_centroids(self, xp):
        a, b = unit_rows(2, 8)

        cluster_id, distance = homes(xp, np.stack([a, b]), np.stack([b, a, a, b, a]))

        assert (cluster_id, distance) == ([1, 0], [0.0, 0.0])
        assert not np.signbit(distance).any()

    def test_float64_decides_between_centroids_that_float32_cannot_tell_apart(self, xp):
        base, noise = unit_rows(1, 768)[0], unit_rows(40, 768, seed=1)
        centroids = l2_normalize(base + 1e-3 * noise)  # cosines of 1 - 5e-7, all within float32's error
        embeddings = l2_normalize(base + 1e-3 * unit_rows(200, 768, seed=2))

        cluster_id, _ = homes(xp, embeddings, centroids)

        exact = embeddings.astype(float) @ (centroids / np.linalg.norm(centroids.astype(float), axis=1)[:, None]).T
        assert cluster_id == exact.argmax(axis=1).tolist()

    @given(
        seed=st.integers(0, 1000),
        n_centroids=st.integers(1, 30),
        crowding=st.sampled_from([1.0, 1e-3, 1e-5]),
        batch_size=st.sampled_from([1, 3, 64, 8192]),
    )
    def test_any_batch_size_agrees_with_float64(self, xp, seed, n_centroids, crowding, batch_size):
        centroids = l2_normalize(unit_rows(1, 24, seed) + crowding * unit_rows(n_centroids, 24, seed + 1))
        embeddings = np.vstack([unit_rows(20, 24, seed + 2), centroids[:5], -centroids[:2]])

        cluster_id, distance = homes(xp, embeddings, centroids, batch_size=batch_size)

        wide, cents = (
            m / np.linalg.norm(m, axis=1)[:, None] for m in (embeddings.astype(float), centroids.astype(float))
        )
        cosines = wide @ cents.T
        chosen = cosines[np.arange(len(wide)), cluster_id]
        assert (cosines.max(axis=1) - chosen <= 1e-14).all()  # what is closer still is a tie to this reference
        assert distance == np.round(1 - chosen, 6).tolist()
        assert (cluster_id, distance) == homes(xp, embeddings, centroids)
        prepared = CentroidIndex.of(xp.asarray(centroids))
        found = nearest_centroid(UnitRows.of(xp.asarray(embeddings)), prepared, batch_size=batch_size)
        assert (cluster_id, distance) == tuple(to_host(each).tolist() for each in found)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assignment, "_CENTROID_TILE", 4)
            patch.setattr(assignment, "_SETTLED_PRODUCTS", 1)
            assert (cluster_id, distance) == homes(xp, embeddings, centroids, batch_size=batch_size)

    def test_more_centroids_than_a_tile_agree_with_float64(self, xp):
        centroids, embeddings = unit_rows(2500, 16), unit_rows(700, 16, seed=1)

        cluster_id, _ = homes(xp, embeddings, centroids, batch_size=300)

        assert cluster_id == (embeddings.astype(float) @ centroids.astype(float).T).argmax(axis=1).tolist()

    @pytest.mark.parametrize("scale", [0.9991, 1.0009])
    def test_rows_and_centroids_slightly_off_unit_length_are_compared_by_their_cosine(self, xp, scale):
        centroids = (
            unit_rows(20, 12) * np.float32(1 + 0.9 * (1 - scale)) * np.linspace(1, scale, 20, dtype=np.float32)[:, None]
        )
        embeddings = unit_rows(300, 12, seed=1) * np.float32(scale)

        cluster_id, distance = homes(xp, embeddings, centroids)

        wide, cents = (
            m / np.linalg.norm(m, axis=1)[:, None] for m in (embeddings.astype(float), centroids.astype(float))
        )
        cosines = wide @ cents.T
        assert cluster_id == cosines.argmax(axis=1).tolist()
        assert distance == np.round(1 - cosines.max(axis=1), 6).tolist()

    @pytest.mark.parametrize("n", [40, 3000])
    def test_rows_that_are_at_right_angles_to_all_centroids_go_to_the_first(self, xp, n):
        centroids = np.eye(64, dtype=np.float32)[:40]
        embeddings = np.eye(64, dtype=np.float32)[40 + np.arange(n) % 24]

        assert homes(xp, embeddings, centroids) == ([0] * n, [1.0] * n)

    def test_no_rows_have_no_home(self, xp):
        cluster_id, distance = nearest_centroid(xp.empty((0, 4), dtype=xp.float32), xp.asarray(unit_rows(2, 4)))

        assert (cluster_id.shape, cluster_id.dtype, distance.shape, distance.dtype) == (
            (0,),
            np.int32,
            (0,),
            np.float64,
        )

    @pytest.mark.parametrize(
        ("embeddings", "centroids", "batch_size", "message"),
        [
            (unit_rows(2, 4), unit_rows(2, 5), 1, r"shape \(2, 5\) do not fit embeddings of dimension 4.*same encoder"),
            (unit_rows(2, 4), unit_rows(0, 4), 1, r"shape \(0, 4\) do not fit"),
            (unit_rows(2, 4), 2 * unit_rows(2, 4), 1, r"centroids must have unit length"),
            (2 * unit_rows(2, 4), unit_rows(2, 4), 1, r"embeddings must have unit length"),
            (unit_rows(2, 4), unit_rows(2, 4), 0, r"batch_size must be at least 1, got 0"),
        ],
    )
    def test_what_cannot_be_assigned_is_refused(self, embeddings, centroids, batch_size, message):
        with pytest.raises(ValueError, match=message):
            nearest_centroid(embeddings, centroids, batch_size=batch_size)


class TestSize:
    def test_a_million_rows_get_about_300_clusters(self):
        assert auto_n_clusters(1_000_000, 768) == 300

    @given(n_rows=st.integers(1, 10**10), dim=st.integers(1, 4096))
    def test_the_number_of_clusters_is_between_one_and_the_rows_and_can_be_trained(self, n_rows, dim):
        n_clusters = auto_n_clusters(n_rows, dim)

        assert 1 <= n_clusters <= n_rows
        assert n_clusters == 1 or 64 * n_clusters * dim * 4 <= 8 * 2**30

    @given(n_rows=st.integers(1, 10_000), dim=st.integers(1, 4096))
    def test_few_rows_are_one_cluster_so_that_no_pair_is_missed(self, n_rows, dim):
        assert auto_n_clusters(n_rows, dim) == 1

    def test_few_rows_that_do_not_fit_in_one_task_are_more_clusters(self):
        assert auto_n_clusters(10_000, 768, max_task_bytes=10_000 * 768) >= 4

    @given(n_rows=st.integers(10_001, 10**6))
    def test_no_other_number_of_clusters_costs_less(self, n_rows):
        def cost(k):
            return 1.4 * 256 * k**2 * 25 + n_rows * k + 1.15 * n_rows**2 / k / 2

        chosen = auto_n_clusters(n_rows, 8)

        assert cost(chosen) <= min(cost(k) for k in (1, max(1, chosen - 1), min(n_rows, chosen + 1), n_rows))

    @pytest.mark.parametrize(("n_rows", "n_clusters"), [(10**7, 667), (10**8, 1457), (10**9, 3159)])
    def test_beyond_a_million_rows_training_in_one_task_costs_what_all_others_wait(self, n_rows, n_clusters):
        assert auto_n_clusters(n_rows, 512) == n_clusters

    def test_little_memory_raises_the_number_until_a_mean_cluster_fits(self):
        n_rows, dim, max_task_bytes = 100_000, 16, 2**20

        n_clusters = auto_n_clusters(n_rows, dim, max_task_bytes=max_task_bytes)

        assert n_rows / n_clusters * dim * 4 <= max_task_bytes

    def test_training_memory_wins_where_both_bounds_cannot_hold(self):
        assert auto_n_clusters(10**9, 768, max_task_bytes=2**20) == 2**20 // (64 * 768 * 4)

    @pytest.mark.parametrize(
        ("n_rows", "n_clusters", "max_task_bytes", "expected"),
        [
            (10**6, 100, 2**33, 25_600),  # 256 a centroid
            (5000, 100, 2**33, 5000),  # all there are
            (10**6, 100, 10_000 * 4 * 8, 10_000),  # what memory allows
            (10**6, 100, 1, 6400),  # never below 64 a centroid
        ],
    )
    def test_the_sample_is_as_large_as_is_useful_and_affordable(self, n_rows, n_clusters, max_task_bytes, expected):
        assert sample_rows_for(n_rows, n_clusters, 8, max_task_bytes) == expected

    def test_counts_below_one_are_refused(self):
        with pytest.raises(ValueError, match="n_rows must be at least 1, got 0"):
            auto_n_clusters(0, 768)
        with pytest.raises(ValueError, match="n_clusters must be at least 1, got 0"):
            sample_rows_for(10, 0, 768)
