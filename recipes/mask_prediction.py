"""What a model says of one image, pixel by pixel: its mask, and what can be made of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes import mask_files
from recipes.errors import DataError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# Names of a first label that stands for the absence of others; it is left clear in overlays and out of outlines.
_NOTHING = frozenset(
    {"background", "bg", "none", "other", "unlabeled", "unlabelled", "void", "_background_", "class_0"}
)


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """A mask in the size of its image.

    Args:
        file: the image's path, or None for one that came without.
        mask: the place of each pixel's label in `labels`, shape (height, width), uint8; None where the image could not
            be read.
        labels: the labels' names.
        colours: a colour (red, green, blue) for each label.
        probabilities: each label's probability, shape (labels, height, width), if they were asked for.
        error: why the image could not be read, or None.
    """

    file: str | None
    mask: NDArray[np.uint8] | None
    labels: tuple[str, ...] = field(repr=False)
    colours: tuple[tuple[int, int, int], ...] = field(repr=False, default=())
    probabilities: NDArray[np.float32] | None = field(repr=False, default=None)
    error: str | None = None

    @cached_property
    def areas(self) -> Mapping[str, float]:
        """The share of the image that each label has; together 1."""
        return {} if self.mask is None else mask_files.areas(self.mask, self.labels)

    def row(self, top_k: int = 1) -> dict[str, Any]:
        """The prediction as one flat row: file, height, width, each label's share of the pixels, and error."""
        height, width = (None, None) if self.mask is None else self.mask.shape
        shares = {f"area_{label}": self.areas.get(label) for label in self.labels}
        return {"file": self.file, "height": height, "width": width, **shares, "error": self.error}

    def overlay(self, picture: Any = None, opacity: float = 0.5) -> Image.Image:
        """The image with its mask over it in colours; `picture` where the prediction came without a file."""
        under = self.file if picture is None else picture
        if under is None:
            raise DataError("this prediction came without a file; give overlay(picture) the image")
        return mask_files.overlay(under, self._known(), self.colours, opacity, first_is_shown(self.labels))

    def save(
        self,
        folder: str | os.PathLike[str],
        kind: str = "index",
        *,
        name: str | None = None,
        picture: Any = None,
        overwrite: bool = False,
        inputs: Collection[tuple[int, int]] = (),
    ) -> list[Path]:
        """Write the mask as files.

        Args:
            folder: where; it is made if it is not there.
            kind: `index` (a PNG of label places with a palette), `binary` (black and white PNGs), `overlay` (over the
                image), `rle` (COCO's run lengths as JSON) or `polygons` (GeoJSON in pixels).
            name: the file's name without suffix; that of the image if not given.
            picture: the image, for an overlay of a prediction that came without a file.
            overwrite: whether files that recipes wrote there before may be replaced; others never are.
            inputs: `mask_files.identities` of files that are never replaced; the image itself never is.

        Returns:
            The files.

        Raises:
            OutputError: a file is there already, or cannot be written.
        """
        name = name or (Path(self.file).stem if self.file else "mask")
        return mask_files.write_mask(
            folder,
            name,
            self._known(),
            self.labels,
            self.colours,
            kind,
            picture=self.file if picture is None else picture,
            overwrite=overwrite,
            inputs=inputs,
            background=first_is_shown(self.labels),
        )

    def _known(self) -> NDArray[np.uint8]:
        if self.mask is None:
            raise DataError(f"{printable(self.file or 'the image')} {self.error}, so it has no mask")
        return self.mask

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskPrediction):
            return NotImplemented
        plain = (self.file, self.labels, self.colours, self.error)
        arrays = ((self.mask, other.mask), (self.probabilities, other.probabilities))
        return plain == (other.file, other.labels, other.colours, other.error) and all(
            (one is None and two is None) or (one is not None and two is not None and np.array_equal(one, two))
            for one, two in arrays
        )

    __hash__ = None  # type: ignore[assignment]


def first_is_shown(labels: Sequence[str]) -> bool:
    """Whether the first label stands for something, so that it is drawn and written like the others."""
    return labels[0].casefold() not in _NOTHING
