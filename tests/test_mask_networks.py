"""Networks that score each pixel: every architecture builds, trains and opens again; nothing is random by mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import recipes
from recipes import Segmenter, backbones, mask_networks
from recipes.crops import DensePreparation
from recipes.errors import ModelError, OptionError, WeightsError
from recipes.masks import MaskCode
from recipes.presets import Preset
from recipes.tasks.segmenter import SegmenterCodec

TINY: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False}
LABELS = ("ground", "disc", "box")


def build(architecture: str = "unet", backbone: str = "test_resnet", labels: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    return mask_networks.build(architecture, backbone, labels, **{"pretrained": False, "weights": None, **options})


def as_task(network: Any, **options: Any) -> Segmenter:
    """A task that needs no fitting: this network with three labels."""
    task = Segmenter(**{**TINY, **options})
    code = MaskCode("values", (0, 1, 2), ((0, 0, 0), (250, 0, 0), (0, 0, 250)))
    mean, std = (tuple((figure / 255).flatten().tolist()) for figure in (network.mean, network.std))
    task.codec, task.network = SegmenterCodec(LABELS, DensePreparation(64, mean=mean, std=std), code), network
    return task


def picture(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoder_weights(folder: Path, name: str = "test_resnet", seed: int = 7, **changes: Any) -> Path:
    """A file of weights as timm publishes them: the whole network, last layer included."""
    import timm

    torch.manual_seed(seed)
    weights = {key: value.contiguous() for key, value in timm.create_model(name).state_dict().items()}
    weights.update(changes)
    save_file({key: value for key, value in weights.items() if value is not None}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


# -- every architecture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", mask_networks._smp_names())
def test_every_architecture_trains_a_step_predicts_and_opens_without_recipes(architecture: str, tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp

    backbone = "test_vit" if architecture == "dpt" else "test_resnet"
    network = build(architecture, backbone)
    preset = Preset(lr=1e-2, layer_decay=0.8)
    optimizer = backbones.optimizer(network, preset)
    pixels, targets = torch.randint(0, 256, (2, 3, 64, 64)).to(torch.uint8), torch.randint(0, 3, (2, 64, 64))
    task = as_task(network, architecture=architecture, backbone=backbone)
    before = {name: value.clone() for name, value in network.body.named_parameters()}
    scores = network.train()(pixels)
    assert scores.shape == (2, 3, 64, 64)
    task.loss(scores, targets, preset, None).backward()
    optimizer.step()
    moved = [name for name, value in network.body.named_parameters() if not torch.equal(value, before[name])]
    assert any(name.startswith("encoder.") for name in moved)
    assert any(not name.startswith("encoder.") for name in moved)

    (prediction,) = task.predict(picture(100, 120))
    assert prediction.mask.shape == (100, 120)
    folder = task.save(tmp_path / "model")
    (again,) = recipes.load(folder).predict(picture(100, 120))
    np.testing.assert_array_equal(again.mask, prediction.mask)

    foreign = smp.from_pretrained(folder).eval()
    values = torch.from_numpy(picture(128, 128)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.eval()(values)
        found = foreign((values - network.mean) / network.std)
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("architecture", mask_networks._smp_names())
@pytest.mark.parametrize("size", [(1, 1), (9, 40), (33, 64), (100, 130)])
def test_every_architecture_takes_images_of_all_sizes(architecture: str, size: tuple[int, int]) -> None:
    task = as_task(build(architecture, "test_vit" if architecture == "dpt" else "test_resnet"))
    assert task.predict(picture(*size))[0].mask.shape == size


@pytest.mark.parametrize(("architecture", "least"), [("unet", 32), ("pan", 128)])
def test_sides_are_filled_up_by_the_last_row_and_column_and_no_more_than_needed(architecture: str, least: int) -> None:
    network = build(architecture).eval()
    assert network.config["least_side"] == least
    seen: list[torch.Tensor] = []
    network.body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for high, wide, filled in ((64, 64, (least if least > 64 else 64,) * 2), (130, 40, (160, max(least, 64)))):
        pixels = torch.randint(0, 256, (1, 3, high, wide)).to(torch.uint8)
        assert network(pixels).shape == (1, 3, high, wide)
        given = seen.pop()
        assert given.shape[2:] == filled
        assert (given[:, :, high:, :wide] == given[:, :, high - 1 : high, :wide]).all()
        assert (given[..., wide:] == given[..., wide - 1 : wide]).all()


def test_a_model_saved_before_smallest_sides_were_opens_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    task = as_task(build())
    folder = task.save(tmp_path / "model")
    manifest = json.loads((folder / "recipe.json").read_text())
    del manifest["network"]["least_side"]
    (folder / "recipe.json").write_text(json.dumps(manifest))
    assert recipes.load(folder).predict(picture(50, 70)) == task.predict(picture(50, 70))
    for wrong in (0, 31, -32, 10**9, "32", None, [32]):
        manifest["network"]["least_side"] = wrong
        (folder / "recipe.json").write_text(json.dumps(manifest))
        with pytest.raises(ModelError, match="smallest side"):
            recipes.load(folder)


def test_a_vision_transformer_of_one_size_takes_all_sizes_here_and_in_its_own_library(tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp

    network = build("dpt", "vit_tiny_patch16_224")
    assert network.config["args"] == {"encoder": "vit_tiny_patch16_224", "dynamic_img_size": True}
    task = as_task(network, architecture="dpt", backbone="vit_tiny_patch16_224")
    image = picture(40, 100)
    (found,) = task.predict(image)
    assert found.mask.shape == (40, 100)
    folder = task.save(tmp_path / "model")
    assert recipes.load(folder).predict(image) == [found]
    with torch.inference_mode():
        assert smp.from_pretrained(folder).eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    ("architecture", "backbone"), [("dpt", "vit_small_patch14_dinov2"), ("unet", "maxvit_rmlp_pico_rw_256")]
)
def test_an_encoder_for_certain_sizes_alone_is_refused_with_what_works(architecture: str, backbone: str) -> None:
    with pytest.raises(OptionError, match=r"certain sizes alone; take .* such as vit_small_patch16_224") as caught:
        build(architecture, backbone)
    assert f"{backbone} cannot be the encoder of {architecture}" in str(caught.value)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_torchvisions_networks_build_train_and_open_again(name: str, tmp_path: Path) -> None:
    network = build(f"torchvision/{name}")
    pixels = torch.from_numpy(picture(32, 64)).permute(2, 0, 1)[None]
    scores = network.eval()(pixels)
    assert scores.shape == (1, 3, 32, 64)
    scores.square().mean().backward()
    assert all(value.grad is not None for value in network.parameters())
    if name == "lraspp_mobilenet_v3_large":
        task = as_task(network, architecture=f"torchvision/{name}")
        loaded = recipes.load(task.save(tmp_path / "model"))
        assert loaded.predict(picture())[0] == task.predict(picture())[0]
        assert not (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_an_encoder_that_cannot_be_one_says_so_in_one_line(backbone: str) -> None:
    for architecture in ("unet", "deeplabv3plus", "dpt"):
        problem = None
        try:
            network = build(architecture, backbone)
        except OptionError as error:
            problem = str(error)
        if problem is None:
            assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)
        else:
            assert backbone in problem
            assert architecture in problem
            assert problem.isprintable()


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"architecture": "unett"}, "did you mean unet"),
        ({"architecture": "deeplabv3plu"}, "did you mean deeplabv3plus"),
        ({"architecture": "torchvision/fcn_resnet5"}, "did you mean torchvision/fcn_resnet50"),
        ({"architecture": "torchvision/resnet50"}, "there is no architecture"),
        ({"architecture": "\x1b[2J"}, "there is no architecture"),
        ({"backbone": "resnet1"}, "did you mean resnet1"),
        ({"backbone": "torchvision/resnet18"}, "there is no backbone"),
        ({"backbone": "local-dir:/nowhere"}, "does not exist"),
        ({"weights": "nowhere.safetensors"}, "there is no such file"),
        ({"architecture": "torchvision/fcn_resnet50", "weights": "w.pth"}, "no such file"),
    ],
)
def test_a_wrong_name_is_refused_before_any_image_is_read(options: dict[str, Any], near: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for folder in ("images", "masks"):
        (tmp_path / folder / "a.png").write_text("no picture")
    with pytest.raises((OptionError, WeightsError), match=near) as caught:
        Segmenter(**{**TINY, **options}).fit(tmp_path, quiet=True)
    assert str(caught.value).isprintable()


# -- weights ----------------------------------------------------------------------------------------------------------


def test_weights_from_a_file_are_in_the_encoder(tmp_path: Path) -> None:
    file = encoder_weights(tmp_path)
    given, encoder = load_file(file), build(weights=str(file)).body.encoder.model.state_dict()
    assert len(encoder) > 20
    for name, value in encoder.items():
        torch.testing.assert_close(value, given[name])


@pytest.mark.parametrize("architecture", [name for name in mask_networks._smp_names() if name != "dpt"])
def test_every_architecture_takes_weights_from_a_file(architecture: str, tmp_path: Path) -> None:
    file = encoder_weights(tmp_path)
    given, encoder = load_file(file), build(architecture, weights=str(file)).body.encoder.model.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in encoder.items())


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="test_resnet"):
        build(weights=str(encoder_weights(tmp_path, name)))


def test_weights_that_lack_one_tensor_or_have_another_shape_are_refused(tmp_path: Path) -> None:
    name = next(iter(build().body.encoder.model.state_dict()))
    for changed in (None, torch.zeros(2, 2)):
        with pytest.raises(WeightsError):
            build(weights=str(encoder_weights(tmp_path, **{name: changed})))


def test_weights_of_torchvision_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.manual_seed(3)
    whole = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None).state_dict()
    save_file(whole, tmp_path / "whole.safetensors")
    name = "torchvision/lraspp_mobilenet_v3_large"
    body = build(name, weights=str(tmp_path / "whole.safetensors")).body
    for key, value in body.state_dict().items():
        if key.startswith("backbone."):
            torch.testing.assert_close(value, whole[key])
    save_file({key: value for key, value in whole.items() if "high" not in key}, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        build(name, weights=str(tmp_path / "part.safetensors"))


def test_published_weights_of_torchvision_have_an_auxiliary_part_that_is_not_needed(tmp_path: Path) -> None:
    from torchvision.models import get_model

    published = get_model("fcn_resnet50", weights=None, weights_backbone=None, aux_loss=True).state_dict()
    save_file(published, tmp_path / "weights.safetensors")
    body = build("torchvision/fcn_resnet50", weights=str(tmp_path / "weights.safetensors")).body
    torch.testing.assert_close(body.backbone.conv1.weight, published["backbone.conv1.weight"])


def test_a_network_in_a_folder_is_an_encoder_too(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(5)
    network = timm.create_model("test_resnet")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    built = build(backbone=f"local-dir:{tmp_path}", pretrained=True)
    torch.testing.assert_close(built.body.encoder.model.conv1[0].weight, network.conv1[0].weight)
    assert built.config["args"] == {"encoder": "test_resnet"}
    assert built.mean.flatten().tolist() == pytest.approx([25.5, 51.0, 76.5])
    loaded = recipes.load(as_task(built).save(tmp_path / "model"))  # it no longer needs the other folder
    torch.testing.assert_close(loaded.network.body.encoder.model.conv1[0].weight, network.conv1[0].weight)


# -- a saved segmenter to start from ----------------------------------------------------------------------------------


def same(one: Any, other: Any, prefix: str = "") -> bool:
    """Whether all weights whose names begin so are the same."""
    left, right = one.body.state_dict(), other.body.state_dict()
    names = [name for name in left if name.startswith(prefix)]
    assert names
    return all(name in right and torch.equal(left[name], right[name]) for name in names)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A network for three labels and the folder of the model that has it."""
    torch.manual_seed(9)
    network = mask_networks.build("unet", "test_resnet", 3, pretrained=False, weights=None)
    network.mean.fill_(12.0)
    return network, as_task(network).save(tmp_path / "saved")


