"""Networks that score each pixel: those of segmentation_models_pytorch with any encoder of timm, and torchvision's."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recipes import artifact, backbones
from recipes.backbones import ImageNetwork, Network
from recipes.codec import rebuilt
from recipes.crops import DensePreparation
from recipes.errors import ModelError, OptionError, WeightsError, did_you_mean, printable

_LIBRARY = "segmentation_models_pytorch"
_TORCHVISION = "torchvision/"

# The arguments of a network that a model folder may name.
_ALLOWED = frozenset({"encoder", "dynamic_img_size"})

# Every network takes images whose sides are multiples of this, from a smallest side on that is its own.
_STEP = 32

# Smallest sides that are tried; a network that needs more is none for images of all sizes.
_MOST_STEPS = 8

# ImageNet's, which every network of torchvision was trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Figures = tuple[tuple[float, ...], tuple[float, ...]]


class MaskNetwork(ImageNetwork):
    """A network that gives a score for each label at each pixel, for images of any size.

    Sides that the library's network cannot take are filled up by repeating the last row and column.

    Args:
        body: the network of segmentation_models_pytorch or torchvision.
        mean: mean of red, green and blue as shares of 255.
        std: standard deviation, likewise.
        config: library, architecture and arguments that build `body` again, and its smallest side.
    """

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores of shape (images, labels, height, width) for pixels of shape (images, 3, height, width)."""
        sides = pixels.shape[2:]
        least = int(self.config.get("least_side", _STEP))
        below, right = (max(least, side + -side % _STEP) - side for side in sides)
        if below or right:
            pixels = pad(pixels.to(self.mean.dtype), (0, right, 0, below), mode="replicate")
        return super().forward(pixels)[:, :, : sides[0], : sides[1]]


def check(architecture: str, backbone: str, *, pretrained: bool, weights: str | None) -> None:
    """Refuse names or weights that cannot be had, before time is spent on anything else.

    Raises:
        OptionError: no network has this name, or the encoder cannot be used in it.
        WeightsError: the weights cannot be had.
    """
    _check_architecture(architecture)
    torchvisions = architecture.startswith(_TORCHVISION)
    if not torchvisions and backbone.startswith(_TORCHVISION):
        raise OptionError(
            f"there is no backbone {printable(backbone)!r} for {architecture}: its encoders are timm's; of torchvision "
            f"take a whole network as the architecture, such as torchvision/deeplabv3_resnet50"
        )
    if weights is not None:
        backbones.check_weights_file(weights)
    start = _start(architecture, backbone, pretrained=pretrained, weights=weights)
    if start is None and not torchvisions and _of_backbone(backbone) is None:
        backbones.check(backbone, pretrained=pretrained, weights=weights)


def build(architecture: str, backbone: str, labels: int, *, pretrained: bool, weights: str | None) -> MaskNetwork:
    """A network by name, with a score for each label at each pixel.

    Args:
        architecture: a name of segmentation_models_pytorch, such as `unet`, or `torchvision/NAME`.
        backbone: the encoder, any name of timm that gives features, or the folder of a saved segmenter, whose decoder
            is taken, too, if its architecture is the same; torchvision's networks bring their own.
        labels: number of scores of each pixel.
        pretrained: start the encoder (with torchvision: all but the last layers) from the library's weights.
        weights: start it from this safetensors file instead; a saved segmenter's is taken as a whole.

    Raises:
        OptionError: no network has this name, or the encoder cannot be used in it.
        WeightsError: the weights could not be had or do not fit.
    """
    start = _start(architecture, backbone, pretrained=pretrained, weights=weights)
    plain: dict[str, Any] = {"pretrained": pretrained, "weights": weights}
    if start is not None:
        plain = {"pretrained": False, "weights": None}
    if architecture.startswith(_TORCHVISION):
        body, settings = _torchvision(architecture, labels, **plain)
        figures: Figures = _MEAN, _STD
    else:
        body, settings, figures = _with_encoder(architecture, backbone, labels, **plain)
    if start is not None:
        start.give(body, architecture)
        figures = start.figures
    return MaskNetwork(body, *figures, settings)


def reopen(settings: Any, labels: int, figures: Figures, folder: Path, digest: str) -> Network:
    """The network of a model folder with its weights; nothing is downloaded.

    Raises:
        ModelError: the settings are unsafe or unknown, or the weights do not fit.
    """
    library, architecture, arguments = backbones.checked_settings(settings, _ALLOWED, folder)
    known = _smp_names() if library == _LIBRARY else _torchvision_names() if library == "torchvision" else []
    if architecture not in known:
        raise ModelError(
            f"{printable(folder)} names a network that is not known here, {printable(library, 40)}'s {architecture}"
        )

    least = settings.get("least_side", _STEP)
    if least not in _sides():
        raise ModelError(f"{printable(folder)} is damaged: {printable(str(least), 40)} is no smallest side of images")
    encoder, more = str(arguments.pop("encoder", None)), arguments

    def build_body() -> nn.Module:
        if library == "torchvision":
            return _torchvision(architecture, labels, False, None)[0]
        return _smp(architecture, labels, encoder, False, {}, more)

    return MaskNetwork(backbones.opened_body(build_body, settings, labels, folder, digest), *figures, settings)


