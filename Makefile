# The recipes that people and CI run alike. `make` alone lists them.
.PHONY: help build demo podman kathara test chaos bench bench-quick bench-build lint fmt install uninstall docker-plugin deb docs fuzz deny clean

CARGO  ?= cargo
PREFIX ?= /usr/local
# How long `make fuzz` fuzzes in all, and what; everything where empty. How often it tries each property of the cores then.
MINUTES ?= 15
TARGETS ?=
CASES   ?= 20000
# Which rows `make chaos` measures, by their tests' names; all where nothing is said.
ROW ?=
# For `make install`: a command that was built some other way. CNI_DIRS says where else its CNI links shall be.
BINARY ?=
# Where cargo builds; asked only by the recipes that need it.
TARGET  = $(shell CARGO="$(CARGO)" scripts/target-dir)

help:           ## list the recipes
	@sed -n 's/^\([a-z-]*\): .*## */  make \1\t/p' $(MAKEFILE_LIST)

build:          ## build the command in release
	@scripts/setup build
	@echo "==> building in release; the first time takes some minutes"
	$(CARGO) build --release --package tapestry

demo:           ## show it at work, in namespaces of its own (root)
	@scripts/setup demo
	@$(MAKE) --no-print-directory build
	@scripts/demo

podman:         ## show podman's containers on a tapestry network, and time CNI beside Debian's bridge plugin (root)
	@scripts/setup podman
	@$(MAKE) --no-print-directory build
	@scripts/podman

kathara:        ## run Kathara's labs on tapestry networks: routers by hand, OSPF, a ring of switches (root)
	@scripts/setup kathara
	@$(MAKE) --no-print-directory build
	@scripts/kathara

# One profile for everything, and test targets first, so that no crate is compiled twice.
test:           ## run every test, the lints and the leak check (root)
	@scripts/setup build
	@echo "==> building; the first time takes some minutes"
	@scripts/setup test & setup=$$!; $(CARGO) build --profile suite --workspace --all-targets; built=$$?; wait $$setup && exit $$built
	@scripts/leaks save
	@echo "==> running every test, and the lints beside them"
	@scripts/run-tests
	$(CARGO) test --profile suite --workspace --doc
	@scripts/leaks check

chaos:          ## measure what each fault costs: kills, stops, crowds, a row each; less than 20 minutes (root)
	@scripts/setup test
	@scripts/leaks save
	@echo "==> building in release; the first time takes some minutes"
	$(CARGO) build --release --package tapestry
	@scripts/chaos $(ROW)
	@scripts/leaks check

bench:          ## measure beside the kernel bridge, Open vSwitch and VDE: an hour or more (root)
	@$(MAKE) --no-print-directory bench-build
	$(TARGET)/release/tapestry-bench --check --json $(TARGET)/bench.json --html $(TARGET)/bench.html
	$(CARGO) bench --package bench --bench switch --bench seal

bench-quick:    ## the same in less than five minutes, with fewer rows (root)
	@$(MAKE) --no-print-directory bench-build
	$(TARGET)/release/tapestry-bench --quick --json $(TARGET)/bench.json --html $(TARGET)/bench.html

bench-build:
	@scripts/setup bench
	@echo "==> building in release; the first time takes some minutes"
	$(CARGO) build --release --package tapestry --package bench

lint:           ## clippy with warnings denied, and the formatting
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile suite --workspace --all-targets -- --deny warnings

fmt:            ## format the sources
	$(CARGO) fmt --all

install: $(if $(BINARY),,build)  ## install under PREFIX: command, plugin links, units, completions, man pages (root)
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install install $(or $(BINARY),$(TARGET)/release/tapestry)

uninstall:      ## remove what `make install` put there; networks and containers stay on record (root)
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install uninstall

docker-plugin: $(if $(BINARY),,build)  ## write the folder of a managed plugin, for `docker plugin create`, into PLUGIN_DIR
	scripts/docker-plugin $(or $(BINARY),$(TARGET)/release/tapestry) $(or $(PLUGIN_DIR),$(TARGET)/docker-plugin)

deb:            ## write a Debian package into DEB_DIR; the command in it bears the list of its crates, for `cargo audit bin`
	@scripts/setup $(if $(BINARY),deb,auditable-deb)
	$(if $(BINARY),,$(CARGO) auditable build --release --package tapestry)
	@scripts/deb $(or $(BINARY),$(TARGET)/release/tapestry) $(or $(DEB_DIR),$(TARGET)/debian-package)

docs:           ## make a book of docs/, with mdbook
	@scripts/setup docs
	@scripts/docs $(TARGET)

fuzz:           ## fuzz the parsers for MINUTES, seeing which branches are taken; try the cores' properties CASES times each
	@scripts/setup fuzz
	@scripts/fuzz for $(MINUTES) $(TARGETS)
	PROPTEST_CASES=$(CASES) $(CARGO) test --release --package '*-core'

deny:           ## check licences, advisories and sources of the dependencies
	@scripts/setup deny
	$(CARGO) deny check

clean:          ## remove what was built
	$(CARGO) clean
