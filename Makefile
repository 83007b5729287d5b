# Tidemark's commands. `make help` lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
NATIVE := build/native
SANITIZED := build/sanitized
CORES ?= all
CONFIG ?= config/config.yaml
OPERATIONS ?= 200000
SECONDS ?= 60
PROTOS := src/tidemark/proto/criu.proto src/tidemark/proto/tracking.proto
C_SOURCES = $(shell git ls-files 'native/*.[ch]')
RULES = Snakefile benchmarks/Snakefile $(wildcard workflow/rules/*.smk)

# A run leaves nothing of the user's behind in these, and takes nothing from them.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: .venv/run ## set up, then run the workloads of CONFIG on CORES, to results/report.html
	tidemark run --cores $(CORES) --configfile $(CONFIG)

.PHONY: setup
setup: .venv/run .venv/test ## set up only: Debian packages, virtual environment, native library

.PHONY: setup-slurm
setup-slurm: .venv/run ## set up, with what it takes to submit to a Slurm cluster
	$(BIN)/pip install -q --group slurm

.PHONY: test
test: .venv/run .venv/test .venv/slurm .venv/kernels ## set up, then check everything: style, types, native, unit and live tests
	$(BIN)/python tools/check.py

.PHONY: test-kernels
test-kernels: .venv/run .venv/kernels ## boot Debian's kernels in emulated machines, and test on each
	KERNELS=all $(BIN)/python tools/check.py kernels

.PHONY: test-newer-kernels
test-newer-kernels: .venv/run .venv/kernels ## the same on kernels of Debian's backports, as long as these are there
	KERNELS=newer $(BIN)/python tools/check.py kernels

.PHONY: test-slurm
test-slurm: .venv/run .venv/slurm ## start a Slurm cluster of two nodes on this machine, and test on it
	$(BIN)/python tools/check.py slurm

.PHONY: torture
torture: .venv/run .venv/test ## do OPERATIONS random operations, from SEED, in MODE (epochs, checkpoints; or both), and look for a lost write
	python tests/torture/torture.py --operations $(OPERATIONS) $(if $(SEED),--seed $(SEED)) \
		$(if $(MODE),--mode $(MODE))

.PHONY: fuzz
fuzz: .venv/run .venv/test ## make up files for what reads them, for SECONDS each (60), and look for what breaks
	python tests/fuzz/fuzz.py --seconds $(SECONDS) $(HARNESSES)

.PHONY: faults
faults: .venv/run .venv/test ## let each system call of a checkpoint, restore and keep fail once, or COUNT of each
	python tests/faults/sweep.py $(if $(COUNT),--count $(COUNT)) $(if $(TURN),--turn $(TURN)) $(SWEEPS)

.PHONY: mutations
mutations: .venv/run .venv/test ## break a copy of the tree in each way that is known, and see it found
	MUTATIONS=all python -m pytest -q tests/torture/test_mutations.py

.PHONY: bench
bench: CONFIG = full
bench: .venv/run ## measure, here or by PROFILE, and say what holds: CONFIG is full, or quick (some minutes)
	snakemake -s benchmarks/Snakefile $(if $(PROFILE),--workflow-profile $(PROFILE),--cores 1) \
		--forceall --quiet all --config bench=$(CONFIG)
	cp results/benchmarks/benchmarks.md results/benchmarks/benchmarks.svg docs/
	cat results/benchmarks/verdicts.txt

.PHONY: lint
lint: .venv/run .venv/test ## formatters, linters and types only
	$(BIN)/python tools/check.py style

.PHONY: format
format: .venv/test ## set all sources as the linters want them
	ruff format .
	ruff check --fix .
	clang-format -i $(C_SOURCES)
	snakefmt $(RULES)

.PHONY: protos
protos: .venv/test ## make the protobuf modules from the .proto files
	python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src $(PROTOS)

.PHONY: clean
clean: ## remove what was built; results stay
	rm -rf .venv build

# What a run needs. A change of the native library or of the dependencies builds it anew.
.venv/run: pyproject.toml CMakeLists.txt $(wildcard native/*.[ch] native/*.txt native/python/*)
	tools/debian-packages.sh build
	test -x $(BIN)/python || python3 -m venv .venv
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q --group build
	$(BIN)/pip install -q --no-build-isolation -e '.[workflow]'
	touch $@

# What the tests need besides.
.venv/test: .venv/run
	tools/debian-packages.sh test
	$(BIN)/pip install -q --group test --group lint
	touch $@

# What it takes to start a Slurm cluster. Where it cannot be had, those tests are skipped.
.venv/slurm: .venv/test tools/debian-packages.sh
	tools/debian-packages.sh slurm || true
	$(BIN)/pip install -q --group slurm
	touch $@

# What it takes to boot other kernels. Where it cannot be had, those tests are skipped.
.venv/kernels: .venv/test tools/debian-packages.sh
	tools/debian-packages.sh kernels || echo "tidemark: tests on other kernels will be skipped" >&2
	touch $@
