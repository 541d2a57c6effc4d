"""Segmenter: the same pixels everywhere, scores that add up, settings that suit masks, and bad input in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run
from PIL import Image

import recipes
from recipes import Segmenter
from recipes.cli import main
from recipes.crops import IGNORED
from recipes.data import mixed_masks
from recipes.errors import DataError, OptionError, RecipesError
from recipes.mask_keys import wished
from recipes.presets import Preset

TINY: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
QUICK: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 4,
    "lr": 1e-2,
    "layer_decay": 1.0,
    "precision": "32",
    "workers": 0,
}
FLAGS = [f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in {**TINY, **QUICK}.items()]
COLOURS = np.array([(110, 110, 110), (230, 40, 40), (40, 60, 230)])


def draw(folder: Path, number: int = 8, seed: int = 0, ignored: bool = False, side: int = 64) -> Path:
    """Patches of three colours with noise, with their masks, in odd sizes; some pixels may be ignored."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for place in range(number):
        height, width = rng.integers(side // 2 + 1, side + 1, 2).tolist()
        patches = rng.permutation(np.arange(16) % 3).reshape(4, 4).astype(np.uint8)
        mask = np.array(Image.fromarray(patches).resize((width, height), Image.Resampling.NEAREST))
        image = (COLOURS[mask] + rng.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)
        if ignored:
            mask[: height // 3, : width // 2] = 255
        Image.fromarray(image).save(folder / "images" / f"{place:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{place:02}.png")
    return folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with masks of three labels; only read."""
    return draw(tmp_path_factory.mktemp("data") / "cells", 10)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in train/ and val/, with pixels that do not count; only read."""
    folder = tmp_path_factory.mktemp("data") / "split"
    draw(folder / "train", 8, 1, ignored=True)
    draw(folder / "val", 4, 2, ignored=True)
    return folder


@pytest.fixture(scope="module")
def fitted(split: Path) -> Segmenter:
    """A fitted task that all tests share; it is not changed."""
    return Segmenter(**TINY).fit(split, quiet=True, **{**QUICK, "epochs": 3})


def fit(data: Any, quiet: bool = True, **changes: Any) -> Segmenter:
    options = {name: changes.pop(name) for name in list(changes) if name in Segmenter.__dataclass_fields__}
    return Segmenter(**{**TINY, **options}).fit(data, quiet=quiet, **{**QUICK, **changes})


# -- same pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_validation_sees_what_prediction_sees(cells: Path, tmp_path: Path, scale: float) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for path in (cells / part).iterdir():
            (tmp_path / part / path.name).symlink_to(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(cells / "images" / "00.png") as image:
        stored = image.rotate(90, expand=True)
    stored.save(tmp_path / "images" / "turned.jpg", exif=exif, quality=95, subsampling=0)
    with Image.open(cells / "masks" / "00.png") as mask:
        mask.save(tmp_path / "masks" / "turned.png")  # drawn on the photo as it is shown
    task = Segmenter(**{**TINY, "scale": scale})
    data, _ = task.lightning(tmp_path, val=tmp_path, **QUICK)
    assert task.codec is not None
    assert data.splits.val is not None
    seen = set()
    for (pixels, targets, lost), source in zip(data.val_dataloader(), data.splits.val.inputs, strict=True):
        expected = task.codec.encode(source)
        assert not lost
        np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), expected.pixels)
        assert targets.shape == (1, expected.height, expected.width)
        assert pixels.shape[2:] == (round(expected.height * scale), round(expected.width * scale))
        seen.add(Path(source).name)
    assert "turned.jpg" in seen
    plain = task.codec.encode(str(tmp_path / "images" / "00.png"))
    turned = task.codec.encode(str(tmp_path / "images" / "turned.jpg"))
    assert (turned.height, turned.width) == (plain.height, plain.width)
    assert np.abs(turned.pixels.astype(int) - plain.pixels).mean() < 8


def test_a_saved_model_keeps_size_scale_labels_and_colours(cells: Path, tmp_path: Path) -> None:
    task = fit(cells, scale=0.75, size=64, labels="sky, tree,road")
    loaded = recipes.load(task.save(tmp_path / "model"))
    assert loaded.codec == task.codec
    assert loaded.codec is not None
    assert loaded.codec.labels == ("sky", "tree", "road")
    assert loaded == task
    assert loaded.predict(cells / "images") == task.predict(cells / "images")


def test_large_images_are_seen_smaller_and_small_ones_in_small_crops(tmp_path: Path) -> None:
    for name, side, size, scale in (("small", 60, 64, 1.0), ("large", 2048, 256, None)):
        folder = draw(tmp_path / name, 3, side=side)
        task = Segmenter(backbone="test_resnet", pretrained=False)
        data, _ = task.lightning(folder)
        found = data.codec.preparation  # type: ignore[attr-defined]
        assert found.size == size
        assert found.scale == scale if scale else 0.4 < found.scale < 0.8
        assert len(data.train_dataloader().dataset) == found.crops * len(data.splits.train)  # type: ignore[arg-type]


# -- scores -----------------------------------------------------------------------------------------------------------


def table_by_hand(task: Segmenter, folder: Path) -> list[list[int]]:
    """Pixels by true and predicted label, counted one by one."""
    table = [[0] * 3 for _ in range(3)]
    for path in sorted((folder / "images").iterdir()):
        (found,) = task.predict(path)
        with Image.open(folder / "masks" / path.name) as mask:
            truth = np.asarray(mask).ravel().tolist()
        for true, said in zip(truth, found.mask.ravel().tolist(), strict=True):
            if true != 255:
                table[true][said] += 1
    return table


def test_scores_are_those_that_one_counts_by_hand(fitted: Segmenter, split: Path) -> None:
    found = fitted.evaluate(split / "val")
    table = table_by_hand(fitted, split / "val")
    assert found.confusion == table
    assert found.examples == 4
    assert [row["mean_iou"] for row in found.worst] == sorted(row["mean_iou"] for row in found.worst)
    ious, dices = [], []
    for place, label in enumerate(found.labels):
        right, true = table[place][place], sum(table[place])
        said = sum(row[place] for row in table)
        ious.append(right / (true + said - right))
        dices.append(2 * right / (true + said))
        assert found.per_label[label] == pytest.approx(
            {
                "iou": ious[-1],
                "dice": dices[-1],
                "precision": right / said if said else 0,
                "recall": right / true,
                "pixels": true,
            }
        )
    every = sum(map(sum, table))
    assert found.scores == pytest.approx(
        {
            "mean_iou": sum(ious) / 3,
            "mean_dice": sum(dices) / 3,
            "accuracy": sum(table[place][place] for place in range(3)) / every,
        }
    )


def test_a_label_that_is_neither_there_nor_predicted_does_not_count(fitted: Segmenter, tmp_path: Path) -> None:
    """As PASCAL VOC has it: no 0 and no 1 for what there is nothing to say of."""
    folder = draw(tmp_path / "one", 2)
    for path in (folder / "masks").iterdir():
        found = fitted.predict(folder / "images" / path.name)[0].mask
        kept = np.where(found == 0, found, 255).astype(np.uint8)
        kept[0, 0] = 0 if found[0, 0] == 0 else 255
        Image.fromarray(kept).save(path)
    scores = fitted.evaluate(folder).scores
    assert scores == {"mean_iou": 1.0, "mean_dice": 1.0, "accuracy": 1.0}


def test_validation_while_training_and_evaluation_give_the_same_scores(fitted: Segmenter, split: Path) -> None:
    assert fitted.history is not None
    (row,) = [row for row in fitted.history.epochs if row["epoch"] == fitted.history.best_epoch]
    scores = fitted.evaluate(split / "val").scores
    for name in ("mean_iou", "mean_dice", "accuracy"):
        assert row[name] == pytest.approx(scores[name], abs=1e-4)
    assert row["mean_iou"] == max(float(one["mean_iou"] or 0) for one in fitted.history.epochs)


def test_the_epoch_with_the_best_mean_iou_is_kept_whatever_the_loss(split: Path) -> None:
    import pytorch_lightning as pl

    class Scores(pl.Callback):
        """Scores of my own: the second epoch has the best mean IoU, the third the lowest loss and best accuracy."""

        def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
            epoch = trainer.current_epoch
            module.validation = {
                "val_loss": [3.0, 2.0, 1.0][epoch],
                "mean_iou": [0.1, 0.5, 0.4][epoch],
                "accuracy": [0.1, 0.2, 0.9][epoch],
            }

    task = Segmenter(**TINY)
    data, module = task.lightning(split, **{**QUICK, "epochs": 3})
    from recipes.callbacks import KeepBest

    best = KeepBest(0)
    trainer = pl.Trainer(
        max_epochs=3,
        callbacks=[Scores(), best],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
    )
    trainer.fit(module, data)
    assert best.best_epoch == 2


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["ce_dice", "ce", "dice", "focal", "lovasz", "tversky"])
def test_every_criterion_trains(split: Path, criterion: str) -> None:
    task = fit(split, criterion=criterion, class_weights="balanced", label_smoothing=0.1)
    assert task.history is not None
    (row,) = task.history.epochs
    assert np.isfinite([float(row[name] or np.nan) for name in ("train_loss", "val_loss", "mean_iou")]).all()


