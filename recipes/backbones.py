"""Networks by name, from timm and torchvision, with pretrained weights, with weights from a file, or with none."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from recipes import artifact
from recipes.errors import ModelError, OptionError, WeightsError, did_you_mean, printable
from recipes.presets import Preset

_TORCHVISION = "torchvision/"

# A saved network's name may only be a plain architecture: never a path or a Hub's name, which would load other files.
_PLAIN = re.compile(r"(torchvision/)?[A-Za-z0-9_]+\Z")

_WAYS_ON = (
    "go on from scratch with pretrained=False (--pretrained false), or from a safetensors file with weights=FILE "
    "(--weights FILE)"
)

# The arguments of a network that a model folder may name; others could read files, reach the network or take memory.
_ALLOWED = frozenset(
    """img_size image_size patch_size global_pool class_token dynamic_img_size window_size act_layer norm_layer aa_layer
    drop_rate drop_path_rate qkv_bias init_values reg_tokens""".split()  # noqa: SIM905
)


# What timm tells of pretrained weights that is as true of a model which began with them.
_OF_WEIGHTS = ("license", "tag")


@dataclass(frozen=True)
class Figures:
    """How a network's pretrained weights want their pictures: side in pixels, and normalisation as shares of 255."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    crop_pct: float


class Network(nn.Module):
    """A network that gives one score (logit) for each label, from what a codec makes of its inputs.

    Args:
        body: the library's own network, with the library's own names for its weights.
        config: library, architecture and arguments that build `body` again.
    """

    #: Files that lie beside the weights in the library's own layout, such as a tokenizer.
    files: Mapping[str, bytes] = {}

    def __init__(self, body: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.body, self.config = body, dict(config)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.parameters()).device

    @property
    def head(self) -> nn.Linear | None:
        """The last layer, if it is a plain linear one."""
        timms = self.config["library"] == "timm"
        layer = cast(Any, self.body).get_classifier() if timms else _last_layer(self.body)[1]
        return layer if isinstance(layer, nn.Linear) else None

    @property
    def encoder(self) -> nn.Module | None:
        """The pretrained part of a network that gives masks; None where there is no such part."""
        part = getattr(self.body, "encoder", None) or getattr(self.body, "backbone", None)
        return part if isinstance(part, nn.Module) else None

    def features(self, inputs: Tensor) -> Tensor:
        """What the last layer is given, shape (inputs, width)."""
        given: list[Tensor] = []
        assert self.head is not None
        handle = self.head.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
        try:
            self(inputs)
        finally:
            handle.remove()
        return given[0]

    def native_state(self) -> dict[str, Tensor]:
        """The weights as the network's own library names and reads them."""
        return self.body.state_dict()


