"""The brake on guessing, on real processes: two workers, many connections."""

import json
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from attrs import define, field

from tests.support.dns_peers import free_port
from tests.support.hosts import until
from tests.support.server import Server
from tests.support.slapd import Slapd, person

pytestmark = pytest.mark.integration

CONFIG: Final = """
[server]
hostname = "submit.example.org"
workers = 2
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "1s"
[log]
file = "log"
format = "json"
[metrics]
listen = "off"
[limits]
connections_per_address = 500
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submissions]
address = "127.0.0.1"
port = {port}
tls = "implicit"
[log_in]
delay = "0s"
cache = "off"
failures_per_account = 6
failures_per_address = {per_address}
failures_per_network = {per_network}
[senders.rule.own]
template = "{{login}}@example.org"
[dkim]
unsigned = "allow"
"""
PASSWORDS: Final = """
[password_file]
path = "passwords"
"""
DIRECTORY: Final = """
[ldap]
servers = ["{url}"]
ca_file = "{ca}"
base = "ou=users,dc=example,dc=org"
"""


@define
class Site(Server):
    """One with two workers and a brake."""

    sources: str = PASSWORDS
    port: int = field(factory=free_port)

    def start(self, *, per_address: object = '"off"', per_network: object = 20) -> None:
        text = CONFIG.format(
            port=self.port, per_address=per_address, per_network=per_network
        )
        self.configure(text + self.sources)
        self.twistd.start()
        self.settle()

    def connect(self, source: str = "127.0.0.1") -> smtplib.SMTP:
        return smtplib.SMTP_SSL(
            "localhost",
            self.port,
            context=self.trust,
            timeout=30,
            source_address=(source, 0),
        )

    def code(self, user: str, password: str, source: str = "127.0.0.1") -> int:
        """What one AUTH is answered."""
        with self.connect(source) as client:
            return _answer(client, user, password)

    def at_once(self, guesses: int, user: str = "alice") -> Counter[int]:
        """So many different guesses, each on a connection of its own."""
        clients = [self.connect("127.0.0.9") for _ in range(guesses)]
        with ThreadPoolExecutor(guesses) as threads:
            passwords = [f"no {number}" for number in range(guesses)]
            codes = threads.map(_answer, clients, [user] * guesses, passwords)
            counted = Counter(codes)
        for one in clients:
            one.close()
        return counted

    def braked(self) -> dict[str, dict[str, object]]:
        """``submitctl auth list --json``, by name."""
        done = self.submitctl("auth", "list", "--json")
        entries = [json.loads(line) for line in done.splitlines()]
        return {one["name"]: one for one in entries}


def _answer(client: smtplib.SMTP, user: str, password: str) -> int:
    client.ehlo()
    client.user, client.password = user, password
    try:
        return client.auth("PLAIN", client.auth_plain)[0]
    except smtplib.SMTPAuthenticationError as refusal:
        return refusal.smtp_code


@contextmanager
def running(site: Site, **limits: object) -> Iterator[Site]:
    site.start(**limits)
    try:
        yield site
    finally:
        site.twistd.stop()


def test_many_guesses_at_once_on_two_workers_are_checked_no_more_than_the_limit(
    tmp_path: Path,
) -> None:
    with running(Site(tmp_path)) as site:
        assert site.at_once(60) == {535: 6, 454: 54}
        by = {one["worker"] for one in site.logged("login-braked")}
        assert len(by) == 2
        # From elsewhere, with the right password, by either worker.
        codes = {site.code("alice", "wonderland", "127.9.0.1") for _ in range(6)}
        assert codes == {454}
        assert site.code("bob", "buildings", "127.9.0.1") == 235
        (began,) = site.logged("brake-began")
        assert (began["kind"], began["whom"]) == ("account", "alice")


def test_the_network_around_guessers_is_put_off_too(tmp_path: Path) -> None:
    with running(Site(tmp_path), per_network=6) as site:
        for number in range(6):
            source = f"127.0.0.{20 + number}"
            assert site.code(f"user{number}", "no", source) == 535
        assert site.code("bob", "buildings", "127.0.0.99") == 454
        assert site.code("bob", "buildings", "127.0.1.1") == 235
        assert site.submitctl("auth", "unblock", "127.0.0.99") == (
            "unblocked: 127.0.0.0/24\n"
        )
        assert site.code("bob", "buildings", "127.0.0.99") == 235


