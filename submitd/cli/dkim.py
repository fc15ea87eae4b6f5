"""``submitctl dkim``: make keys, show their records, hold DNS against them."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dkim
from attrs import evolve

from submitd.cli.findings import Finding, Verdict, print_findings
from submitd.cli.loop import TookTooLong, run_in_reactor
from submitd.config.errors import ConfigErrors
from submitd.config.reader import read_config, read_server_section
from submitd.config.sections import Config
from submitd.dkim.check import Finding as Published
from submitd.dkim.check import check_published
from submitd.dkim.key import (
    GOOD_BITS,
    Algorithm,
    BadSelector,
    PrivateKey,
    UnusableKey,
    expand_selector,
    record_name,
    record_value,
    zone_lines,
)
from submitd.dkim.sign import Signer, SigningKey
from submitd.dns.answer import NameNotFound, ResolverUnavailable
from submitd.dns.message import BadName, RecordType, TextRecord
from submitd.dns.resolver import Resolver, make_resolver
from submitd.mail.address import BadAddress, parse_domain
from submitd.process.material import load_material, own_hostname
from submitd.spool.files import write_durably

_ALGORITHMS: Final = {
    "rsa": Algorithm.RSA_SHA256,
    "ed25519": Algorithm.ED25519_SHA256,
}
_CHECK_TIME: Final = 60.0
_SAMPLE_BODY: Final = b"A sample, signed to see whether the signature is good.\r\n"


def declare(commands: Any) -> None:  # noqa: ANN401
    """All commands of ``submitctl dkim``."""
    parser = commands.add_parser("dkim", help="keys and their DNS records")
    below = parser.add_subparsers(metavar="ACTION", required=True)

    make = below.add_parser("genkey", help="make a key and print its DNS record")
    make.add_argument("domain", metavar="DOMAIN", help="of the From field")
    make.add_argument(
        "--selector",
        default="<year>-<host>",
        help="<year> and <host> are filled in (default: %(default)s)",
    )
    make.add_argument(
        "--type", choices=tuple(_ALGORITHMS), default="rsa", help="default: rsa"
    )
    make.add_argument("--bits", type=int, default=GOOD_BITS, help="of an RSA key")
    make.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: dkim/DOMAIN-SELECTOR.pem beside the configuration",
    )
    _declare_format(make)
    make.set_defaults(run=generate_key)

    show = below.add_parser("show", help="the records to publish")
    show.add_argument(
        "domain", metavar="DOMAIN", nargs="?", default="", help="default: all"
    )
    _declare_format(show)
    show.add_argument("--json", action="store_true", help="one object a line")
    show.set_defaults(run=show_records)

    check = below.add_parser("check", help="hold what DNS publishes against the keys")
    check.add_argument(
        "domain", metavar="DOMAIN", nargs="?", default="", help="default: all"
    )
    check.add_argument("--json", action="store_true", help="one object a line")
    check.set_defaults(run=check_records)


def _declare_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format",
        choices=("zone", "value"),
        default="zone",
        help="lines for a zone file, or the TXT record's bare value",
    )


def generate_key(options: argparse.Namespace) -> int:
    """Make a key that nobody else can read, and say what to do with it.

    The record goes to standard output and everything else to standard error,
    so that the one can be sent into a zone file.
    """
    made = datetime.now(UTC).date()
    try:
        domain = parse_domain(options.domain)
        selector = expand_selector(options.selector, made, _hostname(options.config))
        key = PrivateKey.generate(_ALGORITHMS[options.type], options.bits)
    except (BadAddress, BadSelector, UnusableKey) as problem:
        print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_USAGE
    out: Path = options.out or _default_file(options.config, domain, selector)
    try:
        owner = _servers_owner(options.config)
        if not out.parent.is_dir():
            out.parent.mkdir(mode=0o700, parents=True)
            if owner is not None:
                os.chown(out.parent, *owner)
        write_durably(out, key.pem(), 0o600, owner)
    except FileExistsError as problem:
        taken = problem.filename2 or problem.filename
        print(f"submitctl: {taken} is there already; it stays", file=sys.stderr)
        return os.EX_CANTCREAT
    except OSError as problem:
        print(f"submitctl: {out}: {problem.strerror}", file=sys.stderr)
        return os.EX_CANTCREAT
    print(_record(selector, domain, key, options.format), end="")
    print(
        f"# The key is in {out}. Publish the record, wait until it is everywhere, "
        "then add:\n"
        f'[dkim.domain."{domain}"]\n'
        f'keys = [{{ selector = "{selector}", file = "{out.absolute()}" }}]',
        file=sys.stderr,
    )
    return os.EX_OK


def _hostname(file: Path) -> str:
    # The first key may well be made before there is a configuration.
    try:
        config, _ = read_config(file)
    except ConfigErrors:
        config = Config()
    return own_hostname(config)


def _servers_owner(file: Path) -> tuple[int, int] | None:
    """Where root makes the key: who owns the spool, and so has to read it."""
    if os.geteuid() != 0:
        return None
    try:
        spool = read_server_section(file).state_directory.stat()
    except (ConfigErrors, OSError):
        return None  # root's own server, or none yet
    return spool.st_uid, spool.st_gid


def _default_file(config: Path, domain: str, selector: str) -> Path:
    return config.parent / "dkim" / f"{domain}-{selector}.pem"


def _record(selector: str, domain: str, key: PrivateKey, form: str) -> str:
    if form == "zone":
        return zone_lines(selector, domain, key)
    return record_value(key) + "\n"


def _signers(options: argparse.Namespace) -> tuple[Config, dict[str, Signer]]:
    """Those that are asked for; none: all."""
    config, source = read_config(options.config)
    signers = load_material(config, source).signers
    wanted: str = options.domain.lower()
    return config, {
        name: signer
        for name, signer in signers.items()
        if not wanted or wanted in (name, signer.domain)
    }


def _none_found(options: argparse.Namespace) -> int:
    whose = f" for {options.domain}" if options.domain else ""
    print(f"submitctl: no key is configured{whose}", file=sys.stderr)
    return os.EX_NOINPUT


def _published(signers: Mapping[str, Signer]) -> list[tuple[Signer, SigningKey]]:
    """Each key once: several From domains may share a signing domain."""
    found = {
        record_name(one.selector, signer.domain): (signer, one)
        for signer in signers.values()
        for one in signer.keys
    }
    return list(found.values())


def show_records(options: argparse.Namespace) -> int:
    """Print the records of the configured keys."""
    _, signers = _signers(options)
    if not signers:
        return _none_found(options)
    for signer, one in _published(signers):
        if options.json:
            print(
                json.dumps(
                    {
                        "name": record_name(one.selector, signer.domain),
                        "domain": signer.domain,
                        "selector": one.selector,
                        "algorithm": one.key.algorithm.value,
                        "bits": one.key.bits,
                        "value": record_value(one.key),
                    }
                )
            )
        else:
            record = _record(one.selector, signer.domain, one.key, options.format)
            print(record, end="")
    return os.EX_OK


def check_records(options: argparse.Namespace) -> int:
    """Ask DNS for each key's record, and have a sample signature verified."""
    config, signers = _signers(options)
    if not signers:
        return _none_found(options)

    async def ask(reactor: Any) -> list[Finding]:  # noqa: ANN401
        resolver = make_resolver(
            reactor, config.dns.servers, config.dns.time_out.total_seconds()
        )
        try:
            return await probe_signers(resolver, signers)
        finally:
            resolver.close()

    try:
        findings = run_in_reactor(ask, _CHECK_TIME)
    except TookTooLong as problem:
        print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return print_findings(findings, as_json=options.json)


