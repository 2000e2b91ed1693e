# The commands for working on Latchkey. What each does in detail stands in scripts/.

.DEFAULT_GOAL := help
.PHONY: help setup build run stop test soak lint format check bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing on this machine
	@scripts/install-dependencies --lint --gateways --mail --clocks --failover

build: ## Compile everything, tests too
	@scripts/install-dependencies
	@scripts/build --build-tests

run: ## Start a demo server with a private PostgreSQL (HTTP_PORT=8080) and print lines to try
	@scripts/run

stop: ## Stop the demo server and its PostgreSQL; its data stays
	@scripts/stop

test: ## Run the tests against a PostgreSQL of their own (ARGS='--filter KeysTests')
	@scripts/test $(ARGS)

soak: ## Kill servers, stop PostgreSQL, cut connections, and send anything, in full: an hour
	@scripts/test --soak

lint: ## Check the form of Swift, shell, Dockerfile and YAML
	@scripts/lint

format: ## Put the Swift files into form
	@scripts/lint --fix

# Warnings are errors by Package.swift.
check: ## Everything that must hold before a commit: lint, build, test
	@scripts/lint
	@scripts/test

bench: ## Run the benchmarks
	@scripts/bench $(ARGS)

clean: stop ## Delete everything that was built, and the demo with its data
	@for folder in .local/postgres .local/test-*; do scripts/cluster destroy "$$folder" || exit; done
	rm -rf .build .local
