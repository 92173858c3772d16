#!/usr/bin/env bash
# Which GPUs are there: Spark's discovery script (spark.worker.resource.gpu.discoveryScript,
# spark.executor.resource.gpu.discoveryScript). Prints {"name": "gpu", "addresses": ["0", "1"]}.
# Addresses are nvidia-smi's numbers. In a container that holds some of a machine's GPUs it lists these, from 0.
# Without a GPU it fails, with a line in the log of the worker or executor: an executor that was promised a GPU must not
# start without one.
set -euo pipefail

fail() {
  echo "get_gpus: $*" >&2
  exit 1
}

command -v nvidia-smi >/dev/null || fail "nvidia-smi is not on PATH. Install NVIDIA's driver, or ask for no GPU here."
listed=$(nvidia-smi --query-gpu=index --format=csv,noheader) || fail "nvidia-smi failed: $listed"
numbers=$(grep -E '^ *[0-9]+ *$' <<<"$listed" | tr -d ' ') || fail "nvidia-smi lists no GPU: $listed"
addresses=$(sed 's/.*/"&"/' <<<"$numbers" | paste -sd,)
echo "{\"name\": \"gpu\", \"addresses\": [${addresses//,/, }]}"
