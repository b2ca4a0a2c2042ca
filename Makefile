# Two commands do everything on a fresh clone: `make demo` and `make test`.
# Needs: Rust, a C compiler, make; python3 with pip for the suites that fetch real servers and libraries.

SHELL := bash
CARGO ?= cargo
# Where `make install` puts things; DESTDIR is honoured.
PREFIX ?= /usr/local
RELEASE := target/release

.DEFAULT_GOAL := build
.PHONY: demo demo-check build test fuzz miri lint doc bench size live sends channels table endurance install clean

# Build, archive a made-up company with the default parts in a throw-away folder, then serve it on :9002, with three chat APIs
# beside it on :8088, :5001 and :10002.
demo: build
	$(RELEASE)/steled demo

# The same without serving; ends with one line of JSON.
demo-check: build
	$(RELEASE)/steled demo --exit

build:
	$(CARGO) build --release --locked --workspace

# Every test. The binaries and plugins are built first: the end-to-end suites run them. What could not run on this machine
# said so; the last line counts it.
test:
	$(CARGO) build --locked --workspace --all-targets
	@set -o pipefail; $(CARGO) test --locked --workspace --no-fail-fast 2>&1 | tee target/test.log; status=$$?; \
		echo "$$(grep -c 'SKIPPED' target/test.log) parts of tests were skipped"; exit $$status

# So many seconds of arbitrary frames for the plugin boundary: guided by coverage where a nightly toolchain and cargo-fuzz are found, and
# by mutating golden frames where not. It says which.
FUZZ_SECONDS ?= 60
fuzz:
	@if $(CARGO) +nightly fuzz --version >/dev/null 2>&1; then \
		echo "*** fuzzing with cargo-fuzz, guided by coverage"; set -e; cd plugin-api; \
		$(CARGO) +nightly run --quiet --locked --manifest-path fuzz/Cargo.toml --example corpus -- fuzz/corpus/golden; \
		for target in frames payloads session; do \
			mkdir -p fuzz/corpus/$$target; \
			$(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/corpus/golden -- \
				-max_total_time=$$(( $(FUZZ_SECONDS) / 3 )) -max_len=16384 -print_final_stats=1; \
		done; \
	else \
		echo "*** SKIPPED: fuzzing guided by coverage, which needs a nightly toolchain and cargo-fuzz; golden frames are mutated instead"; \
		STELE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --workspace --test fuzz -- --nocapture --test-threads=3; \
	fi

# What the C ABI does with memory, looked at by miri, where a nightly toolchain has it. Counted buffers are leaked on purpose.
miri:
	@if $(CARGO) +nightly miri setup >/dev/null 2>&1; then \
		MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-disable-isolation" $(CARGO) +nightly miri test --locked -p stele-plugin-api --test abi; \
	else \
		echo "*** SKIPPED: the C ABI under miri, which needs a nightly toolchain with miri and rust-src"; \
	fi

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

bench:
	$(CARGO) bench --locked --workspace

# How fast it archives real Chinese text and a generated million, and the limits of this machine in the same run.
size:
	$(CARGO) build --release --locked --workspace --lib --bins --examples
	$(RELEASE)/stele-bench

# Live delivery: memory of ten thousand listeners, and the time from a message's acceptance to its receipt.
live: build
	$(RELEASE)/stele-live-bench

# Sends through WuKongIM's message API: how many a second, and how long each takes, at both durabilities.
sends: build
	$(RELEASE)/stele-send-bench

# A WuKongIM with 100,000 channels, archived: how long that takes, and the memory of it.
channels: build
	$(RELEASE)/stele-channels-bench

# The table of figures: filling, moving and indexing an archive, and how long every endpoint that reads or sends messages takes, on
# SQLite and Postgres, with the embedded index and Meilisearch where one is found. `STELE_TABLE_MESSAGES=1000000,10000000` says
# at which sizes; see `stele-table --help`.
table:
	$(CARGO) build --release --locked --workspace --lib --bins --examples
	$(RELEASE)/stele-table

# Three daemons on one Postgres, killed one after the other for so many seconds under all that clients and a sync do meanwhile: with
# NATS, without, and with one Meilisearch where one is found. What was accepted is counted in the end.
ENDURANCE_SECONDS ?= 120
endurance:
	$(CARGO) build --locked --workspace
	STELE_CLUSTER_SECONDS=$(ENDURANCE_SECONDS) $(CARGO) test --locked -p stele-tests --test cluster killed_again_and_again -- \
		--nocapture --test-threads=1

# Needs no compiler, so that root needs none: it installs what `make build` built. A configuration that is there stays.
install:
	@test -x $(RELEASE)/steled || { echo "nothing is built yet: run 'make build' first" >&2; exit 1; }
	install -Dm755 $(RELEASE)/steled $(DESTDIR)$(PREFIX)/bin/steled
	for plugin in wecom gateway wukongim openim; do \
		install -Dm755 $(RELEASE)/libstele_$$plugin.so $(DESTDIR)$(PREFIX)/lib/stele/plugins/libstele_$$plugin.so || exit 1; done
	test -e $(DESTDIR)/etc/stele/steled.toml || install -Dm640 config/steled.toml $(DESTDIR)/etc/stele/steled.toml
	install -Dm644 config/systemd/steled.service $(DESTDIR)/usr/lib/systemd/system/steled.service
	sed -i 's#/usr/bin/steled#$(PREFIX)/bin/steled#' $(DESTDIR)/usr/lib/systemd/system/steled.service
	install -Dm644 config/systemd/steled.sysusers $(DESTDIR)/usr/lib/sysusers.d/stele.conf
	install -Dm644 config/systemd/steled.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/stele.conf
	install -Dm644 README.md $(DESTDIR)/usr/share/doc/stele/README.md
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
		systemd-sysusers stele.conf && systemd-tmpfiles --create stele.conf && systemctl daemon-reload; fi

clean:
	$(CARGO) clean
