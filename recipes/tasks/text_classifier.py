"""Learn which of several labels a text has, or which of them it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from recipes import labelled
from recipes.classifier import Classifier, ClassifierCodec
from recipes.columns import Columns
from recipes.errors import DataError, OptionError
from recipes.presets import NGRAM_PRESETS, TEXT_PRESETS, Preset
from recipes.text_examples import TEXTS, gathered_texts
from recipes.texts import NGRAMS, NGrams, Tokens, checked, cut, stacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recipes.backbones import Network
    from recipes.codec import Codec
    from recipes.examples import Examples, Reading, Splits
    from recipes.images import Augment


@dataclass(frozen=True)
class TextClassifierCodec(ClassifierCodec):
    """A text into numbers, and scores into a label's name.

    Args:
        labels: the labels' names, in the order of the network's outputs.
        thresholds: where a text may have several labels, the score from which on each one applies; else None.
        preparation: how a text becomes the network's input.
        columns: what the columns of the table were called that the model was fitted on.
    """

    preparation: Tokens | NGrams
    columns: Columns
    ragged: ClassVar[bool] = True
    things: ClassVar[str] = "texts"

    @property
    def pair(self) -> bool:
        """Whether an input is a pair of texts."""
        return len(self.columns.inputs) == 2

    def encode(self, source: Any) -> NDArray[np.int32]:
        """The numbers of the text, shape (windows, channels, length); negative ones are none."""
        found = self.encoded([source])[0]
        if isinstance(found, DataError):
            raise found
        return np.asarray(found)

    def encoded(self, sources: Sequence[Any]) -> list[Any]:
        """The numbers of each text, or the DataError that says why it cannot be read."""
        found = [self._checked(source) for source in sources]
        arrays = iter(self.preparation.encode([one for one in found if not isinstance(one, DataError)]))
        return [one if isinstance(one, DataError) else next(arrays) for one in found]

    def _checked(self, source: Any) -> Any:
        try:
            text = checked(tuple(source) if isinstance(source, list) else source)
        except DataError as error:
            return error
        if isinstance(text, str) == self.pair:
            return DataError(
                f"is {'one text' if self.pair else 'a pair'}; the model takes {'pairs' if self.pair else 'one'}"
            )
        return text

    def example(
        self, source: Any, target: Any, augment: Augment | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int32], Any]:
        """The numbers of the text, and its label's place; texts are not varied."""
        return self.encode(source), self.target(target)

    def stacked(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        """Texts of a batch, shape (texts, windows, channels, length), filled up with -1."""
        return stacked(arrays)

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """Nothing: a text is no picture."""
        return []

    def said(self, source: Any) -> tuple[str | None, Any]:
        """No file, and the text or the pair of texts."""
        if isinstance(source, (tuple, list)):
            return None, tuple(str(part) for part in source)
        return None, "" if source is None else str(source)

    def gather(self, inputs: Any) -> list[Any]:
        """A text, a list of texts, a file of lines, a table, a data frame, or a folder of text files, as a list."""
        return gathered_texts(inputs, self.columns)


@dataclass
class TextClassifier(Classifier):
    """Learns which of several labels a text has, or which of them, from a table of texts and labels.

    Args:
        backbone: the network: an encoder of Hugging Face by name or folder, or `ngrams`, which needs no download.
        pretrained: start from the backbone's published weights.
        text: the name of the column with the texts, or two names, separated by a comma, for pairs; found if not given.
        label: the name of the column with the labels, or several names for columns of 0 and 1; found if not given.
        multi_label: whether a text may have several labels, written as `a|b`; found if not given.
        length: the most tokens of a text that the network sees at once; what it can read, but 512 at most, if not
            given.
        windows: how many windows of this length of a long text are looked at, their scores averaged; the rest is cut
            off.
    """

    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    pretrained: bool = True
    text: str | None = None
    label: str | None = None
    multi_label: bool | None = None
    length: int | None = None
    windows: int = 1

    command = "text-classifier"
    codec_class = TextClassifierCodec
    foreign = ("crop_scale", "hflip", "color_jitter", "auto_augment", "random_erasing", "mirror", "cutmix", "views")

    @property
    def presets(self) -> Mapping[str, Preset]:
        """Those for encoders, or those for n-grams."""
        return NGRAM_PRESETS if self.backbone == NGRAMS else TEXT_PRESETS

    def check(self, data: Any, preset: Preset) -> None:
        """Refuse missing data, unknown backbones, and settings for pictures, before anything is read."""
        labelled.check(data, TEXTS)
        for name in self.foreign:
            # A preset of one's own has crops and mirrored pictures unless it says otherwise.
            if name not in ("crop_scale", "hflip") and getattr(preset, name) not in (0, False, "none"):
                raise OptionError(f"{name}={getattr(preset, name)!r} is for pictures; texts can be mixed with mixup")
        if self.backbone == NGRAMS:
            if self.length is not None or self.windows != 1:
                raise OptionError("length and windows count tokens, and ngrams has none")
            if preset.freeze:
                raise OptionError(f"freeze={preset.freeze} is for pretrained networks; n-grams are learnt from nothing")
        Tokens("", 512 if self.length is None else self.length, self.windows)

        from recipes import backbones, text_networks

        text_networks.check(self.backbone, pretrained=self.pretrained)
        backbones.check_optimizer(preset.optimizer)

    def read(self, data: Any, val: Any, reading: Reading) -> Splits:
        """Find the texts with their labels and split them."""
        return labelled.read(
            data,
            val,
            TEXTS,
            reading,
            column=self.text,
            label=self.label,
            multi_label=self.multi_label,
        )

    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find labelled texts to score the model on."""
        assert isinstance(self.codec, TextClassifierCodec)
        return labelled.read_held_out(data, labels, self.codec.columns, TEXTS)

    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """The backbone with a last layer for these labels, and how it reads texts."""
        from recipes import text_networks

        labels, columns = splits.train.labels, splits.code
        thresholds = (0.5,) * len(labels) if columns.multi_label else None
        if self.backbone == NGRAMS:
            codec = TextClassifierCodec(labels, NGrams(), columns, thresholds=thresholds)
            arrays = splits.train.encoded(codec)
            return codec, text_networks.build_ngrams(len(labels), NGrams(), arrays)
        network, tokens = text_networks.build(
            self.backbone,
            labels,
            pretrained=self.pretrained,
            length=self.length,
            windows=self.windows,
            pair=len(columns.inputs) == 2,
        )
        codec = TextClassifierCodec(labels, tokens, columns, thresholds=thresholds)
        long = sum(map(cut, splits.train.encoded(codec)))
        if long:
            splits.notes.append(
                f"{long:,} of {len(splits.train):,} texts have more than {tokens.length} tokens"
                f"{f' in {tokens.windows} windows' if tokens.windows > 1 else ''} and are cut there; windows=N would "
                f"read more of them"
            )
        return codec, network

    def reopen(self, codec: Codec, settings: Any, folder: Path, digest: str) -> Network:
        """The network of a model folder, with its weights and its tokenizer."""
        from recipes import text_networks

        assert isinstance(codec, TextClassifierCodec)
        return text_networks.reopen(settings, len(codec.labels), codec.preparation, folder, digest)

    def library_config(self, codec: Codec, network: Network) -> dict[str, Any] | None:
        """What transformers needs to open the folder by itself, with the same label names."""
        from recipes import text_networks

        return text_networks.transformers_config(network, codec.labels, self._several)
