# The one place of commands. Works with plain `make`, as root and as an ordinary user.

CARGO ?= cargo
# Where cargo builds: its own answer, whatever sets it.
target = $$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.DEFAULT_GOAL := help
.PHONY: help ci features test-features demo demo-fleet demo-upgrade conformance-migrate test deny doc msrv fuzz-smoke conformance conformance-release conformance-flips conformance-corpus conformance-referee conformance-fuzz conformance-regress conformance-isolation conformance-pipeline conformance-twins conformance-ownership conformance-limits conformance-soak conformance-faults conformance-replicas conformance-drivers conformance-versions conformance-pgbouncer packages package-test bench build release postgres browser prometheus etcd conformance-fleet conformance-simulation conformance-api lint fmt conformance-switchover conformance-upgrade

help:
	@echo 'make demo-upgrade  15 to 18 and back under load, and the pause that it took'
	@echo 'make demo   a primary, a replica, pgsluice and live clients: watch a maintenance (half a minute)'
	@echo 'make demo-fleet  three pgsluice that are one fleet through etcd, under clients: members killed and stopped (a minute)'
	@echo 'make test   all tests, against real PostgreSQL servers; some against PostgreSQL 18 too, which npm fetches once'
	@echo 'make conformance  the long runs, one target each: figures go to docs/CONFORMANCE.md:'
	@echo '  make conformance-release  all suites through the release binary'
	@echo '  make conformance-corpus   PostgreSQL 15 regression suite through a closed gate, with an outside observer'
	@echo '  make conformance-referee  the classifier against PostgreSQL'"'"'s grammar: the suite and a million mutants'
	@echo '  make conformance-fuzz     random input, ten minutes a target (PGSLUICE_TEST_FUZZ_SECONDS)'
	@echo '  make conformance-regress  PostgreSQL 15 regression suite by pg_regress, in each manner of pooling'
	@echo '  make conformance-isolation PostgreSQL 15 isolation suite: clients that wait for each other, in transaction and session mode'
	@echo '  make conformance-twins    two clients at random on one server connection, 100,000 steps beside direct connections'
	@echo '  make conformance-ownership nobody is told what another has asked: ten minutes of chaos through the release binary'
	@echo '  make conformance-limits   500 databases and 2,500 clients on 200 server connections, 5,000 looping clients, a flip and lists beside 10,000, and what a scrape costs'
	@echo '  make conformance-soak     30 minutes with a flip every 7 seconds, a replica and killed clients (PGSLUICE_TEST_SOAK_SECONDS)'
	@echo '  make conformance-faults   43 faults of servers and networks under load, beside a driver that knows all servers: docs/FAULTS.md'
	@echo '  make conformance-fleet    200 flips over five members, some killed, stopped or cut off; 20 members with 2,000 clients'
	@echo '  make conformance-simulation  members of a fleet under simulated faults, half an hour (PGSLUICE_TEST_SIMULATION_SECONDS)'
	@echo '  make conformance-replicas a million reads of what a session itself wrote, while the replica stops and goes on at random'
	@echo '  make conformance-switchover 100 switchovers under pgbench and verifying writers, beside PgBouncer'"'"'s PAUSE (PGSLUICE_TEST_SWITCHOVERS)'
	@echo '  make conformance-pipeline libpq_pipeline of PostgreSQL 15, in transaction mode'
	@echo '  make conformance-drivers  the suites of psycopg2, asyncpg, Django and SQLAlchemy, alone and beside busy clients'
	@echo '  make conformance-api      requests that schemathesis makes up from the OpenAPI document'
	@echo '  make conformance-versions the suites that depend on the server, against PostgreSQL 14, 16, 17 and 18'
	@echo '  make conformance-upgrade  20 upgrades under 2,000 clients, and 100 kills of either process, by the release binary'
	@echo '  make conformance-pgbouncer PGBOUNCER=path  PgBouncer'"'"'s own test suite, from a checkout of its repository'
	@echo 'make packages  .deb (debug symbols in another) and .rpm of what `make release` builds, in target/packages'
	@echo 'make package-test  installs the .deb in a fresh chroot and runs a maintenance there (as root, with debootstrap)'
	@echo 'make bench  pgsluice, PgBouncer, haproxy, Pgpool-II and a direct connection side by side, in a quarter of an hour;'
	@echo '            flags in BENCH: make bench BENCH=--quick takes two minutes, BENCH=--help says more'
	@echo '            BENCH=--price: a closed gate beside an open one, in four minutes'
	@echo 'make build  the release binary, target/release/pgsluice'
	@echo 'make release  the same for users, told by a benchmark what runs under load: ten minutes, a twentieth less processor time'
	@echo 'make lint   formatting and clippy, as .ci/run checks them'
	@echo 'make features  the same of ldap and pam; make test-features runs their tests, against slapd and PAM'
	@echo 'make doc    the documentation of the code, without a warning'
	@echo 'make deny   licences, sources and bans of what is built in (cargo-deny, installed if it is not there)'
	@echo 'make msrv   whether the oldest Rust that Cargo.toml names will do'
	@echo 'make fuzz-smoke  a minute of random input'
	@echo 'make fmt    formats'

