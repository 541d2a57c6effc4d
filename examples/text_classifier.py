"""Texts: fit on a table of texts and labels, predict line by line, and look at what is wrong.

    python text_classifier.py reviews.csv     fit on a table of your own, with columns text and label
    python text_classifier.py                 fit on messages that are written for the occasion, without network

Without a table, everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import recipes
from recipes import TextClassifier
from recipes.demo import draw_messages


def main(table: Path, task: TextClassifier) -> None:
    # The columns are found by their names, or by what is in them; what was guessed or left out is noted.
    model = task.fit(table)

    # A string is a text, unless a file or a folder has that name.
    prediction = model.predict("Where is my parcel?")[0]
    print(f"{prediction.text} {prediction.label} ({prediction.score:.0%})")

    # An iterator is consumed as it goes, so that a file of any length fits. What cannot be read has an `error`.
    lines = iter(["I want my money back", "", "My card is not accepted"])
    for prediction in model.predict_each(lines):
        print(prediction.text or "(nothing)", "->", prediction.label or f"error: {prediction.error}")

    # The mistakes that it was surest of come first; a wrong label in the table shows up here.
    evaluation = model.evaluate(table)
    print(f"{evaluation.accuracy:.1%} of the texts that it has learnt from")
    for row in evaluation.worst[:3]:
        print(f"{row['text']}: {row['label']}, predicted {row['predicted']} ({row['score']:.0%})")

    # A saved model is a folder of JSON and safetensors; an encoder's folder opens in transformers, too.
    with tempfile.TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "reviews")
        again = recipes.load(Path(temporary) / "reviews").predict("Where is my parcel?")[0]
    print("loaded again, it says", again.label)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), TextClassifier())
    else:
        with tempfile.TemporaryDirectory() as drawn:
            draw_messages(Path(drawn) / "messages.csv", number=100, seed=0)
            # Hashed n-grams start from nothing and need no download.
            main(Path(drawn) / "messages.csv", TextClassifier(backbone="ngrams"))
