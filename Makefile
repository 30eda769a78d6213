# make demo | test | test-s3 | model | sim | chaos | fuzz | mutants | bench | build | check | deps | env. Works on a fresh Debian machine with a Rust toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# RocksDB takes long to compile: a compiler cache and a target directory outside the checkout keep it.
export CC := ccache cc
export CXX := ccache c++
export RUSTFLAGS := -C link-arg=-fuse-ld=mold
export CARGO_TARGET_DIR ?= $(HOME)/.cache/steadfast/target
export CCACHE_DIR ?= $(HOME)/.cache/steadfast/ccache
export CCACHE_BASEDIR := $(HOME)
export CCACHE_NOHASHDIR := 1
# Looked up when a recipe runs, since `deps` may have installed it just before.
export LIBCLANG_PATH = $(shell ls -d /usr/lib/llvm-*/lib 2>/dev/null | tail -n 1)

# The model of the protocol needs std alone, so rustc compiles it, optimised, in seconds.
MODEL := $(CARGO_TARGET_DIR)/model/protocol

.PHONY: demo test test-s3 model sim chaos fuzz mutants bench build check deps chaos-deps env

# The main job on real flights; ARGS=--once ends instead of staying up.
demo: deps
	cargo build --release --locked
	"$(CARGO_TARGET_DIR)/release/steadfast" demo $(ARGS)

test: check $(MODEL)
	"$(MODEL)"
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --no-fail-fast; \
		cargo test --doc --locked; \
	else \
		cargo test --locked --no-fail-fast; \
	fi

# The tests of buckets against a second, independent S3 server, which ends with them.
MOTO := $(HOME)/.cache/steadfast/moto
test-s3: deps $(MOTO)/bin/moto_server
	cargo test --locked --test backup --no-run
	port="$$("$(MOTO)/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"; \
	"$(MOTO)/bin/moto_server" --host 127.0.0.1 --port "$$port" >"$(CARGO_TARGET_DIR)/moto.log" 2>&1 & \
	server=$$!; \
	trap 'kill "$$server" 2>/dev/null || true' EXIT; \
	for try in {1..150}; do \
		if (exec 3<>"/dev/tcp/127.0.0.1/$$port") 2>/dev/null; then break; fi; \
		kill -0 "$$server" 2>/dev/null && [ "$$try" -lt 150 ] || { \
			echo "moto_server does not start; it says:" >&2; cat "$(CARGO_TARGET_DIR)/moto.log" >&2; exit 1; }; \
		sleep 0.2; \
	done; \
	STEADFAST_TEST_S3_ENDPOINT="http://127.0.0.1:$$port" cargo test --locked --test backup

$(MOTO)/bin/moto_server:
	@command -v python3 >/dev/null || { echo "python3 is missing: install it, and its module venv" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "the module venv of python3 is missing: install python3-venv" >&2; exit 1; }
	python3 -m venv "$(MOTO)"
	"$(MOTO)/bin/pip" install --quiet 'moto[server]==5.2.5'

# The large searches of the models, one after the other: states, transitions, exhaustive or capped.
model: deps $(MODEL)
	"$(MODEL)" --include-ignored --nocapture --test-threads=2
	cargo test --profile sim --locked --test merge_model -- --ignored --nocapture --test-threads=1 large_