build:
	$(CARGO) build --locked --release --bin pgsluice

# The program for users; its path is printed.
release: postgres
	@benches/release

# A browser for the test of the status page, likewise.
browser:
	@fixtures/get-browser

# Prometheus, for the tests of alerts and metrics, likewise.
prometheus:
	@fixtures/get-prometheus "$(target)/fixtures/prometheus"

# etcd, for the tests of fleets, likewise.
etcd:
	@fixtures/get-etcd "$(target)/fixtures/etcd"

# Server binaries from the system's packages, unless some are found.
postgres:
	@fixtures/get-postgres

# A major upgrade, 15 to 18 and back, by MIGRATE while clients write and read: the pause is told.
demo-upgrade: postgres
	@echo 'Building pgsluice and the upgrade: some minutes the first time. The upgrade itself takes half a minute.'
	@$(CARGO) test --locked --quiet --test migrate -- --nocapture a_major_upgrade

# Both programs in one build, by a profile that compiles quickly.
demo: postgres
	@echo 'Building pgsluice and the demo: two to three minutes on two cores the first time, seconds after that.'
	@echo 'The demo itself takes half a minute.'
	$(CARGO) build --locked --profile demo --workspace --bin pgsluice --example demo
	@exec "$(target)/demo/examples/demo" "$(target)/demo/pgsluice"

demo-fleet: postgres etcd
	@echo 'Building pgsluice and the demo: two to three minutes on two cores the first time, seconds after that.'
	$(CARGO) build --locked --profile demo --workspace --bin pgsluice --example demo_fleet
	@exec "$(target)/demo/examples/demo_fleet" "$(target)/demo/pgsluice"

test: postgres browser prometheus etcd
	$(CARGO) test --locked --workspace

# The long runs.
conformance: conformance-release conformance-flips conformance-corpus conformance-referee conformance-fuzz conformance-regress conformance-isolation conformance-pipeline conformance-twins conformance-ownership conformance-limits conformance-soak conformance-replicas conformance-drivers conformance-versions conformance-api conformance-fleet conformance-simulation

# All suites again, through the release binary, with 50 flips.
conformance-release: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_FLIPS=50 \
		$(CARGO) test --locked --workspace --no-fail-fast -- --nocapture --test-threads=2

# 200 flips under writers that verify their own commits, with writes rejected and held.
conformance-flips: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_FLIPS=200 \
		$(CARGO) test --locked --test maintenance commits -- --nocapture --test-threads=1

# Clients that say whose each statement is, under overload, cancels, time-outs, kills and a failover, for ten minutes.
conformance-ownership: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_OWNERSHIP_SECONDS=600 \
		$(CARGO) test --locked --test ownership -- --nocapture

