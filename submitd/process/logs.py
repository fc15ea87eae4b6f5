"""The log of one process, as configured."""

import os

from attrs import frozen

from submitd.config.serving import LogSection
from submitd.observe.events import Level
from submitd.observe.log import (
    EventLog,
    Form,
    JournalWriter,
    LineWriter,
    writes_to_journal,
)


@frozen
class OpenLog:
    """Events and the writer behind them."""

    events: EventLog
    writer: LineWriter

    def close(self) -> None:
        """Write what waits."""
        self.writer.close()


def open_log(section: LogSection, **always: object) -> OpenLog:
    """Open it; ``always`` are facts that every line carries.

    Raises:
        OSError: the file cannot be opened.
    """
    form = Form(section.format)
    if section.file is None and form is Form.HUMAN and writes_to_journal(os.environ):
        form = Form.JOURNAL
    writer = JournalWriter() if form is Form.JOURNAL else LineWriter(section.file, form)
    events = EventLog(writer.write, form, Level[section.level.upper()], **always)
    return OpenLog(events, writer)
