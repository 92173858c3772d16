#!/usr/bin/env bash
# The jar of the RAPIDS Accelerator that conf/spark-rapids.conf and tests/rapids mean: fetched once (1 GB), checked, kept
# outside of the checkout. Prints its path.
#
#   scripts/fetch_rapids.sh
#
# Environment, with defaults:
#   RAPIDS_JAR                               a jar that is there already: checked, nothing is fetched
#   RAPIDS_CACHE=${XDG_CACHE_HOME:-~/.cache}/spark-imgdedup/rapids
#   PYTHON=.venv/bin/python, else python3    the Python whose pyspark brings Ivy, which fetches
set -euo pipefail

version=26.08.1
n_bytes=1007818697
sha256=d5224e1c07bc881e93829ea341b33a9a7896d1ced7783262b62d027a1e48b1f9
name=rapids-4-spark_2.13-$version.jar
folder=${RAPIDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spark-imgdedup/rapids}
jar=${RAPIDS_JAR:-$folder/$name}
checked=$folder/$name.sha256 # hashing 1 GB takes seconds: once, for a file of this size and age

fail() {
  echo "fetch_rapids: $*" >&2
  exit 1
}

state_of() { stat -c '%s %Y %n' "$1"; }

check() {
  local found
  found=$(stat -c %s "$1")
  [[ $found == "$n_bytes" ]] || fail "$1 has $found bytes, $name has $n_bytes. Delete it and call this again."
  if [[ -f $checked && $(cat "$checked") == "$sha256 $(state_of "$1")" ]]; then return; fi
  found=$(sha256sum "$1" | cut -d' ' -f1)
  [[ $found == "$sha256" ]] || fail "$1 has the SHA-256 $found, $name has $sha256. Delete it and call this again."
}

fetch() {
  local python=${PYTHON:-.venv/bin/python} ivy
  [[ -n ${PYTHON:-} || -x $python ]] || python=python3
  ivy=$("$python" -c 'import pathlib, pyspark; print(next(pathlib.Path(pyspark.__file__).parent.glob("jars/ivy-*.jar")))' \
    2>/dev/null) || fail "$python has no pyspark, which brings Ivy. Name one that has: PYTHON=path/to/python."
  temporary=$(mktemp -d "$folder/.fetch-XXXXXX")
  trap 'rm -rf "$temporary"' EXIT # not a local variable: it is read after the function has ended
  # usepoms: the parent of the jar's POM is not published, and Ivy (as Maven, and spark.jars.packages) stops at it.
  cat >"$temporary/settings.xml" <<XML
<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true" usepoms="false"/></resolvers>
</ivysettings>
XML
  echo "fetching $name (1 GB) from Maven Central into $folder" >&2
  java -jar "$ivy" -warn -settings "$temporary/settings.xml" -cache "$temporary/ivy" \
    -dependency com.nvidia rapids-4-spark_2.13 "$version" -notransitive \
    -retrieve "$temporary/[artifact]-[revision].[ext]" >"$temporary/log" 2>&1 ||
    fail "$name could not be fetched: $(tr -s '.\n' ' ' <"$temporary/log" | tail -c 2000)"
  check "$temporary/$name"
  mv "$temporary/$name" "$jar"
}

mkdir -p "$folder"
[[ -f $jar || -z ${RAPIDS_JAR:-} ]] || fail "RAPIDS_JAR is $RAPIDS_JAR, and there is no such file."
[[ -f $jar ]] || fetch
check "$jar"
echo "$sha256 $(state_of "$jar")" >"$checked"
echo "$jar"
