"""The example configuration and the reference, made from the section classes.

``python -m submitd.config.document`` writes both; a test fails when they are
stale.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import fields

from submitd.config.sections import Config

EXAMPLE: Final = "etc/submitd.toml"
REFERENCE: Final = "docs/configuration.md"

_EXAMPLE_TOP: Final = """\
# submitd's configuration: every setting with its default, and why it is there.
#
# Made by `make docs` from submitd/config. A setting that stands
# behind "#" is at its default or shows an example. Times are seconds or text
# such as "90s", "5m", "4h", "5d"; sizes are octets or "256KiB", "50MB".
# Paths are relative to this file. Files in conf.d/*.toml are read after it.
# `submitctl check` says what is wrong, all at once.
"""

_REFERENCE_TOP: Final = """\
# Configuration

One TOML file, and after it `conf.d/*.toml` beside it in the order of their
names; later files win, key by key. Times are seconds or text such as `"90s"`,
`"5m"`, `"4h"`, `"5d"`; sizes are octets or text such as `"256KiB"`, `"50MB"`.
Where a limit can be switched off, `0` or `"off"` does it. Paths are relative
to the main file. Unknown keys are errors. `submitctl check` names everything
that is wrong, with file, key, value and what would be right.

This page is made by `make docs` from `submitd/config`.
"""


def example() -> str:
    """The commented example."""
    return _EXAMPLE_TOP + "".join(
        line + "\n" for line in _example_of(Config, (), "", commented=False)
    )


def reference() -> str:
    """The manual's tables."""
    return _REFERENCE_TOP + "".join(line + "\n" for line in _reference_of(Config, ()))


def _nested(setting: Any) -> tuple[type[Any], tuple[str, ...]] | None:  # noqa: ANN401
    """The section class below a field, and what its table's name adds."""
    meta = setting.metadata
    if "tables" in meta:
        return meta["tables"], (setting.name, meta["name"])
    if "table" in meta:
        return meta["table"], (setting.name,)
    if "read" not in meta and "list" not in meta:
        return setting.type, (setting.name,)
    return None


def _example_of(
    cls: type[Any], where: tuple[str, ...], doc: str, *, commented: bool
) -> Iterator[str]:
    mark = "# " if commented else ""
    if where:
        yield ""
        yield from _wrapped(doc)
        yield f"{mark}[{'.'.join(where)}]"
    for setting in fields(cls):
        if _nested(setting) is not None:
            continue
        meta = setting.metadata
        yield from _wrapped(meta["doc"])
        if "list" in meta:
            yield f"# {setting.name} = [ {_inline(meta['list'])} ]"
        else:
            shown = meta["default"] if meta["example"] is None else meta["example"]
            yield f"# {setting.name} = {_as_toml(shown)}"
    for setting in fields(cls):
        if (nested := _nested(setting)) is not None:
            below, names = nested
            many = "tables" in setting.metadata
            yield from _example_of(
                below, (*where, *names), _first_line(below), commented=commented or many
            )


def _reference_of(cls: type[Any], where: tuple[str, ...]) -> Iterator[str]:
    plain = [one for one in fields(cls) if _nested(one) is None]
    if where:
        yield ""
        yield f"## `[{'.'.join(where)}]`"
        yield ""
        yield _first_line(cls)
    if plain:
        yield ""
        yield "| setting | default | meaning |"
        yield "|---|---|---|"
    for setting in plain:
        meta = setting.metadata
        if "list" in meta:
            default = f"`[]`, of `{_inline(meta['list'])}`"
        else:
            default = f"`{_as_toml(meta['default'])}`"
        doc = meta["doc"].replace("|", "\\|")
        yield f"| `{setting.name}` | {default} | {doc} |"
    for setting in fields(cls):
        if (nested := _nested(setting)) is not None:
            below, names = nested
            yield from _reference_of(below, (*where, *names))


def _inline(cls: type[Any]) -> str:
    pairs = ", ".join(
        f"{one.name} = {_as_toml(one.metadata['default'])}" for one in fields(cls)
    )
    return f"{{ {pairs} }}"


def _first_line(cls: type[Any]) -> str:
    return (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def _wrapped(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > 78:
            yield line
            line = "#"
        line += " " + word
    if line != "#":
        yield line


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(map(_as_toml, value)) + "]"
        case _:
            return str(value)


def main() -> int:
    """Write both files below the folder named (default: here)."""
    top = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    for name, content in ((EXAMPLE, example()), (REFERENCE, reference())):
        target = top / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