class ImageNetwork(Network):
    """A network that takes pictures as uint8 or float values 0 to 255.

    Its first step is normalisation, on the whole batch and on its device, so that pictures travel as bytes.

    Args:
        body: the network of timm or torchvision.
        mean: mean of red, green and blue as shares of 255.
        std: standard deviation, likewise.
        config: library, architecture and arguments that build `body` again.
    """

    def __init__(
        self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], config: Mapping[str, Any]
    ) -> None:
        # Channels last is 1.2 to 1.5 times as fast on a CPU, and what tensor cores want.
        super().__init__(body.to(memory_format=torch.channels_last), config)
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).reshape(shape), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).reshape(shape), persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores of shape (pictures, labels) for pixels of shape (pictures, 3, height, width)."""
        values = pixels.to(self.mean.dtype, memory_format=torch.channels_last)
        output = self.body((values - self.mean) / self.std)
        if isinstance(output, Mapping):  # torchvision's networks for masks
            return cast(Tensor, output["out"])
        # torchvision's Inception and GoogLeNet give their auxiliary outputs beside the scores while training.
        return output if isinstance(output, Tensor) else cast(Tensor, output.logits)


# ---------------------------------------------------------------------------------------------------------------------
# Building


def build(
    name: str, labels: int, *, pretrained: bool = True, weights: str | None = None, size: int | None = None
) -> tuple[Network, Figures]:
    """A network by name with a new last layer, and how it wants its pictures.

    Args:
        name: any name of timm; `torchvision/NAME`; timm's `local-dir:FOLDER` or `hf-hub:OWNER/NAME`.
        labels: number of outputs.
        pretrained: start from the library's pretrained weights.
        weights: start from this safetensors file instead.
        size: side of the pictures in pixels, for networks that must know it; None for their own.

    Raises:
        OptionError: no network has this name; the nearest names are in the message.
        WeightsError: the weights could not be had or do not fit.
    """
    if weights is not None:
        check_weights_file(weights)
    return (_torchvision if name.startswith(_TORCHVISION) else _timm)(name, labels, pretrained, weights, size)


def check(name: str, *, pretrained: bool, weights: str | None) -> None:
    """Refuse a name or weights that cannot be had, before time is spent on anything else.

    Raises:
        OptionError: no network has this name.
        WeightsError: the weights cannot be had.
    """
    if weights is not None:
        check_weights_file(weights)
    if name.startswith(_TORCHVISION):
        _check_torchvision_name(name)
        return
    name = opened_name(name)
    if pretrained and weights is None:
        fetched_weights(name, weights_config(name))


def _timm(name: str, labels: int, pretrained: bool, weights: str | None, size: int | None) -> tuple[Network, Figures]:
    import timm

    name = opened_name(name)
    config = weights_config(name)
    arguments: dict[str, Any] = {}
    if size is not None and config.fixed_input_size and size != config.input_size[-1]:
        arguments["img_size"] = size
    if weights is not None:
        body = _timm_from_file(name, config, weights, arguments)
        body.reset_classifier(labels)  # type: ignore[operator]
    else:
        overlay = fetched_weights(name, config) if pretrained else {}
        with had(name):
            body = timm.create_model(
                name, pretrained=pretrained, num_classes=labels, pretrained_cfg_overlay=overlay, **arguments
            )
    kept = {**arguments, **getattr(body, "_model_args", {})}
    kept.pop("num_classes", None)
    if unsafe := [key for key, value in kept.items() if key not in _ALLOWED or not plain_value(value)]:
        raise OptionError(f"{printable(name)} is built with {unsafe[0]}, which recipes could not save; take another")
    architecture = body.pretrained_cfg["architecture"]  # type: ignore[index]
    figures = Figures(
        size=size or config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        crop_pct=config.crop_pct,
    )
    settings = {"library": "timm", "architecture": architecture, "args": _plain(kept)}
    if pretrained and weights is None:  # new weights, and those of any file, are not under the licence of timm's
        settings |= {key: value for key in _OF_WEIGHTS if isinstance(value := getattr(config, key), str)}
    return ImageNetwork(body, figures.mean, figures.std, settings), figures


def opened_name(name: str) -> str:
    """A name that timm opens without the network: a known architecture, or a folder on disk that holds a network."""
    source, _, rest = name.rpartition(":")
    if source == "hf-hub":
        repository, _, revision = rest.partition("@")
        with had(name):
            for file in (artifact.WEIGHTS, artifact.CONFIG):
                found = artifact.fetched(repository, file, revision or None)
        return f"local-dir:{found.parent}"
    if source == "local-dir":
        folder = Path(os.path.expanduser(rest))
        _check_local_folder(folder)
        return f"local-dir:{folder}"
    if source:
        raise OptionError(f"backbone {printable(name)!r} has an unknown source; take local-dir: or hf-hub:")
    _check_timm_name(name)
    return name


def fetched_weights(name: str, config: Any) -> dict[str, Any]:
    """Where the pretrained weights lie on disk, as timm's settings, after a download if they have to be fetched."""
    if ":" in name:
        return {}
    if not config.has_weights:
        raise WeightsError(f"timm has no pretrained weights for {name}; {_WAYS_ON}")
    if not config.hf_hub_id or config.custom_load or config.hf_hub_filename:
        return {}  # a few networks come from elsewhere or in another format: timm knows how
    repository, _, revision = config.hf_hub_id.partition("@")
    with had(name):
        return {"file": os.fspath(artifact.fetched(repository, artifact.WEIGHTS, revision or None))}


