"""How the documentation is made: HTML for browsers, and pages for man(1)."""

from datetime import UTC, datetime
from importlib.metadata import version as version_of
from os import environ

project = "submitd"
author = "the submitd maintainers"
copyright = "2026, the submitd maintainers"  # noqa: A001 - Sphinx's name for it
version = release = environ.get("SUBMITD_VERSION") or version_of("submitd")
# Of the package's changelog, where one is built: twice the same pages.
today = datetime.fromtimestamp(
    int(environ.get("SOURCE_DATE_EPOCH", "1795478400")), UTC
).strftime("%Y-%m-%d")

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True
html_theme = environ.get("SUBMITD_THEME", "furo")
html_title = "submitd"
html_show_sphinx = False

man_pages = [
    ("submitd", "submitd", "mail submission server", author, 8),
    ("submitctl", "submitctl", "look after a submitd server", author, 1),
    ("configuration", "submitd.toml", "configuration of submitd", author, 5),
]
