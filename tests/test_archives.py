"""Zips and tars: unpacked once, whole or not at all, never outside their folder, and every refusal is one line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import draw_picture

from recipes import archives
from recipes.archives import is_archive, unpacked
from recipes.errors import DataError

Files = Mapping[str, bytes]
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which archives are unpacked, one for each test."""
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archives"


def picture(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    draw_picture((200, 20, 30), seed, (16, 12)).save(buffer, "png")
    return buffer.getvalue()


def zipped(path: Path, files: Files, how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Files, *others: tarfile.TarInfo, packed: str = "") -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        for other in others:
            archive.addfile(other)
    path.write_bytes(PACKERS[packed](buffer.getvalue()))
    return path


def member(name: str, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


def below(folder: str | Path) -> dict[str, bytes]:
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def refusal(path: Path) -> str:
    """The one line in which an archive is refused, after which nothing of it is left."""
    before = {entry for entry in archives.folder().glob("*") if entry.is_dir()}
    with pytest.raises(DataError) as caught:
        unpacked(path)
    said = str(caught.value)
    assert path.name in said
    assert "\n" not in said
    assert {entry for entry in archives.folder().glob("*") if entry.is_dir()} == before
    return said


PETS = {"cat/1.png": picture(1), "cat/2.png": picture(2), "dog/1.png": picture(3)}


# -- what is unpacked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_becomes_the_folder_that_was_packed(tmp_path: Path, how: int) -> None:
    assert below(unpacked(zipped(tmp_path / "pets.zip", PETS, how))) == PETS


@pytest.mark.parametrize(
    ("suffix", "packed"), [(".tar", ""), (".tar.gz", ".gz"), (".tgz", ".gz"), (".tar.bz2", ".bz2"), (".tar.xz", ".xz")]
)
def test_a_tar_becomes_the_folder_that_was_packed(tmp_path: Path, suffix: str, packed: str) -> None:
    notes: list[str] = []
    assert below(unpacked(tarred(tmp_path / f"pets{suffix}", PETS, packed=packed), notes)) == PETS
    assert notes == []


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2", ".xz"])
def test_an_archive_is_known_by_its_content_whatever_it_is_called(tmp_path: Path, packed: str) -> None:
    for path in (tarred(tmp_path / "pets.tar.bin", PETS, packed=packed), zipped(tmp_path / "pets", PETS)):
        assert is_archive(path)
        assert below(unpacked(path)) == PETS


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for name, content in {
        "a.csv": b"text,label\na,b\n" * 100,
        "a.csv.gz": gzip.compress(b"text,label\na,b\n" * 100, mtime=0),
        "a.png": picture(),
        "empty": b"",
        "zeros": bytes(1024),
        "a.parquet": b"PAR1" + bytes(1000) + b"PAR1",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name), name
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "missing.zip")
    assert not is_archive("a\0b")


def test_members_with_a_point_before_them_and_empty_folders_are_kept(tmp_path: Path) -> None:
    path = tarred(
        tmp_path / "pets.tar", {f"./{name}": content for name, content in PETS.items()}, member("./", type=b"5")
    )
    assert below(unpacked(path)) == PETS
    path = tarred(tmp_path / "more.tar", PETS, member("bird", type=tarfile.DIRTYPE))
    assert (Path(unpacked(path)) / "bird").is_dir()


def test_a_name_that_is_no_utf_8_survives(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(member(f"{odd}/1.png", size=3), io.BytesIO(b"abc"))
        archive.addfile(member(f"tea/{'long' * 50}.png", size=3), io.BytesIO(b"def"))
    (tmp_path / "odd.tar").write_bytes(buffer.getvalue())
    assert [*below(unpacked(tmp_path / "odd.tar"))] == [f"{odd}/1.png", f"tea/{'long' * 50}.png"]


def test_names_in_a_zip_are_read_as_utf_8_also_where_it_does_not_say_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", {"katze-ä/1.png": b"1", "hund/1.png": b"2"})
    content = path.read_bytes()
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):  # take the flag for UTF-8 away, as macOS leaves it
        at = content.index(mark) + (6 if mark[2] == 3 else 8)
        content = content[:at] + b"\0\0" + content[at + 2 :]
    path.write_bytes(content)
    assert {*below(unpacked(path))} == {"katze-ä/1.png", "hund/1.png"}


def test_backslashes_in_a_zip_are_folders(tmp_path: Path) -> None:
    assert below(unpacked(zipped(tmp_path / "pets.zip", {"cat\\1.png": b"1", "dog\\1.png": b"2"}))) == {
        "cat/1.png": b"1",
        "dog/1.png": b"2",
    }


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    junk = {"__MACOSX/cat/._1.png": b"x", "cat/.DS_Store": b"x", "dog/Thumbs.db": b"x", "._cat": b"x"}
    notes: list[str] = []
    assert below(unpacked(zipped(tmp_path / "pets.zip", {**junk, **PETS}), notes)) == PETS
    assert notes == []


def test_an_archive_in_an_archive_stays_a_file(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", PETS).read_bytes()
    assert below(unpacked(zipped(tmp_path / "outer.zip", {"a/inner.zip": inner, "b/1.png": b"1"}))) == {
        "a/inner.zip": inner,
        "b/1.png": b"1",
    }


def test_of_members_with_one_name_the_last_is_taken_and_the_note_stays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("cat/1.png", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("cat/1.png", b"new")
        archive.writestr("dog/1.png", b"dog")
    for _ in range(2):  # the second time from the cache
        notes: list[str] = []
        assert below(unpacked(tmp_path / "pets.zip", notes)) == {"cat/1.png": b"new", "dog/1.png": b"dog"}
        assert notes == ["pets.zip has 1 file more than once; the last was taken: cat/1.png"]


def test_names_that_differ_in_case_are_kept_apart_where_the_disk_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "pets.zip", {"Cat/1.png": b"1", "cat/1.png": b"2", "cat/2.png": b"3"})
    if not archives._folds_case(tmp_path):
        assert len(below(unpacked(path))) == 3
    os.utime(path, (1, 1))
    monkeypatch.setattr(archives, "_folds_case", lambda place: True)  # as on macOS and Windows
    with pytest.raises(DataError, match=r"pets\.zip: cat/1\.png and Cat are one on this disk; rename one of them"):
        unpacked(path)


# -- the folder that is returned --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "inside"),
    [
        (["photos/cat/1.png", "photos/dog/1.png"], "photos"),
        (["a/photos/cat/1.png", "a/photos/dog/1.png"], "a/photos"),
        (["photos/cat/1.png", "photos/dog/1.png", "photos/README.md", "LICENSE.txt"], "photos"),
        (["photos/cat/1.png"], "photos"),
        (["cat/1.png", "dog/1.png"], ""),
        (["cat/1.png", "cat/2.png"], ""),
        (["cat/1.png", "cat/kittens/2.png"], ""),
        (["train/cat/1.png", "train/dog/1.png"], ""),
        (["data/Train/cat/1.png", "data/Train/dog/1.png"], "data"),
        (["data/train/cat/1.png", "data/val/dog/1.png"], "data"),
        (["data/images/1.png", "data/labels.csv"], "data"),
        (["data/1.png", "data/labels.csv"], "data"),
        (["images/1.png", "labels.csv"], ""),
        (["photos/cat/1.png", "loose.png"], ""),
        (["reviews/good/1.txt", "reviews/bad/1.txt", "reviews/README.txt"], "reviews"),
        (["good/1.txt"], ""),
    ],
)
def test_the_folder_is_the_one_in_which_the_data_begin(tmp_path: Path, names: list[str], inside: str) -> None:
    found = Path(unpacked(zipped(tmp_path / "data.zip", dict.fromkeys(names, b"1"))))
    while inside:
        assert found.name == Path(inside).name
        found, inside = found.parent, os.path.dirname(inside)
    assert found.name == "data.zip"


# -- once, and whole --------------------------------------------------------------------------------------------------


def test_a_second_run_does_not_unpack_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    first = unpacked(path)
    os.remove(os.path.join(first, "cat", "1.png"))  # what is not there now was not unpacked again
    assert unpacked(path) == first
    assert len(below(first)) == 2


def test_a_file_that_has_changed_is_unpacked_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    first = unpacked(path)
    status = path.stat()
    zipped(path, {**PETS, "cat/1.png": picture(9)}, zipfile.ZIP_STORED)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert unpacked(path) != first
    assert below(unpacked(path))["cat/1.png"] == picture(9)


def test_a_run_that_is_killed_leaves_nothing_that_looks_complete(tmp_path: Path, kept: Path) -> None:
    path = zipped(tmp_path / "pets.zip", {f"cat/{number}.png": picture(number) for number in range(200)})
    code = f"""
        import os, signal
        from recipes import archives
        put = archives._Writing.put
        def dying(self, member):
            put(self, member)
            if self.members == 100:
                os.kill(os.getpid(), signal.SIGKILL)
        archives._Writing.put = dying
        archives.unpacked({str(path)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = [entry for entry in kept.iterdir() if entry.is_dir()]
    assert left.name.startswith(".")
    os.utime(left, (1, 1))  # long ago
    assert len(below(unpacked(path))) == 200
    assert not left.exists()


def test_processes_that_want_one_archive_at_once_do_not_disturb_one_another(tmp_path: Path, kept: Path) -> None:
    path = zipped(
        tmp_path / "pets.zip", {f"{number % 2}/{number}.png": bytes([number]) * 50_000 for number in range(200)}
    )
    code = f"from recipes.archives import unpacked; import os; print(unpacked({str(path)!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert said == {f"{unpacked(path)}\n"}
    assert len(below(unpacked(path))) == 200
    assert len([entry for entry in kept.iterdir() if entry.is_dir()]) == 1


def test_old_folders_make_room_but_never_one_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_BYTES", 2500)
    files = {"cat/1.png": bytes(1000), "dog/1.png": b""}
    paths = [zipped(tmp_path / f"{number}.zip", files) for number in range(4)]
    using = f"from recipes.archives import unpacked; print(unpacked({str(paths[0])!r}), flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", using], stdin=-1, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    used = other.stdout.readline().strip()
    code = f"from recipes.archives import unpacked; print(unpacked({str(paths[1])!r}))"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    for age, place in enumerate((used, gone)):
        os.utime(Path(place).parent, (1 + age, 1 + age))
    mine = [unpacked(path) for path in paths[2:]]
    assert os.path.isdir(used)
    assert not os.path.exists(gone)
    assert all(map(os.path.isdir, mine))
    other.communicate("\n")
    archives._make_room(2500)
    assert not os.path.exists(used)
    assert len(below(unpacked(paths[1]))) == 2  # and comes back when it is wanted


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"pets\.zip cannot be unpacked into .*; unpack it elsewhere .* RECIPES_CACHE"):
        unpacked(zipped(tmp_path / "pets.zip", PETS))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.png", "cat/../../evil.png", "/tmp/evil.png", "C:\\evil.png", "..\\evil.png", "\\\\host\\evil.png"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    said = refusal(zipped(tmp_path / "pets.zip", {**PETS, name: b"evil"}))
    assert "evil.png would be written outside of the folder; if you trust it, unpack it yourself" in said
    if "\\" not in name:
        assert "outside of the folder" in refusal(tarred(tmp_path / "pets.tar", {**PETS, name: b"evil"}))
    assert not [*tmp_path.rglob("evil.png")]
    assert not os.path.exists("/tmp/evil.png")


def test_links_and_devices_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    others = [
        member("cat/out", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret")),
        member("cat/in.png", type=tarfile.SYMTYPE, linkname="1.png"),
        member("cat/hard.png", type=tarfile.LNKTYPE, linkname="nothing.png"),
        member("cat/pipe", type=tarfile.FIFOTYPE),
        member("cat/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    ]
    path = tarred(tmp_path / "pets.tar", PETS, *others)
    with tarfile.open(path, "a") as archive:  # written through the link, if it were there
        archive.addfile(member("cat/out/evil.png", size=4), io.BytesIO(b"evil"))
    notes: list[str] = []
    assert below(unpacked(path, notes)) == {**PETS, "cat/out/evil.png": b"evil"}
    assert notes == ["left out 5 members of pets.tar (links or devices): cat/out, cat/in.png, cat/hard.png and 2 more"]
    assert not [*(tmp_path / "secret").iterdir()]


def test_a_second_name_of_a_file_in_the_tar_is_the_same_file(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", PETS, member("dog/2.png", type=tarfile.LNKTYPE, linkname="cat/1.png"))
    notes: list[str] = []
    assert below(unpacked(path, notes)) == {**PETS, "dog/2.png": PETS["cat/1.png"]}
    assert notes == []


def test_a_second_name_does_not_lead_out(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", PETS, member("dog/2.png", type=tarfile.LNKTYPE, linkname="../../secret"))
    assert "../../secret would be written outside" in refusal(path)


def test_a_file_written_twice_does_not_change_its_second_name(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", PETS, member("dog/2.png", type=tarfile.LNKTYPE, linkname="cat/1.png"))
    with tarfile.open(path, "a") as archive:
        archive.addfile(member("cat/1.png", size=3), io.BytesIO(b"new"))
    assert below(unpacked(path)) == {**PETS, "cat/1.png": b"new", "dog/2.png": PETS["cat/1.png"]}


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("cat/link.png")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "pets.zip", PETS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    notes: list[str] = []
    assert below(unpacked(path, notes)) == PETS
    assert notes == ["left out 1 member of pets.zip (links or devices): cat/link.png"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "sparse"])
def test_a_bomb_is_stopped_while_it_is_written(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SMALL", 2**20)
    zeros = {"cat/1.png": b"1", "cat/zeros.bmp": bytes(50 * 2**20)}
    if kind == "zip":
        path = zipped(tmp_path / "bomb.zip", zeros)
    elif kind == "sparse":  # a file with a hole: 1 TB of it is in the header alone
        info = member("cat/zeros.bmp", type=tarfile.GNUTYPE_SPARSE, size=0)
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[386:398], block[398:410], block[483:495] = (b"%011o\0" % number for number in (2**40, 0, 2**40))
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        path = tmp_path / "bomb.tar"
        path.write_bytes(bytes(block) + bytes(1024))
    else:
        path = tarred(tmp_path / f"bomb.{kind}", zeros, packed=kind.removeprefix("tar"))
    said = refusal(path)
    assert f"{path.name}: cat/zeros.bmp makes it more than 200 times as large as it was" in said


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 2)
    assert "dog/1.png is one of more than 2; if you trust it" in refusal(zipped(tmp_path / "pets.zip", PETS))


def test_an_archive_for_which_the_disk_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SPARE", 2**62)
    assert "pets.zip needs more room than the 0.0 GB" in refusal(zipped(tmp_path / "pets.zip", PETS))


def test_a_header_of_a_tar_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    info = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**32)
    (tmp_path / "pets.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert "claims 4,294,967,296 bytes" in refusal(tmp_path / "pets.tar")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    said = refusal(path)
    assert said == "pets.zip is encrypted (cat/1.png); unpack it with its password and give the folder"


def test_a_way_of_packing_that_python_does_not_know_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 9
    path.write_bytes(content)
    assert "cat/1.png is packed in a way that Python cannot unpack (deflate64)" in refusal(path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["[Content_Types].xml", "xl/workbook.xml"], "is a spreadsheet (.xlsx); export it as CSV"),
        (["[Content_Types].xml", "word/document.xml"], "is an Office document"),
        (["mimetype", "META-INF/manifest.xml", "content.xml"], "is an OpenDocument file; export it as CSV"),
        (["images.npy", "labels.npy"], "holds numpy arrays (.npz); read them with numpy.load and give the arrays"),
        (["model/data.pkl", "model/version"], "is a file of torch.save"),
    ],
)
def test_a_zip_that_is_something_else_is_called_by_its_name(tmp_path: Path, names: list[str], words: str) -> None:
    path = zipped(tmp_path / "data.csv", dict.fromkeys(names, b"1"))
    assert is_archive(path)
    assert words in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"<html>not found</html>", "is neither a zip nor a tar file, whatever its name says"),
        ("a.tar.gz", gzip.compress(b"text,label\n", mtime=0), "is neither a zip nor a tar file"),
        ("a.tar", b"", "is empty (0 bytes)"),
        ("a.rar", b"Rar!\x1a\x07\x01\x00" + bytes(100), "is a RAR file; give a zip, a tar or a folder"),
        ("a.bin", b"7z\xbc\xaf\x27\x1c" + bytes(100), "is a 7z file"),
        ("a.tar", bytes(10240), "is neither a zip nor a tar file"),
    ],
)
def test_a_file_that_only_looks_like_an_archive_is_refused(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_archive(tmp_path / name)
    assert words in refusal(tmp_path / name)


def test_archives_without_files_are_refused(tmp_path: Path) -> None:
    assert "empty.zip holds no files" in refusal(zipped(tmp_path / "empty.zip", {}))
    path = tarred(tmp_path / "links.tar", {}, member("a", type=tarfile.SYMTYPE, linkname="b"))
    assert "links.tar holds no files but 1 link" in refusal(path)


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2", ".xz"])
def test_a_tar_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path: Path, packed: str) -> None:
    whole = tarred(tmp_path / "pets.tar", PETS, packed=packed).read_bytes()
    length = len(whole) if packed else whole.index(b"dog/1.png") + 1024
    for cut in range(600 if not packed else 60, length - 600 if not packed else length - 20, 37):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        notes: list[str] = []
        try:
            found = below(unpacked(tmp_path / "cut.tar", notes))
        except DataError as error:
            assert "cut.tar" in str(error)  # noqa: PT017
            assert "cut off" in str(error) or "neither" in str(error) or "no files" in str(error)  # noqa: PT017
        else:  # at the border between two members, or in the padding after the end
            assert notes != [] or found == PETS


def test_a_tar_without_its_end_is_read_and_said_to_be(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", PETS)
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"dog/1.png")])
    notes: list[str] = []
    assert len(below(unpacked(path, notes))) == 2
    assert notes == ["pets.tar has no mark at its end, so it may be cut off, after 2 members"]


def test_a_zip_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    path.write_bytes(path.read_bytes()[:-40])
    assert "pets.zip is damaged or cut off" in refusal(path)


def test_a_damaged_file_in_a_zip_is_left_out_and_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(PETS["cat/2.png"]) + 50] ^= 255
    path.write_bytes(content)
    notes: list[str] = []
    assert {*below(unpacked(path, notes))} == {"cat/1.png", "dog/1.png"}
    assert notes == ["left out 1 damaged file of pets.zip: cat/2.png (Bad CRC-32 for file 'cat/2.png')"]
    for name in ("cat/1.png", "dog/1.png"):
        content[content.index(PETS[name]) + 50] ^= 255
    path.write_bytes(content)
    assert "most files cannot be read, 3 damaged files of pets.zip" in refusal(path)


def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    assert "cat/1.png is both a file and a folder" in refusal(
        zipped(tmp_path / "pets.zip", {"cat": b"1", "cat/1.png": b"2"})
    )
    assert "cat is both a file and a folder" in refusal(
        zipped(tmp_path / "pets2.zip", {"cat/1.png": b"2", "cat": b"1"})
    )


def test_names_that_no_disk_can_keep_are_refused(tmp_path: Path) -> None:
    assert "cannot be written" in refusal(zipped(tmp_path / "long.zip", {"a/" + "n" * 300 + ".png": b"1"}))
    assert "lies too deep" in refusal(zipped(tmp_path / "deep.zip", {"d/" * 2000 + "1.png": b"1"}))


def test_a_name_with_control_characters_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    said = refusal(zipped(tmp_path / "pets.zip", {"../\x1b[2Jevil": b"1"}))
    assert "\x1b" not in said
    assert "\\x1b[2Jevil" in said


def test_a_missing_archive_is_named_with_its_neighbour(tmp_path: Path) -> None:
    zipped(tmp_path / "photos.zip", PETS)
    with pytest.raises(DataError, match=r"does not exist; did you mean photos\.zip"):
        unpacked(tmp_path / "photo.zip")


def test_the_archive_itself_is_never_touched(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", PETS)
    before = path.read_bytes(), path.stat().st_mtime_ns
    unpacked(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["pets.zip"]


def test_what_was_found_is_written_down_as_json(tmp_path: Path, kept: Path) -> None:
    unpacked(zipped(tmp_path / "pets.zip", PETS))
    [place] = [entry for entry in kept.iterdir() if entry.is_dir()]
    contents = json.loads((place / "contents.json").read_text())
    assert contents == {"folder": "pets.zip", "bytes": sum(map(len, PETS.values())), "notes": []}
