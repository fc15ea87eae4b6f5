"""A configuration that another server's is turned into, with what a person must see."""

import json

from attrs import define, field


@define
class Draft:
    """A configuration that grows."""

    tables: dict[str, dict[str, tuple[str, str]]] = field(factory=dict)
    """By table and key: the value as TOML, and where it comes from."""

    remarks: dict[str, list[str]] = field(factory=dict)
    """By table: what a person has to look at."""

    left: list[str] = field(factory=list)
    """What was not taken over."""

    def set(self, table: str, key: str, value: object, source: str) -> None:
        """One setting; the first that says something wins."""
        self.tables.setdefault(table, {}).setdefault(key, (_toml(value), source))

    def remark(self, table: str, text: str) -> None:
        """Something that a person has to look at, above a table."""
        self.tables.setdefault(table, {})
        self.remarks.setdefault(table, []).append(text)

    def text(self) -> str:
        """As a file."""
        lines = [
            "# Made by `submitctl import postfix`. A beginning: read it, mind what",
            '# stands behind "!", and let `submitctl check --live` prove it.',
        ]
        for table, settings in self.tables.items():
            lines += ["", *(f"# ! {one}" for one in self.remarks.get(table, ()))]
            if settings:
                lines.append(f"[{table}]")
            for key, (value, source) in settings.items():
                lines.append(f"{key} = {value}  # {source}")
        if self.left:
            lines += ["", "# Not taken over:"]
            lines += [f"#   {one}" for one in self.left]
        return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return str(value)
