"""Outputs that are whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtmdx.errors import OutputError, RtmdxError

__all__ = ["new_folder", "replacing", "require_free", "require_new", "require_own"]

_OLD = "old"


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
    mark = f".{final.name}.partial-{socket.gethostname()}-"
    _sweep(final, mark)
    require_free(final, what, overwrite, folder)
    try:
        stage = Path(tempfile.mkdtemp(prefix=f"{mark}{os.getpid()}-", dir=final.parent))
    except OSError as error:
        raise OutputError(
            f"{what} {final}: its folder cannot be written: {error.strerror or error}.",
            hint="Choose a folder that exists and that you may write.",
        ) from None
    try:
        new = stage / final.name
        yield new
        require_free(final, what, overwrite, folder)
        if folder and final.exists():
            _exchange(new, final, stage / _OLD)
        else:
            new.replace(final)
    except Exception as error:
        if isinstance(error, RtmdxError) or not (isinstance(error, OSError) or _from_gdal(error)):
            raise  # some of ours are OSErrors too
        raise OutputError(
            f"{what} {final}: cannot be written: {getattr(error, 'strerror', None) or error}.",
            hint="Check the free space and the rights of the folder.",
        ) from error
    finally:
        try:
            shutil.rmtree(stage, ignore_errors=True)
        except KeyboardInterrupt:  # an impatient second Ctrl-C must not leave the pieces
            shutil.rmtree(stage, ignore_errors=True)
            raise


def _exchange(new: Path, final: Path, old: Path) -> None:
    """Put `new` in the place of `final`; whatever interrupts, one of the two is there."""
    try:
        final.rename(old)
        new.rename(final)
    except BaseException:
        if old.exists() and not final.exists():
            old.rename(final)
        raise


def _sweep(final: Path, mark: str) -> None:
    """Clear what killed processes of this machine left beside `final`; a result they had moved away goes back."""
    for left in final.parent.glob(glob.escape(mark) + "*-*"):
        pid = left.name[len(mark) :].split("-")[0]
        if not pid.isdigit() or _alive(int(pid)):
            continue
        with contextlib.suppress(OSError):
            if (left / _OLD).exists() and not final.exists():
                (left / _OLD).rename(final)
        shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _from_gdal(error: Exception) -> bool:
    """GDAL's errors (disk full, for example) come in several families without a common base."""
    return type(error).__module__.split(".")[0] in ("rasterio", "pyogrio")


def require_free(final: Path, what: str, overwrite: bool, folder: bool) -> None:
    """Refuse a place that is taken, or whose folder does not exist."""
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


def require_new(path: str | os.PathLike[str], what: str = "output folder", *, overwrite: bool = False) -> None:
    """Refuse a folder's place that is taken, before anything is computed for it; folders above it may be missing."""
    final = Path(path).absolute()
    if final.parent.is_dir():
        require_free(final, what, overwrite, folder=True)


@contextmanager
def new_folder(path: str | os.PathLike[str], what: str = "output folder", *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write into, which takes its name when whole; folders above it are made.

    Raises
    ------
    OutputError
        It exists (and not `overwrite`), or cannot be made.
    """
    final = Path(path).absolute()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{what} {final}: cannot be made: {error.strerror or error}.", hint="Choose a folder you may write."
        ) from None
    with replacing(final, what, overwrite=overwrite, folder=True) as staging:
        staging.mkdir()
        yield staging


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
