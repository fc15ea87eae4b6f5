"""``submitctl certificate``: the one in use, and a new one from the authority."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

from submitd.cli.server import ask_server
from submitd.config.reader import read_config
from submitd.process.material import tls_files_of
from submitd.tls.making import is_temporary, names_of
from submitd.tls.server import UnusableCertificate

_RENEWAL_TIME: Final = 290.0


def declare(commands: Any) -> None:  # noqa: ANN401
    """The command and its two verbs."""
    parser = commands.add_parser("certificate", help="show it, or have a new one")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    show = verbs.add_parser("show", help="names, issuer and dates of what is in use")
    show.set_defaults(run=show_certificate)
    renew = verbs.add_parser(
        "renew", help="ask the authority of [acme] now; says what is wrong"
    )
    renew.add_argument("--force", action="store_true", help="even if it is not due")
    renew.set_defaults(run=renew_certificate)
    for verb in (show, renew):
        verb.add_argument("--json", action="store_true", help="as one object")


def show_certificate(options: argparse.Namespace) -> int:
    """What the files hold."""
    config, _ = read_config(options.config)
    files = tls_files_of(config)
    if files is None:
        print("submitctl: no certificate is configured", file=sys.stderr)
        return os.EX_CONFIG
    try:
        leaf = files.leaf()
    except UnusableCertificate as problem:
        print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_NOINPUT
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    now = datetime.now(UTC)
    facts = {
        "file": str(files.certificate),
        "names": list(names_of(leaf)),
        "issuer": "submitd itself, until the authority issues one"
        if is_temporary(leaf) and config.tls.acme
        else leaf.issuer.rfc4514_string(),
        "begins": _date(begins),
        "ends": _date(ends),
        "days_left": (ends - now).days,
        "acme": config.tls.acme,
    }
    if options.json:
        print(json.dumps(facts))
    else:
        _print(facts)
    return os.EX_OK if begins <= now < ends else os.EX_DATAERR


def renew_certificate(options: argparse.Namespace) -> int:
    """Through the running server, which answers what the authority asks."""
    asked = {"do": "renew", "force": options.force}
    if (answer := ask_server(options, asked, _RENEWAL_TIME)) is None:
        return os.EX_UNAVAILABLE
    for problem in answer.get("problems", ()):
        print(f"submitctl: {problem}", file=sys.stderr)
    return show_certificate(options) if answer["ok"] else os.EX_TEMPFAIL


def _print(facts: dict[str, Any]) -> None:
    names = ", ".join(facts["names"]) or "none"
    print(f"{facts['file']}\n  names   {names}\n  issuer  {facts['issuer']}")
    days = facts["days_left"]
    left = f"{days} days left" if days >= 0 else "it has ended"
    print(f"  valid   {facts['begins']} to {facts['ends']}: {left}")


def _date(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