def test_a_telephone_with_an_old_password_locks_nobody_out(tmp_path: Path) -> None:
    with running(Site(tmp_path)) as site:
        assert {site.code("alice", "the old one") for _ in range(20)} == {535}
        assert site.code("alice", "wonderland", "127.9.0.1") == 235


def test_who_has_logged_in_there_before_is_spared_after_a_restart_too(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    with running(site):
        assert site.code("alice", "wonderland", "127.5.0.1") == 235
    with running(site):
        site.at_once(20)
        assert site.code("alice", "wonderland", "127.6.0.1") == 454
        assert site.code("alice", "wonderland", "127.5.0.1") == 235
        assert "wonderland" not in (tmp_path / "state/known-networks.json").read_text()


def test_what_was_counted_survives_a_reload_and_the_deaths_of_workers(
    tmp_path: Path,
) -> None:
    with running(Site(tmp_path)) as site:
        for number in range(3):
            assert site.code("alice", f"no {number}") == 535
        before = site.workers()
        site.submitctl("reload")
        until(lambda: len(site.workers() - before) == 2, "new workers", 20)
        for number in range(3, 6):
            assert site.code("alice", f"no {number}") == 535
        assert site.code("alice", "wonderland") == 454
        for number in range(2):
            site.twistd.kill_worker(number)
        until(lambda: len(site.workers()) == 2, "new workers", 20)
        assert site.code("alice", "wonderland") == 454
        site.submitctl("reload")
        assert site.code("alice", "wonderland") == 454
        assert set(site.braked()) == {"alice"}


def test_an_operator_sees_who_is_put_off_and_ends_it(tmp_path: Path) -> None:
    with running(Site(tmp_path)) as site:
        assert site.braked() == {}
        began = time.time()
        site.at_once(8)
        entry = site.braked()["alice"]
        assert entry["kind"] == "account"
        assert entry["failures"] == 6
        assert entry["client"] == "127.0.0.9"
        stamps = [
            time.strptime(str(entry[name]), "%Y-%m-%dT%H:%M:%SZ")
            for name in ("since", "until")
        ]
        since, until_ = (time.mktime(one) - time.timezone for one in stamps)
        assert abs(since - began) < 10
        assert until_ - since == pytest.approx(300, abs=2)
        assert site.code("alice", "wonderland") == 454
        assert site.submitctl("auth", "unblock", "Alice") == "unblocked: alice\n"
        assert site.code("alice", "wonderland") == 235
        assert site.braked() == {}
        (lifted,) = site.logged("brake-lifted")
        assert lifted["whom"] == "alice"


@pytest.mark.peers("slapd")
def test_a_directory_sees_no_bind_while_somebody_is_put_off(
    tmp_path: Path,
    peer: Callable[[str], Path],
) -> None:
    slapd = Slapd(
        peer("slapd"),
        tmp_path / "ldap",
        free_port(),
        (person("alice", userPassword="wonderland"),),
    )
    ca = slapd.prepare()
    slapd.start()
    try:
        sources = DIRECTORY.format(url=slapd.url, ca=ca)
        with running(Site(tmp_path, sources)) as site:
            assert site.code("alice", "wonderland", "127.7.0.1") == 235
            quiet = slapd.binds()
            assert quiet > 0
            assert site.at_once(60) == {535: 6, 454: 54}
            until(lambda: slapd.binds() >= quiet + 6, "the binds in slapd's log", 10)
            asked = slapd.operations()
            codes = {site.code("alice", "wonderland", "127.8.0.1") for _ in range(5)}
            assert codes == {454}
            assert slapd.operations() == asked
            assert slapd.binds() == quiet + 6
            # Where she was before, she gets in, and is asked about.
            assert site.code("alice", "wonderland", "127.7.0.1") == 235
            until(lambda: slapd.binds() == quiet + 7, "one more bind", 10)
    finally:
        slapd.stop()
