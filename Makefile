# The one vocabulary: here, in CONTRIBUTING and in CI. Each target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

CLIENTS := .venv-clients
TOOLS := .venv-tools
INFINITY := .venv-infinity
PEERS := .venv-peers

.PHONY: run test test-clients test-fleet check check-docker lock lock-check sbom format load bench audit mini clean

run: $(VENV)/.run  ## serve the shipped checkpoint on port 8000 (CROSSRANK_PORT moves it)
	@$(BIN)/crossrank serve

test: $(VENV)/.dev  ## the whole suite: no GPU, no model hub
	$(BIN)/pytest

test-clients: $(VENV)/.run $(CLIENTS)/.installed  ## real client SDKs against a running server
	SERVER_PYTHON=$(BIN)/python $(CLIENTS)/bin/python -m pytest tests/clients --confcutdir=tests/clients -W ignore

check: $(VENV)/.dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fleet: $(VENV)/.dev $(TOOLS)/.installed  ## Prometheus, the proxy, manifests: needs tools, says which
	PATH="$(CURDIR)/$(TOOLS)/bin:/usr/sbin:$$PATH" $(BIN)/pytest -m fleet

check-docker: $(TOOLS)/.installed  ## the Dockerfile and the shell scripts
	$(TOOLS)/bin/hadolint Dockerfile
	$(TOOLS)/bin/shellcheck docker/*.sh docker/grafana/render/*.sh .ci/run

lock: $(TOOLS)/.installed  ## write the images' lock files again
	docker/lock.sh

lock-check: $(TOOLS)/.installed  ## whether the lock files are what `make lock` would write
	rm -rf build/lock && mkdir -p build/lock && docker/lock.sh build/lock
	diff docker/requirements-cpu.lock build/lock/requirements-cpu.lock
	diff docker/requirements-gpu.lock build/lock/requirements-gpu.lock
	diff docker/requirements-tensorrt.lock build/lock/requirements-tensorrt.lock

sbom: $(VENV)/.dev $(TOOLS)/.installed  ## bill of materials (CycloneDX) and licences, into build/
	docker/sbom.sh $(BIN)/python build

format: $(VENV)/.dev  ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

load: $(VENV)/.load  ## load, faults and a soak against real servers: about five minutes
	$(BIN)/python -m loadtests

bench: $(VENV)/.bench $(INFINITY)/.installed $(PEERS)/.installed  ## beside its peers: about 15 minutes
	$(BIN)/python -m loadtests.bench $(BENCH)

audit: $(VENV)/.audit  ## known vulnerabilities in the pinned versions: asks the network
	$(BIN)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

mini: $(VENV)/.dev  ## train the shipped checkpoint again (about half an hour on two cores)
	$(PIP) -r models/mini/requirements.txt
	$(BIN)/python -m models.mini.train --work build/mini

clean:  ## remove everything that was installed or built
	rm -rf $(VENV) $(CLIENTS) $(TOOLS) $(INFINITY) $(PEERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "crossrank needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (PyTorch is large; this happens once)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

# The SDKs want versions of their own, and none of them needs crossrank.
$(CLIENTS)/.installed: tests/clients/requirements.txt
	@echo "Installing the clients into $(CLIENTS)"
	@$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	@touch $@

$(VENV)/.load: $(VENV)/.run
	$(PIP) -e '.[load]'
	@touch $@

$(VENV)/.bench: $(VENV)/.run
	$(PIP) -e '.[bench]'
	@touch $@

$(VENV)/.audit: $(VENV)/.run
	$(PIP) -e '.[audit]'
	@touch $@

# The benchmark's peers, each with versions that it is at its best with.
$(INFINITY)/.installed $(PEERS)/.installed: .venv-%/.installed: loadtests/bench/%.txt
	@echo "Installing the benchmark's $* into .venv-$* (PyTorch is large; this happens once)"
	@$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Nothing of these is in an image, or beside the project's own packages.
$(TOOLS)/.installed: docker/tools.txt
	@echo "Installing the tools into $(TOOLS)"
	@$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r docker/tools.txt
	@touch $@