def test_balanced_labels_weigh_by_their_pixels(split: Path) -> None:
    data, _ = Segmenter(**TINY).lightning(split, class_weights="balanced", **QUICK)
    pixels = np.zeros(3)
    for path in (split / "train" / "masks").iterdir():
        with Image.open(path) as mask:
            pixels += np.bincount(np.asarray(mask).ravel(), minlength=256)[:3]
    assert data.class_weights is not None
    np.testing.assert_allclose(data.class_weights, pixels.sum() / (3 * pixels), rtol=1e-5)


def test_a_label_without_pixels_trains_and_validates(cells: Path) -> None:
    task = fit(cells, labels="ground,disc,box,never", class_weights="balanced", label_smoothing=0.1)
    assert task.history is not None
    assert task.history.best_epoch == 1
    assert np.isfinite(float(task.history.epochs[0]["val_loss"] or np.nan))


def test_labels_with_their_pixels_are_shown_before_training(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(cells, quiet=False)
    said = capsys.readouterr().err
    line = next(line for line in said.splitlines() if line.split()[:1] == ["class_1"])
    assert int(line.split()[1].replace(",", "")) > 1000


@pytest.mark.parametrize("settings", [{"mixup": 0.2}, {"auto_augment": "trivialaugment"}])
def test_what_cannot_be_done_to_masks_is_refused_with_the_reason(cells: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="with masks: "):
        fit(cells, **settings)


@pytest.mark.parametrize("name", ["default", "quick", "best", "scratch"])
def test_every_preset_trains(cells: Path, name: str) -> None:
    settings = {"epochs": 1, "batch_size": 4, "precision": "32", "workers": 0}
    task = Segmenter(**TINY).fit(cells, quiet=True, preset=name, **settings)
    assert task.predict(cells / "images")[0].mask is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"head_first": True},
        {"accumulate": 2},
        {"freeze": 1},
        {"freeze": -1},
        {"precision": "bf16", "criterion": "lovasz"},
        {"mirror": True, "ema": 0.9},
        {"optimizer": "sgd"},
        {"batch_size": 100},
        {"find_batch_size": True},
        {"time": "1h"},
        {"crop_scale": 0.05, "random_erasing": 1.0, "color_jitter": 1.0, "cutmix": 1.0, "mix_off": 0.0},
        {"architecture": "fpn", "size": 64},
        {"scale": 0.3},
    ],
    ids=str,
)
def test_settings_that_other_tasks_have_work_here(cells: Path, settings: dict[str, Any]) -> None:
    task = fit(cells, **settings)
    assert task.history is not None
    assert len(task.history.epochs) == 1
    assert task.predict(cells / "images" / "00.png")[0].mask is not None


