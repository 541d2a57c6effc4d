"""What every task in the catalog must keep; a new task is tested here by being named in the catalog."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
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

# For each task: options that need no download, settings of a short run.
SMALL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image-classifier": (
        {"backbone": "test_resnet", "pretrained": False, "size": 32},
        {"epochs": 3, "batch_size": 8, "lr": 1e-2, "layer_decay": 1.0, "crop_scale": 0.8},
    ),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(12):
            pixels = (np.array(colour) + rng.normal(0, 25, (40, 48, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module", params=list(TASKS))
def fitted(request: pytest.FixtureRequest, photos: Path) -> Any:
    options, settings = SMALL[request.param]
    return task_class(request.param)(**options).fit(photos, quiet=True, **settings)


@pytest.fixture(params=list(TASKS))
def unfitted(request: pytest.FixtureRequest) -> Any:
    return task_class(request.param)(**SMALL[request.param][0])


def pictures(photos: Path) -> list[str]:
    return [str(path) for path in sorted(photos.glob("*/*.png"))]


def scores(predictions: list[Any]) -> Any:
    return np.array([list(prediction.scores.values()) for prediction in predictions])


def test_it_learns(fitted: Any, photos: Path) -> None:
    assert fitted.evaluate(photos).accuracy > 0.9


def test_predictions_come_in_the_order_of_the_inputs_with_their_files(fitted: Any, photos: Path) -> None:
    inputs = pictures(photos)[::-1]
    assert [prediction.file for prediction in fitted.predict(inputs)] == inputs


def test_the_label_is_the_argmax_of_the_scores_and_they_add_up_to_one(fitted: Any, photos: Path) -> None:
    for prediction in fitted.predict(photos):
        assert prediction.label == max(prediction.scores, key=prediction.scores.__getitem__)
        assert prediction.score == prediction.scores[prediction.label]
        assert sum(prediction.scores.values()) == pytest.approx(1)
        assert list(prediction.scores) == list(fitted.codec.labels)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_batch_size_and_workers_do_not_change_a_result(
    fitted: Any, photos: Path, batch_size: int, workers: int
) -> None:
    expected = fitted.predict(photos)
    found = fitted.predict(photos, batch_size=batch_size, workers=workers)
    assert [one.label for one in found] == [one.label for one in expected]
    np.testing.assert_allclose(scores(found), scores(expected), atol=1e-5)


def test_validation_and_prediction_see_the_same_pixels(fitted: Any, photos: Path) -> None:
    data, _ = fitted.lightning(photos)
    for pixels, _, lost in data.val_dataloader():
        assert not lost
        places = range(len(pixels))
        seen = [fitted.codec.encode(data.splits.val.inputs[place]) for place in places]
        np.testing.assert_array_equal(pixels.permute(0, 2, 3, 1).numpy(), np.stack(seen))
        break


def test_a_saved_model_predicts_the_same_after_loading(fitted: Any, photos: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = recipes.load(tmp_path / "model")
    assert type(loaded) is type(fitted)
    assert dataclasses.asdict(loaded) == dataclasses.asdict(fitted)
    assert loaded.predict(photos) == fitted.predict(photos)


def test_a_reloaded_codec_equals_the_saved_one(fitted: Any) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(fitted.codec)))
    assert rebuilt(type(fitted.codec), values) == fitted.codec


def test_a_model_folder_holds_json_yaml_and_safetensors_only(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    suffixes = {path.suffix for path in (tmp_path / "model").iterdir()}
    assert suffixes <= {".json", ".safetensors", ".yaml", ".csv"}


def test_the_split_is_recorded_by_file_name(fitted: Any, photos: Path, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    split = json.loads((tmp_path / "model" / "split.json").read_text())
    assert sorted(split["train"] + split["val"]) == [str(Path(path).relative_to(photos)) for path in pictures(photos)]
    assert not set(split["train"]) & set(split["val"])


def test_the_same_seed_gives_the_same_weights_whatever_the_number_of_workers(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command][1], "epochs": 2, "mixup": 0.2, "auto_augment": "trivialaugment"}
    weights = []
    for workers in (0, 2):
        again = type(unfitted)(**dataclasses.asdict(unfitted)).fit(photos, quiet=True, workers=workers, **settings)
        weights.append(again.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_seed_gives_other_weights(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command][1], "epochs": 1}
    first = type(unfitted)(**dataclasses.asdict(unfitted)).fit(photos, quiet=True, seed=1, **settings)
    second = unfitted.fit(photos, quiet=True, seed=2, **settings)
    assert first._records["split.json"] != second._records["split.json"]


def test_the_callers_random_state_is_left_alone(unfitted: Any, photos: Path) -> None:
    def state() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = state()
    unfitted.fit(photos, quiet=True, **{**SMALL[unfitted.command][1], "epochs": 1})
    assert state() == before


def test_a_test_set_that_lacks_labels_is_scored_by_name(fitted: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "red").symlink_to(photos / "red")
    evaluation = fitted.evaluate(tmp_path)
    assert evaluation.examples == 12
    assert evaluation.per_label["red"]["support"] == 12
    assert sum(evaluation.confusion[list(fitted.codec.labels).index("red")]) == 12


def test_a_label_the_model_does_not_know_is_named(fitted: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "redd").symlink_to(photos / "red")
    with pytest.raises(DataError, match="redd; did you mean red"):
        fitted.evaluate(tmp_path)


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
    with pytest.raises(DataError, match="does not exist"):
        fitted.predict(["nowhere.png", good])
    rows = list(fitted.predict_each(iter(["nowhere.png", good])))
    assert [row.error is None for row in rows] == [False, True]


def test_lightning_parts_train_the_tasks_own_network(unfitted: Any, photos: Path, tmp_path: Path) -> None:
    import pytorch_lightning as pl

    data, module = unfitted.lightning(photos, **{**SMALL[unfitted.command][1], "epochs": 2})
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
    assert recipes.load(tmp_path / "model").predict(photos) == unfitted.predict(photos)


def test_callbacks_loggers_and_trainer_arguments_are_passed_on(unfitted: Any, photos: Path, tmp_path: Path) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import CSVLogger

    class Counter(pl.Callback):
        steps = 0

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1

    counter, logger = Counter(), CSVLogger(tmp_path)
    settings = {**SMALL[unfitted.command][1], "epochs": 1}
    unfitted.fit(photos, quiet=True, callbacks=[counter], logger=logger, limit_train_batches=2, **settings)
    assert counter.steps == 2
    assert Path(logger.log_dir).exists()


def test_the_best_epoch_is_kept(unfitted: Any, photos: Path) -> None:
    settings = SMALL[unfitted.command][1]
    unfitted.fit(photos, quiet=True, **settings)
    kept = max(list(unfitted.history.epochs), key=lambda row: (row["accuracy"], -row["val_loss"]))
    if unfitted.history.best_epoch:
        assert kept["epoch"] == unfitted.history.best_epoch


def test_a_model_of_another_task_is_refused(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "recipe.json").read_text())
    (tmp_path / "model" / "recipe.json").write_text(json.dumps({**manifest, "task": "fortune-teller"}))
    with pytest.raises(ModelError, match="fortune-teller"):
        recipes.load(tmp_path / "model")


def test_a_preset_of_ones_own_is_taken(unfitted: Any, photos: Path) -> None:
    settings = {**SMALL[unfitted.command][1], "epochs": 1}
    assert len(unfitted.fit(photos, quiet=True, preset=Preset(**settings)).history.epochs) == 1


@pytest.fixture(autouse=True)
def _no_stray_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert not list(here.iterdir()), "a task wrote into the working directory"
    here.rmdir()
