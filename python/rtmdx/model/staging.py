"""Outputs that are whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtmdx.errors import OutputError, RtmdxError

__all__ = ["replacing", "require_own"]


@contextmanager
def replacing(
    path: str | os.PathLike[str], what: str, *, overwrite: bool = False, folder: bool = False
) -> Iterator[Path]:
    """Give a temporary path that takes the name `path` when the block ends without an error.

    Parameters
    ----------
    path : path
        Final name; its folder must exist.
    what : str
        The output, for messages: "report".
    overwrite : bool
        Replace what is there. A folder only ever replaces a folder, a file a file.
    folder : bool
        The output is a folder, which the block makes.

    Raises
    ------
    OutputError
        `path` exists, its folder is missing or not writable, or writing failed.
    """
    final = Path(path).absolute()
    _require_free(final, what, overwrite, folder)
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    except OSError as error:
        raise OutputError(
            f"{what} {final}: its folder cannot be written: {error.strerror or error}.",
            hint="Choose a folder that exists and that you may write.",
        ) from None
    try:
        new = stage / final.name
        yield new
        _require_free(final, what, overwrite, folder)
        if folder and final.exists():
            old = stage / "old"
            final.rename(old)
            try:
                new.rename(final)
            except OSError:
                old.rename(final)
                raise
        else:
            new.replace(final)
    except OSError as error:
        if isinstance(error, RtmdxError):  # some of ours are OSErrors too
            raise
        raise OutputError(
            f"{what} {final}: cannot be written: {error.strerror or error}.",
            hint="Check the free space and the rights of the folder.",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _require_free(final: Path, what: str, overwrite: bool, folder: bool) -> None:
    if not final.parent.is_dir():
        reason = "is no folder" if final.parent.exists() else "does not exist"
        raise OutputError(f"{what} {final}: its folder {final.parent} {reason}.", hint="Make the folder first.")
    if not (final.exists() or final.is_symlink()):
        return
    if not overwrite:
        raise OutputError(
            f"{what} {final}: exists already.",
            hint="Choose another name, or overwrite it (--overwrite, overwrite=True).",
        )
    if final.is_dir() != folder:
        found, expected = ("folder", "file") if final.is_dir() else ("file", "folder")
        raise OutputError(
            f"{what} {final}: is a {found}; the {what} is a {expected}, and one never replaces the other.",
            hint="Choose another name.",
        )


def require_own(path: str | os.PathLike[str], what: str, own: set[str]) -> None:
    """Refuse to overwrite a folder that holds anything but an earlier output of the same kind."""
    final = Path(path)
    if not final.is_dir():
        return
    content = {p.name for p in final.iterdir()}
    other = sorted(content - own) if own else []
    if other or (not own and content and "zarr.json" not in content):
        names = ", ".join((other or sorted(content))[:3])
        raise OutputError(
            f"{what} {final}: the folder holds other files ({names}).",
            hint=f"Only an earlier {what} is overwritten; choose another name.",
        )
