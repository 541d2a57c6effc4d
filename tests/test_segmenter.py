"""What is promised of the segmenter alone: same pixels, masks in the image's own size, scores, files, the shell."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate, pad

import recipes
from recipes import MaskPrediction, Segmenter, data, tiles
from recipes.cli import main
from recipes.demo import draw_scenes
from recipes.errors import DataError, OptionError, OutputError
from recipes.presets import Preset

OPTIONS: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 4, "lr": 3e-3, "precision": "32"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder / "data", 12, seed=0, size=48)
    return folder / "data"


@pytest.fixture(scope="module")
def fitted(scenes: Path) -> Segmenter:
    return Segmenter(**OPTIONS).fit(scenes, quiet=True, **SETTINGS)


@pytest.fixture(scope="module")
def model(fitted: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("models") / "scenes")


def logits(task: Segmenter, image: Any) -> torch.Tensor:
    """What the network gives for the whole image, by the shortest way there is."""
    assert task.codec is not None
    assert task.network is not None
    pixels = torch.from_numpy(task.codec.encode(image).pixels).permute(2, 0, 1)[None].float()
    height, width = pixels.shape[2:]
    with torch.inference_mode():
        scores = task.network.eval()(pad(pixels, (0, -width % 32, 0, -height % 32), mode="replicate"))
    return scores[:, :, :height, :width]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(48, 48), (61, 75)])
def test_a_mask_is_the_argmax_of_the_logits_in_the_size_of_the_image(
    scenes: Path, scale: float, shape: tuple[int, int]
) -> None:
    task = Segmenter(**OPTIONS, scale=scale).fit(scenes, quiet=True, **{**SETTINGS, "epochs": 1})
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    resized = interpolate(logits(task, image), shape, mode="bilinear", align_corners=False)[0]
    mask = task.predict(image)[0].mask
    top = resized.topk(2, dim=0).values
    clear = ((top[0] - top[1]) > 1e-4).numpy()  # where two labels are level, rounding decides
    np.testing.assert_array_equal(mask[clear], resized.argmax(0).numpy()[clear])
    assert clear.mean() > 0.95


def test_a_turned_photo_has_the_mask_that_a_viewer_would_show(fitted: Segmenter, tmp_path: Path) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.rot90(upright, 1))
    stored.save(tmp_path / "photo.png", exif=exif)
    mask = fitted.predict(tmp_path / "photo.png")[0].mask
    np.testing.assert_array_equal(mask, fitted.predict(upright)[0].mask)


def test_probabilities_add_up_to_one_and_agree_with_the_mask(fitted: Segmenter, scenes: Path) -> None:
    for prediction in fitted.predict(scenes / "images", probabilities=True):
        assert prediction.probabilities.shape == (4, *prediction.mask.shape)
        np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)
        np.testing.assert_array_equal(prediction.probabilities.argmax(0), prediction.mask)
        assert sum(prediction.areas.values()) == pytest.approx(1)
    assert fitted.predict(scenes / "images" / "000.png")[0].probabilities is None


def test_tiles_and_the_whole_agree_away_from_the_borders(fitted: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.kron(np.random.default_rng(2).integers(0, 256, (40, 50, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    whole = fitted.predict(image)[0].mask
    monkeypatch.setattr(tiles, "TILE", 320)
    monkeypatch.setattr(tiles, "OVERLAP", 128)
    assert (fitted.predict(image)[0].mask == whole).mean() > 0.97


def test_scores_are_those_of_one_table_over_all_images(fitted: Segmenter, scenes: Path) -> None:
    assert fitted.codec is not None
    evaluation = fitted.evaluate(scenes)
    truth, said = [], []
    for image in sorted((scenes / "images").iterdir()):
        truth.append(np.asarray(Image.open(scenes / "masks" / image.name)).ravel())
        said.append(fitted.predict(image)[0].mask.ravel())
    true, found = np.concatenate(truth), np.concatenate(said)
    each = []
    for place, label in enumerate(fitted.codec.labels):
        both, either = ((true == place) & (found == place)).sum(), ((true == place) | (found == place)).sum()
        if either:
            each.append(both / either)
            assert evaluation.per_label[label]["iou"] == pytest.approx(both / either)
        assert evaluation.per_label[label]["pixels"] == (true == place).sum()
    assert evaluation.scores["mean_iou"] == pytest.approx(np.mean(each))
    assert evaluation.accuracy == pytest.approx((true == found).mean())
    assert [row["mean_iou"] for row in evaluation.worst] == sorted(row["mean_iou"] for row in evaluation.worst)


def test_validation_in_training_and_evaluate_agree(scenes: Path, tmp_path: Path) -> None:
    draw_scenes(tmp_path / "val", 6, seed=5, size=41)
    task = Segmenter(**OPTIONS).fit(scenes, tmp_path / "val", quiet=True, **{**SETTINGS, "epochs": 3})
    assert task.history is not None
    kept = task.history.epochs[(task.history.best_epoch or 1) - 1]
    scores = task.evaluate(tmp_path / "val").scores
    for name in ("mean_iou", "mean_dice", "accuracy"):
        assert kept[name] == pytest.approx(scores[name], abs=1e-4)
    assert kept["mean_iou"] == max(float(row["mean_iou"] or 0) for row in task.history.epochs)


def test_pixels_to_ignore_count_nowhere(scenes: Path, tmp_path: Path) -> None:
    import shutil

    own = tmp_path / "data"
    shutil.copytree(scenes, own)
    for path in (own / "masks").iterdir():
        with Image.open(path) as picture:
            mask = np.array(picture)
        mask[:10] = 255
        Image.fromarray(mask).save(path)
    task = Segmenter(**OPTIONS).fit(own, quiet=True, **{**SETTINGS, "epochs": 1})
    evaluation = task.evaluate(own)
    assert evaluation.examples == 12
    assert sum(map(sum, evaluation.confusion)) == 12 * 38 * 48


@pytest.mark.parametrize("criterion", ["ce_dice", "ce", "dice", "focal", "lovasz", "tversky"])
def test_every_criterion_trains(scenes: Path, criterion: Any) -> None:
    task = Segmenter(**OPTIONS, criterion=criterion)
    task.fit(scenes, quiet=True, **{**SETTINGS, "epochs": 1}, class_weights="balanced", label_smoothing=0.1)
    assert task.history is not None
    assert np.isfinite(float(task.history.epochs[0]["train_loss"] or np.nan))


def test_labels_count_by_their_pixels(scenes: Path) -> None:
    batches, _ = Segmenter(**OPTIONS).lightning(scenes, class_weights="balanced")
    counts = torch.tensor(batches.splits.train.counts(), dtype=torch.float32)
    assert counts.sum() == len(batches.splits.train) * 48 * 48
    assert batches.class_weights is not None
    torch.testing.assert_close(batches.class_weights * counts, torch.full((4,), float(counts.sum() / 4)))


def test_what_makes_no_sense_for_masks_is_refused_with_a_reason(scenes: Path) -> None:
    with pytest.raises(OptionError, match="a mean of two masks is none"):
        Segmenter(**OPTIONS).fit(scenes, mixup=0.2)
    with pytest.raises(OptionError, match="away from their labels"):
        Segmenter(**OPTIONS).fit(scenes, auto_augment="randaugment")
    with pytest.raises(OptionError, match="epochs"):
        Segmenter(**OPTIONS).fit(scenes, epochs=0, quiet=True)


def test_a_pasted_part_brings_its_mask() -> None:
    targets = torch.arange(4)[:, None, None].expand(4, 32, 32).contiguous()
    pixels = (targets[:, None] * 50).expand(4, 3, 32, 32).to(torch.uint8).contiguous()
    mixed, masks = data.mixed_masks(pixels, targets, Preset(cutmix=1.0), seed=1)
    assert torch.equal(mixed[:, 0].long(), masks * 50)
    assert not torch.equal(masks, targets)


def test_an_image_that_cannot_be_read_is_a_row(fitted: Segmenter, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    rows = list(fitted.predict_each(iter([str(tmp_path / "broken.png"), str(scenes / "images" / "000.png")])))
    assert [row.error is None for row in rows] == [False, True]
    assert rows[0].mask is None
    assert rows[0].row()["area_disc"] is None
    with pytest.raises(DataError, match="so it has no mask"):
        rows[0].save(tmp_path)


def test_the_saved_folder_opens_in_its_own_library_with_the_same_logits(fitted: Segmenter, model: Path) -> None:
    import segmentation_models_pytorch

    network = segmentation_models_pytorch.from_pretrained(str(model)).eval()
    assert fitted.network is not None
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels), fitted.network.body.eval()(pixels), atol=1e-4, rtol=1e-4)


def test_predictions_print_compare_and_are_drawn(fitted: Segmenter, scenes: Path, tmp_path: Path) -> None:
    one, two = (fitted.predict(scenes / "images" / "000.png")[0] for _ in range(2))
    assert isinstance(one, MaskPrediction)
    assert one == two
    assert "colours" not in repr(one)
    assert one.overlay().size == (48, 48)
    with pytest.raises(DataError, match=r"overlay\(picture\)"):
        fitted.predict(np.zeros((40, 40, 3), np.uint8))[0].overlay()
    (file,) = one.save(tmp_path)
    with Image.open(file) as picture:
        np.testing.assert_array_equal(np.asarray(picture), one.mask)
    with pytest.raises(OutputError, match="overwrite"):
        one.save(tmp_path)
    one.save(tmp_path, overwrite=True)


def run(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "recipes", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def mask_in(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("index", ".png"), ("binary", "/star.png"), ("overlay", ".png"), ("rle", ".json")]
)
def test_the_shell_writes_a_file_for_each_image(
    model: Path, scenes: Path, tmp_path: Path, kind: str, suffix: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["predict", str(model), str(scenes / "images"), "--output", str(tmp_path / "out"), "--masks", kind]
    assert main([*words, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert [Path(row["file"]).name for row in rows] == [f"{number:03}.png" for number in range(12)]
    assert {"area_background", "area_disc", "area_box", "area_star"} < rows[0].keys()
    assert (tmp_path / "out" / f"003{suffix}").is_file()
    assert main(words) == 2
    assert b"--overwrite" in capfdbinary.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.slow
def test_the_shell_from_data_to_masks(scenes: Path, tmp_path: Path) -> None:
    flags = [f"--{name}={str(value).lower()}" for name, value in {**OPTIONS, **SETTINGS}.items()]
    out = str(tmp_path / "model")
    code, _, said = run("fit", "segmenter", str(scenes), "--out", out, *flags)
    assert code == 0, said
    assert {"training.png", "worst.png", "curves.png", "config.json"} <= {path.name for path in Path(out).iterdir()}
    code, told, _ = run("evaluate", out, str(scenes), "--format", "json")
    assert code == 0
    assert json.loads(told)["scores"]["mean_iou"] > 0.1
    code, told, said = run(
        "predict", out, str(scenes / "images" / "001.png"), "--output", str(tmp_path / "m"), "--format", "jsonl"
    )
    assert code == 0, said
    assert json.loads(told)["height"] == 48
    np.testing.assert_array_equal(
        mask_in(tmp_path / "m" / "001.png"), recipes.load(out).predict(scenes / "images" / "001.png")[0].mask
    )
    code, _, said = run("predict", out, str(scenes / "images"), "--output", str(scenes / "images"), "--overwrite")
    assert code == 2
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--size", "33"], "a multiple of 32"),
        (["--scale", "0"], "scale"),
        (["--architecture", "unett"], "did you mean unet"),
        (["--backbone", "test_resnett"], "did you mean"),
        (["--criterion", "dise"], "dise"),
        (["--batch-size", "1", "--epochs", "1"], ""),
        (["--epochs", "0"], "epochs"),
    ],
)
def test_mistakes_are_one_line(
    scenes: Path, tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    basis = ["fit", "segmenter", str(scenes), "--out", str(tmp_path / "model"), "--quiet"]
    given = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    kept = {name: value for name, value in {**OPTIONS, **SETTINGS}.items() if name not in given}
    plain = [f"--{name}={str(value).lower()}" for name, value in kept.items()]
    code = main([*basis, *plain, *flags])
    said = capsys.readouterr().err
    if words:
        assert code == 2, said
        assert len(said.splitlines()) == 1
        assert words in said
    else:
        assert code in (0, 1, 2)
        assert "should not happen" not in said
