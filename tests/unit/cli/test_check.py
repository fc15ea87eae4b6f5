"""``submitctl check``: all that is wrong at once; with ``--live`` the world too."""

import json
import os
import pwd
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from submitd.cli.findings import Finding, Verdict, exit_status
from submitd.cli.probes import probe_certificate, probe_resolver
from submitd.config.reader import read_config
from submitd.dns.message import AddressRecord, RecordType
from submitd.process.material import load_material
from tests.support.awaited import awaited
from tests.support.dns_answers import StagedResolver
from tests.support.operator import Operator


def test_what_would_be_listened_on_is_said(operator: Operator) -> None:
    operator.add(
        '[listener.local]\ntls = "none"\naddress = "::1"\nport = 25\n'
        'trusted = ["::1"]\nsubmitter = "satellite"\n'
        '[listener.tls]\ntls = "implicit"\naddress = "127.0.0.1"\nport = 465\n'
    )

    status, out, err = operator.run("check")

    assert (status, err) == (0, "")
    assert out.splitlines()[0] == (
        f"ok           {operator.file}: the configuration is right"
    )
    assert "server: named submit.example.org, run by " in out
    assert "submission: 127.0.0.1 port 1587, STARTTLS and log-in\n" in out
    assert "local: ::1 port 25, no TLS, ::1/128 as satellite\n" in out
    assert "tls: 127.0.0.1 port 465, TLS from the first octet and log-in\n" in out


def test_findings_are_objects_for_programs(operator: Operator) -> None:
    _, out, _ = operator.run("check", "--json")

    assert json.loads(out.splitlines()[0]) == {
        "verdict": "ok",
        "about": str(operator.file),
        "text": "the configuration is right",
    }


def test_a_file_is_tried_before_it_takes_the_place_of_another(
    operator: Operator, tmp_path: Path
) -> None:
    fragment = operator.file.parent / "conf.d" / "50-site.toml"
    new = tmp_path / "new"
    new.write_text('[server]\nhostname = "other.example.org"\n')

    status, out, _ = operator.run("check", "--with", f"{new}={fragment}")
    assert status == 0
    assert "server: named other.example.org, run by " in out

    new.write_text("[server]\nworkers = -1\n")
    status, _, err = operator.run("check", "--with", f"{new}={fragment}")
    assert status == os.EX_CONFIG
    assert err.startswith(f"submitctl: {fragment}: [server] workers = -1: must be")
    # Nothing has been written, and the main file can be tried as well.
    assert operator.run("check")[0] == 0
    status, _, err = operator.run("check", "--with", f"{new}={operator.file}")
    assert status == os.EX_CONFIG
    assert err.startswith(f"submitctl: {operator.file}: [server] workers = -1: ")


@pytest.mark.parametrize("name", ["submitd.conf", "conf.d/site.conf", "site.toml"])
def test_a_file_that_is_not_read_cannot_be_tried(operator: Operator, name: str) -> None:
    file = operator.file.parent / name

    status, _, err = operator.run("check", "--with", f"new={file}")

    assert status == os.EX_USAGE
    assert err == (
        f"submitctl: {file} is neither {operator.file} nor a file of its conf.d\n"
    )


def test_values_that_are_wrong_are_told_all_at_once(operator: Operator) -> None:
    operator.add('[retry]\nfirst = "soon"\n[log]\nformat = "xml"\n')

    status, out, err = operator.run("check")

    assert (status, out) == (os.EX_CONFIG, "")
    assert [line.split(": ")[2] for line in err.splitlines()] == [
        '[retry] first = "soon"',
        '[log] format = "xml"',
    ]


def test_files_that_cannot_be_loaded_are_told_all_at_once(operator: Operator) -> None:
    operator.add(
        '[dkim.domain."example.org"]\nkeys = [{ selector = "a", file = "none.pem" }]\n'
    )
    (operator.folder / "key.pem").write_text("no key")

    status, _, err = operator.run("check")

    assert status == os.EX_CONFIG
    assert "none.pem" in err
    assert "holds no usable private key" in err