# What many databases and clients cost: fairness under a shared limit, beside PgBouncer if it is there; closing them all; memory; a flip.
conformance-limits: postgres build
	set -e; ulimit -n $$(ulimit -Hn); export PGSLUICE_BINARY="$(target)/release/pgsluice"; \
	PGSLUICE_TEST_DATABASES=500 $(CARGO) test --locked --test pools across_pools -- --nocapture; \
	[ ! -x /usr/sbin/pgbouncer ] || PGSLUICE_TEST_DATABASES=500 $(CARGO) test --locked --test pools before_pgbouncer -- --ignored --nocapture; \
	PGSLUICE_TEST_DATABASES=500 $(CARGO) test --locked --test console closing_many -- --nocapture; \
	PGSLUICE_TEST_LOOPING=5000 $(CARGO) test --locked --test pools looping -- --nocapture; \
	PGSLUICE_TEST_IDLE=10000 PGSLUICE_TEST_ACTIVE=200 PGSLUICE_TEST_FLIPS=10 PGSLUICE_TEST_STALL_MS=100 \
		$(CARGO) test --locked --test pools a_flip_keeps -- --nocapture; \
	PGSLUICE_TEST_IDLE=10000 PGSLUICE_TEST_DATABASES=500 PGSLUICE_TEST_ANSWER_MS=200 PGSLUICE_TEST_STALL_MS=2 \
		$(CARGO) test --locked --test http crowd -- --nocapture; \
	PGSLUICE_TEST_PAIRS=20 $(CARGO) test --locked --test http price -- --nocapture

# Flips, a replica and killed clients for half an hour.
conformance-soak: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_SOAK_SECONDS=$${PGSLUICE_TEST_SOAK_SECONDS:-1800} \
		$(CARGO) test --locked --test soak -- --nocapture

# The same upgrade with a million rows, through the release binary.
conformance-migrate: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_MIGRATE_ROWS=$${PGSLUICE_TEST_MIGRATE_ROWS:-1000000} \
		$(CARGO) test --locked --test migrate -- --nocapture a_major_upgrade

# Faults of servers and of networks, one after the other; figures go to docs/FAULTS.md. PGSLUICE_TEST_FAULT=WORD: only those.
conformance-faults: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" \
		$(CARGO) test --locked --test faults -- --ignored --nocapture --test-threads=1

# 200 flips of a fleet of five under writers that verify their own commits, with members killed, stopped and cut off, and etcd's own.
conformance-fleet: postgres etcd build
	ulimit -n $$(ulimit -Hn); export PGSLUICE_BINARY="$(target)/release/pgsluice"; \
	PGSLUICE_TEST_FLEET_FAULTS=$${PGSLUICE_TEST_FLEET_FAULTS:-200} PGSLUICE_TEST_FLEET_MEMBERS=5 \
		PGSLUICE_TEST_FLEET_FLIPS=50 PGSLUICE_TEST_FLEET_CROWD=20 PGSLUICE_TEST_FLEET_JOINS=100 $(CARGO) test --locked --test fleet -- --nocapture --test-threads=1

# The members of a fleet under simulated partitions, drifting clocks, stops and crashes, for half an hour; each schedule is a seed.
conformance-simulation:
	PGSLUICE_TEST_SIMULATION_SECONDS=$${PGSLUICE_TEST_SIMULATION_SECONDS:-1800} \
		PGSLUICE_TEST_SIMULATION_SEEDS=20000 \
		$(CARGO) test --locked --release --lib fleet::simulation -- --include-ignored --nocapture --test-threads=2

# Switchovers back and forth under load, and the proxy killed at random moments of others.
conformance-switchover: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_TEST_KILLS=20 \
		$(CARGO) test --locked --test switchover -- --include-ignored --nocapture --test-threads=1

# Own writes are always read; PGSLUICE_TEST_READS says how many reads. Once more with ten times as many writes, and what it costs.
conformance-replicas: postgres build
	set -e; export PGSLUICE_BINARY="$(target)/release/pgsluice"; \
	PGSLUICE_TEST_PAIRS=15 PGSLUICE_TEST_READS=$${PGSLUICE_TEST_READS:-1000000} \
		$(CARGO) test --locked --test replicas -- --nocapture --test-threads=1; \
	PGSLUICE_TEST_WRITE_MS=300 PGSLUICE_TEST_READS=$${PGSLUICE_TEST_READS:-1000000} \
		$(CARGO) test --locked --test replicas sessions_always -- --nocapture

# PostgreSQL's own statements, each in maintenance and in a READ ONLY transaction; what differs goes to the docs.
conformance-corpus: postgres
	PGSLUICE_TEST_DIFFERENCES=docs/conformance-differences.txt \
		$(CARGO) test --locked --test corpus -- --ignored --nocapture --test-threads=1

