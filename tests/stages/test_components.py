"""Both ways of finding components against scipy's, on chains, stars, cliques and random graphs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spark_imgdedup.stages.grouping.components import label_by_stars, label_in_one_task
from spark_imgdedup.stages.local_rows import local_rows


def graphs():
    rng = np.random.default_rng(0)
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)
    mixed = rng.permutation(1000)
    star = np.stack([np.full(300, 7), np.delete(np.arange(301), 7)], axis=1)
    clique = np.argwhere(np.triu(np.ones((40, 40)), 1))
    random = rng.integers(0, 2000, (1200, 2))
    return {
        "a chain": chain,
        "a chain of mixed numbers": mixed[chain],
        "a star": star,
        "cliques": np.concatenate([clique, clique + 10**12]),
        "random": random[random[:, 0] != random[:, 1]],
        "doubled": np.concatenate([random, random[:, ::-1]])[random[:, 0].repeat(2) != -1],
        "nothing": np.zeros((0, 2), np.int64),
    }


GRAPHS = graphs()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("way", ["one task", "stars"])
def test_each_node_gets_the_lowest_of_its_component_and_its_size(spark, tmp_path, way, name):
    pairs = GRAPHS[name]
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edges = local_rows(spark, pairs.tolist(), "one bigint, other bigint").repartition(3)
    rounds = iter(range(100))

    def store(df):
        path = str(tmp_path / str(next(rounds)))
        df.write.parquet(path)
        return spark.read.schema(df.schema).parquet(path)

    labels = label_in_one_task(edges) if way == "one task" else label_by_stars(edges, store)

    nodes, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    graph = coo_array((np.ones(len(places)), (places[:, 0], places[:, 1])), shape=(len(nodes), len(nodes)))
    numbers = connected_components(graph, directed=False)[1] if len(nodes) else []
    expected = {}
    for number in set(np.asarray(numbers).tolist()):
        members = nodes[numbers == number].tolist()
        expected |= {node: (min(members), len(members)) for node in members}
    rows = labels.collect()
    assert {row["node"]: (row["label"], row["size"]) for row in rows} == expected
    assert len(rows) == len(expected)
    if way == "stars" and "chain" in name:
        assert next(rounds) <= 20
