# make up     installs and runs everything in the foreground (Ctrl-C stops it)
# make test   installs what the tests need and runs them; make test ARGS="-k ledger" for some
# make proof  kills everything again and again and compares the books with the truth (10 minutes;
#             QUICK=1 two minutes, SEED=… T=T4,T5 to replay)
# make attack attacks a server as strangers would while others use it (3 minutes; A=streams,logins
#             for some)
# make fuzz   types, pastes and sends whatever there is, for ten minutes (MINUTES=60; SEED=… to replay)
# make mutate breaks one guard of the money at a time and sees that a test notices (an hour; M=4,5
#             for some)
# make lint   formatter, linter, types, imports, Django's own checks
# make bench  how fast it is beside this machine's limits; QUICK=1, ARGS="--stages api,send"
# make audit  known vulnerabilities of what is locked (asks the Internet)
# make sbom   what a server is made of, as CycloneDX, into sbom.json
# make lock   writes requirements*.txt again after a change of pyproject.toml (needs uv)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: up test proof attack fuzz mutate lint bench audit sbom lock install install-dev
.DEFAULT_GOAL := up

# exec: SIGTERM to make reaches manage.py itself, which stops everything.
up: install
	@exec $(BIN)/python manage.py up

test: install-dev
	@exec $(BIN)/python -m pytest -n 2 $(ARGS)

# QUICK, SEED and T reach it through the environment.
proof: install-dev
	@exec $(BIN)/python -m tests.proof

# Starts a server of its own, and removes it again. A reaches it through the environment.
attack: install-dev
	@exec $(BIN)/python -m tests.attack

# Starts a server of its own. MINUTES and SEED reach it through the environment.
fuzz: install-dev
	@exec $(BIN)/python -m tests.fuzz

# M reaches it through the environment.
mutate: install-dev
	@exec $(BIN)/python -m tests.mutation

# A production-like environment, so that `check --deploy` judges what a real server would get.
lint: export PUBLIC_URL := https://wallet.example.com
lint: export TRUSTED_PROXIES := 1
lint: export COINOS_DATA_DIR := $(CURDIR)/data/lint
lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/djlint --quiet --lint templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --deploy --fail-level WARNING

# Starts a server of its own, and removes it again.
bench: install-dev
	@exec $(BIN)/python manage.py bench $(if $(QUICK),--quick) $(ARGS)

# Strict: a package that the index does not know counts as unknown, not as safe.
audit: install-dev
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.txt

sbom: install-dev
	@$(BIN)/python .ci/sbom.py > sbom.json

# Exported rather than uv.lock itself: the hashes stay, the addresses of a registry do not.
EXPORT := uv export --quiet --no-emit-project --no-header
lock:
	$(EXPORT) --no-dev --output-file requirements.txt
	$(EXPORT) --output-file requirements-dev.txt

# --- Installing: again only when the lock changes -------------------------------------------

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "coinos needs Python 3.11 or newer, and '$(PYTHON)' is not. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/python
	@echo "Installing the packages of requirements.txt into $(VENV) (a minute, once) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt | $(BIN)/python
	@echo "Installing the packages of requirements-dev.txt into $(VENV) (a minute, once) …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $(VENV)/.installed $@
