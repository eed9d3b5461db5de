"""Where a store's bytes are: a folder, or a prefix in an object store. One interface, so that all else is one code."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from rtmdx.errors import InputError, MissingDependencyError, StoreError

__all__ = ["CloudObjects", "FolderObjects", "Objects", "objects_at"]

_PART = ".part"
_count = itertools.count()


class Objects(Protocol):
    """Named bytes. Keys are relative, with "/" between their parts.

    Every method that writes leaves the object whole or as it was, and raises `StoreError` or OSError (with its errno)
    where it cannot.
    """

    url: str

    def read(self, key: str) -> bytes | None:
        """Return an object; None where there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Write or replace an object; it survives a loss of power."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not exist; False, and nothing written, where it does."""

    def swap(self, key: str, old: bytes, new: bytes) -> bool:
        """Replace an object that holds `old`; False, and nothing written, where it holds something else or is gone."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects right in a folder, in any order."""

    def clear(self, keep: str) -> None:
        """Delete everything but one object."""

    def occupied(self) -> bool:
        """Whether there is anything at all."""

    def settle(self, folders: Iterable[str]) -> None:
        """Make names written into folders survive a loss of power."""

    def tidy(self) -> None:
        """Delete what writers that were killed had half written."""

    def zarr(self, *, writable: bool = False) -> Any:
        """Return the same place as a Zarr store."""


def objects_at(url: str) -> Objects:
    """Return the objects at a path or URL; nothing is read or made.

    Raises
    ------
    InputError
        It is no path or URL of a kind that is known.
    MissingDependencyError
        obstore is not installed.
    """
    if not url or "\0" in url:
        raise InputError(f"store: found {url!r}, expected the path of a folder, or a URL such as s3://bucket/prefix.")
    scheme, mark, rest = url.partition("://")
    if not mark:
        return FolderObjects(url)
    if scheme == "file":
        return FolderObjects(rest)
    return CloudObjects(url)


