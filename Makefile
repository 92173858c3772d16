# `make demo` and `make test` set up what they need. Everything else is for developers.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
RUN := $(BIN)/.installed-run
DEV := $(BIN)/.installed-dev
# Spark's classes, parsed: each session of the tests starts 3 s sooner.
CLASSES := .venv/spark-classes.jsa
CLIP := .venv-clip/bin/.installed
SPARK35 := .venv-spark35/bin/.installed
AIRFLOW := .venv-airflow/bin/.installed
# Each has a command of its own below, and a row in README's table.
KINDS := connect cluster airflow s3 delta rapids browser packaging faults spark35 torch
# One thread for each numeric library: Spark runs one worker per core already.
export OMP_NUM_THREADS ?= 1
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python
# Without bytecode every Python compiles all modules again: collecting the tests takes 24 s in place of 11.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check lint format types audit unit slow $(KINDS) site hostile thorough faults-100 docs lock bench clean

help:  ## List these commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(RUN)  ## Deduplicate the sample shards and score the result against the truth
	$(BIN)/spark-imgdedup demo

# Types and the index of vulnerabilities are asked beside the tests, which leave a fifth of two cores idle.
test: lint  ## Lint, format check, types, and every test that needs no server and no torch
	$(MAKE) -j3 types audit unit

test-slow: slow site $(KINDS)  ## What needs servers, downloads or big installs: clusters, stores, other Sparks, torch

check: lint types audit  ## Lint, format check, types, and known vulnerabilities of what is locked

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

audit: $(DEV)  ## Known vulnerabilities of the locked versions, where the index can be asked
	$(BIN)/python scripts/audit.py

# Counting lines doubles what Python itself takes, so `make thorough` alone does it: make test COVERAGE=1
COVERAGE ?=
unit: $(CLASSES)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=) -m "not torch and not slow and not gpu"
	$(if $(COVERAGE),$(BIN)/coverage report --format=total)

slow: $(CLASSES)
	$(BIN)/python -m pytest -m "slow and not (connect or cluster or airflow or s3 or delta or rapids or browser or packaging or faults)"

connect: $(CLASSES)  ## The stages and whole runs on a Spark Connect server
	$(BIN)/python -m pytest -m connect --ignore tests/models

cluster: $(CLASSES)  ## spark-submit to a standalone cluster on this machine
	$(BIN)/python -m pytest -m "cluster and not thorough" tests/cluster

airflow: $(AIRFLOW)  ## The DAGs, run by Airflow on that cluster
	$(BIN)/python -m pytest -m "airflow and not thorough" tests/airflow

s3: $(CLASSES)  ## Whole runs on an S3 server on this machine
	$(BIN)/python -m pytest -m "s3 and not thorough" tests/object_stores

delta: $(CLASSES)  ## Tables, deletions and versions in Delta
	$(BIN)/python -m pytest -m "delta and not thorough" tests/delta

rapids: $(CLASSES)  ## What the RAPIDS Accelerator says of each step; fetches its jar, 1 GB, once
	$(BIN)/python -m pytest -m rapids tests/rapids

# Where screenshots of the pages go, for people to look at.
export BROWSER_SHOTS ?= $(CURDIR)/build/shots
browser: $(CLASSES)  ## Pages in headless Chromium, which Debian's packages bring; screenshots in build/shots
	scripts/install_browser.sh
	$(BIN)/python -m pytest -m browser tests/browser

packaging: $(CLASSES)  ## The wheel and the sdist, installed and used
	$(BIN)/python -m pytest -m packaging tests/test_packaging.py

SEED ?= 0
N ?=
faults: $(CLASSES)  ## Kills, full disks, lost power, a store in trouble, then run again: make faults SEED=7 N=30
	FAULTS_SEED=$(SEED) FAULTS_N=$(N) $(BIN)/python -m pytest tests/faults

faults-100: $(CLASSES)  ## More than a hundred faults, thirty of them in whole runs; takes most of an hour
	FAULTS_SEED=$(SEED) FAULTS_N=30 FAULTS_JSON=benchmarks/results/faults.json $(BIN)/python -m pytest -q tests/faults

HOSTILE_EXAMPLES ?= 5000
hostile: $(CLASSES)  ## Hostile files by the hundred, and random changes: make hostile HOSTILE_EXAMPLES=20000
	HOSTILE_EXAMPLES=$(HOSTILE_EXAMPLES) $(BIN)/python -m pytest tests/hostile

