"""Networks for texts: any encoder of transformers, and n-grams, which need neither transformers nor a download."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from recipes import artifact
from recipes.backbones import Network, opened_body
from recipes.errors import ModelError, OptionError, WeightsError, did_you_mean, printable
from recipes.texts import NGRAMS, NGrams, Tokens, register

_TOKENIZER = "tokenizer.json"

# The files of a repository or folder that a tokenizer is made from; weights are safetensors alone.
_TOKENIZER_FILES = tuple(
    """tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.txt vocab.json merges.txt
    sentencepiece.bpe.model spiece.model spm.model bpe.codes""".split()  # noqa: SIM905
)

_VOCABULARIES = tuple(
    file for file in _TOKENIZER_FILES if not file.endswith(("_config.json", "_map.json", "_tokens.json"))
)

_WAYS_ON = (
    "take a folder that holds the model, or go on without a download: backbone=ngrams (--backbone ngrams) learns "
    "hashed n-grams of words and characters in seconds"
)

# Encoders whose layers are BERT's. transformers gives their classifiers the first token alone; the mean of all tokens
# is the better sentence embedding (Reimers & Gurevych 2019), above all with few examples.
_LIKE_BERT = {"bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta", "camembert": "roberta"}

# How much the mean weighs beside the first token, and how far its values are pressed together; see `_mean_layer`.
_MEAN, _PRESSED = 1024.0, 0.5

# What a configuration may not say: it would load other files, run code or quantise.
_UNSAFE = re.compile(r"auto_map|name_or_path|attn_implementation|quantization|custom|dtype|path|file|token$", re.I)


class TextNetwork(Network):
    """An encoder of transformers with a linear last layer.

    Args:
        body: transformers' own network for sequence classification.
        config: library, architecture and arguments that build `body` again, and how it is pooled: `mean`, or `own`.
        files: the tokenizer's files.
    """

    def __init__(self, body: nn.Module, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        super().__init__(body, config)
        self.files = files
        self.fill = int(getattr(self.base.config, "pad_token_id", None) or 0)
        self.drop = nn.Dropout(_dropout(self.base.config))
        encoder = f"{cast(Any, body).base_model_prefix}."
        linear = [name for name, layer in body.named_modules() if isinstance(layer, nn.Linear)]
        self._head = [name for name in linear if not name.startswith(encoder)][-1]
        # What backbones calls layers, for their learning rates and for freezing.
        cast(Any, body).group_matcher = _layers

    @property
    def base(self) -> Any:
        """The encoder; as an attribute it would be a part of its own, and its weights be kept twice."""
        return cast(Any, self.body).base_model

    @property
    def head(self) -> nn.Linear:
        """The last layer: the last linear one outside the encoder."""
        return cast(nn.Linear, self.body.get_submodule(self._head))

    def forward(self, tokens: Tensor | tuple[Tensor, Tensor, float]) -> Tensor:
        """Scores of shape (texts, labels) for tokens of shape (texts, windows, channels, length), mixed or not.

        The scores of a text's windows are averaged.
        """
        return cast(Tensor, self.head(self.drop(self.features(tokens))))

    def features(self, inputs: Tensor | tuple[Tensor, Tensor, float]) -> Tensor:
        """What the last layer is given, shape (texts, width)."""
        tokens, order, share = inputs if isinstance(inputs, tuple) else (inputs, None, 1.0)
        there = tokens[:, :, 0] >= 0
        ids = tokens[:, :, 0].where(there, torch.full_like(tokens[:, :, 0], self.fill))
        given: dict[str, Any] = {"input_ids": ids}
        if order is not None:
            embedded = self.base.get_input_embeddings()(ids) * there[..., None]
            given = {"inputs_embeds": share * embedded + (1 - share) * embedded[order]}
            there = there | there[order]
        if tokens.shape[2] > 1:
            given["token_type_ids"] = tokens[:, :, 1].clamp(min=0)
        texts, windows = there.shape[:2]
        used = there.any(-1).flatten()
        given = {name: value.flatten(0, 1)[used] for name, value in given.items()}
        found = self._pooled(given, there.flatten(0, 1)[used])
        if windows == 1:
            return found
        number = torch.arange(texts, device=found.device).repeat_interleave(windows)[used]
        counts = used.reshape(texts, windows).sum(1, keepdim=True)
        return found.new_zeros(texts, found.shape[1]).index_add(0, number, found) / counts

    def _pooled(self, given: Mapping[str, Tensor], there: Tensor) -> Tensor:
        if self.config["pooling"] == "mean":
            states = self.base(**given, attention_mask=there.long()).last_hidden_state
            share = there[..., None] / there.sum(1)[:, None, None]
            pooled = (states * share).sum(1) + states[:, 0] / _MEAN
            return torch.tanh(_PRESSED * layer_norm(pooled.float(), pooled.shape[1:], eps=1e-12))
        inputs: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        try:
            self.body(**given, attention_mask=there.long())
        finally:
            handle.remove()
        return inputs[0]

    def native_state(self) -> dict[str, Tensor]:
        """The weights as transformers names and reads them, with a layer that takes the mean where it has none."""
        return {**self.body.state_dict(), **_mean_layer(self.config)}


class NGramNetwork(Network):
    """The mean embedding of a text's n-grams, each weighted by how rare it is, and a linear last layer.

    Words and pieces of words are brought to the same length each, so that the many pieces do not drown the words.

    Args:
        body: a module with the parts `bag`, `head` and `rarity`.
        config: what builds it again.
    """

    def forward(self, tokens: Tensor | tuple[Tensor, Tensor, float]) -> Tensor:
        """Scores of shape (texts, labels) for n-grams of shape (texts, 1, 1, number), mixed or not."""
        assert self.head is not None
        return cast(Tensor, self.head(self.features(tokens)))

    def features(self, inputs: Tensor | tuple[Tensor, Tensor, float]) -> Tensor:
        """The embeddings, shape (texts, width)."""
        tokens, order, share = inputs if isinstance(inputs, tuple) else (inputs, None, 1.0)
        ids = tokens[:, 0, 0]
        body: Any = self.body
        there, ids = ids >= 0, ids.clamp(min=0)
        weights = body.rarity[ids] * there
        squares, pieces = weights.square(), ids & 1
        whole, odd = squares.sum(1, keepdim=True), (squares * pieces).sum(1, keepdim=True)
        scales = torch.cat([whole - odd, odd], 1).clamp(min=1e-6).rsqrt()
        weights = weights * scales.gather(1, pieces)
        embedded: Tensor = body.bag(ids, per_sample_weights=weights) / body.bag.embedding_dim
        return embedded if order is None else share * embedded + (1 - share) * embedded[order]


# ---------------------------------------------------------------------------------------------------------------------
# Building


def build_ngrams(labels: int, preparation: NGrams, arrays: list[Any]) -> Network:
    """A new network of n-grams that knows how rare each of them is in the training texts.

    The weights are those of TF-IDF with smoothing, log((1 + texts) / (1 + texts that have it)) + 1; n-grams that no
    training text has weigh nothing.

    Args:
        labels: number of outputs.
        preparation: how texts become n-grams.
        arrays: the encoded training texts.
    """
    counts = np.zeros(preparation.buckets, np.int64)
    for array in arrays:
        counts[array[array >= 0]] += 1  # once for each n-gram of a text, however often it occurs there
    width = min(64, max(8, labels))  # more do not help, and cost time and space
    rarity = np.where(counts > 0, np.log((1 + len(arrays)) / (1 + counts)) + 1, 0).astype(np.float32)
    settings = {"library": "recipes", "architecture": NGRAMS, "args": {"buckets": preparation.buckets, "width": width}}
    body = _ngram_body(labels, **settings["args"])  # type: ignore[arg-type]
    # `features` divides by the width: so one learning rate suits embeddings and last layer of any width.
    nn.init.uniform_(cast(Any, body).bag.weight, -1, 1)
    nn.init.uniform_(cast(Any, body).head.weight, -1, 1)
    cast(Any, body).rarity.copy_(torch.from_numpy(rarity))
    return NGramNetwork(body, settings)


def _ngram_body(labels: int, buckets: int, width: int) -> nn.Module:
    body = nn.Module()
    body.bag = nn.EmbeddingBag(buckets, width, mode="sum")
    body.head = nn.Linear(width, labels)
    body.register_buffer("rarity", torch.zeros(buckets))
    return body


def check(name: str, *, pretrained: bool) -> None:
    """Refuse a backbone that cannot be had, before time is spent on anything else.

    Raises:
        OptionError: the name has no form that could be meant, or the network is no encoder.
        WeightsError: the model cannot be had.
    """
    if name != NGRAMS:
        _configuration(found_folder(name, pretrained), name)


def build(
    name: str, labels: tuple[str, ...], *, pretrained: bool, length: int | None, windows: int, pair: bool
) -> tuple[TextNetwork, Tokens]:
    """An encoder of transformers by name or folder with a new last layer, and the tokens that it reads.

    Raises:
        OptionError: it is no encoder, or `length` is more than it can read.
        WeightsError: the model cannot be had, or is not whole.
    """
    folder = found_folder(name, pretrained)
    config = _configuration(folder, name)
    config.num_labels = len(labels)
    pooling = "mean" if config.model_type in _LIKE_BERT else "own"
    if hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean"
    files, longest = _tokenizer(folder, config, name)
    if length is not None and length > longest:
        raise OptionError(f"length={length} is more than {printable(name)} can read: {longest} tokens")
    with _quiet():
        if pretrained:
            body, info = _loaded(folder, config, name)
            _check_whole(body, info, name)
        else:
            body = _classifiers().from_config(config)
    if pooling == "mean":
        _without_own_pooling(body)
    settings = {
        "library": "transformers",
        "architecture": config.model_type,
        "args": _plain_config(config),
        "pooling": pooling,
    }
    if unsafe := _unsafe(settings["args"]):
        raise OptionError(f"{printable(name)} is configured with {unsafe}, which recipes could not save; take another")
    network = TextNetwork(body.float(), settings, files)
    nn.init.zeros_(network.head.bias)
    types = pair and getattr(config, "type_vocab_size", 0) > 1
    most = min(512, longest) if length is None else length
    return network, Tokens(register(files[_TOKENIZER]), most, windows, types)


def _classifiers() -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification


def _loaded(folder: Path, config: Any, name: str) -> tuple[Any, Mapping[str, Any]]:
    try:
        loaded = _classifiers().from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{printable(name)} cannot be opened ({printable(reason, 160)})") from error
    return cast("tuple[Any, Mapping[str, Any]]", loaded)


def _check_whole(body: Any, info: Mapping[str, Any], name: str) -> None:
    """Refuse weights that lack a part of the encoder; only what follows it may be new."""
    prefix = f"{body.base_model_prefix}."
    odd = [key for key in info["missing_keys"] if key.startswith(prefix) and ".pooler." not in key]
    odd += [str(key[0]) for key in info.get("mismatched_keys", ()) if str(key[0]).startswith(prefix)]
    if odd:
        raise WeightsError(
            f"{printable(name)} does not hold the weights of the encoder: {len(odd)} are missing or do not fit, the "
            f"first is {printable(sorted(odd)[0])}"
        )


def found_folder(name: str, pretrained: bool = True) -> Path:
    """The folder on disk that holds a model by this name, after a download if it has to be fetched.

    Raises:
        OptionError: the name has no form that could be meant.
        WeightsError: it is neither in the cache nor to be had.
    """
    plain = name.removeprefix("local-dir:")
    path = Path(os.path.expanduser(plain))
    if path.is_dir():
        files = [artifact.CONFIG, artifact.WEIGHTS] if pretrained else [artifact.CONFIG]
        missing = [file for file in files if not (path / file).is_file()]
        # transformers would make up a tokenizer that knows nothing.
        if not missing and not any((path / file).is_file() for file in _VOCABULARIES):
            missing = ["tokenizer (tokenizer.json, vocab.txt or the like)"]
        if missing:
            raise WeightsError(
                f"{printable(plain)} holds no {missing[0]}; a model for texts is a folder with {artifact.CONFIG}, "
                f"{artifact.WEIGHTS} and a tokenizer (other formats of weights can run code)"
            )
        if pretrained:
            artifact.read_shapes(path / artifact.WEIGHTS)
        return path
    if plain != name or path.is_absolute() or plain.startswith((".", "~")):
        raise WeightsError(f"{printable(plain)} does not exist; backbone is a folder, a name of the Hub or {NGRAMS}")
    repository, _, revision = name.removeprefix("hf-hub:").partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise OptionError(f"backbone {printable(name)!r} cannot be: it is a folder, a name of the Hub or {NGRAMS}")
    near = did_you_mean(name, [NGRAMS]) if "/" not in name else ""
    try:
        for file in ([artifact.WEIGHTS] if pretrained else []) + [artifact.CONFIG]:
            found = artifact.fetched(repository, file, revision or None)
        had = [file for file in _TOKENIZER_FILES if artifact.fetched_if_there(repository, file, revision or None)]
    except OSError as error:
        raise WeightsError(
            f"{printable(name)} could not be had: looked in {artifact.cache_folder()} and on the Hugging Face Hub "
            f"({printable(str(error), 160)}){near}; {_WAYS_ON}"
        ) from error
    if not set(had) & set(_VOCABULARIES):
        raise WeightsError(f"{printable(name)} has no tokenizer; {_WAYS_ON}")
    return found.parent


def _configuration(folder: Path, name: str) -> Any:
    """What transformers knows about the network in a folder, if it is an encoder that can classify."""
    values = artifact.read_json(folder, artifact.CONFIG)
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    kind = str(values.get("model_type"))
    can = modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    encoders = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if kind not in can or kind not in encoders:
        raise OptionError(
            f"{printable(name)} is no encoder for texts but a {printable(kind, 40)}; take one such as BERT, "
            f"DistilBERT, MiniLM, ModernBERT, XLM-RoBERTa or DeBERTa"
        )
    if (folder / artifact.MANIFEST).is_file():  # a model of recipes, whose layer of constants is not the encoder's
        own = artifact.read_json(folder, artifact.MANIFEST).get("network")
        if isinstance(own, dict) and own.get("pooling") == "mean":
            values["num_hidden_layers"] = int(values.get("num_hidden_layers", 1)) - 1
    if "auto_map" in values:
        values = {key: value for key, value in values.items() if key != "auto_map"}  # code of its own is never run
    fresh = AutoConfig.for_model(kind, **{key: value for key, value in values.items() if key != "model_type"})
    fresh.id2label = {}
    return fresh


def _plain_config(config: Any) -> dict[str, Any]:
    """A configuration's values that differ from the library's own, as JSON would give them back."""
    values = json.loads(config.to_json_string(use_diff=True))
    left_out = ("model_type", "architectures", "transformers_version", "id2label", "label2id", "problem_type", "dtype")
    more = ("_name_or_path", "auto_map", "_attn_implementation_autoset", "finetuning_task", "num_labels")
    return {key: value for key, value in values.items() if key not in (*left_out, *more)}


def _unsafe(values: Any, name: str = "") -> str | None:
    """The first name of a value that could load files, run code or take memory; None if all are harmless."""
    if isinstance(values, Mapping):
        bad = [str(key) for key in values if not isinstance(key, str) or (_UNSAFE.search(key) and values[key])]
        return bad[0] if bad else next((found for key in values if (found := _unsafe(values[key], key))), None)
    if isinstance(values, list):
        return next((found for value in values if (found := _unsafe(value, name))), name if len(values) > 512 else None)
    if isinstance(values, str):
        return None if len(values) < 80 and "/" not in values and "\\" not in values else name
    if isinstance(values, (int, float)) and not isinstance(values, bool):
        return None if abs(values) <= 2**24 else name
    return None


def _tokenizer(folder: Path, config: Any, name: str) -> tuple[dict[str, bytes], int]:
    """The tokenizer's files in the form that transformers reads, and how many tokens the network can read at most."""
    import tempfile

    from transformers import AutoTokenizer

    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            tokenizer.save_pretrained(scratch)
        except Exception as error:  # tokenizers' own errors are plain Exceptions
            reason = " ".join(str(error).split())
            raise WeightsError(f"the tokenizer of {printable(name)} cannot be opened ({reason[:160]})") from error
        files = {path.name: path.read_bytes() for path in Path(scratch).iterdir() if path.is_file()}
    if _TOKENIZER not in files or "tokenizer_config.json" not in files:
        raise WeightsError(f"the tokenizer of {printable(name)} has no {_TOKENIZER}, which every fast tokenizer has")
    positions = getattr(config, "max_position_embeddings", None) or 512
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= (config.pad_token_id or 0) + 1  # where they begin to count
    settings = json.loads(files["tokenizer_config.json"])
    settings["model_input_names"] = tokenizer.model_input_names
    longest = int(min(positions, tokenizer.model_max_length))
    settings["model_max_length"] = longest
    kept = {_TOKENIZER: files[_TOKENIZER], "tokenizer_config.json": artifact.json_bytes(settings)}
    return kept, longest


