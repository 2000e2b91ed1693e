# The commands for working on Latchkey. The scripts in scripts/ document the details.

.DEFAULT_GOAL := help
.PHONY: help setup build run stop test soak lint format check bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing on this machine
	@scripts/install-dependencies --lint --gateways --mail --clocks --failover

build: ## Compile everything, including the tests
	@scripts/install-dependencies
	@scripts/build --build-tests

run: ## Start a demo server with a private PostgreSQL (HTTP_PORT=8080) and print lines to try
	@scripts/run

stop: ## Stop the demo server and its PostgreSQL; keep the data
	@scripts/stop

test: ## Run the tests against a PostgreSQL of their own (ARGS='--filter KeysTests')
	@scripts/test $(ARGS)

soak: ## Kill servers, stop PostgreSQL, cut connections and send arbitrary input, in full; takes an hour
	@scripts/test --soak

lint: ## Check Swift formatting, shell scripts, Dockerfile and YAML
	@scripts/lint

format: ## Format the Swift files
	@scripts/lint --fix

# Package.swift turns warnings into errors.
check: ## Run what must pass before a commit: lint, build, tests, contract
	@scripts/check

bench: ## Run the benchmarks
	@scripts/bench $(ARGS)

clean: stop ## Delete all build results, and the demo with its data
	@for folder in .local/postgres .local/test-*; do scripts/cluster destroy "$$folder" || exit; done
	rm -rf .build .local
