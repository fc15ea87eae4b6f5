"""The plugin's entry: ``twistd submitd`` → options → the tree of services."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions

from submitd.config.errors import ConfigErrors
from submitd.config.reader import read_config
from submitd.process.material import load_material
from submitd.process.supervisor import Supervisor


class Options(UsageOptions):
    """Options of ``twistd submitd``."""

    longdesc = (
        "A mail submission server: log in with an LDAP account over TLS, and mail "
        "leaves signed, from the right place, and is retried until it arrives or "
        "comes back with an explanation. Everything is set in one file; "
        "`submitctl check` says whether it is right."
    )
    optParameters: list[list[Any]] = [  # noqa: RUF012
        [
            "config",
            "c",
            "/etc/submitd/submitd.toml",
            "The configuration file. conf.d/*.toml beside it is read after it.",
        ]
    ]


def makeService(options: Options) -> IService:
    """The supervisor for this configuration, or a clear end."""
    from twisted.internet import reactor

    file = Path(options["config"])
    try:
        config, source = read_config(file)
        material = load_material(config, source)
    except ConfigErrors as wrong:
        _refuse(wrong)
    if not config.listener:
        print(
            f"submitd: {file} has no [listener.NAME]: mail can only go out",
            file=sys.stderr,
        )
    return Supervisor(reactor, file.absolute(), config, source, material.order)


def _refuse(wrong: ConfigErrors) -> NoReturn:
    for problem in wrong.problems:
        print(f"submitd: {problem}", file=sys.stderr)
    raise SystemExit(os.EX_CONFIG)
