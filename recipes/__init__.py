"""recipes: from a folder of pictures, or a table of texts, to a trained model, in three lines.

from recipes import ImageClassifier
model = ImageClassifier().fit("photos/")
model.predict("cat.jpg")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.checks import Report as Report
    from recipes.checks import check as check
    from recipes.comparing import Comparison as Comparison
    from recipes.errors import RecipesError as RecipesError
    from recipes.loading import load as load
    from recipes.mask_prediction import MaskPrediction as MaskPrediction
    from recipes.presets import Preset as Preset
    from recipes.results import Evaluation as Evaluation
    from recipes.results import History as History
    from recipes.results import NumberPrediction as NumberPrediction
    from recipes.results import Prediction as Prediction
    from recipes.tasks.image_classifier import ImageClassifier as ImageClassifier
    from recipes.tasks.image_regressor import ImageRegressor as ImageRegressor
    from recipes.tasks.segmenter import Segmenter as Segmenter
    from recipes.tasks.text_classifier import TextClassifier as TextClassifier
    from recipes.tuning import Tuning as Tuning

__version__ = "0.1.0"

# Public name → module: imported on first use, so that `import recipes` stays instant.
_HOMES = {
    "Comparison": "recipes.comparing",
    "Evaluation": "recipes.results",
    "History": "recipes.results",
    "ImageClassifier": "recipes.tasks.image_classifier",
    "ImageRegressor": "recipes.tasks.image_regressor",
    "MaskPrediction": "recipes.mask_prediction",
    "NumberPrediction": "recipes.results",
    "Prediction": "recipes.results",
    "Preset": "recipes.presets",
    "RecipesError": "recipes.errors",
    "Report": "recipes.checks",
    "Segmenter": "recipes.tasks.segmenter",
    "TextClassifier": "recipes.tasks.text_classifier",
    "Tuning": "recipes.tuning",
    "check": "recipes.checks",
    "load": "recipes.loading",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recipes' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