def smp_config(network: Network, labels: int) -> dict[str, Any] | None:
    """The `config.json` with which segmentation_models_pytorch opens a model folder by itself; None for others."""
    if network.config["library"] != _LIBRARY:
        return None
    arguments = dict(network.config["args"])
    return {
        "_model_class": type(network.body).__name__,
        "encoder_name": f"tu-{arguments.pop('encoder')}",
        "encoder_weights": None,
        "in_channels": 3,
        "classes": labels,
        **arguments,
    }


# ---------------------------------------------------------------------------------------------------------------------
# A saved segmenter to start from


@dataclass(frozen=True)
class _Saved:
    """The network of a saved segmenter.

    Args:
        folder: the model folder.
        settings: its library, architecture and arguments.
        labels: how many it has.
        preparation: how it sees images.
        digest: SHA-256 of its weights.
    """

    folder: Path
    settings: Mapping[str, Any]
    labels: int
    preparation: DensePreparation
    digest: str

    @property
    def figures(self) -> Figures:
        """Mean and standard deviation of the pixels that its weights expect."""
        return self.preparation.mean, self.preparation.std

    @property
    def architecture(self) -> str:
        """The network's name, as the option `architecture` has it."""
        return str(self.settings["architecture"])

    @property
    def encoder(self) -> str:
        """The encoder's name in timm; empty for a network of torchvision, which brings its own."""
        return str(self.settings["args"].get("encoder", ""))

    def give(self, body: nn.Module, architecture: str) -> None:
        """Give a new network the weights that fit it: all but a last layer for other labels, or those of the encoder.

        Raises:
            ModelError: the folder is damaged.
            WeightsError: the encoder is cut off elsewhere.
        """
        saved = reopen(self.settings, self.labels, self.figures, self.folder, self.digest).body.state_dict()
        whole = architecture == self.architecture
        state = body.state_dict()
        for name in [name for name in state if whole or name.startswith("encoder.")]:
            if name in saved and saved[name].shape == state[name].shape:
                state[name] = saved[name]
            elif not whole:
                raise WeightsError(
                    f"{printable(self.folder)} holds those parts of {self.encoder} that {self.architecture} needs, and "
                    f"{architecture} needs others; take architecture={self.architecture}"
                )
        body.load_state_dict(state)


def starting_note(
    architecture: str, backbone: str, labels: int, *, pretrained: bool, weights: str | None
) -> str | None:
    """What a new network with so many labels has from a saved one; None if it does not start from any."""
    start = _start(architecture, backbone, pretrained=pretrained, weights=weights)
    if start is None:
        return None
    where = printable(start.folder)
    if start.architecture != architecture:
        return f"starting from the encoder in {where}; its decoder is that of {start.architecture}, this one is new"
    if start.labels != labels:
        return f"starting from the network in {where}; the last layer is new, because it had {start.labels} labels"
    return f"starting from the network in {where}, its last layer included"


def _start(architecture: str, backbone: str, *, pretrained: bool, weights: str | None) -> _Saved | None:
    """The saved segmenter whose weights a new network takes; None if it takes those of a library or of a plain file.

    Raises:
        OptionError: its network has no encoder to take.
        WeightsError: it is another network.
    """
    torchvisions = architecture.startswith(_TORCHVISION)
    saved = None if torchvisions else _of_backbone(backbone)
    if saved is not None and not saved.encoder:
        raise OptionError(
            f"backbone={printable(backbone)} is a model of {saved.architecture}, which has no encoder to take; go on "
            f"from it with architecture={saved.architecture} and weights={printable(saved.folder / artifact.WEIGHTS)}"
        )
    start = _of_weights(weights) if weights is not None else saved if pretrained else None
    if start is None:
        return None
    encoder = "" if torchvisions else saved.encoder if saved else _architecture_of(backbones.opened_name(backbone))
    if start.encoder != encoder or (torchvisions and start.architecture != architecture):
        its = f" and backbone={start.encoder}" if start.encoder else ""
        raise WeightsError(
            f"weights={printable(str(weights))} are those of another network; they go with "
            f"architecture={start.architecture}{its}"
        )
    return start


def _of_weights(weights: str | None) -> _Saved | None:
    """The saved segmenter whose file this is."""
    path = Path(os.path.expanduser(weights or ""))
    return _saved(path.parent) if path.name == artifact.WEIGHTS else None