@pytest.mark.slow
def test_a_learning_rate_is_found(cells: Path) -> None:
    assert fit(cells, find_lr=True)._recipe["lr"] != QUICK["lr"]


@pytest.mark.parametrize(("architecture", "size"), [("unet", 32), ("unet", 64), ("deeplabv3", 64)])
def test_a_batch_of_one_trains_or_says_why_not(cells: Path, architecture: str, size: int) -> None:
    if (architecture, size) == ("unet", 64):
        assert fit(cells, batch_size=1, architecture=architecture, size=size).history is not None
    else:  # one image of one pixel remains at the end of the encoder
        with pytest.raises(RecipesError, match="take 2 or more"):
            fit(cells, batch_size=1, architecture=architecture, size=size)


def test_cutmix_pastes_image_and_mask_alike() -> None:
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (6, 40, 48)))
    targets[:, 5:9] = IGNORED
    pixels = torch.stack([targets * 60, 255 - targets, torch.arange(6)[:, None, None].expand_as(targets)], 1)
    pixels = pixels.clamp(0, 255).to(torch.uint8)
    shares = []
    for seed in range(30):
        mixed, labels = mixed_masks(pixels, targets, Preset(cutmix=1.0), seed)
        assert mixed.dtype == torch.uint8
        assert torch.equal(mixed[:, 0], (labels * 60).clamp(max=255).to(torch.uint8))
        owner = mixed[:, 2].long()
        for place in range(6):
            assert set(owner[place].unique().tolist()) <= {place, (place - 1) % 6}
            pasted = owner[place] != place
            assert torch.equal(labels[place], torch.where(pasted, targets[place - 1], targets[place]))
            rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
            assert pasted.sum() == rows * columns
        shares.append(float((owner[0] != 0).float().mean()))
    assert 0.3 < np.mean(shares) < 0.7
    assert torch.equal(pixels[:, 2], torch.arange(6)[:, None, None].expand_as(targets).to(torch.uint8))
    assert all(
        map(
            torch.equal,
            mixed_masks(pixels, targets, Preset(cutmix=1.0), 3),
            mixed_masks(pixels, targets, Preset(cutmix=1.0), 3),
        )
    )


