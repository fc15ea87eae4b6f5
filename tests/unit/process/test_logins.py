"""The brake of the whole server: workers ask, the supervisor counts and keeps."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from submitd.auth.known import KnownNetworks
from submitd.auth.throttle import Attempt, LocalLoginCounts, Outcome, Place
from submitd.config.people import LdapSection, LogInSection
from submitd.config.sections import Config
from submitd.config.serving import ServerSection
from submitd.process.counts import login_limits
from submitd.process.logins import KNOWN_NETWORKS, SharedLogins, SupervisedLogins
from submitd.process.pipe import Pipe
from tests.support.awaited import awaited
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents

HERE = "192.0.2.1"


def configured(folder: Path, **log_in: Any) -> Config:  # noqa: ANN401
    return evolve(
        Config(),
        server=ServerSection(state_directory=folder),
        ldap=LdapSection(login_domains=("example.org",)),
        log_in=LogInSection(failures_per_account=4, **log_in),
    )


class Site:
    """A supervisor, and one worker with the pipe between them."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.config = configured(folder)
        self.logins = SupervisedLogins(
            self.clock, self.config, self.events, self.clock.seconds
        )
        self.pipe = Pipe(self.clock, {}, lambda: None)
        local = LocalLoginCounts(
            self.clock,
            login_limits(self.config).share(2),
            KnownNetworks(timedelta(days=1), self.clock.seconds),
        )
        self.shared = SharedLogins(self.pipe, local, self.events)
        self._out, self._in = StringTransport(), StringTransport()
        self.pipe.makeConnection(self._out)
        self._supervisor = Pipe(
            self.clock, self.logins.handlers("worker-1"), lambda: None
        )
        self._supervisor.makeConnection(self._in)

    def carry(self) -> None:
        """Let the supervisor hear, and answer."""
        while octets := self._out.value():
            self._out.clear()
            self._supervisor.dataReceived(octets)
            answers = self._in.value()
            self._in.clear()
            self.pipe.dataReceived(answers)

    def begin(
        self, password: str, account: str = "alice", *, heard: bool = True
    ) -> tuple[Attempt, Place]:
        attempt = Attempt(HERE, account, f"{account} {password}")
        places: list[Place] = []
        asking = Deferred.fromCoroutine(self.shared.begin(attempt))
        asking.addCallback(places.append)
        if heard:
            self.carry()
        else:
            self.clock.advance(1.0)
        return attempt, places[0]

    def fail(
        self, password: str, account: str = "alice", *, heard: bool = True
    ) -> None:
        attempt, place = self.begin(password, account, heard=heard)
        self.shared.ended(attempt, place, Outcome.WRONG)
        if heard:
            self.carry()


