"""What every task in the catalog must keep; a new task is tested here by being named in the catalog."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import recipes
from recipes.catalog import TASKS, task_class
from recipes.codec import rebuilt
from recipes.errors import DataError, ModelError, NotFittedError, OptionError
from recipes.presets import Preset

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


@dataclasses.dataclass
class Small:
    """What a task is tested with: options that need no download, a short run, data that are drawn, chance in use."""

    options: dict[str, Any]
    settings: dict[str, Any]
    draw: Callable[[Path], None]
    chance: dict[str, Any]


def noisy(colour: Any, rng: np.random.Generator, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    pixels: np.ndarray = (np.asarray(colour) + rng.normal(0, 25, (*size, 3))).clip(0, 255).astype(np.uint8)
    return pixels


def draw_labelled(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(12):
            Image.fromarray(noisy(colour, rng)).save(folder / label / f"{number:02}.png")


def draw_measured(folder: Path) -> None:
    """Greys whose brightness is the number, in a table beside the pictures."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = []
    for number in range(36):
        level = float(rng.uniform(20, 230))
        Image.fromarray(noisy((level, level, level), rng)).save(folder / "images" / f"{number:02}.png")
        rows.append(f"images/{number:02}.png,{level / 100:.4f}")
    (folder / "levels.csv").write_text("\n".join(["image,level", *rows]))


