"""Log events, kept for a look."""

from submitd.observe.events import LogEvent


class RecordedEvents:
    """An `Events` that remembers."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, dict[str, object]]] = []
        """Name and facts of each event."""

        self.faults: list[BaseException | None] = []
        """Of those that were logged with a traceback."""

    def emit(self, event: LogEvent, **facts: object) -> None:
        """As `Events.emit`."""
        self.emitted.append((event.name, facts))

    def failure(
        self, event: LogEvent, fault: BaseException | None, **facts: object
    ) -> None:
        """As `Events.failure`."""
        self.emit(event, **facts)
        self.faults.append(fault)

    @property
    def names(self) -> list[str]:
        """The events' names, in order."""
        return [name for name, _ in self.emitted]
