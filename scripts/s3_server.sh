#!/usr/bin/env bash
# An S3 server on this machine, on loopback, with credentials of its own: to try object stores, and for their tests.
#
#   scripts/s3_server.sh start  [FOLDER]    start it unless it runs; prints what to export
#   scripts/s3_server.sh status [FOLDER]    say whether it runs; exit code 0 if so
#   scripts/s3_server.sh stop   [FOLDER]    stop what start began, and nothing else
#
# FOLDER (default .s3) holds s3.env (the exports, readable by you alone), data/, access.log and server.log. Another
# folder is another server. Buckets are made as on any S3; the empty bucket `datasets` is there.
#
#   eval "$(scripts/s3_server.sh start)"
#
# It is versitygw (Apache-2.0), built by Go from its module proxy on the first start, or, where there is no Go, moto's
# server (pip install 'moto[server]'), which keeps everything in memory and lets everybody in.
#
# Environment, with defaults:
#   S3_SERVER=auto                    versitygw or moto, whatever else is there
#   S3_BIN=$HOME/.cache/spark-imgdedup/bin    where versitygw is built, once for all folders
#   S3_PORT=0                         0: a free one
#   PYTHON=.venv/bin/python, else python3     the Python that has moto, and finds a free port
#   START_SECONDS=60                  how long to wait for an answer
set -euo pipefail

VERSITYGW=v1.8.0

action=${1:-}
folder=${2:-.s3}
limit=${START_SECONDS:-60}

fail() {
  echo "s3_server: $*" >&2
  exit 1
}

case $action in
  start | stop | status) ;;
  *) fail "usage: scripts/s3_server.sh start|stop|status [FOLDER]" ;;
esac
[[ $action == start || -d $folder ]] || { echo "no S3 server in $folder"; [[ $action == stop ]]; exit; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# In the environment of the process, since its command line is its own: a pid that another program has got is not ours.
mark="LOCAL_S3_FOLDER=$folder"

python=${PYTHON:-.venv/bin/python}
[[ -n ${PYTHON:-} || -x $python ]] || python=python3

is_running() {
  local pid
  pid=$(cat "$folder/server.pid" 2>/dev/null) || return 1
  { tr '\0' '\n' <"/proc/$pid/environ" | grep -Fxc "$mark"; } >/dev/null 2>&1
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

random_text() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

kind_of_server() {
  local kind=${S3_SERVER:-auto}
  if [[ $kind == auto ]]; then
    if command -v go >/dev/null; then kind=versitygw; else kind=moto; fi
  fi
  echo "$kind"
}

build() {
  local bin=$1
  [[ -x $bin/versitygw-$VERSITYGW ]] && return
  echo "s3_server: building versitygw $VERSITYGW with Go, once; this takes a minute" >&2
  mkdir -p "$bin"
  local building
  building=$(mktemp -d "$bin/building.XXXXXX")
  GOBIN=$building GOFLAGS=-modcacherw go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" \
    >"$folder/build.log" 2>&1 || { rm -rf "$building"; fail "the build failed: $(tail -n 1 "$folder/build.log")"; }
  mv "$building/versitygw" "$bin/versitygw-$VERSITYGW"
  rmdir "$building"
}

launch() { # the command; what it must not show on its command line is in its environment
  env "$mark" nohup "$@" >"$folder/server.log" 2>&1 </dev/null &
  echo $! >"$folder/server.pid"
}

answers() {
  "$python" - "$1" <<'PYTHON'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=2)
except urllib.error.HTTPError:
    pass  # it refuses who has no key: it is there
except OSError:
    sys.exit(1)
PYTHON
}

start() {
  if ! is_running; then
    local kind bin port access secret
    kind=$(kind_of_server)
    port=${S3_PORT:-0}
    [[ $port != 0 ]] || port=$(free_port)
    if [[ -s $folder/s3.env ]]; then # its data may hold what these credentials own
      access=$(sed -n 's/^export AWS_ACCESS_KEY_ID=//p' "$folder/s3.env")
      secret=$(sed -n 's/^export AWS_SECRET_ACCESS_KEY=//p' "$folder/s3.env")
    else
      access=$(random_text 10)
      secret=$(random_text 20)
    fi
    case $kind in
      versitygw)
        bin=${S3_BIN:-$HOME/.cache/spark-imgdedup/bin}
        build "$bin"
        mkdir -p "$folder/data/datasets" "$folder/metadata"
        ROOT_ACCESS_KEY=$access ROOT_SECRET_KEY=$secret launch "$bin/versitygw-$VERSITYGW" --port "127.0.0.1:$port" \
          --region us-east-1 --quiet --access-log "$folder/access.log" posix --sidecar "$folder/metadata" "$folder/data"
        ;;
      moto)
        "$python" -c 'import moto.server' 2>/dev/null ||
          fail "there is no Go for versitygw, and $python has no moto. Install Go, or run: pip install 'moto[server]'"
        launch "$python" -m moto.server -H 127.0.0.1 -p "$port"
        ;;
      *) fail "S3_SERVER is '$kind'. Use versitygw, moto or auto." ;;
    esac
    (
      umask 077
      printf 'export %s\n' "AWS_ACCESS_KEY_ID=$access" "AWS_SECRET_ACCESS_KEY=$secret" \
        "AWS_ENDPOINT_URL=http://127.0.0.1:$port" AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1 >"$folder/s3.env"
    )
    SECONDS=0 # since the server began, however long it took to build
    until answers "http://127.0.0.1:$port/"; do
      if ! is_running || ((SECONDS > limit)); then
        tail -n 5 "$folder/server.log" >&2
        stop >&2
        fail "the server did not answer within $limit s; its log is $folder/server.log"
      fi
      sleep 0.2
    done
    [[ $kind != moto ]] || curl -sf -X PUT "http://127.0.0.1:$port/datasets" >/dev/null
  fi
  cat "$folder/s3.env"
}

stop() {
  local pid
  if is_running; then
    pid=$(cat "$folder/server.pid")
    kill "$pid"
    for _ in $(seq 50); do
      is_running || break
      sleep 0.2
    done
    ! is_running || kill -9 "$pid"
    echo "server stopped"
  fi
  rm -f "$folder/server.pid"
}

status() {
  if is_running; then
    echo "server runs, pid $(cat "$folder/server.pid")"
    sed -n 's/^export AWS_ENDPOINT_URL=//p' "$folder/s3.env"
  else
    echo "server does not run"
    return 1
  fi
}

"$action"