# ---------------------------------------------------------------------------------------------------------------------
# Saving and opening again


def transformers_config(network: Network, labels: tuple[str, ...], several: bool) -> dict[str, Any] | None:
    """The `config.json` with which transformers opens a model folder by itself; None for n-grams."""
    if not isinstance(network, TextNetwork):
        return None
    values = dict(network.config["args"])
    if network.config["pooling"] == "mean":
        values["num_hidden_layers"] = network.base.config.num_hidden_layers + 1
    return {
        **values,
        "model_type": network.config["architecture"],
        "architectures": [type(network.body).__name__],
        "id2label": {str(place): label for place, label in enumerate(labels)},
        "label2id": {label: place for place, label in enumerate(labels)},
        "problem_type": "multi_label_classification" if several else "single_label_classification",
    }


def _mean_layer(settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """A layer of BERT's whose first token becomes the mean of all tokens, and a pooler that hands it on.

    transformers' classifiers for BERT and its kin see the first token alone. In this layer all tokens get the same
    attention; their mean, times 1,024, is added to the first token and normalised, so that of the token itself next to
    nothing is left; and the pooler presses the values together (tanh of half of them). What `TextNetwork` computes in
    one line becomes what transformers computes from these constants.
    """
    if settings.get("pooling") != "mean":
        return {}
    config = _config_of(settings)
    width, wide, kind = config.hidden_size, config.intermediate_size, _LIKE_BERT[settings["architecture"]]
    place = f"{kind}.encoder.layer.{config.num_hidden_layers}"
    square, zeros, ones, one = torch.zeros(width, width), torch.zeros(width), torch.ones(width), torch.eye(width)
    pooler = f"{kind}.pooler.dense" if kind == "bert" else "classifier.dense"
    layers = {
        f"{place}.attention.self.query": (square, zeros),
        f"{place}.attention.self.key": (square, zeros),
        f"{place}.attention.self.value": (one, zeros),
        f"{place}.attention.output.dense": (_MEAN * one, zeros),
        f"{place}.attention.output.LayerNorm": (ones, zeros),
        f"{place}.intermediate.dense": (torch.zeros(wide, width), torch.zeros(wide)),
        f"{place}.output.dense": (torch.zeros(width, wide), zeros),
        f"{place}.output.LayerNorm": (ones, zeros),
        pooler: (_PRESSED * one, zeros),
    }
    return {
        f"{name}.{part}": value
        for name, values in layers.items()
        for part, value in zip(("weight", "bias"), values, strict=True)
    }


def _without_own_pooling(body: Any) -> None:
    """Take away what would never be used: the pooler of BERT, the first layer of RoBERTa's classifier."""
    if hasattr(body.classifier, "dense"):
        body.classifier.dense = nn.Identity()
    else:
        body.base_model.pooler = None


def _config_of(settings: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(settings["architecture"], **settings["args"])


def reopen(settings: Any, labels: int, preparation: Tokens | NGrams, folder: Path, digest: str) -> Network:
    """The network of a model folder with its weights and its tokenizer; nothing is downloaded.

    Raises:
        ModelError: the settings are unsafe or unknown, or the weights do not fit.
    """
    where = printable(folder / artifact.MANIFEST)
    try:
        library, architecture = str(settings["library"]), str(settings["architecture"])
        arguments, pooling = dict(settings["args"]), str(settings.get("pooling"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{where} is damaged: it does not say which network the weights are of") from error
    if library == "recipes" and architecture == NGRAMS and isinstance(preparation, NGrams):
        width = arguments.get("width")
        if arguments.get("buckets") != preparation.buckets or type(width) is not int or not 1 <= width <= 4096:
            raise ModelError(f"{where} is damaged: its n-grams do not fit its network")
        body = opened_body(lambda: _ngram_body(labels, preparation.buckets, width), settings, labels, folder, digest)
        return NGramNetwork(body, settings)
    if library != "transformers" or not isinstance(preparation, Tokens):
        raise ModelError(f"{where} names a network that is not known here, {printable(library, 40)}'s; upgrade recipes")
    if unsafe := _unsafe(arguments):
        raise ModelError(f"{where} has an unsafe argument {printable(unsafe, 60)!r}; it is not opened")
    _open_tokenizer(folder, preparation)
    return _opened_encoder(settings, labels, folder, digest, architecture, pooling)


def _opened_encoder(
    settings: Any, labels: int, folder: Path, digest: str, architecture: str, pooling: str
) -> TextNetwork:
    from transformers.models.auto import modeling_auto

    where = printable(folder / artifact.MANIFEST)
    encoders = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if architecture not in encoders or pooling not in ("mean", "own"):
        raise ModelError(f"{where} names a network that is not known here, {printable(architecture, 40)}")
    if pooling == "mean" and architecture not in _LIKE_BERT:
        raise ModelError(f"{where} is damaged: {architecture} has no mean of all tokens")
    try:
        config = _config_of(settings)
    except Exception as error:  # a configuration checks itself, each in its own way
        raise ModelError(f"{where} is damaged ({printable(' '.join(str(error).split()), 100)})") from error
    tensors = len(artifact.read_shapes(folder / artifact.WEIGHTS))
    if not 0 <= int(getattr(config, "num_hidden_layers", 0)) <= tensors:
        raise ModelError(f"{where} is damaged: it names more layers than there are weights")
    config.num_labels = labels

    def build_body() -> nn.Module:
        with _quiet():
            body: Any = _classifiers().from_config(config)
        if pooling == "mean":
            _without_own_pooling(body)
        return cast(nn.Module, body)

    body = opened_body(build_body, settings, labels, folder, digest, _mean_layer(settings))
    kept = {name: (folder / name).read_bytes() for name in (_TOKENIZER, "tokenizer_config.json")}
    return TextNetwork(body, settings, kept)


def _open_tokenizer(folder: Path, tokens: Tokens) -> None:
    try:
        found = register((folder / _TOKENIZER).read_bytes())
        (folder / "tokenizer_config.json").read_bytes()
    except OSError as error:
        raise ModelError(f"{printable(folder)} is damaged: its tokenizer cannot be read ({error.strerror})") from error
    if found != tokens.tokenizer:
        raise ModelError(f"{printable(folder)} is damaged: {_TOKENIZER} is not the file that it was saved with")


def _dropout(config: Any) -> float:
    found = [
        getattr(config, name, None) for name in ("classifier_dropout", "hidden_dropout_prob", "seq_classif_dropout")
    ]
    return float(next((value for value in found if value is not None), 0.1))


def _layers(coarse: bool = False) -> dict[str, Any]:  # noqa: ARG001, timm gives it
    """Which layer a weight is of, as timm asks for it."""
    layers = r"^\w+\.(?:encoder\.|transformer\.)?layers?\.(\d+)"  # what matches neither comes last
    return {"stem": r"^\w+\.embeddings", "blocks": layers}


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, reports or warnings from transformers about choices that recipes has made on purpose."""
    from transformers.utils import logging

    own: Any = logging
    level, bars = own.get_verbosity(), own.is_progress_bar_enabled()
    own.set_verbosity(50)
    own.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            own.set_verbosity(level)
            if bars:
                own.enable_progress_bar()