def test_without_a_listener_it_is_said_that_mail_can_only_go_out(
    operator: Operator,
) -> None:
    operator.file.write_text('[server]\nhostname = "submit.example.org"\n')

    status, out, _ = operator.run("check")

    assert status == 0
    assert "odd          listener: there is none: mail can only go out" in out


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((), os.EX_OK),
        ((Verdict.GOOD, Verdict.ODD), os.EX_OK),
        ((Verdict.GOOD, Verdict.UNKNOWN), os.EX_TEMPFAIL),
        ((Verdict.UNKNOWN, Verdict.WRONG, Verdict.GOOD), os.EX_CONFIG),
    ],
)
def test_no_and_cannot_tell_are_different_exit_states(
    verdicts: tuple[Verdict, ...], status: int
) -> None:
    assert exit_status(Finding(one, "a", "b") for one in verdicts) == status


NOW = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begins", "lasts", "name", "verdicts"),
    [
        (NOW, 90 * DAY, "submit.example.org", [Verdict.GOOD, Verdict.GOOD]),
        (NOW, 90 * DAY, "*.example.org", [Verdict.GOOD, Verdict.GOOD]),
        (NOW, 10 * DAY, "submit.example.org", [Verdict.ODD, Verdict.GOOD]),
        (NOW - 9 * DAY, 9 * DAY, "submit.example.org", [Verdict.WRONG, Verdict.GOOD]),
        (NOW + DAY, 9 * DAY, "submit.example.org", [Verdict.WRONG, Verdict.GOOD]),
        (NOW, 90 * DAY, "mail.example.org", [Verdict.GOOD, Verdict.WRONG]),
    ],
)
def test_the_certificates_dates_and_name_are_looked_at(
    operator: Operator,
    begins: datetime,
    lasts: timedelta,
    name: str,
    verdicts: list[Verdict],
) -> None:
    operator.certify(begins, lasts, name)
    config, source = read_config(operator.file)

    findings = probe_certificate(config, load_material(config, source), NOW)

    assert [one.verdict for one in findings] == verdicts


def test_the_resolver_is_asked_for_our_own_name() -> None:
    resolver = StagedResolver()
    name = "submit.example.org"

    def verdict() -> Verdict:
        return awaited(probe_resolver(resolver, name)).verdict

    assert verdict() is Verdict.ODD
    resolver.tell(name, RecordType.A)
    assert verdict() is Verdict.ODD
    resolver.tell(name, RecordType.A, AddressRecord(IPv4Address("192.0.2.1")))
    assert verdict() is Verdict.GOOD
    resolver.failing.add((name, RecordType.AAAA))
    assert verdict() is Verdict.UNKNOWN
    assert awaited(probe_resolver(resolver, "a..b")).verdict is Verdict.WRONG


def test_live_it_asks_directory_and_dns_and_proves_the_senders(
    operator: Operator,
) -> None:
    with socket.socket() as nobody, socket.socket(type=socket.SOCK_DGRAM) as silent:
        # Bound and never listening: whoever connects is refused.
        nobody.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        operator.add(
            '[dns]\ntime_out = "1s"\n'
            f'servers = ["127.0.0.1:{silent.getsockname()[1]}"]\n'
            f'[ldap]\nservers = ["ldap://127.0.0.1:{nobody.getsockname()[1]}"]\n'
            'base = "dc=example"\n'
            '[[senders.test]]\nlogin = "alice"\naddress = "alice@example.org"\n'
        )

        status, out, err = operator.start("check", "--live")

    assert status == os.EX_TEMPFAIL, err
    assert "cannot tell  directory ldap://127.0.0.1:" in out
    assert "cannot tell  DNS name submit.example.org: " in out
    assert "cannot tell  senders.test alice as alice@example.org: " in out
    assert "ok           certificate " in out


def test_live_each_test_of_senders_is_proved(operator: Operator) -> None:
    operator.add(
        '[dns]\ntime_out = "0.2s"\nservers = ["127.0.0.1:1"]\n'
        '[[senders.test]]\nlogin = "alice"\naddress = "press+x@example.org"\n'
        '[[senders.test]]\nlogin = "bob"\naddress = "press@example.org"\n'
        "allowed = false\n"
        '[[senders.test]]\nlogin = "bob"\naddress = "press@example.org"\n'
        '[[senders.test]]\nlogin = "bob"\naddress = "nowhere"\n'
    )

    status, out, err = operator.start("check", "--live")

    assert status == os.EX_CONFIG, err
    assert [
        line.split("senders.test ")
        for line in out.splitlines()
        if "senders.test" in line
    ] == [
        ["ok           ", "alice as press+x@example.org: allowed by file"],
        ["ok           ", "bob as press@example.org: not allowed"],
        ["wrong        ", "bob as press@example.org: not allowed"],
        ["wrong        ", "bob as nowhere: no address: there is no domain"],
    ]


