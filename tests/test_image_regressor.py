"""What is promised of the image regressor alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import recipes
from recipes import ImageRegressor, Preset
from recipes.cli import main
from recipes.data import mixed
from recipes.errors import DataError, OptionError
from recipes.examples import Examples

TINY: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
ONE: dict[str, Any] = {"epochs": 1, "batch_size": 4, "head_first": False, "precision": "32", "quiet": True}


def draw_greys(folder: Path, number: int = 24, start: float = 0.0, step: float = 1.0) -> Path:
    """Greys with noise, and a table of how bright each is, counted in steps from a start."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows: list[tuple[str, object]] = [("file", "brightness")]
    for place, level in enumerate(rng.permutation(np.linspace(30, 220, number))):
        pixels = (level + rng.normal(0, 20, (36, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place:02}.png")
        rows.append((f"{place:02}.png", start + step * level))
    with open(folder / "greys.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def truth(folder: Path) -> dict[str, float]:
    """The number of each file."""
    with open(folder / "greys.csv", encoding="utf-8", newline="") as file:
        return {str(folder / row["file"]): float(row["brightness"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_greys(tmp_path_factory.mktemp("data") / "greys")


@pytest.fixture(scope="module")
def quick(greys: Path) -> ImageRegressor:
    """A network whose last layer alone is fitted; it is not changed."""
    return ImageRegressor(**TINY).fit(greys, preset="quick", quiet=True)


@pytest.fixture(scope="module")
def model(quick: ImageRegressor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick.save(tmp_path_factory.mktemp("models") / "greys")


def test_the_last_layer_alone_learns_what_is_linear_in_the_features(quick: ImageRegressor, greys: Path) -> None:
    scores = quick.evaluate(greys).scores
    assert scores["r2"] > 0.98
    assert scores["mae"] <= scores["rmse"] < 10


def test_scores_are_the_errors_of_the_predictions_in_the_users_units(quick: ImageRegressor, greys: Path) -> None:
    known = truth(greys)
    off = np.array([one.value - known[one.file] for one in quick.predict(greys)])
    scores = quick.evaluate(greys).scores
    assert scores["mae"] == pytest.approx(np.abs(off).mean())
    assert scores["rmse"] == pytest.approx(np.sqrt((off**2).mean()))
    assert scores["r2"] == pytest.approx(1 - (off**2).mean() / np.var(list(known.values())))


def test_the_scores_of_an_epoch_are_in_the_users_units_too(greys: Path) -> None:
    task = ImageRegressor(**TINY).fit(greys, **ONE)
    assert task.history is not None
    row = task.history.epochs[0]
    assert row["mae"] == pytest.approx(task._scores["mae"], rel=1e-4)
    assert row["rmse"] == pytest.approx(task._scores["rmse"], rel=1e-4)


def test_the_largest_errors_come_first(quick: ImageRegressor, greys: Path) -> None:
    evaluation = quick.evaluate(greys)
    known, off = truth(greys), [abs(row["off"]) for row in evaluation.worst]
    assert len(evaluation.worst) == 20
    assert off == sorted(off, reverse=True)
    for row in evaluation.worst:
        assert row["value"] == known[row["file"]]
        assert row["predicted"] - row["value"] == pytest.approx(row["off"])
    assert evaluation.labels == ("brightness",)
    assert not evaluation.per_label
    assert not evaluation.confusion


def test_numbers_far_from_zero_and_tiny_ones_are_learnt_as_well(
    quick: ImageRegressor, greys: Path, tmp_path: Path
) -> None:
    expected = quick.evaluate(greys).scores
    for place, (start, step) in enumerate([(1_700_000_000.0, 1.0), (0.0, 1e-9)]):
        folder = draw_greys(tmp_path / str(place), start=start, step=step)
        scores = ImageRegressor(**TINY).fit(folder, preset="quick", quiet=True).evaluate(folder).scores
        assert scores["mae"] == pytest.approx(step * expected["mae"], rel=1e-3)
        assert scores["r2"] == pytest.approx(expected["r2"], rel=1e-4)


def test_a_table_folders_of_numbers_lists_and_frames_are_read_alike(greys: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    known = truth(greys)
    for file, number in known.items():
        (tmp_path / "ages" / f"{number}").mkdir(parents=True)
        (tmp_path / "ages" / f"{number}" / "1.png").write_bytes(Path(file).read_bytes())
    frame = pandas.DataFrame({"image": list(known), "age": list(known.values())})
    for data in (greys, greys / "greys.csv", tmp_path / "ages", (list(known), list(known.values())), frame):
        task = ImageRegressor(**TINY)
        splits = task.read(data, None, task.reading(Preset()))
        assert sorted([*splits.train.targets, *splits.val.targets]) == sorted(known.values())
        assert len(splits.val) == 6


def test_a_split_has_low_and_high_numbers_on_both_sides(greys: Path) -> None:
    task = ImageRegressor(**TINY)
    splits = task.read(greys, None, task.reading(Preset(val_fraction=0.25)))
    assert len({int(np.digitize(number, [93, 156])) for number in splits.val.targets}) == 3


def test_columns_are_taken_by_name_and_found_again(greys: Path, tmp_path: Path) -> None:
    rows = "".join(f"{number},7,{file}\n" for file, number in truth(greys).items())
    (tmp_path / "all.csv").write_text("score,lens,shot\n" + rows)
    task = ImageRegressor(**TINY, image="shot", label="score").fit(tmp_path / "all.csv", preset="quick", quiet=True)
    assert task.codec is not None
    assert task.codec.labels == ("score",)
    assert task.evaluate(tmp_path / "all.csv").scores["r2"] > 0.98
    assert len(task.predict(tmp_path / "all.csv")) == 24


def test_a_row_without_a_number_is_left_out_and_one_with_words_is_named(
    greys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{file},{number}" for file, number in truth(greys).items()]
    (tmp_path / "gap.csv").write_text("\n".join(["file,price", *rows[:-1], rows[-1].partition(",")[0] + ","]))
    ImageRegressor(**TINY).fit(tmp_path / "gap.csv", preset="quick")
    said = capsys.readouterr().err
    assert "left out 1 row" in said
    assert "no number" in said
    (tmp_path / "words.csv").write_text("\n".join(["file,price", *rows[:-1], rows[-1].partition(",")[0] + ",dear"]))
    with pytest.raises(DataError, match=r"expected a number in column 'price', found 'dear'"):
        ImageRegressor(**TINY, label="price").fit(tmp_path / "words.csv", quiet=True)


def test_what_was_found_is_shown_as_numbers(greys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImageRegressor(**TINY).fit(greys, preset="quick")
    said = capsys.readouterr().err
    assert [line.split()[0] for line in said.splitlines()[1:6]] == [
        "brightness",
        "lowest",
        "mean",
        "highest",
        "examples",
    ]
    assert "examples         18        6" in said


def test_pictures_in_memory_will_do(greys: Path, tmp_path: Path) -> None:
    known = truth(greys)
    arrays = [np.asarray(Image.open(file)) for file in known]
    task = ImageRegressor(**TINY).fit((arrays, list(known.values())), preset="quick", quiet=True, out=tmp_path / "m")
    assert task.evaluate((arrays, list(known.values()))).scores["r2"] > 0.98
    assert task.predict(arrays[0])[0].file is None


def test_numbers_that_are_all_equal_are_refused(tmp_path: Path) -> None:
    folder = draw_greys(tmp_path / "flat", start=0.1, step=0.0)
    with pytest.raises(DataError, match=r"brightness is 0\.1 for all; numbers to learn must differ"):
        ImageRegressor(**TINY).fit(folder, quiet=True)


@pytest.mark.parametrize(
    ("setting", "value"), [("class_weights", "balanced"), ("sampler", "balanced"), ("label_smoothing", 0.2)]
)
def test_settings_for_labels_are_refused(greys: Path, setting: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"image-regressor has no use for {setting}={value!r}"):
        ImageRegressor(**TINY).fit(greys, **{setting: value})


def test_the_help_tells_of_no_settings_for_labels(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "image-regressor", "--help"])
    told = capsys.readouterr().out
    assert "--criterion" in told
    assert not [flag for flag in ("--class-weights", "--sampler", "--label-smoothing") if flag in told]


def test_each_loss_is_that_of_standardised_numbers() -> None:
    scores, targets = torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0.5, 1.0, 1.0])
    expected = {"huber": (0.125 + 0 + 2.5) / 3, "mse": (0.25 + 0 + 9) / 3, "mae": (0.5 + 0 + 3) / 3}
    for criterion, value in expected.items():
        loss = ImageRegressor(criterion=criterion).loss(scores, targets, Preset(), None)  # type: ignore[arg-type]
        assert float(loss) == pytest.approx(value)
    with pytest.raises(OptionError, match="criterion is huber, mse or mae, found 'l2'"):
        ImageRegressor(criterion="l2")  # type: ignore[arg-type]


def test_a_network_that_gives_no_negative_output_is_refused() -> None:
    with pytest.raises(OptionError, match="SqueezeNet ends in a ReLU"):
        ImageRegressor(backbone="torchvision/squeezenet1_1")


@pytest.mark.parametrize("criterion", ["mse", "mae"])
def test_other_losses_train(greys: Path, criterion: Any) -> None:
    task = ImageRegressor(**TINY, criterion=criterion).fit(greys, **ONE)
    assert task.history is not None
    assert len(task.history.epochs) == 1


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_numbers_are_mixed_as_their_pictures_are(kind: str) -> None:
    levels = torch.tensor([10.0, 60.0, 200.0, 250.0])
    pixels = levels[:, None, None, None].expand(-1, 3, 32, 32).to(torch.uint8)
    preset = Preset(**{kind: 1.0})  # type: ignore[arg-type]
    for seed in range(5):
        shown, numbers = mixed(pixels, levels, 1, preset, seed)
        assert numbers.shape == (4,)
        torch.testing.assert_close(shown.mean((1, 2, 3)), numbers, rtol=1e-4, atol=1e-3)
    assert not torch.equal(numbers, levels)


@pytest.mark.parametrize("preset", ["best", "scratch"])
def test_the_other_presets_work(greys: Path, preset: str) -> None:
    scores = ImageRegressor(**TINY).fit(greys, preset=preset, epochs=1, quiet=True)._scores
    assert set(scores) == {"mae", "rmse", "r2"}


def test_one_picture_for_validation_will_do(greys: Path, tmp_path: Path) -> None:
    file, number = next(iter(truth(greys).items()))
    (tmp_path / "one.csv").write_text(f"file,brightness\n{file},{number}\n")
    task = ImageRegressor(**TINY).fit(greys, tmp_path / "one.csv", **ONE)
    assert task._scores.keys() == {"mae", "rmse"}  # where numbers do not differ there is no R²
    assert task._scores["mae"] == pytest.approx(task._scores["rmse"])


def test_timm_opens_the_folder_and_gives_the_same_numbers(quick: ImageRegressor, model: Path, greys: Path) -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    network = timm.create_model(f"local-dir:{model}", pretrained=True).eval()
    assert network.num_classes == 1
    assert network.pretrained_cfg["label_names"] == ["brightness"]
    transform = create_transform(**resolve_data_config(model=network), is_training=False)
    codec = json.loads((model / "recipe.json").read_text())["codec"]
    assert codec["mirror"]
    for prediction in quick.predict(greys)[:3]:
        with Image.open(prediction.file) as picture:
            pixels = transform(picture.convert("RGB"))[None]
        with torch.inference_mode():
            logit = float((network(pixels) + network(pixels.flip(3))) / 2)
        assert codec["center"] + codec["spread"] * logit == pytest.approx(prediction.value, abs=0.05)


def test_the_shell_writes_a_number_in_each_row(
    quick: ImageRegressor, model: Path, greys: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = str(greys / "00.png")
    (expected,) = quick.predict(path)
    words = ["predict", str(model), path, "missing.png", "--top-k", "3"]
    assert main([*words, "--format", "csv"]) == 1
    header, row, lost = capfdbinary.readouterr().out.decode().splitlines()
    assert header == "file,value,error"
    assert row == f"{path},{expected.value:.7g},"
    assert lost == "missing.png,,does not exist"
    assert main([*words, "--format", "jsonl"]) == 1
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.decode().splitlines()]
    assert [list(row) for row in rows] == [["file", "value", "error"]] * 2
    assert rows[0]["value"] == pytest.approx(expected.value, rel=1e-6)
    assert main(words) == 1
    first, second = capfdbinary.readouterr().out.decode().splitlines()
    assert first.split() == [f"{expected.value:.3f}", path]
    assert second.split() == ["error:", "does", "not", "exist", "missing.png"]


def test_the_shell_evaluates(model: Path, greys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(model), str(greys)]) == 0
    title, scores = capsys.readouterr().out.splitlines()
    assert title == "24 examples"
    assert [word for word in scores.split() if word.isalnum()] == ["mae", "rmse", "r2"]
    assert main(["evaluate", str(model), str(greys), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["r2"] > 0.98


def test_a_saved_model_knows_its_units(quick: ImageRegressor, model: Path, greys: Path) -> None:
    loaded = recipes.load(model)
    assert loaded.codec == quick.codec
    assert loaded.predict(greys) == quick.predict(greys)


def test_counting_numbers_counts_examples() -> None:
    assert Examples(["a", "b", "c"], [0.0, 0.5, 0.0], ("price",)).counts() == [3]