PROPERTIES := tests/config tests/files tests/kernels tests/report
thorough: $(AIRFLOW)  ## What CI has no time for: new examples for properties, long variants for S3, Delta and Airflow
	$(BIN)/python -m pytest -n 2 --hypothesis-profile exploring $(PROPERTIES)
	$(MAKE) unit COVERAGE=1
	for kind in airflow s3 delta; do $(BIN)/python -m pytest -m "$$kind and thorough" || exit 1; done

spark35: $(SPARK35)  ## The stages and jobs on Spark 3.5
	PYTHONPATH=$(CURDIR) PYSPARK_PYTHON=$(CURDIR)/.venv-spark35/bin/python .venv-spark35/bin/python -m pytest -m spark35 tests/stages tests/jobs

torch: $(CLIP)
	.venv-clip/bin/python -m pytest -m torch tests/models

format: $(DEV)  ## Rewrite the code as the formatter wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV)  ## Write the generated parts of the docs again
	$(BIN)/python scripts/write_docs.py
	$(BIN)/python scripts/write_matrix.py

site: $(DEV)  ## The docs as a site, build/site/docs/index.html; a broken link is an error
	$(BIN)/python -m sphinx -c docs -b html -q -W --keep-going . build/site

bench: $(DEV)  ## Benchmarks; results go to benchmarks/results
	$(BIN)/python benchmarks/embed.py
	$(BIN)/python benchmarks/remove.py
	$(BIN)/python benchmarks/memory.py

lock:  ## Resolve the dependencies again (needs uv)
	uv pip compile -q --universal pyproject.toml requirements/build.in --extra local --generate-hashes --python-version 3.11 --no-header -c requirements/constraints.in -o requirements/run.txt
	uv pip compile -q --universal pyproject.toml requirements/build.in --extra dev --generate-hashes --python-version 3.11 --no-header -c requirements/run.txt -o requirements/dev.txt
	echo uv | uv pip compile -q --universal - --generate-hashes --python-version 3.11 --no-header -c requirements/dev.txt -o requirements/uv.txt
	grep -E '^[a-z]' requirements/dev.txt | grep -vE '^(pyspark|py4j)=' | tr -d '\\' | uv pip compile -q --universal requirements/spark35.in --generate-hashes --python-version 3.11 --no-header -c /dev/stdin -o requirements/spark35.txt
	uv pip compile -q --universal requirements/airflow.in --generate-hashes --python-version 3.11 --no-header -o requirements/airflow.txt
	uv pip compile -q --universal requirements/clip.in --generate-hashes --python-version 3.11 --no-header -c requirements/dev.txt -o requirements/clip.txt

clean:  ## Remove what the commands above made, environments excepted
	rm -rf spark-imgdedup-demo work dist build .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 …")'
	@$(PYTHON) spark_imgdedup/runs/java.py
	$(PYTHON) -m venv .venv

# uv takes 40 s where pip takes 160, most of it for pyspark. It does not read pip's configuration: where only that names
# an index that can be reached, pip installs. --no-deps: the locks are whole, and pip would look for a newer
# coverage[toml] than the coverage that is pinned.
define install
$(BIN)/uv pip install -q --python $(BIN)/python --no-deps $(1) || $(PIP) $(1)
endef

$(RUN): requirements/uv.txt requirements/run.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/uv.txt
	$(call install,--require-hashes -r requirements/run.txt)
	$(call install,--no-build-isolation -e .)
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

$(CLASSES): tests/jvm.py $(DEV)
	$(BIN)/python -m tests.jvm

# torch brings 5 GB of CUDA libraries, which uv unpacks several times faster than pip.
$(CLIP): requirements/clip.txt $(DEV)
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-clip
	$(BIN)/uv pip install -q --python .venv-clip/bin/python --require-hashes -r requirements/clip.txt
	@touch $@

$(SPARK35): requirements/spark35.txt $(DEV)
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-spark35
	$(BIN)/uv pip install -q --python .venv-spark35/bin/python --require-hashes -r requirements/spark35.txt
	@touch $@

$(AIRFLOW): requirements/airflow.txt $(CLASSES)
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-airflow
	$(BIN)/uv pip install -q --python .venv-airflow/bin/python --require-hashes -r requirements/airflow.txt
	@touch $@
