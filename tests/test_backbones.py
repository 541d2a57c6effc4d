"""Networks by name: weights from files, folders, a filled Hub cache and a Hub on this machine; real ones if there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from hub import served
from safetensors.torch import save_file

import recipes
from recipes import ImageClassifier, Preset, backbones, demo
from recipes.errors import OptionError, WeightsError
from recipes.examples import Examples, Splits

SHARED = Path(os.environ.get("RECIPES_SHARED", "nowhere"))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return timm.create_model("test_resnet").state_dict()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and no way to the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


def in_cache(hub: Path, repository: str) -> Path:
    place = hub / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def same(network: backbones.Network, state: dict[str, torch.Tensor]) -> bool:
    found = network.body.state_dict()
    return all(torch.equal(found[name], value) for name, value in state.items() if not name.startswith("fc."))


def test_weights_in_the_cache_need_no_network(hub: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, in_cache(hub, "timm/test_resnet.r160_in1k") / "model.safetensors")
    network, figures = backbones.build("test_resnet", 3)
    assert same(network, state)
    assert figures.size == 160


def test_a_hub_name_in_the_cache_needs_no_network(hub: Path, tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    task = ImageClassifier(backbone="test_resnet", pretrained=False, size=32)
    task.codec, task.network = task.make(Splits(*[Examples([], [], ("a", "b"))] * 2), Preset())
    task.save(tmp_path / "pets")
    snapshot = in_cache(hub, "me/pets")
    for path in (tmp_path / "pets").iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    network, figures = backbones.build("hf-hub:me/pets", 3)
    assert same(network, task.network.body.state_dict())
    assert figures.size == 32
    loaded = recipes.load("hf-hub:me/pets")
    assert loaded.codec == task.codec


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    with served(folder) as address:
        yield address, folder


@pytest.mark.slow
def test_weights_are_downloaded_from_the_hub_once(
    server: tuple[str, Path], tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    address, folder = server
    save_file(state, folder / "model.safetensors")
    code = """
import torch
from recipes import backbones
network, _ = backbones.build("test_resnet", 3)
print(float(network.body.state_dict()["conv1.0.weight"].double().sum()))
"""
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    for endpoint in (address, "http://127.0.0.1:9"):  # the second time from the cache: nothing answers there
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**environment, "HF_ENDPOINT": endpoint}
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == pytest.approx(float(state["conv1.0.weight"].double().sum()))


def test_a_folder_of_timms_starts_a_new_model(tmp_path: Path) -> None:
    demo.draw_shapes(tmp_path / "shapes", 4, seed=0, size=32)
    first = ImageClassifier(backbone="test_resnet", pretrained=False, size=32)
    first.fit(tmp_path / "shapes", epochs=1, quiet=True).save(tmp_path / "first")
    second = ImageClassifier(backbone=f"local-dir:{tmp_path / 'first'}")
    second.fit(tmp_path / "shapes", epochs=1, quiet=True).save(tmp_path / "second")
    assert json.loads((tmp_path / "second" / "config.json").read_text())["architecture"] == "test_resnet"
    assert len(recipes.load(tmp_path / "second").predict(tmp_path / "shapes")) == 20


def test_weights_from_a_file_are_loaded_whole_or_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, tmp_path / "right.safetensors")
    network, _ = backbones.build("test_resnet", 3, weights=str(tmp_path / "right.safetensors"))
    assert same(network, state)
    assert network.body.get_classifier().out_features == 3  # type: ignore[operator, union-attr]
    del state["layer1.0.conv1.weight"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit test_resnet.*layer1\.0\.conv1"):
        backbones.build("test_resnet", 3, weights=str(tmp_path / "short.safetensors"))
    (tmp_path / "old.pth").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="can run code"):
        backbones.build("test_resnet", 3, weights=str(tmp_path / "old.pth"))


def test_a_size_of_ones_own_reaches_networks_that_must_know_it() -> None:
    network, figures = backbones.build("test_vit", 3, pretrained=False, size=64)
    assert figures.size == 64
    assert network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, 3)


def with_figures(network: torch.nn.Module) -> torch.nn.Module:
    """The network in evaluation mode, with batch norms that change what they are given."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for values, low, high in (
                (part.running_mean, -1, 1),
                (part.running_var, 0.5, 2),
                (part.weight, 0.5, 2),
                (part.bias, -1, 1),
            ):
                torch.nn.init.uniform_(values, low, high)
    return network.eval()


