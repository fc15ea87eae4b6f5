"""``submitctl check``: is the configuration right, and the world as it says?"""

import argparse
import os
import pwd
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from submitd.cli.findings import Finding, Verdict, print_findings
from submitd.cli.loop import TookTooLong, run_in_reactor
from submitd.cli.mechanisms import described_log_in
from submitd.cli.probes import probe
from submitd.config.errors import ConfigErrors, ConfigProblem
from submitd.config.reader import Source, read_config
from submitd.config.sections import Config
from submitd.config.serving import ListenerSection
from submitd.process.material import Material, load_material
from submitd.process.order import Order
from submitd.process.sockets import addresses_of, challenge_addresses

_LIVE_TIME: Final = 120.0


def declare(commands: Any) -> None:  # noqa: ANN401
    """The command."""
    parser = commands.add_parser("check", help="say all that is wrong, at once")
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask directory, DNS and certificate, and prove [senders] test",
    )
    parser.add_argument(
        "--with",
        dest="instead",
        metavar="NEW=FILE",
        type=_replacement,
        action="append",
        default=[],
        help="read NEW in the place of FILE: before it takes that place",
    )
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.set_defaults(run=check)


def _replacement(written: str) -> tuple[Path, Path]:
    """FILE and NEW of ``NEW=FILE``."""
    new, separator, file = written.rpartition("=")
    if not (new and separator and file):
        raise argparse.ArgumentTypeError("must be NEW=FILE")
    return Path(file).absolute(), Path(new)


def check(options: argparse.Namespace) -> int:
    """Read and load everything that a start would."""
    instead = dict(options.instead)
    main = options.config.absolute()
    for file in instead.keys() - {main}:
        if file.parent != main.parent / "conf.d" or file.suffix != ".toml":
            said = f"{file} is neither {main} nor a file of its conf.d"
            print(f"submitctl: {said}", file=sys.stderr)
            return os.EX_USAGE
    config, source = read_config(options.config, instead)
    _become_owner_of(config.server.state_directory)
    _refuse_unreadable(source, instead.keys())
    material = load_material(config, source)
    findings = [
        Finding(Verdict.GOOD, str(source.file), "the configuration is right"),
        *described(config, material),
    ]
    if options.live:
        try:
            findings += run_in_reactor(
                lambda reactor: probe(reactor, config, material), _LIVE_TIME
            )
        except TookTooLong as problem:
            print_findings(findings, as_json=options.json)
            print(f"submitctl: {problem}", file=sys.stderr)
            return os.EX_TEMPFAIL
    return print_findings(findings, as_json=options.json)


def _become_owner_of(folder: Path) -> None:
    """See files as the server will: what root can read its user may not."""
    if os.geteuid() == 0 and folder.exists() and (owner := folder.stat()).st_uid:
        os.setgroups(_groups_of(owner.st_uid))
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _groups_of(user: int) -> list[int]:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return []
    return os.getgrouplist(entry.pw_name, entry.pw_gid)


def _refuse_unreadable(source: Source, instead: Collection[Path]) -> None:
    """Raises ConfigErrors, as a start would; of what is not in its place yet, none."""
    unreadable = [
        ConfigProblem(file, "the file", None, f"cannot be read by {_user()}")
        for file in source.files
        if file not in instead and not os.access(file, os.R_OK)
    ]
    if unreadable:
        raise ConfigErrors(unreadable)


def _user() -> str:
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def described(config: Config, material: Material) -> Iterator[Finding]:
    """What would be listened on, under which name, and what would be signed."""
    yield Finding(
        Verdict.GOOD, "server", f"named {material.hostname}, run by {_user()}"
    )
    if not config.listener:
        yield Finding(Verdict.ODD, "listener", "there is none: mail can only go out")
    for name, listener in config.listener.items():
        where = ", ".join(
            f"{one.host} port {one.port}" for one in addresses_of(listener)
        )
        yield Finding(Verdict.GOOD, f"listener {name}", f"{where}, {_manner(listener)}")
    yield from described_log_in(config)
    if material.order is not None:
        yield Finding(Verdict.GOOD, "certificate", _ordered(material.order, config))
    for name, signer in material.signers.items():
        selectors = ", ".join(one.selector for one in signer.keys)
        yield Finding(
            Verdict.GOOD, f"dkim {name}", f"signs as {signer.domain} by {selectors}"
        )


def _ordered(order: Order, config: Config) -> str:
    where = ", ".join(
        f"{one.host} port {one.port}" for one in challenge_addresses(config)
    )
    proved = f"{order.challenge} on {where}" if where else order.challenge
    return f"for {', '.join(order.names)} from {order.authority}, by {proved}"


def _manner(listener: ListenerSection) -> str:
    if listener.proxy:
        return f"{_log_in(listener)}, behind {', '.join(map(str, listener.proxy))}"
    return _log_in(listener)


def _log_in(listener: ListenerSection) -> str:
    if listener.tls == "starttls":
        return "STARTTLS and log-in"
    if listener.tls == "implicit":
        return "TLS from the first octet and log-in"
    trusted = ", ".join(map(str, listener.trusted))
    return f"no TLS, {trusted} as {listener.submitter}"
