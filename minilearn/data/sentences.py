"""Pairs of sentences with a similarity score from 0 to 5: STS-B, and an artificial small set."""

from __future__ import annotations

import math
import random
import re
from typing import NamedTuple

import torch
from torch import Tensor

from minilearn.checks import check_count
from minilearn.data.embedded import TEST_SHARE, Split
from minilearn.data.examples import Examples
from minilearn.data.places import own_file
from minilearn.data.table import gather
from minilearn.draws import order_of

LENGTH = 10  # tokens a sentence
PAD, UNKNOWN = "", "<unknown>"  # the words number 0 and 1 of every vocabulary
# Words that carry structure rather than content; after n't and 's are cut, "ca", "wo", "sha" stay.
FUNCTION_WORDS = """
a about above after again against all also am an and another any are as at be because been
before being below between both but by ca can could did do does doing down during each either
else ever few for from further had has have having he her here hers herself him himself his how
i if in into is it its itself just may me might more most much must my myself neither no nor
not now of off on once only onto or other our ours ourselves out over own per same sha shall she
should so some such than that the their theirs them themselves then there these they this those
through thus to too under until up upon very was we were what when where whether which while
who whom whose why will with within without wo would yet you your yours yourself yourselves
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())

# Five slots in the order of a sentence, each of three meanings, each of two words for it.
SLOTS = {
    "who": "boy/lad doctor/physician dog/hound",
    "does": "buys/purchases finds/discovers throws/tosses",
    "what": "car/automobile picture/photo stone/rock",
    "where": "forest/woods street/road shop/store",
    "when": "dawn/daybreak noon/midday evening/dusk",
}
ADJECTIVES = ("cheerful", "hungry", "old", "quiet", "tall", "tired")
SYNONYM, NOISE = 0.8, 0.15  # the score of a synonym; the standard deviation of what is added
CLOSE = 0.3  # how far a word's vector lies from its meaning's
AGREEING = (2, 2, 3, 3, 3, 3)  # how often, out of 16, no slot agrees, one does, ... all five do
_MEANINGS = [[tuple(pair.split("/")) for pair in words.split()] for words in SLOTS.values()]
_WORDS = [word for slot in _MEANINGS for pair in slot for word in pair]
PAIR_WORDS = (PAD, UNKNOWN, *sorted([*ADJECTIVES, *_WORDS]))


class Corpus(NamedTuple):
    """The three parts of a set of sentence pairs, and the words that its numbers stand for."""

    train: Examples
    validation: Examples
    test: Examples
    words: tuple[str, ...]


def tokens(sentence: str) -> list[str]:
    """The first ten content words of a sentence, in lower case.

    Stop words and endings such as 's and n't are left out; a sentence of stop words alone keeps
    them.

    Differs: from Tarun et al.'s code in one sentence of STS-B in four: numbers are lost there, and
        "dog's" is a word; the stop words here are a list of our own
    Example:
        >>> tokens('The man is not feeding a mouse to the "snake".')
        ['man', 'feeding', 'mouse', 'snake']
    """
    sentence = sentence.lower().replace("\u2019", "'")
    sentence = re.sub(r"n't\b|'(?:s|re|ve|ll|d|m)\b", "", sentence)
    sentence = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", sentence)  # u.s. is one word
    words = re.findall(r"[^\W_]+(?:[.,]\d+)*", sentence)
    return ([word for word in words if word not in STOP_WORDS] or words)[:LENGTH]


def stsb(*, root=None, on_bad: str = "skip") -> Split:
    """STS-B: 5,749 and 1,379 pairs of English sentences; predict how similar they are, 0 to 5.

    `stsb_corpus` gives the 1,500 pairs for validation and the vocabulary, too.

    Source: Cer et al., SemEval-2017 task 1, the STS benchmark
    Shapes: inputs (N, 2, 10) int64, word numbers, 0 = padding in front; targets (N,) float32
    Differs: from the paper, which counts about 7,200 pairs, as many as the training and validation
        parts have together; here the official parts. The words are those of `tokens`, and one that
        the training part does not have is unknown, whether or not it has a vector
    Raises: as stsb_corpus
    """
    corpus = stsb_corpus(root=root, on_bad=on_bad)
    return Split(corpus.train, corpus.test)


def stsb_corpus(*, root=None, on_bad: str = "skip") -> Corpus:
    """All parts of STS-B with the vocabulary: padding, unknown, and the training part's words.

    Files: stsb/sts-train.csv, sts-dev.csv, sts-test.csv, tab-separated lines without a header and
    without quoting: genre, file, year, number, score, two sentences, and sometimes a licence.
    A line is bad if it is short, its score is not a number from 0 to 5, or a sentence has no word.
    on_bad="skip" leaves bad lines out and warns how many and why.

    Shapes: as stsb
    Raises: MissingData if a file is not there; ValueError if one is not UTF-8, no line is left, or
        a line is bad and on_bad="refuse"
    """
    parts = [_lines(part, root, on_bad) for part in ("train", "dev", "test")]
    vocabulary = {word for pair, _ in parts[0] for sentence in pair for word in sentence}
    words = (PAD, UNKNOWN, *sorted(vocabulary))
    train, validation, test = (_examples(part, words) for part in parts)
    return Corpus(train, validation, test, words)


def sentence_pairs(count: int = 3000, seed: int = 0) -> Split:
    """Artificial pairs of short sentences with a similarity score from 0 to 5. No real text.

    A sentence says who does what, where and when (`SLOTS`: five slots of three meanings of two
    words each), often with an adjective in front that counts for nothing. Of two sentences a slot
    that holds the same word adds 1 to the score, a synonym 0.8, another meaning 0; then normal
    noise of standard deviation 0.15 is added and the score clipped to [0, 5]. How many slots agree
    is drawn with the weights `AGREEING`, and of the agreeing ones each is a synonym in one case out
    of four. A quarter of the `count` pairs is the test set. The words are `PAIR_WORDS`.

    Shapes: inputs (N, 2, 10) int64, word numbers, 0 = padding in front; targets (N,) float32
    Raises: ValueError if count < 4
    Example:
        >>> train, test = sentence_pairs(100)
        >>> len(train), len(test), train.inputs.shape[1:]
        (75, 25, torch.Size([2, 10]))
        >>> spell(train.inputs[0])
        ('quiet lad buys rock woods dusk', 'tall boy buys rock woods dusk')
    """
    count = check_count("count", count, 4)
    draw = random.Random(check_count("seed", seed, 0))
    data = _examples([_pair(draw) for _ in range(count)], PAIR_WORDS)
    held = round(TEST_SHARE * count)
    return Split(data[:-held], data[-held:])


def spell(pair: Tensor, words: tuple[str, ...] = PAIR_WORDS) -> tuple[str, str]:
    """The two sentences of one example, as far as their words are known.

    Shapes: pair (2, 10) int64
    Raises: ValueError if `pair` is not one example or has a number beyond the words
    Example:
        >>> spell(torch.tensor([[0, 2], [3, 1]]), (PAD, UNKNOWN, "cat", "dog"))
        ('cat', 'dog <unknown>')
    """
    if not isinstance(pair, Tensor) or pair.ndim != 2 or len(pair) != 2 or pair.is_floating_point():
        shape = tuple(getattr(pair, "shape", ())) or type(pair).__name__
        raise ValueError(f"one pair has shape (2, {LENGTH}), as train.inputs[0] has; got {shape}")
    if pair.numel() and not 0 <= int(pair.min()) <= int(pair.max()) < len(words):
        raise ValueError(
            f"the pair has word numbers from {int(pair.min())} to {int(pair.max())}, but there are "
            f"{len(words)} words: give the words of its own set"
        )
    first, second = pair.tolist()
    return " ".join(words[i] for i in first if i), " ".join(words[i] for i in second if i)


def pair_vectors(width: int = 64, seed: int = 0) -> Tensor:
    """Vectors for `PAIR_WORDS`, made as simply as the sentences: synonyms lie close together.

    They stand in for the vectors of a large text. Every meaning and every adjective is a point
    drawn from a standard normal distribution; a word is its meaning's point plus 0.3 times
    another draw. Padding is zero, and so is the unknown word, which does not occur.

    Shapes: returns (len(PAIR_WORDS), width) float32
    Raises: ValueError if width < 1
    Example:
        >>> vectors = pair_vectors()
        >>> boy, lad, dog = (vectors[PAIR_WORDS.index(word)] for word in ("boy", "lad", "dog"))
        >>> bool((boy - lad).norm() < (boy - dog).norm())
        True
    """
    width = check_count("width", width, 1)
    generator = order_of(seed)
    vectors = torch.zeros(len(PAIR_WORDS), width, dtype=torch.float32)
    meanings = [meaning for slot in _MEANINGS for meaning in slot]
    for meaning in [*((word,) for word in ADJECTIVES), *meanings]:
        point = torch.randn(width, generator=generator, dtype=torch.float32)
        for word in meaning:
            noise = torch.randn(width, generator=generator, dtype=torch.float32)
            vectors[PAIR_WORDS.index(word)] = point + CLOSE * noise
    return vectors


def word_vectors(path, words: tuple[str, ...]) -> Tensor:
    """The vectors of a vocabulary from a text file of GloVe: on each line a word and its numbers.

    Padding (word 0) is zero; a word that the file does not have is the mean of those that it has.
    The published file is glove.840B.300d.txt (Pennington et al. 2014). Only lines of wanted words
    are checked; of two lines for one word the first counts.

    Shapes: returns (len(words), D) float32
    Differs: from Tarun et al.'s code, where such a word is the mean of its own sentence's
    Raises: ValueError if the file cannot be read, a line is broken, or has none of the words
    """
    number = {word: i for i, word in enumerate(words) if i > 1}
    vector = {}  # by number
    width = 0
    try:
        with open(path, encoding="utf-8", newline="\n") as opened:
            for place, line in enumerate(opened, start=1):
                line = line.rstrip()  # fastText ends a line with a blank
                if place == 1 and re.fullmatch(r"\d+ \d+", line):
                    raise ValueError(f"{path} begins with a count: delete the first line")
                width = width or line.count(" ")
                i = number.get(line[: max(line.find(" "), 0)])
                # a few of the file's "words" hold spaces: the numbers are the last `width` fields
                parts = line.rsplit(" ", width)
                if i is not None and i not in vector and " " not in parts[0]:
                    vector[i] = _vector(parts[1:], width, f"line {place} of {path}")
    except TypeError:
        raise ValueError(f"path must be a path, got {type(path).__name__}") from None
    except OSError as error:
        raise ValueError(f"the word vectors {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the word vectors {path} are no text in UTF-8: {error}") from None
    if not vector:
        raise ValueError(f"the word vectors {path} have none of the {len(number)} words")
    rows = torch.tensor(list(vector.values()), dtype=torch.float32)
    vectors = rows.mean(0).repeat(len(words), 1)
    vectors[list(vector)] = rows
    vectors[0] = 0
    return vectors


def _vector(parts: list[str], width: int, place: str) -> list[float]:
    try:
        vector = [float(part) for part in parts]
    except ValueError:
        vector = []
    finite = all(abs(number) < 3e38 for number in vector)  # as a float32, too
    if len(vector) != width or width < 2 or not finite:
        raise ValueError(f"{place} is broken: its word is not followed by {max(width, 2)} numbers")
    return vector


def _lines(part: str, root, on_bad: str) -> list[tuple]:
    """((tokens, tokens), score) of every good line of one file."""
    how = "take Stsbenchmark from the STS wiki (ixa2.si.ehu.eus/stswiki)"
    path = own_file("STS-B", f"stsb/sts-{part}.csv", how, root)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {path} is no text in UTF-8: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    lines = [(f"line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    return gather(lines, _scored, f"lines of {path}", on_bad)


def _scored(row: tuple) -> tuple:
    cells = row[1].rstrip("\r").split("\t")
    if len(cells) < 7:
        raise ValueError(f"it has {len(cells)} tab-separated cells, not 7 or more")
    try:
        score = float(cells[4])
    except ValueError:
        score = math.nan
    if not 0 <= score <= 5:
        raise ValueError(f"the score is {cells[4]!r}, not a number from 0 to 5")
    pair = tokens(cells[5]), tokens(cells[6])
    if not all(pair):
        raise ValueError("a sentence has no word")
    return pair, score


def _examples(scored: list[tuple], words: tuple[str, ...]) -> Examples:
    number = {word: i for i, word in enumerate(words)}
    inputs = torch.zeros(len(scored), 2, LENGTH, dtype=torch.int64)
    for row, (pair, _) in zip(inputs, scored, strict=True):
        for cells, sentence in zip(row, pair, strict=True):
            cells[-len(sentence) :] = torch.tensor([number.get(word, 1) for word in sentence])
    return Examples(inputs, torch.tensor([score for _, score in scored], dtype=torch.float32))


def _pair(draw: random.Random) -> tuple:
    """Two sentences and their score; the order of the draws is part of what a seed means."""
    (count,) = draw.choices(range(6), AGREEING)
    agreeing = draw.sample(range(5), count)
    pair = [], []
    score = 0.0
    for sentence in pair:
        sentence += draw.sample(ADJECTIVES, draw.randrange(2))
    for i, slot in enumerate(_MEANINGS):
        meaning, another = draw.sample(slot, 2)
        first = second = draw.choice(meaning)
        if i not in agreeing:
            second = draw.choice(another)
        elif draw.random() < 0.25:
            second = next(word for word in meaning if word != first)
        if i in agreeing:
            score += 1 if first == second else SYNONYM
        pair[0].append(first)
        pair[1].append(second)
    return pair, min(max(score + draw.gauss(0, NOISE), 0.0), 5.0)