KEYS = (
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def test_the_ways_to_log_in_are_said(operator: Operator) -> None:
    _, out, _ = operator.run("check")
    assert "ok           log-in: by PLAIN, LOGIN\n" in out

    operator.add('[log_in]\nmechanisms = ["PLAIN", "CRAM-MD5"]\n')
    _, out, _ = operator.run("check")
    assert "ok           log-in: by PLAIN, CRAM-MD5\n" in out

    (operator.folder / "passwords").write_text(f"alice:{KEYS}\nlate:*\n")
    _, out, _ = operator.run("check")
    assert "log-in: by PLAIN\n" in out
    assert "odd          log-in by CRAM-MD5: not offered: no password in the" in out


def test_keys_that_look_unlike_made_up_ones_are_odd(operator: Operator) -> None:
    (operator.folder / "passwords").write_text(f"alice:{KEYS}\n")
    status, out, _ = operator.run("check")
    assert status == 0
    assert "log-in: by PLAIN, LOGIN, SCRAM-SHA-256-PLUS, SCRAM-SHA-256\n" in out
    assert "log-in by SCRAM" not in out

    operator.add("[log_in.scram]\niterations = 10000\n")
    _, out, _ = operator.run("check")
    assert "log-in by SCRAM" not in out

    operator.add(
        '[ldap]\nservers = ["ldaps://ldap.example.org"]\nbase = "dc=example"\n'
        'scram_attribute = "authPassword"\nbind_dn = "cn=submitd"\n'
        'bind_password_file = "reader"\n'
    )
    (operator.folder / "reader").write_text("secret")
    _, out, _ = operator.run("check")
    assert (
        "odd          log-in by SCRAM: 1 of 1 keys look otherwise than [log_in.scram] "
        "says, with 4096 iterations and 16 octets of salt: who asks learns which "
        "names exist\n"
    ) in out


def test_a_way_that_cannot_be_served_is_told(operator: Operator) -> None:
    wanted = ["SCRAM-SHA-256", "XOAUTH2", "EXTERNAL"]
    operator.add(f"[log_in]\nmechanisms = {wanted}\n")
    (operator.folder / "passwords").unlink()
    status, out, _ = operator.run("check")
    assert status == os.EX_CONFIG
    assert "wrong        log-in: nobody can: no way of it can be served" in out
    for told in (
        "log-in by SCRAM-SHA-256: not offered: not everybody in the password file",
        "log-in by XOAUTH2: not offered: [log_in.oauth] has no issuer",
        "log-in by EXTERNAL: not offered: there is no [tls] client_ca_file",
    ):
        assert told in out
    operator.add(
        '[ldap]\nservers = ["ldaps://ldap.example.org"]\nbase = "dc=example"\n'
    )
    _, out, _ = operator.run("check")
    assert "people of the directory have no scram_attribute" in out


def test_authorities_of_clients_that_cannot_be_read_are_told(
    operator: Operator,
) -> None:
    text = operator.file.read_text()
    operator.file.write_text(text.replace("[tls]\n", '[tls]\nclient_ca_file = "ca"\n'))
    status, _, err = operator.run("check")
    assert status == os.EX_CONFIG
    assert "[tls] client_ca_file = " in err
    assert "No such file" in err


def test_secrets_for_an_issuer_are_read(operator: Operator) -> None:
    operator.add(
        '[log_in.oauth]\nissuer = "https://id.example.org"\naudience = ["x"]\n'
        'introspection_url = "https://id.example.org/i"\nca_file = "ca"\n'
        'client_id = "x"\nclient_secret_file = "secret"\n'
    )
    _, _, err = operator.run("check")
    assert '[log_in.oauth] client_secret_file = "secret": the secret cannot be' in err
    assert "[log_in.oauth] ca_file = " in err


@pytest.mark.root
@pytest.mark.parametrize("file", ["key.pem", "submitd.toml"])
def test_root_is_told_what_the_services_user_cannot_read(
    operator: Operator, tmp_path: Path, file: str
) -> None:
    """Or the reload that follows is the one to find out."""
    state = tmp_path / "state"
    state.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(state, nobody.pw_uid, nobody.pw_gid)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    assert operator.start("check")[0] == os.EX_OK
    (tmp_path / file).chmod(0o600)
    status, _, said = operator.start("check")
    assert status == os.EX_CONFIG
    assert file in said
    assert "Permission denied" in said or "cannot be read by nobody" in said
