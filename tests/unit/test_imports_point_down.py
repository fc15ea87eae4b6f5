"""The floors of docs/architecture.md, read from every import in submitd/."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]

GROUND: Final = frozenset({"mail"})
FIRST: Final = frozenset({"smtp", "sasl", "dkim"})
SECOND: Final = frozenset({"policy", "auth", "spool", "tls", "dns", "observe"})
THIRD: Final = frozenset({"delivery"})
DOORS: Final = frozenset({"server", "web", "control"})
ROOF: Final = frozenset({"app", "process", "cli", "config"})

BELOW_SECOND: Final = GROUND | FIRST
BELOW_THIRD: Final = BELOW_SECOND | SECOND
BELOW_DOORS: Final = BELOW_THIRD | THIRD

MAY_IMPORT: Final = (
    dict.fromkeys(GROUND, frozenset[str]())
    | dict.fromkeys(FIRST, GROUND)
    # Events and metrics have their names in one place, for every service.
    | dict.fromkeys(SECOND, BELOW_SECOND | {"observe"})
    | {"observe": BELOW_SECOND, "policy": BELOW_SECOND | {"auth", "observe"}}
    | dict.fromkeys(THIRD, BELOW_THIRD)
    | dict.fromkeys(DOORS, BELOW_DOORS)
    | dict.fromkeys(ROOF, BELOW_DOORS | DOORS | ROOF)
)

PURE: Final = GROUND | FIRST
"""Bytes in, values out: no socket, no clock, no reactor, no file."""

IMPURE: Final = frozenset(
    {
        *("twisted", "asyncio", "selectors", "select", "socket", "ssl"),
        *("os", "pathlib", "shutil", "subprocess", "tempfile", "threading"),
        *("time", "sched", "signal"),
    }
)


@frozen
class Arrow:
    """One import: who wants what, and where it says so."""

    path: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def arrows(path: Path, root: Path) -> Iterator[Arrow]:
    """Every import in a file, also those inside of functions."""
    where = str(path.relative_to(root))
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_bytes(), filename=where)):
        match node:
            case ast.Import():
                for name in node.names:
                    yield Arrow(where, node.lineno, name.name)
            case ast.ImportFrom():
                origin = package[: len(package) - node.level + 1] if node.level else ()
                module = ".".join([*origin, *filter(None, [node.module])])
                # `from submitd import mail` and `from submitd.mail import x`
                # name what they want in two ways.
                for name in node.names:
                    yield Arrow(where, node.lineno, f"{module}.{name.name}")


def folder_of(path: Path, root: Path) -> str:
    """The folder below submitd/ that a file belongs to; app.py is its own."""
    return path.relative_to(root / "submitd").with_suffix("").parts[0]


def wrong_arrows(root: Path) -> list[str]:
    """What is wrong with the imports below a root, one sentence each."""
    found = []
    for path in sorted((root / "submitd").rglob("*.py")):
        folder = folder_of(path, root)
        if folder == "__init__":
            continue
        if folder not in MAY_IMPORT:
            found.append(f"{path.relative_to(root)}:1 stands on no floor")
            continue
        for arrow in arrows(path, root):
            package, *rest = arrow.module.split(".")
            if package == "submitd":
                if rest and rest[0] not in {folder, *MAY_IMPORT[folder]}:
                    found.append(f"{arrow}: {folder} stands no higher")
            elif package in IMPURE and folder in PURE:
                found.append(f"{arrow}: {folder} is plain code")
    return found


def test_imports_point_down() -> None:
    """docs/architecture.md: folders stand on floors; arrows point down only."""
    assert wrong_arrows(ROOT) == []


def test_a_package_file_holds_one_docstring() -> None:
    """Names are imported from the module that defines them."""
    for path in (ROOT / "submitd").rglob("__init__.py"):
        body = ast.parse(path.read_bytes()).body
        holds = [type(statement).__name__ for statement in body]
        assert holds == ["Expr"], path
        assert ast.get_docstring(ast.parse(path.read_bytes())), path


def test_the_plugin_folder_hides_nothing_of_twisted() -> None:
    """An __init__.py there would make `import twisted` find ours."""
    assert list((ROOT / "twisted").rglob("__init__.py")) == []


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        pytest.param(
            "mail/address.py",
            "import attrs\n\nfrom submitd.smtp.reply import Reply\n",
            "submitd/mail/address.py:3 imports submitd.smtp.reply.Reply:"
            " mail stands no higher",
            id="ground-imports-first",
        ),
        pytest.param(
            "smtp/server.py",
            "def f() -> None:\n    from submitd import sasl\n",
            "submitd/smtp/server.py:2 imports submitd.sasl: smtp stands no higher",
            id="first-imports-its-neighbour-in-a-function",
        ),
        pytest.param(
            "spool/sqlite.py",
            "from ..config import sections\n",
            "submitd/spool/sqlite.py:1 imports submitd.config.sections:"
            " spool stands no higher",
            id="second-imports-roof-relatively",
        ),
        pytest.param(
            "auth/realm.py",
            "import submitd.policy.sender\n",
            "submitd/auth/realm.py:1 imports submitd.policy.sender:"
            " auth stands no higher",
            id="auth-imports-policy",
        ),
        pytest.param(
            "web/site.py",
            "from submitd.server.desk import Desk\n",
            "submitd/web/site.py:1 imports submitd.server.desk.Desk:"
            " web stands no higher",
            id="one-door-imports-another",
        ),
        pytest.param(
            "delivery/courier.py",
            "from submitd.app import services\n",
            "submitd/delivery/courier.py:1 imports submitd.app.services:"
            " delivery stands no higher",
            id="third-imports-roof",
        ),
        pytest.param(
            "sasl/plain.py",
            "import os.path\n",
            "submitd/sasl/plain.py:1 imports os.path: sasl is plain code",
            id="plain-code-imports-os",
        ),
        pytest.param(
            "dkim/sign.py",
            "if TYPE_CHECKING:\n    from twisted.internet import defer\n",
            "submitd/dkim/sign.py:2 imports twisted.internet.defer: dkim is plain code",
            id="plain-code-imports-twisted-for-types",
        ),
        pytest.param(
            "mail/trace.py",
            "from time import time\n",
            "submitd/mail/trace.py:1 imports time.time: mail is plain code",
            id="plain-code-imports-a-clock",
        ),
        pytest.param(
            "helpers/strings.py",
            "",
            "submitd/helpers/strings.py:1 stands on no floor",
            id="folder-without-a-floor",
        ),
    ],
)
def test_an_arrow_that_points_up_is_named_with_file_and_line(
    tmp_path: Path, path: str, text: str, complaint: str
) -> None:
    """The rule is worth only as much as its reader."""
    module = tmp_path / "submitd" / path
    module.parent.mkdir(parents=True)
    module.write_text(text, encoding="ascii")

    assert wrong_arrows(tmp_path) == [complaint]


def test_arrows_that_point_down_are_fine(tmp_path: Path) -> None:
    """Among them: policy to auth, services to observe, the roof to everything."""
    for path, text in {
        "policy/sender.py": "from submitd.auth.submitter import Submitter\n",
        "smtp/server.py": "from submitd.smtp import reply\nimport re\n",
        "tls/server.py": "from submitd.observe.events import EventLog\n",
        "dns/resolver.py": "import os, time\nfrom twisted.names import dns\n",
        "server/desk.py": "from submitd.delivery.scheduler import Scheduler\n",
        "process/worker.py": "from submitd.config.reader import read\n",
        "app.py": "import submitd\nfrom submitd.web.site import site\n",
    }.items():
        module = tmp_path / "submitd" / path
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(text, encoding="ascii")

    assert wrong_arrows(tmp_path) == []