def test_lists_of_arrays_are_data_too(cells: Path) -> None:
    arrays = {}
    for part in ("images", "masks"):
        arrays[part] = []
        for path in sorted((cells / part).iterdir()):
            with Image.open(path) as picture:
                arrays[part].append(np.asarray(picture))
    task = fit((arrays["images"], arrays["masks"]), quiet=False)
    assert task.evaluate((arrays["images"], arrays["masks"])).scores == pytest.approx(task.evaluate(cells).scores)


def test_a_mask_in_which_nothing_counts_is_trained_and_scored(tmp_path: Path) -> None:
    folder = draw(tmp_path / "split" / "train", 4, ignored=True)
    other = draw(tmp_path / "split" / "val", 3, 5, ignored=True)
    empty_masks(folder / "masks" / "00.png", other / "masks" / "00.png", other / "masks" / "01.png")
    task = fit(tmp_path / "split", batch_size=1, size=64)
    assert task.history is not None
    assert all(np.isfinite(value) for row in task.history.epochs for value in row.values() if value is not None)
    empty_masks(other / "masks" / "02.png")
    found = task.evaluate(tmp_path / "split" / "val")
    assert found.examples == 3
    assert found.scores == {"accuracy": 0}  # there is nothing to say of the labels
    loaded = recipes.load(task.save(tmp_path / "model"))
    assert loaded.predict(other / "images")


def test_splits_in_which_nothing_counts_are_refused_before_training(split: Path, tmp_path: Path) -> None:
    """Mean IoU would be no number, and the first epoch would be kept whatever it is."""
    for part in ("train", "val"):
        folder = shutil.copytree(split, tmp_path / part)
        masks = [*(folder / part / "masks").iterdir()]
        empty_masks(*masks)
        name = {"train": "training", "val": "validation"}[part]
        with pytest.raises(DataError, match=f"not one pixel counts in the {len(masks)} masks for {name}"):
            Segmenter(**TINY).fit(folder, quiet=True, **QUICK)


def test_masks_in_which_nothing_counts_are_shared_out_between_training_and_validation(tmp_path: Path) -> None:
    folder = draw(tmp_path / "cells", 10)
    empty_masks(*sorted((folder / "masks").iterdir())[:7])
    for seed in range(20):
        task = Segmenter(**TINY)
        splits = task.read(folder, None, task.reading(Preset(seed=seed)))
        assert np.any(splits.val.amounts)
        assert np.any(splits.train.amounts)