def batch_norms(network: torch.nn.Module) -> int:
    return sum(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mobilenetv2_100", 0),  # norms with their activation
        ("resnet10t", 0),
        ("resnetv2_18", 9),  # norms before convolutions
        ("dla46_c", 0),
        ("tf_mobilenetv3_small_minimal_100", 34),  # its padding depends on the picture's size: not traced
        ("torchvision/shufflenet_v2_x0_5", 0),
        ("torchvision/mobilenet_v3_small", 0),
    ],
)
def test_folded_networks_give_the_same_scores(name: str, left: int) -> None:
    network = with_figures(backbones.build(name, 3, pretrained=False)[0])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = backbones.folded(network)
    pictures = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        wanted, found = network(pictures), folded(pictures)
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().mean()))
    assert batch_norms(folded) == left
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_networks_without_batch_norms_are_not_copied() -> None:
    network, _ = backbones.build("test_vit", 3, pretrained=False)
    assert backbones.folded(network.eval()) is network


class Odd(torch.nn.Module):
    """A convolution whose output is used twice, one that is called twice, and a norm that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.twice, self.usual = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.after, self.again, self.norm, self.own = (torch.nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        given = self.shared(values)
        values = self.after(given) + given
        values = self.again(self.twice(values)) + self.twice(values)
        return self.own(self.usual(self.norm(self.norm(values)))).mean((2, 3))


def test_a_norm_is_folded_only_where_it_alone_follows_one_convolution() -> None:
    network = with_figures(backbones.ImageNetwork(Odd(), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), {}))
    folded = backbones.folded(network)
    pictures = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(folded(pictures), network(pictures), atol=1e-4)
    assert batch_norms(folded) == 3


def test_names_are_listed_by_pattern() -> None:
    assert "resnet50.a1_in1k" in backbones.names("resnet50*")
    assert backbones.names("torchvision/resnet18") == ["torchvision/resnet18"]
    with pytest.raises(OptionError, match="no backbone matches"):
        backbones.names("nothing*")


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="RECIPES_SHARED is not set")


@needs_shared
@pytest.mark.slow
def test_real_weights_and_pictures_give_a_good_model_in_a_minute(tmp_path: Path) -> None:
    for label in sorted((SHARED / "data" / "sign_digits" / "train").iterdir()):
        (tmp_path / "signs" / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:20]:
            (tmp_path / "signs" / label.name / path.name).symlink_to(path)
    weights = str(SHARED / "weights" / "mobilenetv2_100_imagenet_timm.safetensors")
    task = ImageClassifier(backbone="mobilenetv2_100", weights=weights, size=160)
    task.fit(tmp_path / "signs", preset="quick", views=0, quiet=True)
    assert task.history is not None
    assert task._scores["accuracy"] > 0.6  # guessing gives 0.1
    task.save(tmp_path / "model")
    opened = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    tensor = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        assert task.network is not None
        torch.testing.assert_close(opened(tensor), task.network.body(tensor), atol=1e-4, rtol=1e-4)


@needs_shared
def test_real_torchvision_weights_are_loaded() -> None:
    weights = str(SHARED / "weights" / "squeezenet1_1_imagenet.safetensors")
    network, _ = backbones.build("torchvision/squeezenet1_1", 4, weights=weights)
    assert network(torch.zeros(2, 3, 224, 224, dtype=torch.uint8)).shape == (2, 4)