async def probe_signers(
    resolver: Resolver, signers: Mapping[str, Signer]
) -> list[Finding]:
    """What DNS says of each key, all findings in the order of the keys."""
    findings: list[Finding] = []
    for signer, one in _published(signers):
        findings += await _probe_key(resolver, signer, one)
    return findings


async def _probe_key(
    resolver: Resolver, signer: Signer, one: SigningKey
) -> list[Finding]:
    name = record_name(one.selector, signer.domain)
    about = f"dkim {name}"
    try:
        answer = await resolver.query(name, RecordType.TXT)
        texts = [
            record.text for record in answer.records if isinstance(record, TextRecord)
        ]
    except NameNotFound:
        texts = []
    except BadName as problem:
        return [Finding(Verdict.WRONG, about, str(problem))]
    except ResolverUnavailable as problem:
        text = f"{problem.reason} {problem.detail}".strip()
        return [Finding(Verdict.UNKNOWN, about, text)]
    findings = [
        Finding(_verdict_of(found), about, found.value)
        for found in check_published(one.key, texts)
    ]
    if len(texts) == 1 and not any(
        found.verdict is Verdict.WRONG for found in findings
    ):
        findings.append(verify_sample(signer, one, texts[0]))
    return findings


def _verdict_of(found: Published) -> Verdict:
    if found is Published.MATCHES:
        return Verdict.GOOD
    return Verdict.WRONG if found.breaks_signatures else Verdict.ODD


def verify_sample(signer: Signer, one: SigningKey, published: bytes) -> Finding:
    """Sign a sample, and let another implementation verify it."""
    name = record_name(one.selector, signer.domain)
    fields = (
        f"From: <sample@{signer.domain}>\r\n".encode("ascii"),
        b"Subject: a sample\r\n",
    )
    hasher = signer.body_hasher()
    hasher.update(_SAMPLE_BODY)
    signature = evolve(signer, keys=(one,)).sign(
        fields, hasher.digest(), datetime.now(UTC)
    )
    message = b"".join((signature, *fields, b"\r\n", _SAMPLE_BODY))
    about = f"dkim {name}"
    if not dkim.verify(message, dnsfunc=lambda *_, **__: published):
        return Finding(Verdict.WRONG, about, "a signed sample does not verify")
    return Finding(Verdict.GOOD, about, "a signed sample verifies")