@pytest.mark.parametrize("way", ["backbone", "weights"])
@pytest.mark.parametrize("labels", [3, 5])
def test_a_saved_segmenter_is_a_start_for_other_labels(saved: tuple[Any, Path], way: str, labels: int) -> None:
    network, folder = saved
    options = {"backbone": f"local-dir:{folder}", "pretrained": True}
    if way == "weights":
        options = {"weights": str(folder / "model.safetensors"), "pretrained": False}
    mask_networks.check("unet", **{"backbone": "test_resnet", "weights": None, **options})
    built = build(labels=labels, **options)
    assert same(built, network, "encoder.")
    assert same(built, network, "decoder.")
    if labels == 3:
        assert same(built, network)
    assert built.body.segmentation_head[0].out_channels == labels
    assert built.config == network.config
    assert built.mean.flatten().tolist() == pytest.approx([12.0] * 3)
    said = mask_networks.starting_note("unet", labels=labels, **{"backbone": "test_resnet", "weights": None, **options})
    assert str(folder) in str(said)
    assert ("the last layer is new, because it had 3 labels" in str(said)) == (labels == 5)


def test_of_a_saved_segmenter_another_architecture_takes_the_encoder(saved: tuple[Any, Path]) -> None:
    network, folder = saved
    built = build("fpn", f"local-dir:{folder}", pretrained=True)
    assert same(built, network, "encoder.")
    said = mask_networks.starting_note("fpn", f"local-dir:{folder}", 3, pretrained=True, weights=None)
    assert "the encoder in" in str(said)
    with pytest.raises(WeightsError, match="take architecture=unet"):
        build("dpt", f"local-dir:{folder}", pretrained=True)


