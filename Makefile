# `make demo` and `make test` are all that a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := docker.io containerd iptables podman buildah skopeo umoci crun mmdebstrap gcc libc6-dev golang-go zstd \
         rpm db-util libarchive-tools attr xz-utils bzip2 docker-registry apache2-utils openssl curl zsh fish chromium \
         openssh-server openssh-client
COMMANDS := dockerd containerd ctr podman buildah skopeo umoci crun mmdebstrap gcc go zstd bsdtar getfattr xz bzip2 \
            rpmbuild db5.3_load docker-registry htpasswd openssl curl zsh fish chromium sshd ssh
PYTHONS := 3.11 3.12 3.13 3.14
PYZ := build/squashkit.pyz
JOBS := $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test test-new test-rebase test-cluster lint types unit coverage wheel pyz tools docs man bench fuzz kill clean

demo: $(VENV)/installed
	$(BIN)/squashkit demo

test: $(VENV)/installed-dev tools lint types unit wheel

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

# The real tools that the tests compare with. Without root the tests that need them are skipped.
tools:
	@missing=; for command in $(COMMANDS); do command -v $$command >/dev/null || missing="$$missing $$command"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing tools for the tests (missing:$$missing)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TOOLS) >/dev/null; \
	fi

lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet

types:
	$(BIN)/mypy -p squashkit -p tests -p benchmarks

# By file, and in the order of the folders: what waits for real tools comes early, and no long file is left for the end.
unit:
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

# How much of the rooms that decide is run, lines and branches, by the tests of these rooms and by the laws.
coverage: $(VENV)/installed-dev
	mkdir -p build
	$(BIN)/coverage run -m pytest -q tests/oci tests/layers tests/plan tests/laws
	$(BIN)/coverage report

# Not part of `make test`: daemons and crane of Debian's testing, which moves daily. As root.
test-new: $(VENV)/installed-dev tools
	SQUASHKIT_TEST_NEW=1 $(BIN)/python -m pytest -q tests/compat/test_newer_daemons.py tests/compat/test_crane.py

# Nor is this: some forty builds of Debian images on two pairs of bases, each held against its rebase. As root.
test-rebase: $(VENV)/installed-dev tools
	SQUASHKIT_TEST_REBASE=1 $(BIN)/python -m pytest -q tests/compat/test_rebuilds.py

# Nor is this: scans of 100 images on workers of Dask, some of which are killed.
test-cluster: $(VENV)/installed-dev tools
	SQUASHKIT_TEST_CLUSTER=1 $(BIN)/python -m pytest -q tests/compat/test_fleet_cluster.py

# What is shipped is the wheel: a package built from this tree, in an environment of its own.
wheel:
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --quiet --wheel --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet build/wheel/*.whl pytest pytest-timeout hypothesis
	cd build/wheel && venv/bin/squashkit demo
	cd build/wheel && venv/bin/python -m pytest -q -p no:cacheprovider --rootdir ../.. -c ../../pyproject.toml \
	  --import-mode=append ../../tests/project/test_wheel.py

# One file that runs with any Python of PYTHONS, on the platform it was built on. What is compiled comes once for each.
pyz: $(VENV)/installed-dev
	rm -rf build/pyz && mkdir -p build/pyz
	$(BIN)/pip install --quiet --no-compile --target build/pyz/site .
	rm -rf build/pyz/site/bin build/pyz/site/squashkit-*.dist-info/direct_url.json
	$(BIN)/pip freeze --path build/pyz/site | grep -v '^squashkit' > build/pyz/versions
	for python in $(PYTHONS); do \
	  names='isal zlib-ng backports.zstd'; [ $$python != 3.14 ] || names='isal zlib-ng'; \
	  $(BIN)/pip install --quiet --no-compile --no-deps --only-binary :all: --python-version $$python \
	    --constraint build/pyz/versions --target build/pyz/$$python $$names && \
	  cp -R build/pyz/$$python/. build/pyz/site || exit 1; \
	done
	$(BIN)/shiv --site-packages build/pyz/site --preamble ci/pyz_preamble.py --console-script squashkit \
	  --compressed --reproducible --output-file $(PYZ) >/dev/null

# The documentation site in build/site, and man pages of all commands, from the same help texts.
docs: $(VENV)/installed-dev
	PYTHONPATH=docs $(BIN)/zensical build --clean --strict

man: $(VENV)/installed-dev
	PYTHONPATH=docs $(BIN)/python docs/man.py build/man

bench: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks.bench_squash

# Not part of `make test`: inputs that nobody wrote, for as long as you like. Faults lie in build/fuzz/crashes.
SECONDS ?= 600
fuzz: $(VENV)/installed-fuzz
	nice -n 19 $(BIN)/python -m tests.fuzz $(SECONDS) $(TARGETS)

# Nor is this: runs that are killed, disks that fail, many at once, other users, the lowest versions. As root.
kill: $(VENV)/installed-dev tools
	$(BIN)/python -m pytest -q tests/kill/kills.py tests/kill/faults.py tests/kill/crowds.py tests/kill/floors.py

$(VENV)/installed-fuzz: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	touch $@

clean:
	rm -rf $(VENV) build dist
