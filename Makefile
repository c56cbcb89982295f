# `make` alone prints its targets. CI runs these same targets and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
STAMP := $(VENV)/.ready
APT_PACKAGES := python3-bpfcc python3-venv libbpf1 gcc libc6-dev clang-format bpftool iproute2 util-linux
TEST_APT_PACKAGES := podman runc docker.io containerd curl prometheus chromium fonts-dejavu-core \
	iptables nftables
IMAGE_APT_PACKAGES := buildah uidmap mmdebstrap debian-archive-keyring dpkg-dev
GUESTS := 5.10 6.1 6.12 7.2
KERNELS := $(GUESTS) 5.10+lsm native
SUITES := bookworm trixie sid
SYSTEM_KERNELS := 6.1 6.12
SYSTEM_APT_PACKAGES := vagrant mmdebstrap debian-archive-keyring dpkg-dev

.PHONY: help setup run demo test test-kernels test-system test-system-guests test-distributions test-image test-fleet fuzz deb image bench grafana kubernetes lint format clean

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMP) ## install what is missing; leaves .venv/bin/portwatch

$(STAMP): pyproject.toml scripts/setup scripts/packages
	@scripts/setup $(VENV) $(APT_PACKAGES)
	@touch $@

run: setup ## run the agent on the built-in policy, which records; Ctrl-C ends it
	@exec $(VENV)/bin/portwatch run

demo: setup ## a tour on this machine in a scratch cgroup
	@$(VENV)/bin/portwatch demo

test: setup lint ## every test, kernel tests included (as root)
	@scripts/packages $(TEST_APT_PACKAGES) $(IMAGE_APT_PACKAGES)
	$(VENV)/bin/python -m pytest
	tests/guest/kernels --smoke $(GUESTS)
	tests/system/room/run

test-kernels: setup ## the kernel tests on each kernel; KERNELS="5.10 6.12" chooses
	tests/guest/kernels $(KERNELS)

test-system: setup ## the package with systemd, on this kernel: install, upgrade, boot, purge (as root)
	@scripts/packages $(SYSTEM_APT_PACKAGES)
	$(VENV)/bin/python -m pytest -q tests/system/test_vagrantfile.py
	tests/system/room/run

test-system-guests: setup ## the same in guests that boot with it; SYSTEM_KERNELS="6.1" chooses
	@printf '%s\n' $(SYSTEM_KERNELS) | xargs -P 2 -I{} tests/guest/run-system {}

test-distributions: ## the package built, installed and tried in fresh Debians; SUITES chooses
	@for suite in $(SUITES); do tests/distributions/run $$suite || exit; done

test-image: setup ## the image built twice, with no cache: one digest; then on a node (as root)
	@scripts/packages $(TEST_APT_PACKAGES) $(IMAGE_APT_PACKAGES)
	tests/image/ground --twice
	$(VENV)/bin/python -m pytest tests/e2e/test_image.py

test-fleet: setup ## the fleet's dashboard over 20 real agents; PORTWATCH_FLEET=50 chooses
	@scripts/packages $(TEST_APT_PACKAGES)
	PORTWATCH_FLEET=$(or $(PORTWATCH_FLEET),20) $(VENV)/bin/python -m pytest tests/e2e/test_fleet.py

fuzz: setup ## 100,000 mutated policies: none may cost a traceback, much time or memory
	@$(VENV)/bin/python tests/fuzz_policies.py

deb: ## build the Debian package into dist/
	@scripts/deb dist

image: ## build the container image, as any user; BASE, WHEELS, FORMAT: see deploy/image/build
	@deploy/image/build

bench: setup ## measure what DESIGN asks, side by side in one run
	@$(VENV)/bin/python -m bench

grafana: setup ## write the dashboards' JSON anew
	@$(VENV)/bin/python -m grafana

kubernetes: ## write the alerts anew as the Prometheus operator takes them
	@scripts/prometheus-rule >deploy/kubernetes/components/prometheus-rule/prometheus-rule.yaml

lint: setup ## ruff, mypy --strict, clang-format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	clang-format --dry-run --Werror bpf/*.[ch] bench/*.c tests/*/*.c

format: setup ## put the sources in form
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	clang-format -i bpf/*.[ch] bench/*.c tests/*/*.c

clean: ## remove the venv and what tools leave
	rm -rf $(VENV) dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
