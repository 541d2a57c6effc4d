"""What a user can do wrong, end to end through the shell: the right result, or one clear line, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import COLOURS, QUICK, TINY, draw_picture, draw_pictures
from PIL import Image

import recipes
from recipes import ImageClassifier
from recipes.cli import main
from recipes.errors import DataError, RecipesError

Fit = Callable[..., tuple[int, str]]


@pytest.fixture
def fit(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Fits on a folder in the shell: exit code and what was said; a run that fails leaves nothing behind."""
    monkeypatch.chdir(tmp_path)

    def call(data: Path | str, *words: str, out: str = "pets") -> tuple[int, str]:
        before = state(tmp_path)
        flags = [f"--{name}={str(value).lower()}" for name, value in {**TINY, **QUICK}.items()]
        code = main(["fit", "image-classifier", str(data), "--out", out, *flags, *words])
        written, said = capfd.readouterr()
        assert written == ""
        assert "\x1b" not in said
        assert "Traceback" not in said
        after = state(tmp_path)
        if code:
            assert after == before
        else:
            assert {name: value for name, value in after.items() if name in before} == before
            assert recipes.load(out).predict(draw_picture(COLOURS["red"], 0))[0].error is None
        return code, said

    return call


def state(folder: Path) -> dict[str, str]:
    """Content and time of change of every file below a folder, and where links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        else:
            found[str(path)] = "no file"
    return found


def bomb() -> bytes:
    """A PNG of 100 bytes that declares 3.6 thousand million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 99)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# -- folders that cannot be meant -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere", "nowhere does not exist"),
        ("fotos", "did you mean photos?"),
        ("file.png", "file.png is a file, and neither a table nor a zip or tar"),
        ("empty", "empty holds no pictures (found nothing)"),
        ("flat", "flat holds 3 pictures but no folders for labels"),
        ("single", "single holds one label only, cat"),
        ("outer", "did you mean outer/photos?"),
        ("texts", "texts holds no pictures (found 2 other files: 2 .txt)"),
        ("broken", "most pictures cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_one_line_and_nothing_is_written(
    fit: Fit, tmp_path: Path, data: str, words: str
) -> None:
    draw_pictures("photos", 2)
    draw_pictures("outer/photos", 2)
    draw_pictures("single", 3, {"cat": (9, 9, 9)})
    for folder in ("empty", "flat", "texts/a", "texts/b", "broken/a", "broken/b"):
        os.makedirs(folder)
    draw_picture(COLOURS["red"], 0).save("file.png")
    for number in range(3):
        draw_picture(COLOURS["red"], number).save(f"flat/{number}.png")
    for name in ("texts/a/1.txt", "texts/b/2.txt", "broken/a/1.jpg", "broken/b/2.jpg"):
        Path(name).write_text("text")
    code, said = fit(data)
    assert code == 2
    assert words in said
    assert len(said.splitlines()) == 1


def test_val_with_an_unknown_label_is_one_line(fit: Fit) -> None:
    draw_pictures("photos/train", 2)
    draw_pictures("photos/val", 2, {"reed": (255, 0, 0)})
    code, said = fit("photos")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "did you mean red" in said


# -- folders with everything in them ----------------------------------------------------------------------------------


