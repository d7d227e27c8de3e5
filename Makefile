# Two commands matter: `make run` and `make test`. Everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# Tests start the program hundreds of times: without its compiled modules each start compiles all of them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run demo test test-postgresql later check coverage faults fuzz bench corpora bounces lock clean site audit

run: .venv/.run
	@exec $(BIN)/waypost serve

demo: .venv/.run
	@exec $(BIN)/waypost demo

# Two for each processor: half of the time a test waits. Files are in memory where there are 4 GB for them: the disk took
# a third of the time.
IN_MEMORY := $(shell [ "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 4000000 ] 2>/dev/null && echo TMPDIR=/dev/shm)
PYTEST := $(IN_MEMORY) $(BIN)/pytest -n $$((2 * $$(nproc))) --dist worksteal

test: .venv/.test
	$(PYTEST)

# The same on PostgreSQL (from the test extra), but for what is about SQLite's file.
test-postgresql: .venv/.test
	WAYPOST_TEST_DATABASE=postgresql $(PYTEST)

# The same forty days ahead: a test that holds a date of today fails here first.
FAKETIME_LIBRARY = $(firstword $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1))
# Left out is what faketime itself disturbs: Postfix, Chromium and man, PostgreSQL's lock_timeout, and what measures
# short times.
DISTURBED = --ignore tests/clients/test_programs.py --ignore tests/web/test_browser.py \
  --deselect tests/documents/test_docs.py::test_the_manual_page_is_what_the_commands_say_and_man_can_show_it \
  --deselect tests/dialogs/test_octets.py::test_25_megabytes_do_not_keep_others_waiting \
  --deselect tests/store/test_partitions.py::test_months_are_not_waited_for_while_somebody_reads_for_long
# Left out is what asks no clock: pure functions over tables and corpora (relay/bounce, rewrite, mime and attribution get
# the time as an argument). Whatever starts a server, makes certificates or tokens, or holds a period stays in.
PURE = --ignore tests/attribution --ignore tests/bounce --ignore tests/patterns --ignore tests/rewrite
later: .venv/.test
	@test -n "$(FAKETIME_LIBRARY)" || { echo "No libfaketime here: apt-get install faketime"; exit 1; }
	LD_PRELOAD=$(FAKETIME_LIBRARY) FAKETIME=+40d FAKETIME_DONT_FAKE_MONOTONIC=1 PYTHONPATH=$(CURDIR)/tests/faketime \
	  $(PYTEST) $(DISTURBED) $(PURE)

# What the suite does in seconds, for as long as it takes: outages of a minute, a million forged tokens.
faults: .venv/.test
	WAYPOST_FAULTS=long $(BIN)/pytest -s tests/faults

# The properties that hold for any octets, tried on twenty times as many, and on new ones each time; then mutations of the
# corpora at every entry point, for MINUTES. What fails is made smaller and kept in tests/fuzz/found.
MINUTES = 5
fuzz: .venv/.test
	WAYPOST_FUZZ=20 $(BIN)/pytest -n $$(nproc) -m hypothesis
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

check: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/pytest tests/test_floors.py tests/documents/test_docs.py
	@if [ -f .coverage ]; then echo "Coverage of the last run of make coverage, in percent:"; $(BIN)/coverage report --ignore-errors --format=total; \
	  else echo "Coverage is not measured here: make coverage (ten minutes)"; fi

# How much of relay/ and web/ the suite runs, by lines and branches, also in the servers that it starts.
coverage: .venv/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $$((2 * $$(nproc))) $(TESTS); status=$$?; \
	  $(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$status

# Against Postfix, Express with sqlite3, and pytracking, on loopback. Installs what is missing; Postfix starts as root only.
PEERS = postfix wrk npm gcc
bench: .venv/.bench
	@missing=; for tool in $(PEERS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	  [ -z "$$missing" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } \
	  || { echo "Needed:$$missing"; exit 1; }
	$(BIN)/python -m benchmarks

# Fetches the mail and HTML that packages ship, and measures what rewriting does to it.
corpora: .venv/.test
	$(BIN)/python benchmarks/corpora.py

# Fetches public bounce mails for tests/bounce, which skips a test without them.
bounces: .venv/.test
	$(BIN)/python benchmarks/corpora.py flufl.bounce

# The documents as a site with search, in site/; a link that leads nowhere ends it.
site: .venv/.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Known holes in what is installed, as the advisory databases have them. It asks them over the network.
audit: .venv/.site
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

# Pins what is installed from scratch today: names and versions, nothing of this machine.
lock:
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip --disable-pip-version-check --quiet install '.[test,bench,docs,alerts,otel,oidc]'
	.venv/lock/bin/pip freeze --exclude waypost > constraints.txt
	rm -rf .venv/lock build

clean:
	rm -rf .venv build site *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Waypost needs Python 3.11 or later; set PYTHON=python3.12, say"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "No venv here: apt-get install python3-venv"; rm -rf .venv; exit 1; }

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@ .venv/.run

.venv/.site: .venv/.test
	$(PIP) install --constraint constraints.txt --editable '.[test,docs]'
	@touch $@

.venv/.bench: .venv/.test
	$(PIP) install --constraint constraints.txt --editable '.[test,bench]'
	@touch $@
