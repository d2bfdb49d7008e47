"""Forget the pairs of sentences that score below 2: the sentences of Tarun et al. 2023.

The errors are mean squares of scores from 0 to 5. Size "toy" runs on the artificial pairs of
`data.sentences` and needs no file; "small" and "paper" on STS-B, "paper" with the published recipe.
It selects the epoch by validation pairs, for all but the original by the retained ones alone. The
recipe is that of the authors' notebook, whose figures stand beside ours; the paper's has fewer
epochs.

Differs: from the published run: the official test part; every epoch shuffled anew; learnt word
vectors where glove.840B.300d.txt is not in the folder of the data
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from book.experiments import Run
from book.experiments.comparison import Case, compare
from book.experiments.papers import brief, wanted
from minilearn.data.places import data_root
from minilearn.data.sentences import PAIR_WORDS, Corpus, sentence_pairs, stsb_corpus, word_vectors
from minilearn.methods.amnesiac import Amnesiac
from minilearn.methods.blindspot import Blindspot
from minilearn.models.sequences import siamese_lstm
from minilearn.requests import by_range
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 5
BAND = (0, 2)
SHORT = Training(20, 256, 1e-2, loss="squared")
RECIPES = {"toy": SHORT, "small": SHORT, "paper": Training.paper("stsb", "blindspot", "file")}
CONFIGS = {
    "finetune": Training.paper("stsb", "finetune", "file"),
    "amnesiac": Amnesiac.paper("stsb", "file"),
    "blindspot": Blindspot.paper("stsb", "file"),
}
SOURCE = "authors' notebook, one run (deep-regression-unlearning @ 97b097e)"
PUBLISHED = {  # mean squared error on the retained and the forgotten part of its test set
    "original": (2.842, 1.793),
    "retrained": (0.926, 7.222),
    "finetune": (1.072, 5.555),
    "amnesiac": (1.205, 4.821),
    "blindspot_model": (0.943, 6.871),
    "blindspot": (0.981, 6.394),
}


def units(run: Run) -> Iterator[Unit]:
    """Everything to be measured, method by method for every seed."""
    corpus, vectors = _corpus(run), _vectors(run.size)
    words = {"vocabulary": len(corpus.words)}
    if vectors is not None:
        words = {"vectors": word_vectors(vectors, corpus.words)}
    train, validation, test = (
        None if part is None else by_range(part.to(run.device), *BAND) for part in corpus[:3]
    )

    configs = CONFIGS
    if run.made:
        configs = {name: brief(config) for name, config in CONFIGS.items()}

    def fresh():
        return siamese_lstm(**words).to(run.device)

    published = {
        (method, split): figure
        for method, figures in PUBLISHED.items()
        for split, figure in zip(("test_retain", "test_forget"), figures, strict=True)
    }
    return compare(
        run,
        Case(
            dataset="sentence_pairs" if run.size == "toy" and not run.made else "stsb",
            request=train,
            unseen=test,
            fresh=fresh,
            recipe=brief(RECIPES["paper"]) if run.made else RECIPES[run.size],
            configs=configs,
            units=("score squared", "score"),
            settings=f"siamese_lstm with {'GloVe 840B' if vectors else 'learnt'} vectors"
            + ("; best validation epoch" if validation else ""),
            validation=validation,
            published=published if run.size == "paper" else {},
            source=SOURCE,
        ),
    )


def _corpus(run: Run) -> Corpus:
    if run.size != "toy" or run.made:
        return wanted("stsb", stsb_corpus)
    train, test = sentence_pairs()
    return Corpus(train, None, test, PAIR_WORDS)


def _vectors(size: str) -> Path | None:
    """The file of published word vectors, where it is there and wanted."""
    path = data_root() / "glove.840B.300d.txt"
    return path if size == "paper" and path.is_file() else None