def test_a_model_is_a_start_for_one_with_other_labels(
    fitted: Segmenter, cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fitted.save(tmp_path / "first")
    two = draw(tmp_path / "two", 6)
    for path in (two / "masks").iterdir():
        with Image.open(path) as mask:
            Image.fromarray((np.asarray(mask) > 0).astype(np.uint8)).save(path)
    capsys.readouterr()
    task = fit(two, quiet=False, backbone=f"local-dir:{folder}", pretrained=True, lr=1e-9)
    assert f"note: starting from the network in {folder}; the last layer is new, because it had 3 labels" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert task.network is not None
    assert fitted.network is not None
    before, after = fitted.network.body.state_dict(), task.network.body.state_dict()
    for name in ("encoder.model.conv1.0.weight", "decoder.blocks.0.conv1.0.weight"):
        torch.testing.assert_close(after[name], before[name], atol=1e-4, rtol=1e-3)
    shutil.rmtree(folder)
    assert recipes.load(task.save(tmp_path / "second")).predict(two / "images")


@pytest.mark.parametrize("side", [20, 64])
def test_small_images_train_an_architecture_that_needs_large_ones(tmp_path: Path, side: int) -> None:
    task = fit(draw(tmp_path / "cells", 6, side=side), architecture="pan", batch_size=2, size=None)
    assert task.history is not None
    assert np.isfinite(float(task.history.epochs[0]["val_loss"] or np.nan))
    assert recipes.load(task.save(tmp_path / "model")).predict(tmp_path / "cells" / "images")


def test_a_vision_transformer_of_one_size_trains_on_images_of_all_sizes(cells: Path) -> None:
    task = fit(cells, architecture="dpt", backbone="vit_tiny_patch16_224", batch_size=4)
    assert task.history is not None
    assert np.isfinite(float(task.history.epochs[0]["val_loss"] or np.nan))


def empty_masks(*paths: Path) -> None:
    for path in paths:
        with Image.open(path) as mask:
            empty = Image.new("L", mask.size, 255)
        empty.save(path)


# -- the shell --------------------------------------------------------------------------------------------------------

# -- options that Python gives in other forms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ({"colours": {"sky": (1, 2, 3), "a=b": [4, 5, 6]}}, {"colours": "sky=1,2,3;a=b=4,5,6"}),
        ({"colours": Path("some/classes.csv")}, {"colours": "some/classes.csv"}),
        ({"colours": "some/classes.csv"}, {"colours": "some/classes.csv"}),
        ({"labels": ["sky", "road"]}, {"labels": "sky,road"}),
        ({"ignore": 255}, {"ignore": "255"}),
        ({"ignore": [0, np.uint8(255)]}, {"ignore": "0,255"}),
        ({"ignore": []}, {"ignore": ""}),
        ({"ignore": ["void", "sky"]}, {"ignore": "void,sky"}),
        ({"ignore": [(0, 0, 0)]}, {"ignore": "0,0,0;"}),
        ({"ignore": [(0, 0, 0), (9, 9, 9)]}, {"ignore": "0,0,0;9,9,9;"}),
    ],
)
def test_options_are_recorded_as_the_shell_spells_them(given: dict[str, Any], spelled: dict[str, str]) -> None:
    task = Segmenter(**given)
    assert {name: getattr(task, name) for name in given} == spelled
    assert Segmenter(**spelled) == task
    (name,) = given
    if name == "ignore":
        assert wished(spelled[name]) == wished(given[name])


@pytest.mark.parametrize(
    "colours", [{}, {"a": (1, 2, 3)}, {"a": (1, 2), "b": (1, 2, 3)}, {"a;b": (1, 2, 3), "c": (4, 5, 6)}, 7]
)
def test_colours_that_cannot_be_meant_are_one_line(colours: Any) -> None:
    with pytest.raises(OptionError, match="colours: ") as caught:
        Segmenter(colours=colours)
    assert str(caught.value).isprintable()


def test_a_run_with_colours_from_python_is_repeated_from_its_recipe(run: Run, cells: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "coloured", 6)
    table = {"ground": (0, 0, 0), "disc": (200, 0, 0), "box": (0, 0, 200)}
    for path in (folder / "masks").iterdir():
        with Image.open(path) as mask:
            Image.fromarray(np.array([*table.values()], np.uint8)[np.asarray(mask)]).save(path)
    task = fit(folder, colours=table, out="model")
    assert task.codec is not None
    assert task.codec.labels == ("ground", "disc", "box")
    code, _, err = run("fit", "--config", "model/recipe.yaml", "--out", "again", "--quiet")
    assert (code, err) == (0, "")
    assert Path("again/model.safetensors").read_bytes() == Path("model/model.safetensors").read_bytes()
    assert recipes.load("again").codec == task.codec


# -- commands ---------------------------------------------------------------------------------------------------------


