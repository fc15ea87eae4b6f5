"""Make docs/rfc-map.md from the tests' rfc markers, or say that it is stale."""

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

CHECKOUT: Final = Path(__file__).resolve().parent.parent

TITLES: Final = {
    "1870": "Message size declaration",
    "2034": "Enhanced status codes in replies",
    "2920": "Command pipelining",
    "3030": "CHUNKING and BINARYMIME",
    "3207": "STARTTLS",
    "3461": "Delivery status notifications, asked for",
    "3463": "Enhanced status codes",
    "3464": "Delivery status notifications, as messages",
    "4616": "SASL PLAIN",
    "4954": "AUTH",
    "5321": "SMTP",
    "5322": "Internet message format",
    "5890": "Internationalised domain names",
    "6152": "8BITMIME",
    "6376": "DKIM",
    "6409": "Message submission",
    "6522": "multipart/report",
    "6531": "SMTPUTF8",
    "6532": "Internationalised header fields",
    "7505": "Null MX",
    "8314": "TLS for submission",
    "8463": "Ed25519 in DKIM",
}
"""What is implemented; one without a test is shown as a gap."""

HEAD: Final = """\
# Requirements and their tests

Made by `make docs` from the `rfc` markers of the tests; do not edit. A test
stands here under the section whose requirement it proves, beside the modules
that it exercises.
"""


class BadMarker(ValueError):
    """An rfc marker that does not name one RFC and one section."""


@frozen(order=True)
class Proof:
    """One test that proves one requirement."""

    rfc: str
    section: str
    sentence: str
    path: str
    modules: tuple[str, ...]


def proofs_in(path: Path, root: Path) -> Iterator[Proof]:
    """The proofs of one test file.

    Raises:
        BadMarker: with file and line.
    """
    where = path.relative_to(root).as_posix()
    tree = ast.parse(path.read_bytes(), filename=where)
    origin = _origins(tree)
    for test, marks in _tests(tree.body, _module_marks(tree.body)):
        used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
        # A test that names nothing of ours works through helpers of its file.
        modules = {origin[name] for name in used & origin.keys()}
        modules = modules or set(origin.values())
        for mark in marks:
            rfc, section = _requirement(mark, where)
            sentence = test.name.removeprefix("test_").replace("_", " ")
            yield Proof(rfc, section, sentence, where, tuple(sorted(modules)))


def _origins(tree: ast.Module) -> dict[str, str]:
    """Names that stand for something of submitd, and the module each is from."""
    origin = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        package, *rest = node.module.split(".")
        if package == "submitd":
            for name in node.names:
                # `from submitd.smtp import reply` names a module, in a folder.
                parts = rest if len(rest) > 1 else [*rest, name.name]
                origin[name.asname or name.name] = "/".join(parts) + ".py"
    return origin


def _marks(nodes: Sequence[ast.expr]) -> list[ast.Call]:
    return [
        call
        for node in nodes
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "rfc"
    ]


def _module_marks(body: Sequence[ast.stmt]) -> list[ast.Call]:
    return [
        mark
        for statement in body
        if isinstance(statement, ast.Assign)
        and any(ast.unparse(target) == "pytestmark" for target in statement.targets)
        for mark in _marks([statement.value])
    ]


def _tests(
    body: Sequence[ast.stmt], outer: list[ast.Call]
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, list[ast.Call]]]:
    """Every test with the marks it carries and inherits."""
    for node in body:
        match node:
            case ast.ClassDef():
                yield from _tests(node.body, outer + _marks(node.decorator_list))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if node.name.startswith("test_"):
                    yield node, outer + _marks(node.decorator_list)


def _requirement(mark: ast.Call, where: str) -> tuple[str, str]:
    match [ast.literal_eval(argument) for argument in mark.args]:
        case [str(rfc), str(section)] if not mark.keywords and rfc.isdecimal():
            return rfc, section
        case _:
            raise BadMarker(
                f'{where}:{mark.lineno} write @pytest.mark.rfc("5321", "4.5.4.1")'
            )


def page(proofs: Sequence[Proof]) -> str:
    """The whole page."""
    by_rfc = defaultdict(set)
    for proof in proofs:
        by_rfc[proof.rfc].add(proof)
    parts = [HEAD]
    for rfc in sorted(TITLES.keys() | by_rfc.keys(), key=int):
        title = f": {TITLES[rfc]}" if rfc in TITLES else ""
        parts.append(f"\n## RFC {rfc}{title}\n\n{_table(by_rfc[rfc])}")
    return "".join(parts)


def _table(proofs: set[Proof]) -> str:
    if not proofs:
        return "No test names this RFC.\n"
    rows = ["| section | modules | what holds |", "|---|---|---|"]
    for proof in sorted(proofs, key=_by_section):
        modules = ", ".join(f"`{module}`" for module in proof.modules)
        link = f"[{proof.sentence}](../{proof.path})"
        rows.append(f"| {proof.section} | {modules or 'the whole server'} | {link} |")
    return "\n".join(rows) + "\n"


def _by_section(proof: Proof) -> tuple[list[tuple[int, str]], Proof]:
    """Sections in the order of a table of contents: 4.2, 4.10, appendix A."""
    steps = proof.section.split(".")
    return [(int(s) if s.isdecimal() else 10_000, s) for s in steps], proof


def main() -> int:
    """Write the page; with --check only compare. Status 1: stale or a bad marker."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing")
    options.add_argument("page", type=Path)
    given = options.parse_args()
    try:
        proofs = [
            proof
            for path in sorted((CHECKOUT / "tests").rglob("test_*.py"))
            for proof in proofs_in(path, CHECKOUT)
        ]
    except BadMarker as problem:
        print(problem, file=sys.stderr)
        return 1
    made = page(proofs)
    if not given.check:
        given.page.write_text(made, encoding="utf-8")
        return 0
    if given.page.exists() and given.page.read_text(encoding="utf-8") == made:
        return 0
    print(f"{given.page} is not what the tests say; run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
