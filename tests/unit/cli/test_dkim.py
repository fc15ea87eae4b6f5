"""``submitctl dkim``: keys that are kept, records that match."""

import json
import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from submitd.cli.dkim import probe_signers, verify_sample
from submitd.cli.findings import Verdict
from submitd.dkim.key import Algorithm, PrivateKey, record_value
from submitd.dkim.sign import Signer, SigningKey
from submitd.dns.message import RecordType, TextRecord
from tests.support.awaited import awaited
from tests.support.dns_answers import StagedResolver
from tests.support.operator import Operator

YEAR = f"{datetime.now(UTC).year:04}"


def test_a_key_is_made_that_only_its_owner_can_read(operator: Operator) -> None:
    status, _, _ = operator.run("dkim", "genkey", "Example.org")

    file = operator.folder / "dkim" / f"example.org-{YEAR}-submit.pem"
    assert status == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    key = PrivateKey.load(file.read_bytes())
    assert (key.algorithm, key.bits) == (Algorithm.RSA_SHA256, 2048)


@pytest.mark.root
def test_roots_key_belongs_to_who_runs_the_server(operator: Operator) -> None:
    state = operator.folder / "state"
    state.mkdir()
    os.chown(state, 4242, 4343)

    assert operator.run("dkim", "genkey", "example.org")[0] == 0

    (file,) = (operator.folder / "dkim").iterdir()
    for made in (file, file.parent):
        assert (made.stat().st_uid, made.stat().st_gid) == (4242, 4343)
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_record_alone_goes_to_standard_output(operator: Operator) -> None:
    out_file = operator.folder / "k.pem"

    _, out, _ = operator.run(
        *("dkim", "genkey", "example.org", "--selector", "s1", "--type", "ed25519"),
        *("--out", str(out_file), "--format", "value"),
    )

    assert out == record_value(PrivateKey.load(out_file.read_bytes())) + "\n"


def test_the_record_in_zone_file_form_can_be_pasted_whole(operator: Operator) -> None:
    _, out, _ = operator.run("dkim", "genkey", "example.org", "--selector", "s1")

    first, *strings = out.splitlines()
    assert first == "s1._domainkey.example.org. IN TXT ("
    assert strings[-1].endswith('" )')
    assert all(len(line.strip(' )"')) <= 255 for line in strings)


def test_the_lines_to_add_make_the_key_sign(operator: Operator) -> None:
    _, value, lines = operator.run(
        *("dkim", "genkey", "example.org", "--bits", "1024", "--format", "value")
    )
    added = tomllib.loads(lines)
    assert added["dkim"]["domain"]["example.org"]["keys"][0]["selector"] == (
        f"{YEAR}-submit"
    )

    operator.add(lines)

    status, shown, _ = operator.run("dkim", "show", "--format", "value")
    assert (status, shown) == (0, value)
    (record,) = map(json.loads, operator.run("dkim", "show", "--json")[1].splitlines())
    assert record["name"] == f"{YEAR}-submit._domainkey.example.org"
    assert record["value"] + "\n" == value
    assert "dkim example.org: signs as example.org by" in operator.run("check")[1]


def test_a_key_that_is_there_is_never_replaced(operator: Operator) -> None:
    file = operator.folder / "k.pem"
    file.write_text("precious")

    status, out, err = operator.run("dkim", "genkey", "example.org", "--out", str(file))

    assert (status, out) == (os.EX_CANTCREAT, "")
    assert err == f"submitctl: {file} is there already; it stays\n"
    assert file.read_text() == "precious"
    assert sorted(one.name for one in operator.folder.glob("*k.pem*")) == ["k.pem"]


