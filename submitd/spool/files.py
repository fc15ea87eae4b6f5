"""Small files that must survive power loss, and locks that exclude processes."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` durable. Blocks; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make ``folder``, and those above it, to survive power loss. Blocks.

    Raises:
        OSError: it is not there, or may not survive.
    """
    if folder.is_dir():
        # Who made it may have been killed right then. Where its parent is not
        # for us to read, it was made by others.
        with suppress(PermissionError):
            sync_folder(folder.parent)
    else:
        make_folder(folder.parent)
        folder.mkdir(mode, exist_ok=True)
        sync_folder(folder.parent)


def write_durably(
    target: Path,
    content: bytes,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
) -> None:
    """Store ``content`` under a name not used before. Blocks.

    ``owner``: user and group that it is to belong to, which only root can give.
    When this returns the file survives a power cut: a key that signed a
    message is never lost while its record is still published.

    Raises:
        FileExistsError: the name is taken.
        OSError: it may not survive.
    """
    with _draft(target, content, mode, owner) as draft:
        # Unlike a rename, a link never replaces a key that is there.
        os.link(draft, target)


def replace_durably(target: Path, content: bytes, mode: int = 0o600) -> None:
    """Store ``content``: who reads the name finds the old or the new. Blocks.

    Raises:
        OSError: it may not survive a power cut.
    """
    with _draft(target, content, mode, None) as draft:
        draft.replace(target)


@contextmanager
def _draft(
    target: Path, content: bytes, mode: int, owner: tuple[int, int] | None
) -> Iterator[Path]:
    """A file with that content, safe on disk; the block gives it its name."""
    # Its own name each time: a draft that a crash left is in nobody's way.
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, mode)  # whatever the umask is
            if owner is not None:
                os.fchown(descriptor, *owner)
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    # The new name lives in the directory, not in the file: without this
    # second fsync a crash can keep the data and lose the name.
    sync_folder(target.parent)


class FileLock:
    """A lock among processes. Each opens the file itself: an inherited
    descriptor is the same lock and excludes nobody.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """``create``: where it is missing. Raises OSError."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o600)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock, and hold it inside the block. Blocks."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file up."""
        os.close(self._descriptor)
