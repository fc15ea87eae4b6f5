# Every common action has a name here; `make help` lists them. CI runs the same.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Debian's own Python where there is one; any other by `make PYTHON=... venv`.
PYTHON ?= $(shell if test -x /usr/bin/python3; then echo /usr/bin/python3; else echo python3; fi)
BIN := .venv/bin
UV := uv==0.13.9

TYPED := submitd twisted/plugins tests scripts bench/attackers.py bench/attacks.py bench/good_clients.py bench/hostile.py $(wildcard demo)
OURS := $(TYPED) setup.py
ALONE := tests/unit tests/protocol tests/property
WITH_PEERS := tests/integration tests/packaging
# Each run of pytest has data of its own: two go side by side.
MEASURED = COVERAGE_FILE=$(CURDIR)/build/coverage/$(1) $(BIN)/pytest --cov --cov-report=

# Whom `make bench` measures.
PEERS := postfix submitd

.PHONY: help run test check integration fuzz oldest bench hostile testssl deb trial talk docs html man lock venv clean \
        format lint types stale peers

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' Makefile | expand -t 14

run: .venv/runtime  ## the demonstration on loopback, until Ctrl-C
	@$(BIN)/python -m demo.run

check: .venv/development lint types stale html man  ## format, lint, types, unit, protocol and property tests
	$(BIN)/pytest $(ALONE)

test: .venv/development peers lint types stale html man  ## everything, with coverage floors and real peers
	@rm -rf build/coverage && mkdir -p build/coverage
	@# Peers are waited for more than worked with: there is a core to spare.
	$(call MEASURED,alone) $(ALONE) > build/alone.log 2>&1 & alone=$$!; \
	trap "kill $$alone" INT TERM; \
	$(call MEASURED,peers) $(WITH_PEERS); peers=$$?; \
	wait $$alone; alone=$$?; cat build/alone.log; exit $$((alone | peers))
	$(BIN)/coverage combine --quiet build/coverage/alone build/coverage/peers
	$(BIN)/coverage report --skip-covered
	$(BIN)/coverage json --quiet -o build/coverage.json
	$(BIN)/python scripts/coverage_floors.py build/coverage.json

integration: .venv/development peers  ## the tests against real peers alone
	$(BIN)/pytest $(WITH_PEERS)

fuzz: .venv/development  ## each driver of tests/fuzz for TIME=60 seconds, and its new inputs into the tree
	@for one in $(or $(TARGETS),$(basename $(notdir $(wildcard tests/fuzz/*.dict)))); do \
	    echo "== $$one" && $(BIN)/python -m tests.fuzz.run $$one $(or $(TIME),60) || exit 1; \
	done
	$(BIN)/python -m tests.fuzz.save $(TARGETS)

oldest:  ## the tests on the lowest versions that setup.py admits
	@mkdir -p build
	@$(SHELL) scripts/venv $(PYTHON) build/oldest requirements/build.txt requirements/oldest.txt
	build/oldest/bin/pytest $(ALONE)

bench: .venv/runtime  ## the benchmark beside its peers, in one run
	@rm -f build/bench/figures.jsonl
	BENCH_BIN=$(CURDIR)/build/bench bench/run.sh -o build/bench/figures.jsonl $(PEERS)

hostile: .venv/development  ## 2,000 hostile connections for a minute, and two good clients among them
	$(BIN)/python -m bench.hostile

testssl: .venv/development peers  ## testssl.sh on both ports: no finding above LOW
	$(BIN)/pytest tests/integration/test_testssl.py

trial: .venv/development  ## the package installed, booted, upgraded from FROM=REVISION; make trial SUITE=trixie
	$(BIN)/python -m scripts.trial $(or $(SUITE),$(shell . /etc/os-release && echo $$VERSION_CODENAME)) $(FROM)

deb:  ## the Debian package, into build/deb/; make deb SUITE=trixie for another suite
	@scripts/deb $(SUITE)

talk: .venv/runtime  ## a session on a terminal, without a network
	@$(BIN)/python scripts/talk.py

docs: .venv/development  ## make the RFC map, the example configuration and its reference anew
	$(BIN)/python scripts/rfc_map.py docs/rfc-map.md
	$(BIN)/python -m submitd.config.document
	$(BIN)/python -m submitd.cli.document
	$(BIN)/python -m submitd.cli.completion

html: .venv/development  ## the documentation for a browser, into build/html
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs build/html

man: .venv/development  ## the pages for man(1), into build/man
	$(BIN)/sphinx-build -q -n -W --keep-going -b man docs build/man

lock: setup.py  ## choose the versions in requirements/*.txt anew
	@mkdir -p build
	@$(SHELL) scripts/lock $(PYTHON) $(UV)

venv: .venv/development  ## the virtual environment, with what development needs

clean:  ## remove what was made; .venv, too
	rm -rf .venv .run .peers build *.egg-info .coverage .coverage.* .pytest_cache \
	    .mypy_cache .ruff_cache .hypothesis twisted/plugins/dropin.cache
	find $(TYPED) -name __pycache__ -prune -exec rm -rf {} +

# The parts of `check` and `test`.

format: .venv/development  ## let ruff format
	$(BIN)/ruff format $(OURS)

lint: .venv/development
	$(BIN)/ruff format --check $(OURS)
	$(BIN)/ruff check $(OURS)

types: .venv/development
	$(BIN)/mypy $(TYPED)

stale: .venv/development
	$(BIN)/python scripts/rfc_map.py --check docs/rfc-map.md

peers: .venv/development
	@$(BIN)/python scripts/peers.py

# Stamps inside the environment, so that removing it removes them.

.venv/runtime: requirements/build.txt requirements/runtime.txt setup.py pyproject.toml scripts/venv
	@$(SHELL) scripts/venv $(PYTHON) .venv requirements/build.txt requirements/runtime.txt
	@touch $@

.venv/development: .venv/runtime requirements/development.txt
	@$(SHELL) scripts/venv $(PYTHON) .venv requirements/build.txt requirements/development.txt
	@touch $@