# Whatever two clients do on one server connection, they are told what they would be told on connections of their own.
conformance-twins: postgres
	PGSLUICE_TEST_STEPS=$${PGSLUICE_TEST_STEPS:-100000} $(CARGO) test --locked --test twins -- --nocapture

conformance-referee:
	tests/referee/run

conformance-fuzz: postgres
	PGSLUICE_TEST_FUZZ_SECONDS=$${PGSLUICE_TEST_FUZZ_SECONDS:-600} \
		$(CARGO) test --locked --test fuzz -- --nocapture --test-threads=1

# Whatever can be made up from the OpenAPI document is answered as it says (schemathesis, which pip fetches once).
conformance-api: postgres
	PGSLUICE_TEST_EXAMPLES=$${PGSLUICE_TEST_EXAMPLES:-100} $(CARGO) test --locked --test http schemathesis_finds -- --ignored --nocapture

# PostgreSQL's own suite as its developers run it, through pgsluice.
conformance-regress: postgres
	$(CARGO) test --locked --test regress suite -- --ignored --nocapture --test-threads=1

# PostgreSQL's isolation suite: clients of one pool that block each other and look at each other's processes.
conformance-isolation: postgres
	$(CARGO) test --locked --test regress isolation -- --ignored --nocapture --test-threads=1

# libpq's pipelines, by its own test program.
conformance-pipeline: postgres
	$(CARGO) test --locked --test regress pipeline -- --ignored --nocapture --test-threads=1

# Drivers' and frameworks' own suites: directly, through pgsluice, and beside two busy clients.
conformance-drivers: postgres
	$(CARGO) test --locked --test suites -- --ignored --nocapture --test-threads=1

# PgBouncer's own suite with pgsluice in its place; ARGS go to pytest, such as ARGS='-n 4 -k limits'.
conformance-pgbouncer: postgres build
	@[ -n "$(PGBOUNCER)" ] || { echo 'PGBOUNCER=path of a checkout of github.com/pgbouncer/pgbouncer'; exit 1; }
	PGSLUICE_BINARY="$(target)/release/pgsluice" tests/pgbouncer "$(PGBOUNCER)" $(ARGS)

# Figures go to docs/CONFORMANCE.md.
conformance-upgrade: postgres build
	PGSLUICE_BINARY="$(target)/release/pgsluice" PGSLUICE_UPGRADE_CLIENTS=2000 PGSLUICE_UPGRADES=20 PGSLUICE_UPGRADE_KILLS=100 PGSLUICE_UPGRADE_STALL_MS=100 \
		$(CARGO) test --locked --test upgrade -- --nocapture --test-threads=1

# With dpkg-deb, and cargo-generate-rpm where it is installed; the program is that of `make release`, or PGSLUICE_BINARY.
packages: postgres
	@contrib/packages

package-test:
	@contrib/package-test

# PostgreSQL 14, 16, 17 and 18 come from npm; VERSIONS names others.
conformance-versions: postgres
	tests/versions $(VERSIONS)

# Writes docs/BENCHMARKS.md, unless its flags leave something out.
bench: postgres
	benches/run $(BENCH)

# What is built only where it is asked for, and its tests: no program is linked, so that libpam need not be here.
features:
	$(CARGO) clippy --locked --features ldap,pam --lib --test login -- -D warnings

# The same, run: beside PostgreSQL with Debian's slapd, and PAM's pam_permit and pam_deny (as root).
test-features: postgres
	$(CARGO) test --locked --features ldap,pam --test login outside -- --nocapture

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Everything that .ci/run asks for.
ci: lint features doc deny msrv fuzz-smoke test

# What is private is documented too, and may be linked to.
doc:
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(CARGO) doc --locked --workspace --no-deps --document-private-items

deny:
	@.ci/deny

msrv:
	@.ci/msrv

# Three targets, each with random numbers of its own: what is found names the case to keep in tests/fuzz/seeds.txt.
fuzz-smoke: postgres
	PGSLUICE_TEST_FUZZ_SECONDS=20 $(CARGO) test --locked --workspace --test fuzz -- --nocapture --test-threads=1

fmt:
	$(CARGO) fmt --all
