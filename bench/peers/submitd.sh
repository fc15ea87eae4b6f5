# submitd from a checkout: $SUBMITD_HOME, or the folder that this kit stands in.
SUBMITD_HOME=${SUBMITD_HOME:-$(cd "$BENCH_DIR/.." && pwd)}
peer_check() { [ -x "$SUBMITD_HOME/.venv/bin/twistd" ]; }
peer_start() {  # DIR MODE(default|idle)
    PEER_TMP=$1; PEER_PORT=$(port 101); PEER_PLAIN_PORT=$(port 102); PEER_IMPLICIT_PORT=$(port 103)
    local d=$PEER_TMP per_address=1000
    [ "${2:-}" = idle ] && per_address=5000
    python3 - "$BENCH_TMP/users" > "$d/passwords" <<'E2'
import base64, hashlib, os, sys
for line in open(sys.argv[1]):
    user, password = line.strip().split(":", 1); salt = os.urandom(8)
    digest = hashlib.sha256(password.encode() + salt).digest()
    print("%s:{SSHA256}%s" % (user, base64.b64encode(digest + salt).decode()))
E2
    cat > "$d/submitd.toml" <<E2
[server]
hostname = "mx.bench.example"
workers = "${SUBMITD_WORKERS:-auto}"
state_directory = "$d/state"
control_socket = "$d/control.sock"
[log]
file = "$d/log"
[metrics]
listen = "off"
[tls]
certificate = "$BENCH_TMP/cert"
key = "$BENCH_TMP/key"
[listener.submission]
address = "127.0.0.1"
port = $PEER_PORT
[listener.submissions]
address = "127.0.0.1"
port = $PEER_IMPLICIT_PORT
tls = "implicit"
[listener.local]
address = "127.0.0.1"
port = $PEER_PLAIN_PORT
tls = "none"
trusted = ["127.0.0.1"]
submitter = "local"
[limits]
connections = 5000
connections_per_address = $per_address
connections_per_login = 0
[password_file]
path = "$d/passwords"
[senders.rule.any]
any = true
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = $BENCH_SINK_PORT
tls = "opportunistic"
[spool]
reserve = "64MiB"
E2
    [ "${SUBMITD_WORKERS:-auto}" = auto ] || sed -i "s/^workers = .*/workers = $SUBMITD_WORKERS/" "$d/submitd.toml"
    PEER_ROOTS=; reap_start "$SUBMITD_HOME/.venv/bin/twistd" -n --pidfile= submitd --config "$d/submitd.toml"
    wait_port "$PEER_PORT"
    local i; for i in $(seq 100); do grep -q 'submitd is ready' "$d/log" && break; sleep .1; done
}
peer_stop() { reap_stop; }
peer_queue_len() { "$SUBMITD_HOME/.venv/bin/submitctl" --config "$PEER_TMP/submitd.toml" queue count; }
peer_kick() { "$SUBMITD_HOME/.venv/bin/submitctl" --config "$PEER_TMP/submitd.toml" queue retry --all > /dev/null; }
