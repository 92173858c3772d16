#!/usr/bin/env bash
# This package and all it needs but Spark, as one archive for `spark-submit --archives`.
#
#   scripts/pack_environment.sh [ARCHIVE]     default dist/environment.tar.gz
#
#   spark-submit --archives dist/environment.tar.gz#environment \
#     --conf spark.pyspark.python=./environment/bin/python jobs/dedup.py --config …
#
# Spark itself is left out: the cluster has its own. What is packed are the locked versions of requirements/run.txt; for
# more (torch, s3fs, …) name pip requirements in EXTRA, e.g. EXTRA="s3fs imagehash".
#
# The archive holds no Python of its own: bin/python is a link, and the Python it names (with PYTHON, default python3,
# 3.11 or newer) must be at the same path on every node. PYTHON_PREFIX=/usr makes it /usr/bin/python3.11 there.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
archive=${1:-dist/environment.tar.gz}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  {
    echo "pack_environment: Python 3.11 or newer is needed, $python is older. Name another: PYTHON=python3.12" >&2
    exit 1
  }

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
pip() { "$build/$1/bin/python" -m pip --disable-pip-version-check -q "${@:2}"; }

# A lock's entry is a line without indent and the hashes that follow it.
awk '/^[^ #]/ { keep = $0 !~ /^(pyspark|py4j)==/ } keep' "$root/requirements/run.txt" >"$build/requirements.txt"
"$python" -m venv "$build/environment"
pip environment install --no-deps --require-hashes -r "$build/requirements.txt"
# No --editable: an archive must not point at this checkout.
pip environment install --no-deps --no-build-isolation "$root"
if [[ -n ${EXTRA:-} ]]; then
  pip environment freeze --exclude spark-imgdedup >"$build/constraints.txt"
  # shellcheck disable=SC2086  # several words are several requirements
  pip environment install -c "$build/constraints.txt" $EXTRA
fi

# Not venv-pack's --python-prefix: it turns a link to python3.11 into one to python3.113.11.
if [[ -n ${PYTHON_PREFIX:-} ]]; then
  version=$("$python" -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
  for link in "$build"/environment/bin/python*; do
    [[ $(readlink "$link") != /* ]] || ln -sfn "$PYTHON_PREFIX/bin/python$version" "$link"
  done
  # Where Python looks for its library.
  sed -i.bak "s|^home = .*|home = $PYTHON_PREFIX/bin|" "$build/environment/pyvenv.cfg"
  rm "$build/environment/pyvenv.cfg.bak"
fi

"$python" -m venv "$build/tools"
pip tools install venv-pack==0.2.0
mkdir -p "$(dirname "$archive")"
"$build/tools/bin/venv-pack" -q -f -p "$build/environment" -o "$archive" --format tar.gz --compress-level 1
echo "$archive: $(du -h "$archive" | cut -f1)"