def _check_timm_name(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = [*timm.list_models(), *(_TORCHVISION + entry for entry in _torchvision_names())]
        raise OptionError(
            f"there is no backbone {printable(name)!r}{did_you_mean(architecture, known)} "
            f"(recipes backbones '*' lists all)"
        )
    tags = [entry.partition(".")[2] for entry in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        near = did_you_mean(name, [f"{architecture}.{entry}" for entry in tags])
        raise OptionError(f"{architecture} has no pretrained weights called {printable(tag)!r}{near}")


def _check_local_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise WeightsError(f"local-dir:{printable(folder)}: the folder does not exist")
    missing = [file for file in (artifact.CONFIG, artifact.WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise WeightsError(
            f"local-dir:{printable(folder)}: the folder holds no {missing[0]}; timm needs both "
            f"{artifact.CONFIG} and {artifact.WEIGHTS} (other formats of weights can run code)"
        )
    if "architecture" not in artifact.read_json(folder, artifact.CONFIG):
        raise WeightsError(
            f"local-dir:{printable(folder)}: its {artifact.CONFIG} names no architecture of timm; a model of another "
            f"task or library cannot be the start of this one"
        )


def weights_config(name: str) -> Any:
    """What timm knows about the weights of a network by this name, as its own `PretrainedCfg`."""
    import timm

    if ":" not in name:
        return timm.models.get_pretrained_cfg(name)
    values = artifact.read_json(Path(name.partition(":")[2]), artifact.CONFIG)
    known = {item.name for item in dataclasses.fields(timm.models.PretrainedCfg)}
    found = values.get("pretrained_cfg", values)
    return timm.models.PretrainedCfg(**{key: value for key, value in found.items() if key in known})


def _timm_from_file(name: str, config: Any, weights: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with the file's own last layer, loaded strictly: with another one timm would let anything pass."""
    import timm

    shapes = artifact.read_shapes(Path(weights))
    heads = [config.classifier] if isinstance(config.classifier, str) else list(config.classifier or [])
    outputs = [shapes[f"{head}.weight"][0] for head in heads if f"{head}.weight" in shapes]
    if not outputs:
        raise WeightsError(
            f"{printable(weights)} does not hold the weights of {name}: it has no {' or '.join(heads)} "
            f"(found {len(shapes)} tensors, the first {printable(next(iter(shapes), 'none'))})"
        )
    overlay = {"file": os.fspath(weights), "num_classes": outputs[0], "custom_load": False}
    try:
        return timm.create_model(
            name, pretrained=True, num_classes=outputs[0], pretrained_cfg_overlay=overlay, **arguments
        )
    except RuntimeError as error:
        raise WeightsError(f"{printable(weights)} does not fit {name}: {first_misfit(error)}") from error


def _torchvision(
    name: str, labels: int, pretrained: bool, weights: str | None, size: int | None
) -> tuple[Network, Figures]:
    from torchvision.models import get_model, get_model_weights

    _check_torchvision_name(name)
    architecture = name.removeprefix(_TORCHVISION)
    arguments = {"image_size": size} if size is not None and architecture.startswith("vit_") and size != 224 else {}
    best = get_model_weights(architecture).DEFAULT
    with had(name):
        body = get_model(architecture, weights=best if pretrained and weights is None else None, **arguments)
    if weights is not None:
        load_file(body, weights, name)
    _new_last_layer(body, labels)
    settings = {"library": "torchvision", "architecture": name, "args": arguments}
    wanted = best.transforms()
    figures = Figures(
        size=size or wanted.crop_size[0],
        mean=tuple(wanted.mean),
        std=tuple(wanted.std),
        interpolation="bicubic" if "bicubic" in str(wanted.interpolation).lower() else "bilinear",
        crop_pct=wanted.crop_size[0] / wanted.resize_size[0],
    )
    return ImageNetwork(body, figures.mean, figures.std, settings), figures


def _check_torchvision_name(name: str) -> None:
    known = [_TORCHVISION + entry for entry in _torchvision_names()]
    if name not in known:
        raise OptionError(f"there is no backbone {printable(name)!r}{did_you_mean(name, known)}")


def load_file(body: nn.Module, weights: str, name: str) -> None:
    """Give a network the weights in a file, every one of them.

    Raises:
        WeightsError: they do not fit.
    """
    from safetensors.torch import load_file as read_file

    try:
        body.load_state_dict(read_file(weights))
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{printable(weights)} does not fit {name}: {first_misfit(error)}") from error


def _last_layer(body: nn.Module) -> tuple[str, nn.Module]:
    """The last linear layer or convolution: what torchvision's classifiers end with (a convolution in SqueezeNet)."""
    layers = [(name, layer) for name, layer in body.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return layers[-1]


def _new_last_layer(body: nn.Module, labels: int) -> None:
    name, layer = _last_layer(body)
    if isinstance(layer, nn.Linear):
        body.set_submodule(name, nn.Linear(layer.in_features, labels))
    elif isinstance(layer, nn.Conv2d):
        body.set_submodule(name, nn.Conv2d(layer.in_channels, labels, kernel_size=1))


def check_weights_file(weights: str) -> None:
    """Refuse a file of weights that is not there or is no safetensors.

    Raises:
        WeightsError: what is wrong with it.
    """
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"weights={printable(path)}: there is no such file")
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"weights={printable(path)}: expected a .safetensors file; other formats can run code when they are opened"
        )
    try:
        artifact.read_shapes(path)
    except ModelError as error:
        raise WeightsError(str(error)) from error


@contextmanager
def had(name: str) -> Iterator[None]:
    """Turns what a library raises when weights cannot be had into one line with the two ways on."""
    try:
        yield
    except OSError as error:  # also what huggingface_hub, requests and urllib raise
        raise WeightsError(
            f"the pretrained weights of {printable(name)} could not be had: looked in {_looked_in(name)} "
            f"({printable(str(error), 120)}); {_WAYS_ON}"
        ) from error


def _looked_in(name: str) -> str:
    if name.startswith(_TORCHVISION):
        return f"{torch.hub.get_dir()}/checkpoints and at download.pytorch.org"
    import timm

    repository = name.removeprefix("hf-hub:")
    if repository == name:
        repository = getattr(timm.models.get_pretrained_cfg(name), "hf_hub_id", None) or name
    return f"{artifact.cache_folder()} and on the Hugging Face Hub as {printable(repository)}"


def first_misfit(error: Exception) -> str:
    """The first tensor that does not fit, out of torch's long list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[1] if len(lines) > 1 else lines[0], 160)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as JSON would give them back."""
    values: dict[str, Any] = json.loads(json.dumps(dict(arguments)))
    return values


# ---------------------------------------------------------------------------------------------------------------------
# Opening again


def reopen(
    settings: Any, labels: int, mean: tuple[float, ...], std: tuple[float, ...], folder: Path, digest: str
) -> Network:
    """The network of a model folder with its weights; nothing is downloaded.

    Names and shapes are compared before memory is taken, so that a small file cannot claim a huge network.

    Raises:
        ModelError: the settings are unsafe or unknown, or the weights do not fit.
    """
    body = opened_body(_checked(settings, labels, folder), settings, labels, folder, digest)
    return ImageNetwork(body, mean, std, settings)


def opened_body(
    build_body: Callable[[], nn.Module],
    settings: Any,
    labels: int,
    folder: Path,
    digest: str,
    constants: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """The library's own network, with the weights of a model folder.

    Args:
        build_body: builds it.
        settings: what the folder says of it.
        labels: number of outputs.
        folder: the model folder.
        digest: SHA-256 of the weights' file.
        constants: tensors that the file has besides, for the library's sake.

    Raises:
        ModelError: it cannot be built, or the weights do not fit.
    """
    constants = constants or {}
    shapes = artifact.read_shapes(folder / artifact.WEIGHTS)
    shapes = {name: shape for name, shape in shapes.items() if name not in constants}
    try:
        try:
            with torch.device("meta"):
                body = build_body()
        except Exception:  # some networks compute with real values while they are built
            if sum(math.prod(shape) for shape in shapes.values()) == 0:
                raise
            body = build_body()
    except Exception as error:
        raise ModelError(
            f"{printable(folder)} names a network that cannot be built ({printable(str(error), 100)})"
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}
    if expected != shapes:
        odd = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
        raise ModelError(
            f"{printable(folder)} is damaged: its weights are not those of {settings['architecture']} with "
            f"{labels} labels ({len(odd)} differ, the first is {printable(odd[0])})"
        )
    persistent = set(expected)
    if any(buffer.is_meta for name, buffer in body.named_buffers() if name not in persistent):
        body = build_body()  # it computes values that are not among its weights
    weights = artifact.read_weights(folder, digest)
    body.load_state_dict({name: tensor for name, tensor in weights.items() if name not in constants}, assign=True)
    return body


def _checked(settings: Any, labels: int, folder: Path) -> Callable[[], nn.Module]:
    """A function that builds the network that a model folder names, once that name is known to be harmless."""
    where = printable(folder / artifact.MANIFEST)
    library, architecture, arguments = checked_settings(settings, _ALLOWED, folder)
    if library == "torchvision" and architecture.removeprefix(_TORCHVISION) in _torchvision_names():
        from torchvision.models import get_model

        def build_torchvision() -> nn.Module:
            body: nn.Module = get_model(architecture.removeprefix(_TORCHVISION), weights=None, **arguments)
            _new_last_layer(body, labels)
            return body

        return build_torchvision
    import timm

    if library == "timm" and timm.is_model(architecture):
        return lambda: timm.create_model(architecture, pretrained=False, num_classes=labels, **arguments)
    raise ModelError(
        f"{where} names a network that is not known here, {printable(str(library), 40)}'s {architecture}; upgrade timm"
    )


def checked_settings(settings: Any, allowed: frozenset[str], folder: Path) -> tuple[str, str, dict[str, Any]]:
    """Library, architecture and arguments of the network that a model folder names, if they are harmless.

    Raises:
        ModelError: one is missing, or could read files, reach the network or take memory.
    """
    where = printable(folder / artifact.MANIFEST)
    try:
        library, architecture, arguments = settings["library"], settings["architecture"], dict(settings["args"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where} is damaged: it does not say which network the weights are of") from error
    if not isinstance(architecture, str) or not _PLAIN.match(architecture):
        raise ModelError(f"{where} names an unsafe network {printable(str(architecture), 60)!r}; it is not opened")
    if unsafe := [key for key, value in arguments.items() if key not in allowed or not plain_value(value)]:
        raise ModelError(f"{where} has an unsafe argument {printable(str(unsafe[0]), 60)!r}; it is not opened")
    return str(library), architecture, arguments


def plain_value(value: Any) -> bool:
    """A small number, a name, or a few of them."""
    if isinstance(value, list):
        return len(value) <= 8 and all(map(plain_value, value))
    if isinstance(value, (bool, type(None))):
        return True
    if isinstance(value, (int, float)):
        return 0 <= value <= 8192
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]{0,40}", value) is not None


def timm_config(network: Network, labels: tuple[str, ...], **figures: Any) -> dict[str, Any] | None:
    """The `config.json` with which timm opens a model folder by itself, or None for a network that is not timm's.

    Args:
        network: the network.
        labels: the labels' names, in order.
        figures: timm's own names for the preparation: input_size, mean, std, interpolation, crop_pct, crop_mode.
    """
    if network.config["library"] != "timm":
        return None
    kept = ("classifier", "first_conv", "fixed_input_size", "pool_size", "min_input_size")
    source: dict[str, Any] = network.body.pretrained_cfg  # type: ignore[assignment]
    pretrained = {key: source[key] for key in kept if source.get(key) is not None}
    pretrained |= {key: network.config[key] for key in _OF_WEIGHTS if isinstance(network.config.get(key), str)}
    return {
        "architecture": network.config["architecture"],
        "num_classes": len(labels),
        "num_features": network.body.num_features,
        "label_names": list(labels),
        "model_args": network.config["args"],
        "pretrained_cfg": {**pretrained, "num_classes": len(labels), "custom_load": False, **figures},
    }


# ---------------------------------------------------------------------------------------------------------------------
# Listing


def names(pattern: str = "*", pretrained: bool = True) -> list[str]:
    """The names of all networks that match a pattern such as `resnet*`.

    Args:
        pattern: a pattern as in the shell; torchvision's names begin with `torchvision/`.
        pretrained: only those with pretrained weights, one name for each set of weights.

    Raises:
        OptionError: nothing matches; the nearest names are in the message.
    """
    import timm

    everything = [*timm.list_models(pretrained=pretrained), *(_TORCHVISION + name for name in _torchvision_names())]
    found = fnmatch.filter(everything, pattern)
    if not found:
        raise OptionError(f"no backbone matches {printable(pattern)!r}{did_you_mean(pattern.strip('*'), everything)}")
    return found


def _torchvision_names() -> list[str]:
    import torchvision.models

    found: list[str] = torchvision.models.list_models(module=torchvision.models)
    return found


def check_optimizer(name: str) -> None:
    """Refuse an optimizer that neither timm nor torch has.

    Raises:
        OptionError: the nearest names are in the message.
    """
    import timm.optim

    factory: Any = timm.optim
    known = [str(one) for one in factory.list_optimizers()]
    if name.lower() not in known:
        raise OptionError(f"there is no optimizer {printable(name)!r}{did_you_mean(name, known)}")


def optimizer(network: Network, preset: Preset) -> torch.optim.Optimizer:
    """The preset's optimizer over the network's weights, with a learning rate for each layer.

    Raises:
        OptionError: neither timm nor torch has an optimizer of this name.
    """
    import timm.optim

    factory: Any = timm.optim  # its type hints leave these two out
    check_optimizer(preset.optimizer)
    layered = preset.layer_decay < 1 and hasattr(network.body, "group_matcher")  # torchvision does not name its layers
    chosen: torch.optim.Optimizer = factory.create_optimizer_v2(
        network.body,
        preset.optimizer.lower(),
        lr=preset.lr,
        weight_decay=preset.weight_decay,
        layer_decay=preset.layer_decay if layered else None,
        **({"fused": True} if preset.optimizer.lower() == "adagrad" and network.device.type == "cpu" else {}),
    )
    return chosen


def freeze(network: Network, stages: int) -> None:
    """Leave the network's first stages as they are, batch norm's running figures included; -1: all but the last layer,
    or the whole encoder of a network that gives masks.

    Raises:
        OptionError: the network's library does not say what its stages are.
    """
    if stages == 0:
        return
    body: Any = network.body
    if stages < 0 and network.encoder is not None:
        kept = {id(value) for value in network.encoder.parameters()}
        trained = {id(value) for value in body.parameters()} - kept
    elif stages < 0:
        layers = [] if network.head is None else [network.head]
        trained = {id(value) for layer in layers for value in layer.parameters()}
    elif hasattr(body, "group_matcher"):
        from timm.models import group_parameters

        groups = group_parameters(body, body.group_matcher(coarse=True))
        later = {name for place in sorted(groups)[stages:] for name in groups[place]}
        trained = {id(value) for name, value in body.named_parameters() if name in later}
    else:
        raise OptionError(f"freeze={stages}: {network.config['architecture']} has no stages to count; take 0 or -1")
    if not trained:
        raise OptionError(f"freeze={stages} leaves nothing to train in {network.config['architecture']}")
    for value in body.parameters():
        value.requires_grad_(id(value) in trained)


def knows_figures(network: Network) -> bool:
    """Whether the network's batch norms, if it has any, have running figures from earlier training."""
    means = [getattr(part, "running_mean", None) for part in network.body.modules()]
    known = [mean for mean in means if isinstance(mean, Tensor)]
    return not known or any(bool(mean.any()) for mean in known)


def frozen_parts(network: Network, batch_norms: bool) -> list[nn.Module]:
    """The parts of the network that stay in evaluation mode during training.

    Args:
        network: the network, after `freeze`.
        batch_norms: whether batch norms keep the running figures that they have from earlier training; those without
            any are not frozen.
    """

    def frozen(part: nn.Module) -> bool:
        values = list(part.parameters())
        if values and not any(value.requires_grad for value in values):
            return True
        known = getattr(part, "running_mean", None)
        return batch_norms and isinstance(known, Tensor) and bool(known.any())

    return [part for part in network.body.modules() if frozen(part)]


class _Tracer(fx.Tracer):
    """Finds a network's steps, in which a batch norm is one step."""

    def is_leaf_module(self, part: nn.Module, name: str) -> bool:
        """Whether a part is not looked into."""
        return isinstance(part, nn.BatchNorm2d) or super().is_leaf_module(part, name)


def folded(network: Network) -> Network:
    """The network with its batch norms as part of the convolutions before them, to look faster without training.

    In evaluation mode a batch norm only scales and shifts, which the convolution can do as well: on a CPU MobileNetV2
    and MobileNetV3 then took 0.8, ResNet-18 0.95 of the time. Scores differ by rounding, 1e-5 of them at most.

    Args:
        network: the network in evaluation mode. It stays as it is; what comes back is a copy where there was something
            to fold, and where torch.fx can tell that a norm is given just what one convolution gives.
    """
    parts = dict(network.body.named_modules())
    if not any(isinstance(part, nn.BatchNorm2d) for part in parts.values()):
        return network
    try:
        steps = [step for step in _Tracer().trace(network.body).nodes if step.op == "call_module"]
    except Exception:  # the way through some networks depends on what they are given
        return network
    times = Counter(step.target for step in steps)
    found = copy.deepcopy(network)
    for step in steps:
        before, norm = step.args[0] if step.args else None, parts[str(step.target)]
        plain = type(norm) is nn.BatchNorm2d or type(norm).__name__ == "BatchNormAct2d"
        if not plain or norm.running_mean is None or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        convolution = parts[str(before.target)]
        if type(convolution) is nn.Conv2d and len(before.users) == times[before.target] == times[step.target] == 1:
            found.body.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            after = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]  # timm's does these, too
            found.body.set_submodule(str(step.target), nn.Sequential(*after))
    return found