class FolderObjects:
    """Objects that are files in a folder."""

    def __init__(self, path: str) -> None:
        self.url = path
        self.path = Path(path).absolute()

    def read(self, key: str) -> bytes | None:
        """See `Objects.read`."""
        try:
            return (self.path / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, data: bytes) -> None:
        """See `Objects.write`."""
        with self._part(key, data) as part:
            part.replace(self.path / key)

    def create(self, key: str, data: bytes) -> bool:
        """See `Objects.create`."""
        with self._part(key, data) as part:
            try:
                os.link(part, self.path / key)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    raise
                return self._create_plainly(key, data)  # a file system without hard links
        return True

    def _create_plainly(self, key: str, data: bytes) -> bool:
        with self._alone(key):
            if (self.path / key).exists():
                return False
            self.write(key, data)
            return True

    def swap(self, key: str, old: bytes, new: bytes) -> bool:
        """See `Objects.swap`."""
        with self._alone(key):
            if self.read(key) != old:
                return False
            self.write(key, new)
            return True

    def delete(self, keys: Iterable[str]) -> None:
        """See `Objects.delete`."""
        for key in keys:
            (self.path / key).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """See `Objects.names`."""
        try:
            with os.scandir(self.path / folder) as found:
                return [e.name for e in found if not e.name.startswith(".") and e.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def clear(self, keep: str) -> None:
        """See `Objects.clear`."""
        kept = self.path / keep
        for folder in (kept.parent, *(p for p in kept.parents if self.path in (p, *p.parents))):
            for entry in [p for p in folder.glob("*") if p != kept and p not in kept.parents]:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)

    def occupied(self) -> bool:
        """See `Objects.occupied`."""
        if not self.path.is_dir():
            return self.path.exists()
        return any(e.name != "state" or not self._only_begun(e) for e in self.path.iterdir())

    @staticmethod
    def _only_begun(state: Path) -> bool:
        """Whether a folder holds no more than a writer leaves that was killed before it had the lock."""
        return state.is_dir() and all(e.name.startswith(".") and e.is_file() for e in state.iterdir())

    def settle(self, folders: Iterable[str]) -> None:
        """See `Objects.settle`."""
        for folder in folders:
            try:
                handle = os.open(self.path / folder, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def tidy(self) -> None:
        """See `Objects.tidy`."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.startswith(".") and name.endswith(_PART):
                    Path(folder, name).unlink(missing_ok=True)

    def zarr(self, *, writable: bool = False) -> Any:
        """See `Objects.zarr`."""
        return _zarr_folder()(self.path, read_only=not writable, write=self.write)

    @contextmanager
    def _part(self, key: str, data: bytes) -> Iterator[Path]:
        """Write a file beside an object's place, and give its path; it is gone afterwards."""
        final = self.path / key
        part = final.with_name(f".{final.name}.{socket.gethostname()}-{os.getpid()}-{next(_count)}{_PART}")
        try:
            try:
                file = part.open("wb")
            except FileNotFoundError:
                final.parent.mkdir(parents=True, exist_ok=True)
                file = part.open("wb")
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield part
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Exclude other processes of this machine (and, where the file system says so, of others) for a moment."""
        handle = os.open((self.path / key).parent, os.O_RDONLY)
        try:
            with suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _zarr_folder() -> Any:
    """Return a class of Zarr stores that write as `FolderObjects` does; Zarr's own is not safe from a loss of power."""
    from zarr.storage import LocalStore

    class FolderStore(LocalStore):
        def __init__(self, root: Path, *, read_only: bool, write: Callable[[str, bytes], None]) -> None:
            super().__init__(root, read_only=read_only)
            self._write = write

        def with_read_only(self, read_only: bool = False) -> FolderStore:
            return FolderStore(self.root, read_only=read_only, write=self._write)

        async def set(self, key: str, value: Any) -> None:
            if not self._is_open:
                await self._open()
            self._check_writable()
            await asyncio.to_thread(self._write, key, value.to_bytes())

    return FolderStore


class CloudObjects:
    """Objects in S3, or what obstore takes for the same: gs://, az://; credentials are those of the environment."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def _store(self) -> Any:
        try:
            from obstore.store import from_url
        except ImportError:
            raise MissingDependencyError(
                f"store {self.url}: needs obstore.", hint="Install it with: pip install 'rtmdx[cloud]'"
            ) from None
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        plain = any(os.environ.get(name, "").startswith("http://") for name in names)
        try:
            return from_url(
                self.url,
                client_options={"allow_http": True} if plain else {},
                retry_config={"max_retries": 5},
            )
        except Exception as error:
            raise InputError(
                f"store: {self.url!r} cannot be used ({_first(error)}).",
                hint="Give the path of a folder, or a URL such as s3://bucket/prefix.",
            ) from None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn obstore's errors into ours."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise StoreError(
                f"store {self.url}: cannot {what} ({_first(error)}).",
                hint="Check the URL, the credentials and the network.",
            ) from None

    def read(self, key: str) -> bytes | None:
        """See `Objects.read`."""
        found = self._get(key)
        return None if found is None else found[0]

    def _get(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        import obstore

        try:
            with self._told(f"read {key}"):
                found = obstore.get(self._store, key)
                version = {k: str(found.meta[k]) for k in ("e_tag", "version") if found.meta.get(k) is not None}
                return bytes(found.bytes()), version
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(f"store {self.url}: there is no such bucket.", hint="Check the URL.") from None
            return None

    def write(self, key: str, data: bytes) -> None:
        """See `Objects.write`."""
        import obstore

        try:
            with self._told(f"write {key}"):
                obstore.put(self._store, key, data)
        except FileNotFoundError:
            raise StoreError(f"store {self.url}: there is no such bucket.", hint="Check the URL.") from None

    def create(self, key: str, data: bytes) -> bool:
        """See `Objects.create`."""
        return self._put_if(key, data, "create")

    def swap(self, key: str, old: bytes, new: bytes) -> bool:
        """See `Objects.swap`."""
        found = self._get(key)
        return found is not None and found[0] == old and self._put_if(key, new, found[1])

    def _put_if(self, key: str, data: bytes, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._told(f"write {key}"):
                try:
                    obstore.put(self._store, key, data, mode=mode, use_multipart=False)
                except (AlreadyExistsError, PreconditionError):
                    # a request that was answered but not heard is sent again, and then finds itself
                    return self.read(key) == data
        except FileNotFoundError:
            if mode != "create":
                return False
            raise StoreError(f"store {self.url}: there is no such bucket.", hint="Check the URL.") from None
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """See `Objects.delete`."""
        import obstore

        for some in _batches(list(keys), 1000):
            with self._told("delete"), suppress(FileNotFoundError):
                obstore.delete(self._store, some)

    def names(self, folder: str) -> list[str]:
        """See `Objects.names`."""
        import obstore

        try:
            with self._told(f"list {folder}"):
                found = obstore.list_with_delimiter(self._store, folder)
        except FileNotFoundError:
            return []
        return [str(m["path"]).rpartition("/")[2] for m in found["objects"]]

    def clear(self, keep: str) -> None:
        """See `Objects.clear`."""
        self.delete([key for key in self._all() if key != keep])

    def occupied(self) -> bool:
        """See `Objects.occupied`."""
        return next(iter(self._all()), None) is not None

    def _all(self) -> Iterator[str]:
        import obstore

        with self._told("list"), suppress(FileNotFoundError):
            for some in obstore.list(self._store):
                for meta in some:
                    yield str(meta["path"])

    def settle(self, folders: Iterable[str]) -> None:
        """See `Objects.settle`; what an object store has answered is kept."""

    def tidy(self) -> None:
        """See `Objects.tidy`; objects are never half written."""

    def zarr(self, *, writable: bool = False) -> Any:
        """See `Objects.zarr`."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=not writable)


def _batches(keys: list[str], size: int) -> Iterator[list[str]]:
    for i in range(0, len(keys), size):
        yield keys[i : i + size]


def _first(error: BaseException) -> str:
    """The first line of an error, without the server's answer."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.partition(": <?xml")[0][:300]