def test_a_workers_counts_are_its_supervisors(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(4):
        site.fail(str(number))
    assert site.begin("more")[1].is_braked
    assert site.logins.counts.begin(Attempt("198.51.100.1", "alice", "x")).is_braked
    assert site.events.emitted == [
        (
            "brake-began",
            {
                "kind": "account",
                "whom": "alice",
                "failures": 4,
                "seconds": 300,
                "client": HERE,
            },
        )
    ]


def test_without_its_supervisor_a_worker_keeps_to_its_share(tmp_path: Path) -> None:
    """And tells it afterwards what it has seen."""
    site = Site(tmp_path)
    for number in range(2):
        site.fail(str(number), heard=False)
    assert site.begin("2", heard=False)[1].is_braked
    assert set(site.events.names) == {"supervisor-silent"}
    site.carry()
    for number in range(2, 4):
        site.fail(str(number))
    assert site.begin("more")[1].is_braked


def test_a_place_that_comes_late_is_given_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    alone = site.begin("0", heard=False)
    site.carry()
    assert site.logins.counts._tickets == {}
    site.shared.ended(*alone, Outcome.RIGHT)
    site.carry()
    assert site.logins.counts.braked() == []


def test_a_new_configuration_counts_on(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(4):
        site.fail(str(number))
    site.fail("x", "bob")
    site.logins.use(evolve(site.config, log_in=LogInSection(failures_per_account=2)))
    assert site.begin("more")[1].is_braked
    site.fail("y", "bob")
    assert site.begin("more", "bob")[1].is_braked


def test_an_operator_lists_and_unblocks(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(4):
        site.fail(str(number))
    site.clock.advance(60)
    listed = awaited(site.logins.list_asked({}))
    assert listed == {
        "ok": True,
        "braked": [
            {
                "kind": "account",
                "name": "alice",
                "since": "1970-01-01T00:00:00Z",
                "until": "1970-01-01T00:05:00Z",
                "failures": 4,
                "refusals": 1,
                "client": HERE,
            }
        ],
    }
    (family,) = site.logins.collect()
    assert {one.labels["kind"]: one.value for one in family.samples} == {
        "account": 1,
        "address": 0,
        "network": 0,
        "way": 0,
        "proof": 0,
    }
    for asked in ({}, {"name": ""}, {"name": 7}, {"all": "yes"}):
        assert awaited(site.logins.unblock_asked(asked))["ok"] is False
    done = awaited(site.logins.unblock_asked({"name": "Alice@example.org"}))
    assert done == {"ok": True, "count": 1, "unblocked": ["alice"]}
    assert ("brake-lifted", {"whom": "alice"}) in site.events.emitted
    done = awaited(site.logins.unblock_asked({"all": True}))
    assert done == {"ok": True, "count": 0, "unblocked": []}


@in_reactor
async def test_known_networks_survive_a_restart(tmp_path: Path) -> None:
    """And no password is among what is kept."""
    config, events = configured(tmp_path), RecordedEvents()
    logins = SupervisedLogins(reactor, config, events)
    logins.start()
    attempt = Attempt(HERE, "alice", "fingerprint of the password")
    place = logins.counts.begin(attempt)
    logins.counts.ended(attempt, place, Outcome.RIGHT)
    await logins.stop()
    await logins.stop()
    file = tmp_path / KNOWN_NETWORKS
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(json.loads(file.read_text())) == ["alice"]
    assert "fingerprint" not in file.read_text()

    again = SupervisedLogins(reactor, config, events)
    again.start()
    for number in range(4):
        guess = Attempt("198.51.100.1", "alice", str(number))
        again.counts.ended(guess, again.counts.begin(guess), Outcome.WRONG)
    assert again.counts.begin(Attempt("198.51.100.1", "alice", "x")).is_braked
    assert again.counts.begin(attempt).ticket
    again.use(configured(tmp_path, known_networks=None))
    await again.stop()
    assert json.loads(file.read_text()) == {}
    assert events.names == ["brake-began"]


@in_reactor
async def test_a_file_that_cannot_be_used_keeps_nobody_from_mail(
    tmp_path: Path,
) -> None:
    file = tmp_path / KNOWN_NETWORKS
    for content in ("{", "[]", '{"alice": 1}', '{"alice": {"x": "soon"}}', "x" * 100):
        file.write_text(content)
        events = RecordedEvents()
        logins = SupervisedLogins(reactor, configured(tmp_path), events)
        logins.start()
        assert events.names == ["known-networks-unkept"], content
        await logins.stop()
    file.unlink()
    file.mkdir()
    events = RecordedEvents()
    logins = SupervisedLogins(reactor, configured(tmp_path), events)
    logins.start()
    await logins.stop()
    assert events.names == ["known-networks-unkept"] * 2


def test_a_file_beyond_all_measure_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submitd.process.logins._MOST_OCTETS", 10)
    (tmp_path / KNOWN_NETWORKS).write_text('{"alice": {"192.0.2.1": 1}}')
    events = RecordedEvents()
    SupervisedLogins(Clock(), configured(tmp_path), events).start()
    assert events.emitted[0][1]["reason"] == "it is too large"
