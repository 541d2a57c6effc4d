"""Features of the frozen network: computed once, found again, and never wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import draw_pictures
from torch import nn

from recipes import ImageClassifier, features, inference, preparing
from recipes.backbones import ImageNetwork

OPTIONS: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def weights(task: ImageClassifier) -> torch.Tensor:
    assert task.network.head is not None
    return task.network.head.weight.detach().clone()


def batches_seen(task: ImageClassifier, photos: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> int:
    """How many batches the network looks at while the last layer is fitted and scored."""
    seen = []
    plain = ImageNetwork.forward
    with monkeypatch.context() as patch:
        patch.setattr(ImageNetwork, "forward", lambda network, pixels: seen.append(1) or plain(network, pixels))
        task.fit(photos, preset="quick", quiet=True, **{"views": 1, **settings})
    return len(seen)


def test_a_second_run_need_not_look_again_and_ends_the_same(
    photos: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (ImageClassifier(**OPTIONS) for _ in range(3))
    looked = batches_seen(first, photos, monkeypatch)
    again = batches_seen(second, photos, monkeypatch)
    assert again == 0  # the score of the finished model comes from the same features
    assert looked == again + 5  # 2 × plain and mirrored, 1 view
    assert torch.equal(weights(first), weights(second))
    assert len(list(own_cache.iterdir())) == 5
    assert batches_seen(third, photos, monkeypatch, cache=False) == looked
    assert torch.equal(weights(first), weights(third))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"views": 2}, {"crop_scale": 0.4}, {"batch_size": 7}, {"val_fraction": 0.3}]
)
def test_other_settings_do_not_find_the_wrong_features(
    photos: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    with_cache, without = ImageClassifier(**OPTIONS), ImageClassifier(**OPTIONS)
    batches_seen(ImageClassifier(**OPTIONS), photos, monkeypatch)
    batches_seen(with_cache, photos, monkeypatch, **change)
    batches_seen(without, photos, monkeypatch, cache=False, **change)
    assert torch.equal(weights(with_cache), weights(without))


def test_a_changed_picture_is_looked_at_again(photos: Path, own_cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)
    ImageClassifier(**OPTIONS).fit(own, preset="quick", quiet=True)
    for picture in sorted((own / "red").iterdir()):  # red and blue change places under the same names
        other = own / "blue" / picture.name
        first, second = picture.read_bytes(), other.read_bytes()
        picture.write_bytes(second)
        other.write_bytes(first)
    task = ImageClassifier(**OPTIONS).fit(own, preset="quick", quiet=True)
    plain = ImageClassifier(**OPTIONS).fit(own, preset="quick", quiet=True, cache=False)
    assert torch.equal(weights(task), weights(plain))


def test_a_damaged_or_unwritable_cache_does_not_stop_a_run(
    photos: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ImageClassifier(**OPTIONS).fit(photos, preset="quick", quiet=True)
    for file in own_cache.iterdir():
        file.write_bytes(b"not features")
    second = ImageClassifier(**OPTIONS).fit(photos, preset="quick", quiet=True)
    assert torch.equal(weights(first), weights(second))
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path / "file"))
    third = ImageClassifier(**OPTIONS).fit(photos, preset="quick", quiet=True)
    assert torch.equal(weights(first), weights(third))


def test_what_was_not_used_for_long_makes_room(photos: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ImageClassifier(**OPTIONS).fit(photos, preset="quick", quiet=True)
    newest = max(own_cache.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    monkeypatch.setattr(features, "_MOST_BYTES", newest.stat().st_size * 2)
    ImageClassifier(**OPTIONS).fit(photos, preset="quick", quiet=True, seed=5)
    assert len(list(own_cache.iterdir())) <= 2


def test_the_mirrored_score_of_a_fitted_last_layer_is_that_of_prediction(photos: Path, own_cache: Path) -> None:
    task = ImageClassifier(**OPTIONS)
    batches, module = task.lightning(photos, preset="quick")
    preparing.fit_head(module.network, batches)
    head = module.network.head
    assert isinstance(head, nn.Linear)
    looks = features.features(module.network.eval(), batches.splits.val, ("as it is", "mirrored"), data=batches)
    scores = head(torch.stack([found for found, _ in looks]).mean(0)).softmax(1)
    predicted = torch.tensor([list(row.scores.values()) for row in task.predict(batches.splits.val.inputs)])
    torch.testing.assert_close(scores.float(), predicted.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_what_the_last_layer_was_fitted_on_is_not_looked_at_again_to_be_scored(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """The labels are drawn by chance, so that most predictions are wrong, each in its own way."""
    data = draw_pictures(tmp_path / "data", 10)
    rows = [f"{path.relative_to(data)},{'abc'[place * 7 % 11 % 3]}" for place, path in enumerate(data.rglob("*.png"))]
    (data / "labels.csv").write_text("image,label\n" + "\n".join(rows))
    with monkeypatch.context() as patch:
        patch.setattr(inference, "outputs", None)
        task = ImageClassifier(**OPTIONS).fit(data / "labels.csv", preset="quick", precision=precision, quiet=True)
    found = task.evaluate(data / "labels.csv", split="val")
    assert 0 < found.scores["accuracy"] < 1
    assert task._scores == pytest.approx(found.scores)
    trained = ImageClassifier(**OPTIONS).fit(data / "labels.csv", quiet=True, epochs=1, head_first=True, lr=1e-2)
    assert trained._scores == pytest.approx(trained.evaluate(data / "labels.csv", split="val").scores)