def test_fit_evaluate_and_predict_are_three_commands(run: Run, cells: Path) -> None:
    code, out, err = run("fit", "segmenter", cells, "--out", "model", *FLAGS)
    assert (code, out) == (0, ""), err
    assert "Traceback" not in err
    assert "mean_iou" in err
    written = ["recipe.json", "model.safetensors", "config.json", "metrics.csv", "training.png", "worst.png"]
    assert {*written} <= {*os.listdir("model")}
    code, out, _ = run("evaluate", "model", cells)
    assert code == 0
    assert "mean_iou" in out
    code, out, err = run("predict", "model", cells / "images", "--output", "masks")
    assert (code, err) == (0, "")
    assert sorted(os.listdir("masks")) == [f"{number:02}.png" for number in range(10)]
    code, _, err = run("fit", "--config", "model/recipe.yaml", "--out", "again", "--quiet")
    assert (code, err) == (0, "")
    assert Path("again/model.safetensors").read_bytes() == Path("model/model.safetensors").read_bytes()


def test_the_help_tells_the_options_of_masks(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("fit", "segmenter", "--help")
    said = " ".join(capfd.readouterr().out.split())
    for flag in ("--architecture", "--scale", "--labels", "--colours", "--ignore", "--suffix", "--criterion"):
        assert flag in said
    assert "a table of names and colours" in said


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["--size", "100"], "a multiple of 32"),
        (["--size", "0"], "a multiple of 32"),
        (["--size", "-32"], "a multiple of 32"),
        (["--scale", "0"], "a factor from 0.01 to 4"),
        (["--scale", "-1"], "a factor from 0.01 to 4"),
        (["--scale", "big"], "--scale takes a number"),
        (["--epochs", "0"], "nothing would be trained"),
        (["--epochs", "0", "--head-first", "true"], "have none; take 1 or more"),
        (["--batch-size", "0"], "at least 1"),
        (["--mixup", "0.2"], "a mean of two masks is none"),
        (["--auto-augment", "randaugment"], "away from their labels"),
        (["--criterion", "dise"], "--criterion takes one of"),
        (["--architecture", "unett"], "did you mean unet"),
        (["--backbone", "resnet1"], "did you mean"),
        (["--backbone", "torchvision/resnet18"], "its encoders are timm's"),
        (["--preset", "bset"], "did you mean best"),
        (["--labels", "a,b"], "with values that no label has"),
        (["--labels", "a,a,b"], ""),
        (["--labels", ""], ""),
        (["--ignore", "sky"], "sky"),
        (["--suffix", "_nothing"], "_nothing"),
        (["--colours", "nowhere.txt"], "nowhere.txt"),
        (["--freeze", "99"], "leaves nothing to train"),
        (["--architecture", "torchvision/lraspp_mobilenet_v3_large", "--freeze", "2"], "take 0 or -1"),
        (["--weights", "nowhere.safetensors"], "no such file"),
        (["--val", "nowhere"], "does not exist"),
        (["--mirror", "true", "--hflip", "0"], "mirror"),
        (["--time", "soon"], "30s"),
        (["--optimizer", "adamm"], "did you mean adam"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_line(mistake: Callable[..., str], cells: Path, words: list[str], near: str) -> None:
    assert near in mistake("fit", "segmenter", cells, *FLAGS, *words, "--quiet")


def test_a_folder_without_what_is_needed_is_one_line(mistake: Callable[..., str], cells: Path, tmp_path: Path) -> None:
    def refused(data: Path) -> str:
        return mistake("fit", "segmenter", data, *FLAGS, "--quiet")

    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "masks" in refused(cells / "images")
    (tmp_path / "empty").mkdir()
    assert "put the images in images/" in refused(tmp_path / "empty")
    (tmp_path / "alone" / "images").mkdir(parents=True)
    (tmp_path / "alone" / "images" / "a.png").write_bytes((cells / "images" / "00.png").read_bytes())
    assert "masks" in refused(tmp_path / "alone")
    (tmp_path / "alone" / "masks").mkdir()
    assert "masks" in refused(tmp_path / "alone")
    (tmp_path / "alone" / "masks" / "a.png").write_bytes((cells / "masks" / "00.png").read_bytes())
    assert "two or more are needed" in refused(tmp_path / "alone")
    assert "neither a folder nor a table" in refused(cells / "images" / "00.png")


def spoilt(folder: Path, spoil: Callable[[Path], Any]) -> Path:
    spoil(draw(folder, 6))
    return folder


def test_what_is_wrong_with_masks_is_one_line(mistake: Callable[..., str], tmp_path: Path) -> None:
    def refused(name: str, spoil: Callable[[Path], Any], *words: str) -> str:
        return mistake("fit", "segmenter", spoilt(tmp_path / name, spoil), *FLAGS, *words, "--quiet")

    other = Image.new("L", (9, 9))
    said = refused("sizes", lambda folder: other.save(folder / "masks" / "03.png"))
    assert "03.png has 9 × 9 pixels" in said
    seven = np.zeros((9, 9), np.uint8)
    seven[0, 0] = 7

    def undeclared(folder: Path) -> None:
        with Image.open(folder / "masks" / "02.png") as mask:
            values = np.array(mask)
        values[:5, :5] = 7
        Image.fromarray(values).save(folder / "masks" / "02.png")

    said = refused("undeclared", undeclared, "--labels", "a,b,c")
    assert "02.png" in said
    assert "7" in said

    def jpegs(folder: Path) -> None:
        for path in list((folder / "masks").iterdir()):
            with Image.open(path) as mask:
                mask.convert("L").point(lambda value: value * 60).save(path.with_suffix(".jpg"), quality=60)
            path.unlink()

    assert "save masks as PNG" in refused("jpegs", jpegs)

    def texts(folder: Path) -> None:
        for path in (folder / "images").iterdir():
            path.write_text("no picture")

    assert "not a picture" in refused("texts", texts)


def test_what_can_be_left_out_is_left_out_with_a_note(run: Run, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        (folder / "images" / "01.png").write_text("no picture")
        (folder / "masks" / "02.png").unlink()
        (folder / "images" / "03.png").rename(folder / "images" / "lonely.png")

    code, _, err = run("fit", "segmenter", spoilt(tmp_path / "data", spoil), *FLAGS, "--out", "model")
    assert code == 0, err
    assert "01.png" in err
    assert "note: " in err
    assert "Traceback" not in err


def test_a_folder_in_use_is_not_touched(mistake: Callable[..., str], cells: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("x")
    assert "mine" in mistake("fit", "segmenter", cells, "--out", "mine", *FLAGS)
    Path("file").write_text("x")
    assert "is a file" in mistake("fit", "segmenter", cells, "--out", "file", *FLAGS)
    assert Path("mine/thesis.txt").read_text() == "x"


def test_a_model_of_pictures_and_one_of_masks_are_not_mixed_up(mistake: Callable[..., str], tmp_path: Path) -> None:
    folder = draw(tmp_path / "cells", 4)
    assert main(["fit", "segmenter", str(folder), "--out", "model", "--quiet", *FLAGS]) == 0
    assert "--overwrite" in mistake("fit", "segmenter", folder, "--out", "model", "--quiet", *FLAGS)
    assert mistake("evaluate", "model", folder / "images")
    with pytest.raises(RecipesError, match="is no image-classifier but a segmenter"):
        recipes.ImageClassifier.load("model")


def test_evaluating_on_what_the_model_does_not_know_is_refused(fitted: Segmenter, tmp_path: Path) -> None:
    folder = draw(tmp_path / "cells", 2)
    with Image.open(folder / "masks" / "01.png") as mask:
        other = Image.new("L", mask.size, 9)
    other.save(folder / "masks" / "01.png")
    with pytest.raises(DataError, match=r"01\.png holds the value 9"):
        fitted.evaluate(folder)


def test_a_time_budget_ends_the_run_and_keeps_the_best(cells: Path) -> None:
    task = fit(cells, epochs=10_000, time="3s", patience=0)
    assert task.history is not None
    assert len(task.history.epochs) < 10_000
    assert task.history.best_epoch is not None


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_command_and_the_run_goes_on(
    cells: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    flags = [*FLAGS, "--epochs=5", "--cutmix=1", "--color-jitter=0.3", "--patience=0"]
    whole, out = tmp_path / "whole", tmp_path / "cut"
    assert main(["fit", "segmenter", str(cells), "--out", str(whole), *flags, "--quiet"]) == 0
    command = [sys.executable, "-m", "recipes", "fit", "segmenter", str(cells), "--out", str(out), *flags]
    said = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "epoch 2/" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(number)
        said += process.stderr.read()
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "--resume" in said
    assert recipes.load(out).predict(cells / "images")
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
