"""What is promised of the image classifier alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes import ImageClassifier
from recipes.errors import DataError


def test_the_label_is_the_argmax_of_the_scores_and_they_add_up_to_one(fitted: ImageClassifier, photos: Path) -> None:
    assert fitted.codec is not None
    for prediction in fitted.predict(photos):
        assert prediction.label == max(prediction.scores, key=prediction.scores.__getitem__)
        assert prediction.score == prediction.scores[prediction.label]
        assert sum(prediction.scores.values()) == pytest.approx(1)
        assert list(prediction.scores) == list(fitted.codec.labels)


def test_a_test_set_that_lacks_labels_is_scored_by_name(fitted: ImageClassifier, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "red").symlink_to(photos / "red")
    evaluation = fitted.evaluate(tmp_path)
    assert evaluation.examples == 8
    assert evaluation.per_label["red"]["support"] == 8
    assert fitted.codec is not None
    assert sum(evaluation.confusion[list(fitted.codec.labels).index("red")]) == 8


def test_a_label_the_model_does_not_know_is_named(fitted: ImageClassifier, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "redd").symlink_to(photos / "red")
    with pytest.raises(DataError, match="redd; did you mean red"):
        fitted.evaluate(tmp_path)
