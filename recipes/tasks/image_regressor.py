"""Learn the number that belongs to a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recipes import labelled
from recipes.display import counted
from recipes.errors import DataError, OptionError, printable
from recipes.image_examples import PICTURES
from recipes.pictures import PictureCodec, PictureTask, file_of
from recipes.presets import PRESETS, Preset
from recipes.results import MOST_WORST, Evaluation, NumberPrediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from recipes.backbones import Network
    from recipes.codec import Codec
    from recipes.examples import Examples, Reading, Splits


# A number has no labels to spread weight over. Crops take away what is counted or measured, and a mean of two pictures
# mostly does not show the mean of two numbers: mixed, hand signs were learnt half as well.
_PRESETS = {
    name: dataclasses.replace(preset, label_smoothing=0.0, crop_scale=0.8, mixup=0.0, cutmix=0.0)
    for name, preset in PRESETS.items()
}


@dataclass(frozen=True)
class ImageRegressorCodec(PictureCodec):
    """A picture into pixels, and the network's output into a number.

    The network learns standardised numbers, so that no unit is harder to learn than another.

    Args:
        center: the mean of the numbers in training.
        spread: their standard deviation.
    """

    center: float = 0.0
    spread: float = 1.0

    def target(self, target: float) -> NDArray[np.float32]:
        """The number in standard deviations from the mean."""
        return np.array((target - self.center) / self.spread, np.float32)

    def number(self, output: Any) -> Any:
        """What the network gave, in the user's units."""
        return self.center + self.spread * output

    def decode(self, output: NDArray[np.float32], source: Any) -> NumberPrediction:
        """The number."""
        return NumberPrediction(file_of(source), self.number(float(output[0])))

    def failed(self, source: Any, error: str) -> NumberPrediction:
        """A prediction without a number that says why."""
        return NumberPrediction(file_of(source), None, error)

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """The picture with its number, and the one that was predicted."""
        said = "" if prediction is None else f" -> {prediction.value:.4g}"
        given = self.number(float(target)) if isinstance(target, np.ndarray) else target  # as `example` made it
        return [(source, f"{given:.4g}{said}")]


@dataclass
class ImageRegressor(PictureTask):
    """Learns the number that belongs to a picture, such as an age or a price, from a table or folders of numbers.

    Args:
        label: the name of the column with the numbers; found if not given.
        criterion: the loss: `huber` (squares of small errors, large ones as they are), `mse` (squares) or `mae`
            (errors as they are).
    """

    label: str | None = None
    criterion: Literal["huber", "mse", "mae"] = "huber"

    command = "image-regressor"
    codec_class = ImageRegressorCodec
    decisive = "mae"
    foreign = ("label_smoothing", "class_weights", "sampler")
    presets = _PRESETS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.criterion not in ("huber", "mse", "mae"):
            raise OptionError(f"criterion is huber, mse or mae, found {self.criterion!r}")
        if self.backbone.startswith("torchvision/squeezenet"):
            raise OptionError("SqueezeNet ends in a ReLU and gives no number below the mean; take another backbone")

    def read(self, data: Any, val: Any, reading: Reading) -> Splits:
        """Find the pictures with their numbers and split them."""
        return labelled.read(data, val, PICTURES, reading, column=self.image, label=self.label, regression=True)

    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find pictures with numbers to score the model on."""
        assert isinstance(self.codec, ImageRegressorCodec)
        return labelled.read_held_out(data, labels, self.codec.columns, PICTURES, regression=True)

    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """The backbone with a last layer of one output, the preparation, and the mean and spread of the numbers."""
        train = splits.train
        if min(train.targets) == max(train.targets):
            raise DataError(
                f"{counted(len(train), 'picture')} for training, and {printable(train.labels[0])} is "
                f"{train.targets[0]:g} for all; numbers to learn must differ"
            )
        network, preparation = self.built(1)
        center, spread = float(np.mean(train.targets)), float(np.std(train.targets))
        return ImageRegressorCodec(train.labels, preparation, preset.mirror, splits.code, center, spread), network

    def loss(self, scores: Tensor, targets: Tensor, preset: Preset, weights: Tensor | None) -> Tensor:
        """The mean of what each error counts, in standard deviations of the numbers in training."""
        from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

        criteria: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "huber": smooth_l1_loss,
            "mse": mse_loss,
            "mae": l1_loss,
        }
        return criteria[self.criterion](scores[:, 0].float(), targets)

    def metrics(self, labels: int) -> MetricCollection:
        """The mean absolute error and the root of the mean squared error, in the user's units."""
        from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

        assert isinstance(self.codec, ImageRegressorCodec)
        spread = self.codec.spread

        class AbsoluteError(MeanAbsoluteError):
            def update(self, preds: Tensor, target: Tensor) -> None:
                super().update(spread * preds[:, 0], spread * target)

        class SquaredError(MeanSquaredError):
            def update(self, preds: Tensor, target: Tensor) -> None:
                super().update(spread * preds[:, 0], spread * target)

        return MetricCollection({"mae": AbsoluteError(), "rmse": SquaredError(squared=False)}, compute_groups=False)

    def evaluation(self, rows: Iterable[tuple[Any, Any, Any]]) -> Evaluation:
        """Mean absolute error and root mean squared error in the user's units, and R² where the numbers differ."""
        import torch
        from torchmetrics.functional import regression as measure

        assert isinstance(self.codec, ImageRegressorCodec)
        sources, outputs, numbers = zip(*rows, strict=True)
        truth = np.array(numbers, np.float64)
        found = self.codec.number(np.stack(outputs)[:, 0].astype(np.float64))
        # Sums of squares of numbers far from zero lose all their digits, so they are measured in standard deviations.
        guesses, targets = (torch.from_numpy((one - self.codec.center) / self.codec.spread) for one in (found, truth))
        scores = {
            "mae": measure.mean_absolute_error(guesses, targets) * self.codec.spread,
            "rmse": measure.mean_squared_error(guesses, targets, squared=False) * self.codec.spread,
        }
        if truth.min() < truth.max():
            scores["r2"] = measure.r2_score(guesses, targets)
        off = found - truth
        return Evaluation(
            len(truth),
            {name: float(score) for name, score in scores.items()},
            self.codec.labels,
            worst=[
                {
                    "file": file_of(sources[place]),
                    "value": float(truth[place]),
                    "predicted": float(found[place]),
                    "off": float(off[place]),
                }
                for place in np.argsort(-np.abs(off), kind="stable")[:MOST_WORST].tolist()
            ],
        )