def test_of_a_saved_segmenter_the_encoders_name_alone_is_taken_if_one_asks_for_that(saved: tuple[Any, Path]) -> None:
    network, folder = saved
    built = build("unet", f"local-dir:{folder}", pretrained=False)
    assert built.config == network.config
    assert not same(built, network, "encoder.")
    assert mask_networks.starting_note("unet", f"local-dir:{folder}", 3, pretrained=False, weights=None) is None


def test_weights_of_a_saved_segmenter_with_another_encoder_are_refused_with_its_name(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    for architecture, backbone in (("unet", "test_efficientnet"), ("torchvision/lraspp_mobilenet_v3_large", "")):
        with pytest.raises(WeightsError, match="they go with architecture=unet and backbone=test_resnet"):
            mask_networks.check(architecture, backbone, pretrained=False, weights=str(folder / "model.safetensors"))


def test_a_file_of_the_encoder_alone_goes_into_the_encoder_of_a_saved_segmenter(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    file = encoder_weights(folder.parent)
    built = build("unet", f"local-dir:{folder}", weights=str(file))
    assert torch.equal(built.body.encoder.model.state_dict()["conv1.0.weight"], load_file(file)["conv1.0.weight"])
    with pytest.raises(WeightsError, match="there is no such file"):
        mask_networks.check("unet", f"local-dir:{folder}", pretrained=True, weights="nowhere.safetensors")


def test_a_whole_network_without_its_manifest_is_refused_with_what_is_missing(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    (folder / "recipe.json").unlink()
    with pytest.raises(WeightsError, match=r"keep the model's recipe\.json beside it"):
        build(weights=str(folder / "model.safetensors"))


def test_a_damaged_start_is_refused(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    manifest = json.loads((folder / "recipe.json").read_text())
    for place, value in (("network", None), ("codec", None), ("codec", {"labels": 3}), ("network", {"library": "os"})):
        (folder / "recipe.json").write_text(json.dumps({**manifest, place: value}))
        with pytest.raises(ModelError, match="damaged"):
            build(backbone=f"local-dir:{folder}", pretrained=True)
    changed = {**manifest, "network": {**manifest["network"], "args": {"encoder": "local-dir:/tmp"}}}
    (folder / "recipe.json").write_text(json.dumps(changed))
    with pytest.raises(ModelError, match="unsafe"):
        build(backbone=f"local-dir:{folder}", pretrained=True)


def test_a_saved_segmenter_on_the_hub_is_a_start_too(
    saved: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = saved
    place = tmp_path / "hub" / "models--me--cells"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, place / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert same(build("unet", "hf-hub:me/cells", pretrained=True), network)


def test_a_saved_network_of_torchvision_is_a_start_through_its_weights(tmp_path: Path) -> None:
    name = "torchvision/lraspp_mobilenet_v3_large"
    network = build(name)
    folder = as_task(network, architecture=name).save(tmp_path / "saved")
    torch.manual_seed(1)
    for labels in (3, 4):
        built = build(name, labels=labels, weights=str(folder / "model.safetensors"))
        assert same(built, network, "backbone.")
        assert same(built, network) if labels == 3 else built.body.classifier.low_classifier.out_channels == 4
    with pytest.raises(OptionError, match=f"architecture={name} and weights={folder}/model.safetensors"):
        mask_networks.check("unet", f"local-dir:{folder}", pretrained=True, weights=None)


# -- layers -----------------------------------------------------------------------------------------------------------


def trained(network: Any) -> set[str]:
    return {name for name, value in network.body.named_parameters() if value.requires_grad}


def test_freeze_minus_one_freezes_the_encoder_alone() -> None:
    for name in ("unet", "fpn", "torchvision/lraspp_mobilenet_v3_large"):
        network = build(name)
        everything = trained(network)
        backbones.freeze(network, -1)
        assert trained(network) == {one for one in everything if not one.startswith(("encoder.", "backbone."))}


def test_freeze_two_freezes_the_encoders_first_pieces() -> None:
    network = build()
    everything = trained(network)
    backbones.freeze(network, 2)
    frozen = everything - trained(network)
    assert {name.rpartition(".")[0] for name in frozen} == {"encoder.model.conv1.0", "encoder.model.conv1.1"}
    with pytest.raises(OptionError, match="leaves nothing to train"):
        backbones.freeze(network, 99)
    with pytest.raises(OptionError, match="take 0 or -1"):
        backbones.freeze(build("torchvision/lraspp_mobilenet_v3_large"), 2)


@pytest.mark.parametrize(
    ("architecture", "backbone"), [("unet", "test_resnet"), ("fpn", "test_convnext"), ("dpt", "test_vit")]
)
def test_learning_rates_fall_towards_the_input(architecture: str, backbone: str) -> None:
    network = build(architecture, backbone)
    optimizer = backbones.optimizer(network, Preset(lr=1e-2, layer_decay=0.5))
    names = {id(value): name for name, value in network.body.named_parameters()}
    shares = {names[id(value)]: group["lr_scale"] for group in optimizer.param_groups for value in group["params"]}
    assert shares.keys() == names.keys() - names.keys() | set(names.values())
    encoder = [share for name, share in shares.items() if name.startswith("encoder.")]
    others = {share for name, share in shares.items() if not name.startswith("encoder.")}
    assert others == {1.0}
    assert max(encoder) < 1.0
    assert len(set(encoder)) >= 4
    children = [name for name, _ in network.body.encoder.model.named_children()]
    first = {place: [share for name, share in shares.items() if name.split(".")[2] == place] for place in children}
    means = [float(np.mean(found)) for found in first.values() if found]
    assert means == sorted(means)


# -- opening again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("network", "args"), {"encoder": "../../secret"}, "unsafe"),
        (("network", "args"), {"encoder": "hf-hub:a/b"}, "unsafe"),
        (("network", "args"), {"encoder": "local-dir:/tmp"}, "unsafe"),
        (("network", "args"), {"encoder": "test_resnet", "pretrained": True}, "unsafe"),
        (("network", "args"), {"encoder": "test_resnet", "encoder_weights": "imagenet"}, "unsafe"),
        (("network", "args"), {"encoder": "test_resnet", "decoder_channels": [8192] * 5}, "unsafe"),
        (("network", "args"), {"encoder": "no_such_network"}, "cannot be built"),
        (("network", "args"), {}, "cannot be built"),
        (("network", "args"), [1], "damaged"),
        (("network", "args"), {"encoder": "test_resnet2"}, "."),
        (("network", "architecture"), "../unet", "unsafe"),
        (("network", "architecture"), "unettt", "not known"),
        (("network", "architecture"), "fpn", "damaged"),
        (("network", "architecture"), "torchvision/fcn_resnet50", "not known"),
        (("network", "library"), "torchvision", "not known"),
        (("network", "library"), "os", "not known"),
        (("network",), None, "damaged"),
        (("codec", "labels"), ["a", "b"], "damaged"),
        (("codec", "preparation", "scale"), 0, "."),
        (("codec", "preparation", "std"), [0, 0, 0], "."),
        (("codec", "code", "colours"), [[0, 0, 0]], "."),
        (("codec", "code", "kind"), "eval", "."),
    ],
)
def test_a_damaged_or_hostile_folder_is_refused(
    place: tuple[str, ...], value: Any, reason: str, tmp_path: Path
) -> None:
    folder = as_task(build()).save(tmp_path / "model")
    manifest = json.loads((folder / "recipe.json").read_text())
    within = manifest
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = value
    (folder / "recipe.json").write_text(json.dumps(manifest))
    with pytest.raises((ModelError, OptionError), match=reason) as caught:
        recipes.load(folder)
    assert str(caught.value).isprintable()


def test_opening_downloads_nothing_and_reads_no_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    folder = as_task(build()).save(tmp_path / "model")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert isinstance(recipes.load(folder).network.body, nn.Module)
