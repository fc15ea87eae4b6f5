"""Names the service for twistd; nothing else may be imported at this point."""

from twisted.application.service import ServiceMaker

submitd = ServiceMaker(
    "submitd",
    "submitd.app",
    "Take mail from people a directory knows, and deliver it.",
    "submitd",
)