def draw_masked(folder: Path) -> None:
    """Boxes of a colour on grey; images differ in size."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(12):
        high, wide = int(rng.integers(40, 70)), int(rng.integers(40, 70))
        image, mask = noisy((120, 120, 120), rng, (high, wide)), np.zeros((high, wide), np.uint8)
        for label, colour in enumerate(((230, 40, 40), (40, 60, 230)), 1):
            top, left = int(rng.integers(0, high - 20)), int(rng.integers(0, wide - 20))
            place = (slice(top, top + 20), slice(left, left + 20))
            image[place], mask[place] = noisy(colour, rng, (20, 20)), label
        Image.fromarray(image).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:02}.png")


def draw_texts(folder: Path) -> None:
    """Sentences in which a word decides, as files in a folder for each label."""
    rng = np.random.default_rng(0)
    words = [f"{one}{other}" for one in ("ba", "do", "ki", "lu", "me") for other in ("ran", "tel", "vis", "zor")]
    for label, decisive in {"good": "lovely", "bad": "awful", "plain": "usual"}.items():
        (folder / label).mkdir()
        for number in range(12):
            text = [*rng.choice(words, int(rng.integers(2, 9))), decisive]
            (folder / label / f"{number:02}.txt").write_text(" ".join(rng.permutation(text)))


SMALL: dict[str, Small] = {
    "image-classifier": Small(
        {"backbone": "test_resnet", "pretrained": False, "size": 32},
        {"epochs": 3, "batch_size": 8, "lr": 1e-2, "layer_decay": 1.0, "crop_scale": 0.8},
        draw_labelled,
        {"mixup": 0.2, "auto_augment": "trivialaugment", "ema": 0.9},
    ),
    "image-regressor": Small(
        {"backbone": "test_resnet", "pretrained": False, "size": 32},
        {"epochs": 3, "batch_size": 4, "lr": 1e-2, "layer_decay": 1.0, "crop_scale": 0.8},
        draw_measured,
        {"mixup": 0.2, "cutmix": 0.5, "auto_augment": "trivialaugment", "ema": 0.9},
    ),
    "segmenter": Small(
        {"backbone": "test_resnet", "pretrained": False, "size": 32},
        {"epochs": 3, "batch_size": 4, "lr": 1e-2, "layer_decay": 1.0, "crop_scale": 0.8},
        draw_masked,
        {"cutmix": 1.0, "color_jitter": 0.3, "random_erasing": 0.3, "ema": 0.9},
    ),
    "text-classifier": Small(
        {"backbone": "ngrams"},
        {"epochs": 3, "batch_size": 4, "lr": 0.1},
        draw_texts,
        {"mixup": 0.2, "ema": 0.9},
    ),
}


@pytest.fixture(scope="module", params=list(TASKS))
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def photos(command: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    SMALL[command].draw(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(command: str, photos: Path) -> Any:
    small = SMALL[command]
    return task_class(command)(**small.options).fit(photos, quiet=True, **{**small.settings, "epochs": 6})


@pytest.fixture
def unfitted(command: str) -> Any:
    return task_class(command)(**SMALL[command].options)


def pictures(photos: Path) -> list[str]:
    """The inputs in a folder: paths, or what is written in the files."""
    if texts := sorted(photos.glob("*/*.txt")):
        return [path.read_text() for path in texts]
    found = sorted(photos.glob("images/*.png")) or sorted(photos.glob("*/*.png"))
    return [str(path) for path in found]


def names(photos: Path) -> list[str]:
    """The files that a split is made of, by name."""
    found = [*photos.glob("*/*.txt"), *(photos.glob("images/*.png") or photos.glob("*/*.png"))]
    return sorted(str(path.relative_to(photos)) for path in found or photos.glob("*/*.png"))


def numbers(prediction: Any) -> Any:
    """What a prediction says, as numbers that may be compared."""
    if hasattr(prediction, "value"):
        return np.array([prediction.value])
    return prediction.probabilities if hasattr(prediction, "mask") else np.array(list(prediction.scores.values()))


def test_it_learns(fitted: Any, photos: Path) -> None:
    scores = fitted.evaluate(photos).scores
    assert scores.get("r2", scores[fitted.decisive]) > 0.8


def test_predictions_come_in_the_order_of_the_inputs_with_their_files(fitted: Any, photos: Path) -> None:
    inputs = pictures(photos)[::-1]
    assert [prediction.file or prediction.text for prediction in fitted.predict(inputs)] == inputs


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_batch_size_and_workers_do_not_change_a_result(
    fitted: Any, photos: Path, batch_size: int, workers: int
) -> None:
    inputs = pictures(photos)
    expected = fitted.predict(inputs, probabilities=True)
    found = fitted.predict(inputs, batch_size=batch_size, workers=workers, probabilities=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-5)


def test_validation_and_prediction_see_the_same_pixels(fitted: Any, photos: Path) -> None:
    data, _ = fitted.lightning(photos)
    loader = data.val_dataloader()
    order = [place for batch in loader.batch_sampler for place in batch]
    for shown, _, lost in loader:
        assert not lost
        encoded = [fitted.codec.encode(data.splits.val.inputs[place]) for place in order[: len(shown)]]
        seen = fitted.codec.stacked([getattr(one, "pixels", one) for one in encoded])
        np.testing.assert_array_equal(shown.numpy(), seen)
        break


def test_a_saved_model_predicts_the_same_after_loading(fitted: Any, photos: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = recipes.load(tmp_path / "model")
    assert type(loaded) is type(fitted)
    assert dataclasses.asdict(loaded) == dataclasses.asdict(fitted)
    assert loaded.predict(pictures(photos)) == fitted.predict(pictures(photos))


def test_a_reloaded_codec_equals_the_saved_one(fitted: Any) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(fitted.codec)))
    assert rebuilt(type(fitted.codec), values) == fitted.codec


def test_a_model_folder_holds_json_yaml_and_safetensors_only(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    suffixes = {path.suffix for path in (tmp_path / "model").iterdir()}
    assert suffixes <= {".json", ".safetensors", ".yaml", ".csv", ".png"}


def test_the_split_is_recorded_by_file_name(fitted: Any, photos: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    split = json.loads((tmp_path / "model" / "split.json").read_text())
    assert sorted(split["train"] + split["val"]) == names(photos)
    assert not set(split["train"]) & set(split["val"])


def test_the_same_seed_gives_the_same_weights_whatever_the_number_of_workers(unfitted: Any, photos: Path) -> None:
    small = SMALL[unfitted.command]
    settings = {**small.settings, "epochs": 2, **small.chance}
    weights = []
    for workers in (0, 2):
        again = type(unfitted)(**dataclasses.asdict(unfitted)).fit(photos, quiet=True, workers=workers, **settings)
        weights.append(again.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_seed_gives_other_weights(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command].settings, "epochs": 1}
    first = type(unfitted)(**dataclasses.asdict(unfitted)).fit(photos, quiet=True, seed=1, **settings)
    second = unfitted.fit(photos, quiet=True, seed=2, **settings)
    assert first._records["split.json"] != second._records["split.json"]


def test_examples_that_were_read_once_serve_several_fits(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command].settings, "epochs": 1, "quiet": True}
    splits = unfitted.read(photos, None, unfitted.reading(unfitted.presets["default"]))
    notes = [*splits.notes]
    weights, records = [], []
    for data in (photos, splits, splits):
        task = dataclasses.replace(unfitted).fit(data, **settings)
        weights.append(task.network.state_dict())
        records.append({name: task._records[name] for name in ("recipe.yaml", "files.json", "split.json")})
    assert records[0] == records[1] == records[2]
    assert all(torch.equal(weights[0][name], other[name]) for other in weights[1:] for name in weights[0])
    assert splits.notes == notes
    with pytest.raises(OptionError, match="read with another val_fraction, seed; read them again"):
        unfitted.fit(splits, seed=1, val_fraction=0.4, **settings)
    with pytest.raises(OptionError, match="leave val away"):
        unfitted.fit(splits, photos, **settings)


def test_the_callers_random_state_is_left_alone(unfitted: Any, photos: Path) -> None:
    def state() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = state()
    unfitted.fit(photos, quiet=True, **{**SMALL[unfitted.command].settings, "epochs": 1})
    assert state() == before


def test_predicting_before_fitting_says_what_to_do(unfitted: Any) -> None:
    for call in (lambda: unfitted.predict("x.png"), lambda: unfitted.evaluate("x"), lambda: unfitted.save("x")):
        with pytest.raises(NotFittedError, match="fit"):
            call()


def test_a_wrong_setting_gets_the_nearest_right_one(unfitted: Any, photos: Path) -> None:
    with pytest.raises(OptionError, match="did you mean epochs"):
        unfitted.fit(photos, quiet=True, epoch=3)
    with pytest.raises(OptionError, match="did you mean default"):
        unfitted.fit(photos, quiet=True, preset="defualt")


def test_a_missing_input_is_an_error_and_a_row(fitted: Any, photos: Path) -> None:
    good = pictures(photos)[0]
    missing = "" if fitted.codec.ragged else "nowhere.png"
    with pytest.raises(DataError, match=r"does not exist|is empty"):
        fitted.predict([missing, good])
    rows = list(fitted.predict_each(iter([missing, good])))
    assert [row.error is None for row in rows] == [False, True]


def test_lightning_parts_train_the_tasks_own_network(unfitted: Any, photos: Path, tmp_path: Path) -> None:
    import pytorch_lightning as pl

    data, module = unfitted.lightning(photos, **{**SMALL[unfitted.command].settings, "epochs": 2})
    trainer = pl.Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    before = [weight.clone() for weight in unfitted.network.parameters()]
    trainer.fit(module, data)
    assert any(not torch.equal(old, new) for old, new in zip(before, unfitted.network.parameters(), strict=True))
    unfitted.save(tmp_path / "model")
    assert recipes.load(tmp_path / "model").predict(pictures(photos)) == unfitted.predict(pictures(photos))


def test_callbacks_loggers_and_trainer_arguments_are_passed_on(unfitted: Any, photos: Path, tmp_path: Path) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import CSVLogger

    class Counter(pl.Callback):
        steps = 0

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1

    counter, logger = Counter(), CSVLogger(tmp_path)
    settings = {**SMALL[unfitted.command].settings, "epochs": 1}
    unfitted.fit(photos, quiet=True, callbacks=[counter], logger=logger, limit_train_batches=2, **settings)
    assert counter.steps == 2
    assert Path(logger.log_dir).exists()


def test_the_best_epoch_is_kept(unfitted: Any, photos: Path) -> None:
    settings = SMALL[unfitted.command].settings
    unfitted.fit(photos, quiet=True, **settings)
    less = unfitted.metrics(len(unfitted.codec.labels))[unfitted.decisive].higher_is_better is False
    kept = max(
        list(unfitted.history.epochs),
        key=lambda row: (-row[unfitted.decisive] if less else row[unfitted.decisive], -row["val_loss"]),
    )
    if unfitted.history.best_epoch:
        assert kept["epoch"] == unfitted.history.best_epoch


def test_a_model_of_another_task_is_refused(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "recipe.json").read_text())
    (tmp_path / "model" / "recipe.json").write_text(json.dumps({**manifest, "task": "fortune-teller"}))
    with pytest.raises(ModelError, match="fortune-teller"):
        recipes.load(tmp_path / "model")


def test_a_preset_of_ones_own_is_taken(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command].settings, "epochs": 1}
    assert len(unfitted.fit(photos, quiet=True, preset=Preset(**settings)).history.epochs) == 1


@pytest.fixture(autouse=True)
def _no_stray_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert not list(here.iterdir()), "a task wrote into the working directory"
    here.rmdir()


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(unfitted: Any, photos: Path, tmp_path: Path) -> None:
    small = SMALL[unfitted.command]
    settings = {**small.settings, **small.chance, "precision": "32", "patience": 0}
    type(unfitted)(**small.options).fit(photos, out=tmp_path / "whole", quiet=True, **settings)
    code = f"""
import os, signal, sys
import pytorch_lightning as pl
from recipes.catalog import task_class
class Cut(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.current_epoch == 1 and "--resume" not in sys.argv and os.kill(os.getpid(), signal.SIGKILL)
task = task_class({unfitted.command!r})(**{small.options!r})
task.fit({str(photos)!r}, out={str(tmp_path / "cut")!r}, quiet=True, callbacks=[Cut()],
         resume="--resume" in sys.argv, **{settings!r})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", code, "--resume"], check=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
