"""Tiny encoders with tokenizers, drawn on the spot: what transformers would download, two layers deep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [f"{one}{other}" for one in ("ba", "do", "ki", "lu", "me") for other in ("ran", "tel", "vis", "zor")]
WORDS += ["lovely", "awful", "usual", "not", "is", "it"]

KINDS = ("bert", "roberta", "xlm-roberta", "distilbert", "modernbert", "deberta-v2")


def draw_encoder(folder: Path, kind: str, seed: int = 0) -> Path:
    """A folder with an encoder of random weights and a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names: dict[str, Any] = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    inputs = ["input_ids", *(["token_type_ids"] if kind == "bert" else []), "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, model_input_names=inputs, **names)
    shape: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 44,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
    }
    if kind == "distilbert":
        shape |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            del shape[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModel.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
