#!/usr/bin/env bash
# A Spark standalone cluster on this machine: one master and two workers, each a process of its own, on loopback.
#
#   scripts/local_cluster.sh start  [FOLDER]    start what is not running, wait until the workers are registered
#   scripts/local_cluster.sh status [FOLDER]    say what runs; exit code 0 if all of it does
#   scripts/local_cluster.sh stop   [FOLDER]    stop what start began, and nothing else
#
# FOLDER (default .cluster) holds master.url, the pids, logs/ and work/ (what executors print). Another folder is
# another cluster. `start` prints the master's URL:
#
#   spark-submit --master "$(cat .cluster/master.url)" jobs/dedup.py --config conf/local.yaml
#
# Environment, with defaults:
#   PYTHON=.venv/bin/python, else python3    the Python whose pyspark is started; SPARK_HOME names a Spark instead
#   N_WORKERS=2  WORKER_CORES=1  WORKER_MEMORY=2g
#   WORKER_HOSTS=one                         each: 127.0.0.2, 127.0.0.3, ... as if they were machines, which speculation
#                                            asks for (Linux)
#   WORKER_OPTIONS=                          Java options of each worker, such as those that give it GPUs
#   MASTER_PORT=0  MASTER_UI_PORT=0          0: a free one
#   START_SECONDS=90                         how long to wait for the workers
set -euo pipefail

action=${1:-}
folder=${2:-.cluster}
n_workers=${N_WORKERS:-2}
limit=${START_SECONDS:-90}

fail() {
  echo "local_cluster: $*" >&2
  exit 1
}

case $action in
  start | stop | status) ;;
  *) fail "usage: scripts/local_cluster.sh start|stop|status [FOLDER]" ;;
esac
[[ $action == start || -d $folder ]] || { echo "no cluster in $folder"; [[ $action == stop ]]; exit; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[[ $folder != *[[:space:]]* ]] || fail "'$folder' has a space in it, which Spark's options cannot carry. Name another."
# On the command line of each process of this cluster: a pid that another program has got since is not ours.
mark="-Dlocal.cluster.folder=$folder"

names() {
  echo master
  seq -f 'worker-%g' "$n_workers"
}

is_running() {
  local pid
  # Not `ps | grep -q`: grep leaves at the match, and pipefail then blames ps, whose line is long.
  pid=$(cat "$folder/$1.pid" 2>/dev/null) && [[ $(ps -ww -o args= -p "$pid" 2>/dev/null) == *"$mark "* ]]
}

# Not is_running: a process on its way out has no command line any more.
has_ended() {
  local state
  state=$(ps -o stat= -p "$1" 2>/dev/null) || return 0
  [[ $state == Z* ]]
}

find_spark() {
  if [[ -n ${SPARK_HOME:-} ]]; then return; fi
  local python=${PYTHON:-.venv/bin/python}
  [[ -n ${PYTHON:-} || -x $python ]] || python=python3
  SPARK_HOME=$("$python" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)' 2>/dev/null) ||
    fail "$python has no pyspark. Name one that has: PYTHON=path/to/python, or set SPARK_HOME."
  export SPARK_HOME
}

launch() {
  local name=$1
  shift
  mkdir -p "$folder/logs"
  : >"$folder/logs/$name.log" # at once: what the one before has said must not be taken for this one's word
  # Which Python and which modules an executor uses is the application's business, not inherited from this shell. No
  # folder of settings is there either: nobody's own count, and a JVM with one on its class path maps no classes.
  env -u PYTHONPATH -u PYTHONHOME -u PYSPARK_PYTHON -u PYSPARK_DRIVER_PYTHON -u SPARK_MASTER_OPTS -u SPARK_WORKER_OPTS \
    SPARK_CONF_DIR="$folder/no-conf" SPARK_LOCAL_IP=127.0.0.1 SPARK_DAEMON_MEMORY=256m \
    SPARK_DAEMON_JAVA_OPTS="$mark -Dspark.master.rest.enabled=false" ${WORKER_OPTIONS:+SPARK_WORKER_OPTS="$WORKER_OPTIONS"} \
    nohup "$SPARK_HOME/bin/spark-class" "$@" >"$folder/logs/$name.log" 2>&1 </dev/null &
  echo $! >"$folder/$name.pid"
}

# Waits for `$2…` to succeed; fails with the end of $1's log if its process ends or the time is over.
wait_for() {
  local name=$1
  shift
  until "$@"; do
    if ! kill -0 "$(cat "$folder/$name.pid")" 2>/dev/null || ((SECONDS > limit)); then
      tail -n 5 "$folder/logs/$name.log" >&2
      stop >&2
      fail "$name did not start within $limit s; the whole log was $folder/logs/$name.log"
    fi
    sleep 0.2
  done
}

# Of a line that is whole, which the beginning of the next one shows.
master_url() {
  sed -n '/Starting Spark master at/{N;s|.*Starting Spark master at \(spark://[^ ]*\)\n.*|\1|p}' "$folder/logs/master.log" \
    2>/dev/null
}
has_address() { [[ -n $(master_url) ]]; }
is_registered() { grep -q 'Successfully registered with master' "$folder/logs/$1.log" 2>/dev/null; }

start() {
  local name host=127.0.0.1
  if ! is_running master; then
    stop >/dev/null # workers of a master that is gone
    launch master org.apache.spark.deploy.master.Master \
      --host 127.0.0.1 --port "${MASTER_PORT:-0}" --webui-port "${MASTER_UI_PORT:-0}"
    wait_for master has_address
    master_url >"$folder/master.url"
  fi
  for name in $(names | tail -n +2); do
    [[ ${WORKER_HOSTS:-one} == one ]] || host=127.0.0.$((1 + ${name#worker-}))
    is_running "$name" || launch "$name" org.apache.spark.deploy.worker.Worker "$(cat "$folder/master.url")" \
      --host "$host" --port 0 --webui-port 0 --cores "${WORKER_CORES:-1}" --memory "${WORKER_MEMORY:-2g}" \
      --work-dir "$folder/work"
  done
  for name in $(names | tail -n +2); do
    wait_for "$name" is_registered "$name"
  done
  cat "$folder/master.url"
}

stop() {
  local file name pid
  # Workers first: a worker whose master goes away tries to find it again.
  for file in $(ls -r "$folder"/*.pid 2>/dev/null); do
    name=$(basename "$file" .pid)
    pid=$(cat "$file")
    if is_running "$name"; then
      kill "$pid"
      for _ in $(seq 50); do
        has_ended "$pid" && break
        sleep 0.2
      done
      has_ended "$pid" || kill -9 "$pid"
      echo "$name stopped"
    fi
    rm -f "$file"
  done
  rm -f "$folder/master.url"
}

status() {
  local name all=0
  for name in $(names); do
    if is_running "$name"; then
      echo "$name runs, pid $(cat "$folder/$name.pid")"
    else
      echo "$name does not run"
      all=1
    fi
  done
  if is_running master; then
    cat "$folder/master.url"
    sed -n 's/.*Bound MasterWebUI to .*, and started at \(.*\)/\1/p' "$folder/logs/master.log"
  fi
  return $all
}

if [[ $action == start ]]; then find_spark; fi
"$action"
