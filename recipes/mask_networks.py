"""Networks that score each pixel: those of segmentation_models_pytorch with any encoder of timm, and torchvision's."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from recipes import artifact, backbones
from recipes.backbones import ImageNetwork, Network
from recipes.errors import ModelError, OptionError, WeightsError, did_you_mean, printable

_LIBRARY = "segmentation_models_pytorch"
_TORCHVISION = "torchvision/"

# The arguments of a network that a model folder may name.
_ALLOWED = frozenset({"encoder"})

# ImageNet's, which every network of torchvision was trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Figures = tuple[tuple[float, ...], tuple[float, ...]]


def check(architecture: str, backbone: str, *, pretrained: bool, weights: str | None) -> None:
    """Refuse names or weights that cannot be had, before time is spent on anything else.

    Raises:
        OptionError: no network has this name, or the encoder cannot be used in it.
        WeightsError: the weights cannot be had.
    """
    _check_architecture(architecture)
    if architecture.startswith(_TORCHVISION):
        if weights is not None:
            backbones.check_weights_file(weights)
    elif backbone.startswith(_TORCHVISION):
        raise OptionError(
            f"there is no backbone {printable(backbone)!r} for {architecture}: its encoders are timm's; of torchvision "
            f"take a whole network as the architecture, such as torchvision/deeplabv3_resnet50"
        )
    else:
        backbones.check(backbone, pretrained=pretrained, weights=weights)


def build(architecture: str, backbone: str, labels: int, *, pretrained: bool, weights: str | None) -> ImageNetwork:
    """A network by name, with a score for each label at each pixel.

    Args:
        architecture: a name of segmentation_models_pytorch, such as `unet`, or `torchvision/NAME`.
        backbone: the encoder, any name of timm that gives features; torchvision's networks bring their own.
        labels: number of scores of each pixel.
        pretrained: start the encoder (with torchvision: all but the last layers) from the library's weights.
        weights: start it from this safetensors file instead.

    Raises:
        OptionError: no network has this name, or the encoder cannot be used in it.
        WeightsError: the weights could not be had or do not fit.
    """
    if architecture.startswith(_TORCHVISION):
        body, settings = _torchvision(architecture, labels, pretrained, weights)
        return ImageNetwork(body, _MEAN, _STD, settings)
    name = backbones.opened_name(backbone)
    config = backbones.weights_config(name)
    overlay = backbones.fetched_weights(name, config) if pretrained and weights is None else {}
    if weights is not None:
        backbones.check_weights_file(weights)
        overlay = {"file": os.fspath(weights), "custom_load": False}
    starts = pretrained or weights is not None
    with backbones.had(name):
        body = _smp(architecture, labels, name, starts, overlay)
    if weights is not None:
        _check_fit(body, name, weights)
    settings = {"library": _LIBRARY, "architecture": architecture, "args": {"encoder": _architecture_of(name)}}
    return ImageNetwork(body, tuple(config.mean), tuple(config.std), settings)


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

    def build_body() -> nn.Module:
        if library == "torchvision":
            return _torchvision(architecture, labels, False, None)[0]
        return _smp(architecture, labels, str(arguments.get("encoder")), False, {})

    return backbones.opened(build_body, settings, labels, *figures, folder, digest)


def smp_config(network: Network, labels: int) -> dict[str, Any] | None:
    """The `config.json` with which segmentation_models_pytorch opens a model folder by itself; None for others."""
    if network.config["library"] != _LIBRARY:
        return None
    return {
        "_model_class": type(network.body).__name__,
        "encoder_name": f"tu-{network.config['args']['encoder']}",
        "encoder_weights": None,
        "in_channels": 3,
        "classes": labels,
    }


def _smp(
    architecture: str,
    labels: int,
    encoder: str,
    pretrained: bool,
    overlay: Mapping[str, Any],
) -> nn.Module:
    import segmentation_models_pytorch as smp

    more = {"pretrained_cfg_overlay": dict(overlay)} if overlay else {}
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
    held = {key.replace(".", "_"): shape for key, shape in artifact.read_shapes(Path(weights)).items()}
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
