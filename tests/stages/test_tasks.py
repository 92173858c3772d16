"""What travels to tasks."""

from __future__ import annotations

import pickle

from spark_imgdedup.stages.tasks import EachAlone

UNPACKED = []


def unpack(number):
    UNPACKED.append(number)
    return number


class Told:
    """Says when it is unpacked."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return unpack, (self.number,)


def test_a_task_unpacks_its_own_item_alone():
    items = pickle.loads(pickle.dumps(EachAlone(Told(number) for number in range(5))))
    UNPACKED.clear()

    assert items[3] == 3
    assert UNPACKED == [3]
    assert len(items) == 5