$(MODEL): $(wildcard tests/model/*.rs)
	mkdir -p "$(@D)"
	rustc --edition 2024 -O --test -o "$@" tests/model/main.rs

# The simulator: make sim SEEDS=20000, or FROM=…. Every seed is a run of its own; both end with a summary.
SEEDS ?= 2000
FROM ?= 0
sim: deps
	STEADFAST_FROM=$(FROM) STEADFAST_MOST=$(SEEDS) cargo test --profile sim --locked --test sim -- --ignored --nocapture many_seeds

# Real processes, each in a network namespace of its own, under random faults: make chaos SECONDS=600 SEED=7. All of it
# runs in one namespace that ends with it.
NAMESPACE = unshare $(if $(filter-out 0,$(shell id -u)),--map-root-user) --net --pid --fork --kill-child --mount-proc
chaos: SECONDS = 600
chaos: chaos-deps deps
	cargo test --locked --test chaos --no-run
	CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) $(NAMESPACE) \
		cargo test --locked --offline --test chaos -- --ignored --nocapture

# One body of tests/fuzz under libFuzzer: make fuzz TARGET=record SECONDS=60. What it finds is in fuzz/artifacts.
# The sanitizers need a nightly compiler and find little in code without `unsafe`; coverage is there without.
TARGET ?= record
SECONDS ?= 60
fuzz: deps
	@cargo fuzz --version >/dev/null 2>&1 || { \
		echo "cargo-fuzz is missing: install it with \"cargo install cargo-fuzz\"" >&2; exit 1; }
	RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)-fuzz" \
		cargo fuzz run --dev --sanitizer none "$(TARGET)" -- -max_total_time="$(SECONDS)"

# Changes what `.cargo/mutants.toml` names, one place at a time, and runs the tests beside it: make mutants ARGS="-F read/plan".
# A mutant takes five seconds. Those that are not caught are listed at the end, with their diffs in $(CARGO_TARGET_DIR)-mutants.
mutants: deps
	@cargo mutants --version >/dev/null 2>&1 || { \
		echo "cargo-mutants is missing: install it with \"cargo install --locked cargo-mutants\"" >&2; exit 1; }
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)-mutants" \
		cargo mutants --output "$(CARGO_TARGET_DIR)-mutants" $(ARGS) --cargo-arg=--lib -- -- \
		client:: epoch:: read:: replica:: replication::

# The pure steps by themselves, then a node beside what bounds it. Nothing else should run on the machine.
bench: deps
	cargo bench --locked --bench model --bench wal
	cargo build --release --locked
	"$(CARGO_TARGET_DIR)/release/steadfast" bench compare $(ARGS)

build: deps
	cargo build --locked

check: deps
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --lib --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# Installs what a recipe has found missing.
define install
[ "$${#missing[@]}" -eq 0 ] && exit 0; \
	echo "installing $${missing[*]}"; \
	root=(); [ "$$(id -u)" -eq 0 ] || root=(sudo -n); \
	if ! command -v apt-get >/dev/null; then \
		echo "missing: $${missing[*]}. There is no apt-get here: install them by hand" >&2; exit 1; \
	fi; \
	if ! { "$${root[@]}" apt-get update -q && \
		"$${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$${missing[@]}"; }; then \
		echo "apt-get could not install $${missing[*]}: run it as root, then make again" >&2; exit 1; \
	fi
endef

# What compiling RocksDB needs and Debian may lack.
deps:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@missing=(); \
	command -v cc >/dev/null && command -v c++ >/dev/null || missing+=(build-essential); \
	command -v ccache >/dev/null || missing+=(ccache); \
	command -v mold >/dev/null || missing+=(mold); \
	compgen -G "/usr/lib/llvm-*/lib/libclang.so*" >/dev/null && \
		compgen -G "/usr/lib/llvm-*/lib/clang/*/include/stddef.h" >/dev/null || missing+=(libclang-dev); \
	$(install)

# What chaos needs beside that.
chaos-deps:
	@missing=(); \
	command -v ip >/dev/null || missing+=(iproute2); \
	command -v unshare >/dev/null && command -v nsenter >/dev/null || missing+=(util-linux); \
	$(install)
	@$(NAMESPACE) true || { echo "chaos needs network namespaces: run it as root, or permit users to make some" >&2; exit 1; }

# For calling cargo directly: eval "$(make -s env)"
env:
	@printf 'export %s=%q\n' CC "$$CC" CXX "$$CXX" RUSTFLAGS "$$RUSTFLAGS" CARGO_TARGET_DIR "$$CARGO_TARGET_DIR" \
		CCACHE_DIR "$$CCACHE_DIR" CCACHE_BASEDIR "$$CCACHE_BASEDIR" CCACHE_NOHASHDIR "$$CCACHE_NOHASHDIR" \
		LIBCLANG_PATH "$$LIBCLANG_PATH"