def test_a_folder_with_everything_in_it_is_fitted_and_all_that_was_left_out_is_counted_and_named(fit: Fit) -> None:
    draw_pictures("photos", 6, suffix=".JPG")
    os.makedirs("photos/empty label")
    draw_pictures("photos", 1, {"lone": (120, 120, 120), "Red": (200, 0, 0)})
    for name in (".DS_Store", "Thumbs.db", "blue/.DS_Store", "blue/Thumbs.db", "blue/desktop.ini"):
        Path("photos", name).write_bytes(b"left behind")
    draw_pictures("photos/__MACOSX", 1)
    draw_picture(COLOURS["red"], 0).save("photos/loose.png")
    for name in ("notes.txt", "phone.heic", "phone2.HEIC"):
        Path("photos/green", name).write_bytes(b"content")
    whole = Path("photos/red/0.JPG").read_bytes()
    Path("photos/red/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Path("photos/red/empty.jpg").touch()
    Path("photos/blue/page.jpg").write_text("<html>not found</html>")
    Path("photos/blue/bomb.png").write_bytes(bomb())
    os.mkfifo("photos/blue/pipe.jpg")
    os.symlink(".", "photos/blue/loop")
    code, said = fit("photos")
    assert code == 0, said
    for words in (
        "5 labels",
        "left out 1 empty folder: empty label",
        "left out 1 picture without a label",
        "2 .heic (convert them to JPEG), 1 .txt",
        "left out 4 unreadable pictures of 24",
        "differ only in case, spaces or how letters are encoded are kept apart: Red, red",
    ):
        assert words in said
    for silent in ("DS_Store", "Thumbs", "MACOSX", "desktop.ini"):
        assert silent not in said


def test_names_of_any_kind_are_fitted_saved_and_predicted(fit: Fit, capfd: pytest.CaptureFixture[str]) -> None:
    labels = ["two words", "a \U0001f408", 'it\'s "so"', "two\nlines", "=1+1", "-x", "caf\udce9", "\x1b[2Jclear"]
    root = "my \udce9 photos"
    for place, label in enumerate(labels):
        os.makedirs(os.path.join(root, label))
        for number in range(2):
            with open(os.path.join(root, label, f"{label} {number}.png"), "wb") as file:
                draw_picture((20 * place, 90, 30), number).save(file, "PNG")
    code, said = fit(root, out="model \udce9")
    assert code == 0, said
    model = recipes.load("model \udce9")
    assert model.codec is not None
    assert model.codec.labels == tuple(sorted(labels))
    split = json.loads(Path("model \udce9/split.json").read_text("ascii"))
    assert {os.path.join(label, f"{label} {number}.png") for label in labels for number in range(2)} == {
        *split["train"],
        *split["val"],
    }
    assert main(["predict", "model \udce9", root, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {row["file"] for row in rows} == {os.path.join(root, name) for part in split.values() for name in part}


def test_one_picture_of_each_label_is_enough_to_run(fit: Fit) -> None:
    draw_pictures("photos", 1)
    code, said = fit("photos")
    assert code == 0, said


def test_pictures_of_every_mode_are_fitted(fit: Fit) -> None:
    draw_pictures("photos", 3)
    red = draw_picture(COLOURS["red"], 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    red.save("photos/red/turned.jpg", exif=exif)
    red.convert("CMYK").save("photos/red/print.jpg")
    red.convert("L").save("photos/red/grey.png")
    red.convert("P").save("photos/red/few.gif", transparency=0)
    red.convert("RGBA").save("photos/red/clear.png")
    Image.new("I;16", (9, 9), 30_000).save("photos/red/deep.png")
    Image.new("F", (9, 9), 0.5).save("photos/red/float.tiff")
    red.save("photos/red/moving.gif", save_all=True, append_images=[red.rotate(90)])
    Image.new("1", (1, 1)).save("photos/red/dot.png")
    code, said = fit("photos")
    assert code == 0, said
    assert "left out" not in said


# -- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["mine", "file", "file/pets", "/proc/pets", "photos"])
def test_an_output_that_cannot_be_used_is_refused_before_the_training(fit: Fit, out: str) -> None:
    draw_pictures("photos", 2)
    os.makedirs("mine")
    Path("mine/thesis.docx").write_text("years of work")
    Path("file").write_text("mine")
    code, said = fit("photos", out=out)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "choose" in said


def test_a_finished_model_is_only_replaced_when_asked_to(fit: Fit, tmp_path: Path) -> None:
    draw_pictures("photos", 2)
    assert fit("photos", "--quiet")[0] == 0
    before = state(tmp_path)
    code, said = fit("photos")
    assert (code, "--overwrite" in said) == (2, True)
    assert state(tmp_path) == before
    assert main(["fit", "image-classifier", "photos", "--out", "pets", "--config", "pets/recipe.yaml"]) == 2


# -- inputs in Python -------------------------------------------------------------------------------------------------


def test_predict_names_what_cannot_be_read_and_predict_each_goes_on(fitted: ImageClassifier, tmp_path: Path) -> None:
    draw_picture(COLOURS["red"], 0).save(tmp_path / "good.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "bomb.png").write_bytes(bomb())
    with pytest.raises(DataError, match=r"bomb\.png .*more pixels than is safe.*1 more of 3 inputs"):
        fitted.predict(tmp_path)
    rows = list(fitted.predict_each(tmp_path))
    assert [(Path(row.file or "").name, row.error is None) for row in rows] == [
        ("bomb.png", False),
        ("empty.jpg", False),
        ("good.png", True),
    ]


@pytest.mark.parametrize("inputs", ["nowhere.png", "*.nowhere", None, 3, b"a.png", {"a": 1}, [None]])
def test_what_cannot_be_predicted_is_one_clear_error(fitted: ImageClassifier, inputs: object) -> None:
    with pytest.raises(DataError) as caught:
        fitted.predict(inputs)
    assert "\n" not in str(caught.value)


def test_nothing_to_predict_gives_nothing(fitted: ImageClassifier) -> None:
    assert fitted.predict([]) == []


# -- models -----------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def truncate_weights(pets: Path) -> None:
    os.truncate(pets / "model.safetensors", 1000)


def pickle_weights(pets: Path) -> None:
    (pets / "model.safetensors").write_bytes(pickle.dumps(Evil()))


def remove_manifest(pets: Path) -> None:
    (pets / "recipe.json").unlink()


def damage_manifest(pets: Path) -> None:
    (pets / "recipe.json").write_text("{")


def rewrite(pets: Path, old: str, new: str) -> None:
    text = (pets / "recipe.json").read_text()
    assert old in text
    (pets / "recipe.json").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "harm",
    [
        truncate_weights,
        pickle_weights,
        remove_manifest,
        damage_manifest,
        lambda pets: rewrite(pets, '"format": 1', '"format": 2'),
        lambda pets: rewrite(pets, '"architecture": "test_resnet"', '"architecture": "hf-hub:evil/net"'),
        lambda pets: rewrite(pets, '"architecture": "test_resnet"', '"architecture": "local-dir:/etc"'),
        lambda pets: rewrite(pets, '"task": "image-classifier"', '"task": "../\\u001b[2J"'),
        lambda pets: rewrite(pets, '"library": "timm"', '"library": "\\u001b[2Jos"'),
    ],
)
def test_a_damaged_newer_or_malicious_model_is_one_line_and_nothing_runs(
    model_folder: Path,
    tmp_path: Path,
    photos: Path,
    harm: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, "pets")
    harm(Path("pets"))
    before = state(tmp_path)
    for words in (["predict", "pets", str(photos)], ["evaluate", "pets", str(photos)]):
        assert main(words) == 2
        written, said = capfd.readouterr()
        assert written == ""
        assert len(said.splitlines()) == 1
        assert said.strip().isprintable()
    assert state(tmp_path) == before


def test_every_error_says_what_it_is_by_its_class() -> None:
    from recipes import errors

    for name in (
        "DataError",
        "ImageError",
        "OptionError",
        "WeightsError",
        "ModelError",
        "OutputError",
        "TrainingError",
    ):
        assert issubclass(getattr(errors, name), RecipesError)
    assert issubclass(errors.DataError, ValueError)
    assert issubclass(errors.ImageError, DataError)
    assert (RecipesError.exit_code, errors.TrainingError.exit_code) == (2, 1)