def _of_backbone(backbone: str) -> _Saved | None:
    """The saved segmenter that a backbone's name stands for."""
    source, _, rest = backbone.partition(":")
    if source == "local-dir":
        return _saved(Path(os.path.expanduser(rest)))
    if source == "hf-hub":
        folder = Path(backbones.opened_name(backbone).partition(":")[2])
        if "_model_class" in artifact.read_json(folder, artifact.CONFIG):  # as segmentation_models_pytorch has it
            return _saved(artifact.locate(backbone))
    return None


def _saved(folder: Path) -> _Saved | None:
    if not (folder / artifact.MANIFEST).is_file():
        return None
    manifest = artifact.read_manifest(folder)
    if manifest.get("task") != "segmenter":
        return None
    settings = manifest.get("network")
    library, _, arguments = backbones.checked_settings(settings, _ALLOWED, folder)
    try:
        codec = manifest["codec"]
        labels, preparation = len(codec["labels"]), rebuilt(DensePreparation, codec["preparation"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{printable(folder)} is damaged: it does not say what it learnt") from error
    if library == _LIBRARY:
        backbones.opened_name(str(arguments.get("encoder")))
    return _Saved(folder, cast(Mapping[str, Any], settings), labels, preparation, str(manifest.get("weights_sha256")))


# ---------------------------------------------------------------------------------------------------------------------
# Building


def _with_encoder(
    architecture: str, backbone: str, labels: int, pretrained: bool, weights: str | None
) -> tuple[nn.Module, dict[str, Any], Figures]:
    saved = _of_backbone(backbone)
    name = backbones.opened_name(backbone) if saved is None else saved.encoder
    config = backbones.weights_config(name)
    overlay = backbones.fetched_weights(name, config) if pretrained and weights is None else {}
    if weights is not None:
        backbones.check_weights_file(weights)
        overlay = {"file": os.fspath(weights), "custom_load": False}
    with backbones.had(name):
        body, more, least = _any_size(architecture, labels, name, pretrained or weights is not None, overlay)
    if weights is not None:
        _check_fit(body, name, weights)
    arguments = {"encoder": _architecture_of(name), **more}
    settings = {"library": _LIBRARY, "architecture": architecture, "args": arguments, "least_side": least}
    return body, settings, (tuple(config.mean), tuple(config.std)) if saved is None else saved.figures


def _any_size(
    architecture: str, labels: int, encoder: str, pretrained: bool, overlay: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any], int]:
    """A network for images of all sizes, what its encoder must be told for that, and the smallest side it takes."""
    body = _smp(architecture, labels, encoder, pretrained, overlay, {})
    if least := _least_side(body):
        return body, {}, least
    more = {"dynamic_img_size": True}  # timm's vision transformers and Swin networks can do it if one asks
    try:
        body = _smp(architecture, labels, encoder, pretrained, overlay, more)
        least = _least_side(body)
    except OptionError:
        least = None
    if not least:
        raise OptionError(
            f"{printable(encoder)} cannot be the encoder of {architecture}: it takes images of certain sizes alone; "
            f"take a convolutional backbone such as hgnetv2_b0 or, with dpt, a vision transformer with patches of 16 "
            f"pixels such as vit_small_patch16_224"
        )
    return body, more, least


def _sides() -> range:
    return range(_STEP, _STEP * (_MOST_STEPS + 1), _STEP)


def _least_side(body: nn.Module) -> int | None:
    """The smallest side from which on a network takes images of all multiples of 32, found by trying.

    Decoders that go on halving an encoder's features want more than their own library checks, `pan` for one. Where a
    network is made for one size, it fails at one of the others.
    """

    def takes(high: int, wide: int) -> bool:
        try:
            return bool(body(torch.zeros(1, 3, high, wide)).shape[2:] == (high, wide))
        except Exception:  # each library refuses in its own way
            return False

    was = body.training
    body.eval()
    with torch.inference_mode():
        largest = _sides()[-1]
        found = None
        if takes(largest, largest + _STEP):
            found = next((side for side in _sides() if takes(side, side) and takes(side, side + _STEP)), None)
    body.train(was)
    return found


def _smp(
    architecture: str,
    labels: int,
    encoder: str,
    pretrained: bool,
    overlay: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> nn.Module:
    import segmentation_models_pytorch as smp

    more = {**arguments, **({"pretrained_cfg_overlay": dict(overlay)} if overlay else {})}
    logger, level = logging.getLogger("timm"), logging.getLogger("timm").level
    logger.setLevel(logging.ERROR)  # it warns of the last layer's weights, which an encoder does not have
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # dpt's, of encoders without tokens
            body: Any = smp.create_model(
                architecture,
                encoder_name=f"tu-{encoder}",  # any encoder of timm
                encoder_weights=True if pretrained else None,
                classes=labels,
                **more,
            )
    except (RuntimeError, ValueError, AttributeError, KeyError, TypeError, AssertionError) as error:
        if "state_dict" in str(error):
            raise WeightsError(
                f"the weights do not fit {printable(encoder)}: {backbones.first_misfit(error)}"
            ) from error
        raise OptionError(
            f"{printable(encoder)} cannot be the encoder of {architecture} ({printable(str(error), 100)}); take "
            f"another backbone, a convolutional one say, or another architecture"
        ) from error
    finally:
        logger.setLevel(level)
    # What backbones calls layers, for their learning rates and for freezing: the encoder's pieces, then the rest.
    body.group_matcher = partial(_placed, _pieces(body.encoder.model))
    return cast(nn.Module, body)


def _check_fit(body: Any, name: str, weights: str) -> None:
    """Refuse a file that lacks weights of the encoder: timm would let them be random without a word."""
    shapes = artifact.read_shapes(Path(weights))
    if any(key.startswith("encoder.model.") for key in shapes):
        raise WeightsError(
            f"{printable(weights)} holds a whole network without saying which; keep the model's {artifact.MANIFEST} "
            f"beside it, and the name {artifact.WEIGHTS}"
        )
    held = {key.replace(".", "_"): shape for key, shape in shapes.items()}
    wanted = body.encoder.model.state_dict()
    odd = [
        key
        for key, value in wanted.items()
        if not key.endswith("num_batches_tracked") and held.get(key.replace(".", "_")) != tuple(value.shape)
    ]
    if odd:
        raise WeightsError(
            f"{printable(weights)} does not hold the weights of {name}: {len(odd)} of {len(wanted)} do not fit, the "
            f"first is {printable(odd[0])}"
        )


def _pieces(encoder: nn.Module) -> list[str]:
    """The names of an encoder's pieces in order: its parts, and those of which a part is a list."""
    found: list[str] = []
    for name, part in encoder.named_children():
        parts = [f"{name}.{inner}" for inner, _ in part.named_children()] if isinstance(part, nn.Sequential) else []
        found += parts or [name]
    return found


def _placed(pieces: Sequence[str], coarse: bool = False) -> Callable[[str], int]:  # noqa: ARG001, timm gives it
    """A function from a parameter's name to the number of its piece, as timm asks for it."""
    places = {piece: place for place, piece in enumerate(pieces)}

    def place(parameter: str) -> int:
        if not parameter.startswith("encoder.model."):
            return len(places)
        first, second, *_ = [*parameter.removeprefix("encoder.model.").split("."), ""]
        return places.get(f"{first}.{second}", places.get(first, 0))

    return place


def _torchvision(name: str, labels: int, pretrained: bool, weights: str | None) -> tuple[nn.Module, dict[str, Any]]:
    from torchvision.models import get_model, get_model_weights

    architecture = name.removeprefix(_TORCHVISION)
    best = get_model_weights(architecture).DEFAULT if pretrained and weights is None else None
    second = weights is not None and any(key.startswith("aux_") for key in artifact.read_shapes(Path(weights)))
    with backbones.had(name):  # published weights mostly have those of a second output, which only training uses
        aux = True if second and not architecture.startswith("lraspp") else None
        body: Any = get_model(architecture, weights=best, weights_backbone=None, aux_loss=aux)
    if weights is not None:
        backbones.load_file(body, weights, name)
    body.aux_classifier = None
    for path, layer in list(body.classifier.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.out_channels == 21:  # the labels of Pascal VOC
            new = nn.Conv2d(layer.in_channels, labels, cast(Any, layer.kernel_size), bias=layer.bias is not None)
            body.classifier.set_submodule(path, new)
    return body, {"library": "torchvision", "architecture": name, "args": {}}


def _architecture_of(name: str) -> str:
    """The plain architecture behind a name, which may be a folder or have a tag for its weights."""
    if ":" not in name:
        return name.partition(".")[0]
    values = artifact.read_json(Path(name.partition(":")[2]), artifact.CONFIG)
    return str(values.get("architecture"))


def _check_architecture(name: str) -> None:
    known = [*_smp_names(), *_torchvision_names()]
    if name not in known:
        raise OptionError(
            f"there is no architecture {printable(name)!r}{did_you_mean(name, known)} (architectures: "
            f"{', '.join(known)})"
        )


def _smp_names() -> list[str]:
    import segmentation_models_pytorch as smp

    return list(smp.MODEL_ARCHITECTURES_MAPPING)


def _torchvision_names() -> list[str]:
    from torchvision import models

    return [_TORCHVISION + name for name in models.list_models(module=models.segmentation)]
