"""What must be whole after any fault of storage: small pieces of work on it, without Spark.

To add one, write what it does, and name it here.
"""

from __future__ import annotations

from tests.faults.outputs import OUTPUT
from tests.faults.records import CLAIM, PART, RECORD, SETTINGS

PROTOCOLS = (OUTPUT, RECORD, PART, CLAIM, SETTINGS)
