"""What the Spark that the tests run on has."""

from __future__ import annotations

import pyspark
import pytest

SPARK_4 = not pyspark.__version__.startswith("3.")

needs_spark_4 = pytest.mark.skipif(not SPARK_4, reason="Spark 3.5 cannot do it; README and guides say so")
