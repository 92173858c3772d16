#!/usr/bin/env bash
# A Spark Connect server of the installed pyspark on this machine's loopback, in the foreground: Ctrl-C ends it.
#
#     scripts/connect_server.sh [port] [options of spark-submit]
#
# The wheel of pyspark has the server but no script for it. PYSPARK_PYTHON names the Python of the workers, and has pyspark.
set -euo pipefail
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-python3}
# A task unpickles the package's functions by name: a checkout of it must be importable.
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
home=$("$PYSPARK_PYTHON" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')
exec "$home/bin/spark-submit" \
  --conf spark.connect.grpc.binding.address=127.0.0.1 \
  --conf "spark.connect.grpc.binding.port=${1:-15002}" \
  "${@:2}" \
  --class org.apache.spark.sql.connect.service.SparkConnectServer spark-internal