def test_a_place_that_cannot_be_written_to_is_told(operator: Operator) -> None:
    file = operator.file / "below-a-file" / "k.pem"

    status, out, err = operator.run("dkim", "genkey", "example.org", "--out", str(file))

    assert (status, out) == (os.EX_CANTCREAT, "")
    assert err.startswith(f"submitctl: {file}: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no domain",), "not a domain name"),
        (("example.org", "--selector", "a b"), "'a b' is no selector"),
        (("example.org", "--bits", "512"), "512 bits is too short"),
        (("example.org", "--bits", "16384"), "16384 bits is more"),
    ],
)
def test_what_cannot_be_a_key_is_a_usage_error(
    operator: Operator, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = operator.run("dkim", "genkey", *arguments)

    assert (status, out) == (os.EX_USAGE, "")
    assert said in err
    assert not (operator.folder / "dkim").exists()


def test_the_first_key_needs_no_configuration(
    tmp_path: Path, operator: Operator
) -> None:
    operator.file.unlink()

    status, _, _ = operator.run(
        *("dkim", "genkey", "example.org", "--selector", "s1", "--type", "ed25519")
    )

    assert status == 0
    assert (tmp_path / "dkim" / "example.org-s1.pem").exists()


@pytest.mark.parametrize("action", ["show", "check"])
def test_without_a_key_there_is_nothing_to_show(
    operator: Operator, action: str
) -> None:
    assert operator.run("dkim", action) == (
        os.EX_NOINPUT,
        "",
        "submitctl: no key is configured\n",
    )
    assert operator.run("dkim", action, "example.net")[2] == (
        "submitctl: no key is configured for example.net\n"
    )


KEYS = {
    "rsa": PrivateKey.generate(Algorithm.RSA_SHA256),
    "ed": PrivateKey.generate(Algorithm.ED25519_SHA256),
}
SIGNER = Signer(
    domain="example.org",
    keys=tuple(SigningKey(selector, key) for selector, key in KEYS.items()),
)


def published(selector: str, *texts: str) -> StagedResolver:
    """A DNS in which the other key's record is right."""
    resolver = StagedResolver()
    for name, key in KEYS.items():
        records = texts if name == selector else (record_value(key),)
        resolver.tell(
            f"{name}._domainkey.example.org",
            RecordType.TXT,
            *(TextRecord(one.encode()) for one in records),
        )
    return resolver


def findings(resolver: StagedResolver) -> list[tuple[Verdict, str, str]]:
    """Of two From domains that share their keys."""
    signers = {"example.org": SIGNER, "*.example.org": SIGNER}
    return [
        (one.verdict, one.about, one.text)
        for one in awaited(probe_signers(resolver, signers))
    ]


RSA, ED = (f"dkim {name}._domainkey.example.org" for name in KEYS)
GOOD = [
    (Verdict.GOOD, "the published key is this key"),
    (Verdict.GOOD, "a signed sample verifies"),
]


def test_records_that_match_are_verified_by_another_implementation() -> None:
    assert findings(published("")) == [
        (verdict, about, text) for about in (RSA, ED) for verdict, text in GOOD
    ]


def test_a_record_that_is_missing_or_another_is_wrong() -> None:
    other = record_value(PrivateKey.generate(Algorithm.ED25519_SHA256))

    assert findings(published("rsa"))[0] == (
        Verdict.WRONG,
        RSA,
        "no record is published",
    )
    assert findings(published("ed", other))[2:] == [
        (Verdict.WRONG, ED, "the record holds another key")
    ]
    assert findings(StagedResolver())[0][0] is Verdict.WRONG


def test_a_domain_that_says_it_is_testing_is_odd() -> None:
    found = findings(published("rsa", record_value(KEYS["rsa"]) + "; t=y"))

    assert [one[0] for one in found[:3]] == [Verdict.GOOD, Verdict.ODD, Verdict.GOOD]


def test_a_dns_that_does_not_answer_is_no_finding_about_the_key() -> None:
    resolver = published("")
    resolver.failing.add(("rsa._domainkey.example.org", RecordType.TXT))

    verdict, about, text = findings(resolver)[0]

    assert (verdict, about) == (Verdict.UNKNOWN, RSA)
    assert "SERVFAIL" in text


def test_a_sample_does_not_verify_with_another_key() -> None:
    other = record_value(PrivateKey.generate(Algorithm.RSA_SHA256)).encode()

    assert verify_sample(SIGNER, SIGNER.keys[0], other).verdict is Verdict.WRONG


def test_in_a_process_of_its_own_it_asks_the_configured_name_servers(
    operator: Operator,
) -> None:
    lines = operator.run("dkim", "genkey", "example.org", "--type", "ed25519")[2]
    operator.add(lines + '[dns]\ntime_out = "0.2s"\nservers = ["127.0.0.1:1"]\n')

    status, out, _ = operator.start("dkim", "check", "example.org", "--json")

    assert status == os.EX_TEMPFAIL
    assert json.loads(out)["verdict"] == "cannot tell"
