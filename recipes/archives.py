"""Unpack a zip or a tar, once and safely, into the user's cache: what is in it is then a folder like any other."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import importlib
import json
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from recipes import cache, images
from recipes.display import console, counted, listed
from recipes.errors import DataError, printable
from recipes.examples import SPLITS
from recipes.tables import existing, is_table

#: What archives are called; one with another name is known by its first bytes.
SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")

# What other packed files begin with.
_FOREIGN = {
    b"Rar!\x1a\x07": "a RAR file",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
}

# An archive with more files than this, or that grows by more than this factor, is a trap; a small one may hold blank
# masks, which grow a thousandfold.
_MOST_MEMBERS = 5_000_000
_MOST_TIMES = 200
_SMALL = 64 * 2**20

# Headers of a tar that describe the next one: pax, long names.
_DESCRIPTIONS = (b"x", b"g", b"X", b"L", b"K")

# What the libraries raise for bytes that are not as they should be.
_DAMAGES = (
    OSError,
    EOFError,
    ValueError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
)

_YOURSELF = "if you trust it, unpack it yourself and give the folder"

# What is left free on the disk.
_SPARE = 10**9

# When more than this is kept, what was not used for the longest time and is not in use makes room.
_MOST_BYTES = 20 * 2**30

# Deeper folders than this have names too long for some systems.
_DEEPEST = 100

# An archive that takes longer than about two seconds has a bar of progress.
_LARGE = 2**25

_BLOCK = 2**20

# In the folder of each archive: what was found in it, and a file that those who use it hold open.
_CONTENTS, _USED = "contents.json", "in use"

# What this process uses, by place.
_HELD: dict[Path, int] = {}


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip or a tar by its name or by its first bytes; also of another kind that packs files."""
    try:
        if not os.path.isfile(path):
            return False
        return os.fspath(path).lower().endswith(SUFFIXES) or bool(_kind(os.fspath(path)))
    except (OSError, ValueError):
        return False


def unpacked(path: str | os.PathLike[str], notes: list[str] | None = None) -> str:
    """The folder with what is in a zip or a tar, unpacked now or, if the file is the same, by an earlier run.

    If all of it lies in one folder, as `photos/cat/1.jpg` in photos.zip, that folder is returned. Only plain files and
    folders are written, by names that stay inside; whatever is written is counted, whatever headers say. The folder
    appears whole or not at all. Other processes that want the same one at the same time wait for it.

    Args:
        path: the archive.
        notes: gets a line for everything that was left out, also in later runs.

    Raises:
        DataError: it is no archive, is encrypted, damaged or a trap, or there is no room; nothing is left behind.
    """
    archive = os.path.abspath(existing(path))
    place = folder() / _key(archive)
    found = _kept(place)
    if found is None:
        name = printable(os.path.basename(archive))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _locked(place.with_suffix(".lock"), wait=True):
                found = _kept(place) or _unpack(archive, name, place)
        except OSError as error:
            where = printable(place.parent)
            raise DataError(
                f"{name} cannot be unpacked into {where} ({error.strerror or error}); unpack it elsewhere and give "
                "that folder, or name another folder for the cache in RECIPES_CACHE"
            ) from error
    if notes is not None:
        notes += found[1]
    return found[0]


def folder() -> Path:
    """Where archives are unpacked: `recipes/archives` in the user's cache, or in the folder of RECIPES_CACHE."""
    return cache.folder("archives")


