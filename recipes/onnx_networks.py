"""Networks in ONNX, which onnxruntime computes: made from a fitted network, to predict with."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes import artifact
from recipes.backbones import Network
from recipes.errors import ModelError, OptionError, printable

INPUT, OUTPUT = "input", "scores"


class OnnxNetwork(Network):
    """A network that predicts and cannot be trained: a graph in ONNX, computed on the CPU.

    Args:
        content: the graph, as `model.onnx` holds it.
        config: what `recipe.json` says of it; the SHA-256 of the graph is added.

    Raises:
        OptionError: onnxruntime is not installed.
        ModelError: onnxruntime cannot open the graph.
    """

    def __init__(self, content: bytes, config: Mapping[str, Any]) -> None:
        # The library is "onnx", whatever made the network that this one comes from.
        super().__init__(nn.Identity(), {**config, "library": "onnx", "sha256": artifact.digest(content)})
        self.files = {artifact.ONNX: content}
        self.session = _session(content)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def head(self) -> None:
        """None: there is no layer that could be trained."""
        return

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores of shape (pictures, labels) for bytes of shape (pictures, 3, height, width)."""
        scores = self.session.run([OUTPUT], {INPUT: pixels.cpu().contiguous().numpy()})[0]
        return torch.from_numpy(scores).to(pixels.device)


def reopen(settings: Mapping[str, Any], labels: int, folder: Path) -> OnnxNetwork:
    """The network of a model folder whose `recipe.json` names ONNX.

    Raises:
        OptionError: onnxruntime is not installed.
        ModelError: the graph is missing, damaged, another one, or does not fit the labels.
    """
    content = artifact.read_graph(folder, str(settings.get("sha256")))
    try:
        network = OnnxNetwork(content, settings)
        given, found = network.session.get_inputs(), network.session.get_outputs()
        fits = [(one.name, one.type) for one in given] == [(INPUT, "tensor(uint8)")]
        if not fits or [(one.name, one.shape[-1]) for one in found] != [(OUTPUT, labels)]:
            raise ModelError(f"its graph does not give {labels} scores for a picture")
    except ModelError as error:
        raise ModelError(f"{printable(folder / artifact.ONNX)} cannot be used: {error}") from error
    return network


def exported(network: Network, pixels: Tensor) -> bytes:
    """A network as a graph in ONNX that gives the same scores, for batches of any number of pictures of this size.

    Args:
        network: a network for pictures.
        pixels: two or more pictures as the network takes them, to try the graph with.

    Raises:
        ModelError: onnxruntime gives other scores for them.
    """
    axes = {INPUT: {0: "pictures"}, OUTPUT: {0: "pictures"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's two exporters the older: the other took 20 times as long
        file = Path(folder) / artifact.ONNX
        torch.onnx.export(
            network.eval(),
            (pixels[:2],),
            file,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=axes,
            dynamo=False,
        )
        graph = file.read_bytes()
    with torch.inference_mode():
        expected, found = network(pixels), OnnxNetwork(graph, {})(pixels)
    off = float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-6))
    if not off < 1e-3:
        raise ModelError(f"the network cannot be written as ONNX: its scores would be off by {100 * off:.2g} %")
    return graph


def _session(content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError("a model in ONNX needs onnxruntime: pip install 'torch-recipes[onnx]'") from error
    if b"location" in content:  # how a graph names another file, in which its weights would lie
        raise ModelError("it names other files, which are not opened")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a kind of error for each of its codes
        raise ModelError(f"onnxruntime cannot open it ({printable(str(error), 120)})") from error