def _kind(path: str) -> str:
    """`zip`, `tar`, words for another kind, or nothing where a file packs no others."""
    with open(path, "rb") as file:
        head = file.read(8)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return "zip"
        if foreign := [words for magic, words in _FOREIGN.items() if head.startswith(magic)]:
            return foreign[0]
        try:
            tarfile.TarInfo.frombuf(_decompressed(file).read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except _DAMAGES:
            return ""
    return "tar"


def _key(path: str) -> str:
    """What an archive's folder is called: everything by which another file would be noticed is in it."""
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            ends = zlib.crc32(file.read(2**16))
            file.seek(max(0, status.st_size - 2**16))
            ends = zlib.crc32(file.read(2**16), ends)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error
    key = json.dumps([path, status.st_size, status.st_mtime_ns, ends])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


# ---------------------------------------------------------------------------------------------------------------------
# What is kept


def _kept(place: Path) -> tuple[str, list[str]] | None:
    """The folder and the notes of what is unpacked already, which stays as long as this process lives."""
    try:
        contents = json.loads((place / _CONTENTS).read_text(encoding="utf-8"))
        if place not in _HELD:
            held = _lock(place / _USED, shared=True)
            if held is not None:
                _HELD[place] = held
        os.utime(place)
        root = os.path.join(place, contents["folder"])
        return (root, list(contents["notes"])) if os.path.isdir(root) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lock(path: Path, shared: bool = False, wait: bool = False) -> int | None:
    """A file that is locked as long as it is open, also when the process is killed; None if another has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl: Any = importlib.import_module("fcntl")
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except ImportError:  # Windows, where a folder cannot be moved while a file in it is open
        return file
    except OSError:  # also on a disk that has no locks
        os.close(file)
        return None
    return file


@contextlib.contextmanager
def _locked(path: Path, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Whether the file could be locked, and the lock until the end of the block."""
    file = _lock(path, shared, wait)
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def _unpack(archive: str, name: str, place: Path) -> tuple[str, list[str]]:
    """Unpack an archive beside its place and move it there when it is whole."""
    kind = _kind(archive) or ("zip" if zipfile.is_zipfile(archive) else "")
    if kind not in ("zip", "tar"):
        raise DataError(f"{name} is {kind or _no_archive(archive)}; give a zip, a tar or a folder")
    _make_room(0)
    if place in _HELD:  # somebody removed the folder meanwhile
        os.close(_HELD.pop(place))
    new = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        with _locked(new / _USED, shared=True):
            _fill(archive, name, kind, new)
        if place.exists():  # and is of no use, or somebody else's who came first on a disk without locks
            if found := _kept(place):
                return found
            _remove(place)
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    found = _kept(place)
    if found is None:
        raise OSError(errno.EIO, "it did not stay there")
    _make_room(_MOST_BYTES)
    return found


def _no_archive(path: str) -> str:
    size = os.path.getsize(path)
    return "neither a zip nor a tar file, whatever its name says, or is damaged" if size else "empty (0 bytes)"


def _fill(archive: str, name: str, kind: str, new: Path) -> None:
    """Write what is in an archive, and then what there is to say of it."""
    files = new / os.path.basename(archive)  # so that paths in messages look like the archive's
    files.mkdir()
    size = os.path.getsize(archive)
    room = shutil.disk_usage(new).free - _SPARE
    writing = _Writing(name, str(files), max(_SMALL, _MOST_TIMES * size), room, _folds_case(new))
    with open(archive, "rb") as file, _bar(f"unpacking {name}", size) as at:
        for member in _zip_members(file, name) if kind == "zip" else _tar_members(file, name, writing.notes):
            writing.put(member)
            at(file.tell())
    contents = {"folder": os.path.relpath(_inner(str(files)), new), "bytes": writing.bytes, "notes": writing.finished()}
    (new / _CONTENTS).write_text(json.dumps(contents), encoding="utf-8")


@contextlib.contextmanager
def _bar(title: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar of progress for an archive that takes long; what is given is called with the place in the file."""
    from rich.progress import Progress

    with Progress(console=console(), transient=True, disable=size < _LARGE) as progress:
        task, shown = progress.add_task(title, total=size), 0

        def at(place: int) -> None:
            nonlocal shown
            if abs(place - shown) * 500 > size:  # a million small steps would take longer than the work
                shown = place
                progress.update(task, completed=place)

        yield at


def _make_room(most: int) -> None:
    """Remove what killed runs have left, and of whole folders those used last that are more than `most` bytes.

    With 0, only what killed runs have left.
    """
    total = 0
    with contextlib.suppress(OSError):
        for _, place in sorted(((entry.stat().st_mtime, Path(entry)) for entry in os.scandir(folder())), reverse=True):
            if not place.is_dir():
                continue
            if place.name.startswith("."):
                if time.time() - place.stat().st_mtime > 60:
                    _remove(place)
                continue
            if most:
                total += _size(place)
                if total > most:
                    _remove(place)


def _size(place: Path) -> int:
    try:
        return int(json.loads((place / _CONTENTS).read_text(encoding="utf-8"))["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _remove(place: Path) -> None:
    """Remove a folder that nobody uses; it is gone at once, so that nobody takes half of it for the whole."""
    gone = place.with_name(f".gone-{place.name.lstrip('.')}-{os.getpid()}")
    with contextlib.suppress(OSError):
        with _locked(place / _USED) as free:
            if free and os.name != "nt":
                place.rename(gone)
        if os.name == "nt":  # where it cannot be moved while the file is open
            place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True, slots=True)
class _Member:
    """One thing in an archive.

    Args:
        name: its name as the archive has it.
        parts: the folders and the file that the name means.
        kind: a `copy` is what tar has for a second name of a file; a `link` is all that is neither file nor folder.
        blocks: reads it; for a copy the parts of the file's first name.
        alone: whether others can be read where this one is damaged.
    """

    name: str
    parts: list[str]
    kind: Literal["file", "folder", "copy", "link"]
    blocks: Callable[[], Iterator[bytes]] = lambda: iter(())
    first: list[str] = field(default_factory=list)
    alone: bool = False


class _DamageError(Exception):
    """A member cannot be read; the words say why."""


def _read(opening: Callable[[], IO[bytes]]) -> Iterator[bytes]:
    """A member in blocks.

    Raises:
        _DamageError: it cannot be read.
    """
    try:
        with opening() as file:
            while block := file.read(_BLOCK):
                yield block
    except (*_DAMAGES, RuntimeError) as error:
        raise _DamageError(printable(str(error)) or type(error).__name__) from error


def _parts(name: str, archive: str, backslashes: bool) -> list[str]:
    """The folders and the file that a member's name means.

    Raises:
        DataError: the name leads out of the folder.
    """
    path = name.replace("\\", "/") if backslashes or os.name == "nt" else name
    parts = [part for part in path.split("/") if part not in ("", ".")]
    drive = re.match(r"[A-Za-z]:/", path) or (os.name == "nt" and ":" in path)
    if path.startswith("/") or drive or ".." in parts or len(parts) > _DEEPEST:
        how = "lies too deep" if len(parts) > _DEEPEST else "would be written outside of the folder"
        raise DataError(f"{archive}: {printable(name)} {how}; {_YOURSELF}")
    return parts


def _junk(parts: list[str]) -> bool:
    return not parts or any(map(images.ignored, parts))


def _zip_members(file: IO[bytes], name: str) -> Iterator[_Member]:
    """What is in a zip, in order."""
    try:
        archive = zipfile.ZipFile(file)
    except (*_DAMAGES, NotImplementedError) as error:
        words = printable(str(error))
        raise DataError(f"{name} is damaged or cut off ({words}); download it or pack it again") from error
    infos = archive.infolist()
    _check_zip(infos, name)
    for info in infos:
        called = _zip_name(info)
        parts = _parts(called, name, True)
        if _junk(parts):
            continue
        mode = info.external_attr >> 16 if info.create_system == 3 else 0
        if info.is_dir() or called.endswith("\\"):
            yield _Member(called, parts, "folder")
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            yield _Member(called, parts, "link")
        else:
            blocks = cast("Callable[[], Iterator[bytes]]", lambda info=info: _read(lambda: archive.open(info)))
            yield _Member(called, parts, "file", blocks, alone=True)


def _check_zip(infos: list[zipfile.ZipInfo], name: str) -> None:
    """Refuse a zip that is none of files for people, and one that cannot be read, before anything is written."""
    names = {info.filename for info in infos[:10_000]}
    kinds = {
        "xl/workbook.xml": "is a spreadsheet (.xlsx); export it as CSV",
        "[Content_Types].xml": "is an Office document; export what it holds as CSV or as files",
        "META-INF/manifest.xml": "is an OpenDocument file; export it as CSV",
        "META-INF/MANIFEST.MF": "is a program (.jar), not data",
    }
    if found := [words for mark, words in kinds.items() if mark in names]:
        raise DataError(f"{name} {found[0]}")
    if infos and all(info.filename.endswith(".npy") for info in infos):
        raise DataError(f"{name} holds numpy arrays (.npz); read them with numpy.load and give the arrays")
    if any(name.endswith("/data.pkl") for name in names) and any(name.endswith("/version") for name in names):
        raise DataError(f"{name} is a file of torch.save, not data")
    for info in infos:
        if info.flag_bits & 1:
            member = printable(_zip_name(info))
            raise DataError(f"{name} is encrypted ({member}); unpack it with its password and give the folder")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            how = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")  # type: ignore[attr-defined]
            raise DataError(
                f"{name}: {printable(_zip_name(info))} is packed in a way that Python cannot unpack ({how}); unpack it "
                "yourself and give the folder"
            )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without saying so."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class Header(tarfile.TarInfo):
    """A tar's header; one that is damaged is an error, where tarfile would take it for the end."""

    #: Whether the last that was met is the mark that ends a tar.
    ended = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
        """A header from its bytes.

        Raises:
            ReadError: they are no header, or one that claims too much.
        """
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(str(error)) from error
            cls.ended |= bool(buf)
            raise
        cls.ended = False
        # What describes the next member, such as a long name, is read whole by tarfile.
        if found.size < 0 or (found.type in _DESCRIPTIONS and found.size > 2**24):
            raise tarfile.ReadError(f"a header claims {found.size:,} bytes")
        return found


def _tar_members(file: IO[bytes], name: str, notes: list[str]) -> Iterator[_Member]:
    """What is in a tar, in order, packed or not; it is read from front to end and never kept as a list."""

    class Ending(Header):
        """With an end of its own."""

    number = 0
    try:
        with tarfile.open(fileobj=_decompressed(file), mode="r|", tarinfo=Ending, errors="surrogateescape") as archive:
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all
                number += 1
                yield from _tar_member(archive, member, name)
    except DataError:
        raise
    except _DAMAGES as error:
        words = printable(str(error)) or type(error).__name__
        raise DataError(f"{name} is damaged or cut off ({words}); download it or pack it again") from error
    if not Ending.ended:
        notes.append(f"{name} has no mark at its end, so it may be cut off, after {counted(number, 'member')}")


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """What a file holds, whether it is packed with gzip, bzip2, xz or not at all."""
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head[:3] == b"BZh":
        return cast("IO[bytes]", bz2.BZ2File(file))
    if head == b"\xfd7zXZ\x00":
        return cast("IO[bytes]", lzma.LZMAFile(file))
    return file


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Iterator[_Member]:
    parts = _parts(member.name, name, False)
    if _junk(parts):
        return
    if member.isdir():
        yield _Member(member.name, parts, "folder")
    elif member.isreg():
        yield _Member(member.name, parts, "file", lambda: _read(lambda: cast("IO[bytes]", archive.extractfile(member))))
    elif member.islnk():
        yield _Member(member.name, parts, "copy", first=_parts(member.linkname, name, False))
    else:
        yield _Member(member.name, parts, "link")


# ---------------------------------------------------------------------------------------------------------------------
# Writing


@dataclass
class _Writing:
    """What is written of an archive, and what is not.

    Args:
        archive: its name.
        root: the folder to write into, in which nothing but what is written here lies.
        most: the bytes at which it is a trap.
        room: the bytes that the disk has for it.
        folds: whether the disk takes `A.jpg` and `a.jpg` for one file.
        notes: gets a line for what is odd.
    """

    archive: str
    root: str
    most: int
    room: int
    folds: bool
    notes: list[str] = field(default_factory=list)
    bytes: int = 0
    members: int = 0
    files: int = 0
    links: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    _made: set[str] = field(default_factory=set)
    _spelled: dict[str, str] = field(default_factory=dict)

    def put(self, member: _Member) -> None:
        """Write a member, or count it among those left out.

        Raises:
            DataError: it cannot be, or there is too much.
        """
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise self._refused(member, f"is one of more than {_MOST_MEMBERS:,}; {_YOURSELF}")
        if self.folds:
            self._check_spelling(member)
        try:
            if member.kind == "link":
                self.links.append(member.name)
            elif member.kind == "folder":
                self._make(os.path.join(self.root, *member.parts))
            else:
                self._make(os.path.join(self.root, *member.parts[:-1]))
                self._write(member, os.path.join(self.root, *member.parts))
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise self._refused(member, f"is both a file and a folder; {_YOURSELF}") from error
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
                raise
            raise self._refused(member, f"cannot be written ({error.strerror}); rename it") from error

    def finished(self) -> list[str]:
        """A line for everything that was left out or is odd.

        Raises:
            DataError: there are no files, or most are damaged.
        """
        where = f"{counted(len(self.damaged), 'damaged file')} of {self.archive}: {listed(self.damaged)}"
        if 2 * len(self.damaged) > self.files:
            raise DataError(f"most files cannot be read, {where}; download it or pack it again")
        if not self.files:
            links = f" but {counted(len(self.links), 'link')}" if self.links else ""
            raise DataError(f"{self.archive} holds no files{links}")
        if self.damaged:
            self.notes.append(f"left out {where}")
        if self.links:
            what = counted(len(self.links), "member")
            self.notes.append(f"left out {what} of {self.archive} (links or devices): {listed(self.links)}")
        if self.twice:
            what = counted(len(self.twice), "file")
            self.notes.append(f"{self.archive} has {what} more than once; the last was taken: {listed(self.twice)}")
        return self.notes

    def _make(self, path: str) -> None:
        if path not in self._made:
            os.makedirs(path, exist_ok=True)
            self._made.add(path)

    def _write(self, member: _Member, path: str) -> None:
        if os.path.isfile(path):  # never through it: another name may lead to the same bytes
            os.unlink(path)
            self.twice.append(member.name)
        else:
            self.files += 1
        if member.kind == "copy":
            return self._copy(member, path)
        try:
            with open(path, "xb") as file:
                for block in member.blocks():
                    self._count(len(block), member)
                    file.write(block)
        except _DamageError as error:
            if not member.alone:
                raise self._refused(member, f"is damaged or cut off ({error}); download it or pack it again") from error
            os.unlink(path)
            self.damaged.append(f"{member.name} ({error})")

    def _copy(self, member: _Member, path: str) -> None:
        """Give a file a second name, as it had where it was packed."""
        first = os.path.join(self.root, *member.first)
        if not os.path.isfile(first):
            self.files -= 1
            self.links.append(member.name)
            return
        try:
            os.link(first, path)
        except OSError:  # a disk without
            self._count(os.path.getsize(first), member)
            shutil.copyfile(first, path)

    def _count(self, more: int, member: _Member) -> None:
        self.bytes += more
        if self.bytes > self.most:
            raise self._refused(member, f"makes it more than {_MOST_TIMES} times as large as it was; {_YOURSELF}")
        if self.bytes > self.room:
            raise DataError(
                f"{self.archive} needs more room than the {max(self.room, 0) / 1e9:.1f} GB that can be had in "
                f"{printable(folder())} (at {printable(member.name)}); unpack it elsewhere and give that folder, or "
                "name another folder for the cache in RECIPES_CACHE"
            )

    def _check_spelling(self, member: _Member) -> None:
        """Refuse names that the disk cannot keep apart."""
        for depth in range(1, len(member.parts) + 1):
            path = "/".join(member.parts[:depth])
            if (other := self._spelled.setdefault(_folded(path), path)) != path:
                raise self._refused(member, f"and {printable(other)} are one on this disk; rename one of them")

    def _refused(self, member: _Member, words: str) -> DataError:
        return DataError(f"{self.archive}: {printable(member.name)} {words}")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _folds_case(place: Path) -> bool:
    """Whether the disk takes `in use` and `IN USE` for one file."""
    return (place / _USED.upper()).exists()


def _inner(root: str) -> str:
    """The folder in which the data begin, below those that hold one folder and nothing else that matters.

    A folder that is called like a split stays visible, and so does one that is a label's own: with pictures and hardly
    a folder in it.
    """
    splits = {name for names in SPLITS.values() for name in names}
    here = root
    while True:
        folders, pictures, tables = _look(here)
        if len(folders) != 1 or pictures or tables or folders[0].lower() in splits:
            return here
        below = os.path.join(here, folders[0])
        folders, pictures, tables = _look(below)
        if not tables and (not folders or (pictures and len(folders) < 2)):
            return here
        here = below


def _look(folder: str) -> tuple[list[str], bool, bool]:
    """The folders in a folder, and whether there are pictures and tables."""
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not images.ignored(entry.name)]
    files = [entry for entry in entries if images.is_file(entry)]
    pictures = any(images.looks_like_picture(entry.path) for entry in files)
    folders = [entry.name for entry in entries if images.is_folder(entry)]
    return folders, pictures, any(is_table(entry.name) for entry in files)
