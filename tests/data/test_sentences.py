"""Pairs of sentences: lines become numbers and back, bad lines are counted, scores as stated."""

import random
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilearn.data import (
    BANDS,
    PAIR_WORDS,
    MissingData,
    load,
    pair_vectors,
    sentence_pairs,
    spell,
    stsb,
    stsb_corpus,
    tokens,
    word_vectors,
)
from minilearn.data import sentences as module
from minilearn.requests import by_range

HEAD = "main-captions\tMSRvid\t2012test"
TRAIN = (
    f"{HEAD}\t0001\t5.000\tA plane is taking off.\tAn air plane is taking off.\n"
    f'{HEAD}\t0002\t1.5\tA dog in a "superman" shirt\tIt is what it is.\tlicence\tlicence\n'
)
DEV = f"{HEAD}\t0003\t0\tA quick plane.\tA man's dog isn't taking it\n"
TEST = f"{HEAD}\t0004\t2.25\tOne two three four five six seven eight nine ten eleven\tplane\r\n"


def write(root, **parts):
    (root / "stsb").mkdir(exist_ok=True)
    for part, text in ({"train": TRAIN, "dev": DEV, "test": TEST} | parts).items():
        text = text if isinstance(text, bytes) else text.encode()
        (root / "stsb" / f"sts-{part}.csv").write_bytes(text)
    return root


def test_lines_become_numbers_and_back(tmp_path):
    train, validation, test, words = stsb_corpus(root=write(tmp_path), on_bad="refuse")
    assert words == ("", "<unknown>", *sorted(words[2:])) and len(set(words)) == len(words)
    assert train.inputs.shape == (2, 2, 10) and train.inputs.dtype == torch.int64
    assert train.targets.tolist() == [5, 1.5] and test.targets.tolist() == [2.25]
    assert spell(train.inputs[0], words) == ("plane taking", "air plane taking")
    assert spell(train.inputs[1], words) == ("dog superman shirt", "it is what it is")
    assert spell(validation.inputs[0], words) == ("<unknown> plane", "<unknown> dog taking")
    assert spell(test.inputs[0], words)[0] == " ".join(["<unknown>"] * 10)
    # padding in front only
    assert (train.inputs.bool().long().diff(dim=2) >= 0).all()


def test_split_and_load(tmp_path):
    corpus, split = stsb_corpus(root=write(tmp_path)), stsb(root=tmp_path)
    assert torch.equal(split.train.inputs, corpus.train.inputs)
    assert torch.equal(load("stsb", root=tmp_path).test.targets, corpus.test.targets)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S. army, 1,000 men; it's 3.5%", "us army 1,000 men 3.5"),
        ("Don\u2019t he'll 'stop' o'clock", "stop o clock"),
        ("caf\u00e9 M\u00fcnchen under_score", "caf\u00e9 m\u00fcnchen score"),
        ("  ", ""),
        ("...!?", ""),
        ("is it", "is it"),
        (" ".join("abcdefghijklmnop"), "b c d e f g h j k l"),
    ],
)
def test_tokens(text, words):
    assert tokens(text) == words.split()


def released(text: str) -> list[str]:
    """The words of Tarun et al.'s code with our stop words: letters and inner apostrophes alone."""
    text = re.sub(r"http\S+", " ", text.lower())
    text = re.sub("[^a-z' ]+", " ", text)
    text = re.sub("[^a-z]'|'[^a-z]", " ", f" {text} ")
    return [word for word in text.split() if word not in module.STOP_WORDS][:10]


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        ("A man plays a large guitar.", "man plays large guitar", "man plays large guitar"),
        ("3 dogs, 2 cats", "3 dogs 2 cats", "dogs cats"),
        ("The dog's ball", "dog ball", "dog's ball"),
        ("'Stop' it", "stop", "stop"),
        ("U.S. shares fell 1.5%", "us shares fell 1.5", "u s shares fell"),
        ("caf\u00e9", "caf\u00e9", "caf"),
        ("is it", "is it", ""),
    ],
)
def test_where_the_released_words_are_others(text, ours, theirs):
    assert tokens(text) == ours.split()
    assert released(text) == theirs.split()


@pytest.mark.realdata
def test_three_sentences_of_four_have_the_released_words(realdata_root):
    lines = (realdata_root / "stsb" / "sts-train.csv").read_text("utf-8").splitlines()
    texts = [text for line in lines for text in line.split("\t")[5:7]]
    agree = sum(tokens(text) == released(text) for text in texts) / len(texts)
    assert agree == pytest.approx(0.753, abs=0.005)


@settings(max_examples=50)
@given(st.text())
def test_tokens_of_anything(text):
    found = tokens(text)
    assert len(found) <= 10 and all(word and not word.isspace() for word in found)


BAD = {
    f"{HEAD}\t1\tnan\ta cat\ta cat": "the score is 'nan', not a number from 0 to 5",
    f"{HEAD}\t1\t\ta cat\ta cat": "the score is '', not",
    f"{HEAD}\t1\t5.1\ta cat\ta cat": "the score is '5.1', not",
    f"{HEAD}\t1\t-1\ta cat\ta cat": "the score is '-1', not",
    f"{HEAD}\t1\thigh\ta cat\ta cat": "the score is 'high', not",
    f"{HEAD}\t1\t3\ta cat\t": "a sentence has no word",
    f"{HEAD}\t1\t3\t...\ta cat": "a sentence has no word",
    f"{HEAD}\t1\t3\ta cat": "it has 6 tab-separated cells, not 7 or more",
    "no tabs at all": "it has 1 tab-separated cells",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items())
def test_a_bad_line_is_left_out_or_refused(tmp_path, line, reason):
    write(tmp_path, train=TRAIN + "\n" + line + "\n")
    with pytest.warns(UserWarning) as warned:
        assert len(stsb(root=tmp_path).train) == 2
    (warning,) = warned
    said = str(warning.message)
    assert said.startswith(f"left out: 1 of 3 lines of {tmp_path}") and f"line 4: {reason}" in said
    assert warning.filename == __file__
    with pytest.raises(ValueError, match=f"are bad .line 4: {reason}.*on_bad"):
        stsb(root=tmp_path, on_bad="refuse")


def test_files_that_are_not_there_or_no_text(tmp_path):
    wanted = "STS-B is not there: the file stsb/sts-train.csv belongs in the folder .*none, which"
    with pytest.raises(MissingData, match=wanted):
        stsb(root=tmp_path / "none")
    write(tmp_path)
    (tmp_path / "stsb" / "sts-dev.csv").unlink()
    with pytest.raises(MissingData, match=r"the file stsb/sts-dev\.csv belongs in"):
        stsb(root=tmp_path)
    with pytest.raises(ValueError, match=r"sts-train\.csv is no text in UTF-8"):
        stsb(root=write(tmp_path, train=TRAIN.encode() + b"\xe9\n"))
    with pytest.raises(ValueError, match="0 of 0 lines of .* are bad .*none is left"):
        stsb(root=write(tmp_path, train=""))
    with pytest.raises(ValueError, match="on_bad is one of .'refuse', 'skip'., got None"):
        stsb(root=tmp_path, on_bad=None)
    with pytest.raises(ValueError, match="root must be the path of a folder"):
        stsb(root=3)


@pytest.mark.realdata
def test_the_real_set(realdata_root):
    if not (realdata_root / "stsb").is_dir():
        pytest.skip("no stsb in the folder of real data")
    corpus = stsb_corpus(root=realdata_root, on_bad="refuse")
    assert [len(part) for part in corpus[:3]] == [5749, 1500, 1379]  # the set's own readme
    assert 0.28 < by_range(corpus.train, *BANDS["stsb"]).mask.float().mean() < 0.34
    assert spell(corpus.train.inputs[0], corpus.words) == ("plane taking", "air plane taking")
    assert not (corpus.train.inputs == 1).any() and (corpus.test.inputs == 1).any()
    assert int(corpus.train.inputs.max()) == len(corpus.words) - 1


VECTORS = "cat 1 2 3\n. . 9 9 9\ndog 3 4 5.5\ncat 7 7 7\nother broken line\n"
WORDS = ("", "<unknown>", "bird", "cat", "dog")


def glove(tmp_path, text):
    path = tmp_path / "glove.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_word_without_a_vector_is_the_mean_of_all_and_not_of_its_sentence(tmp_path):
    """Where the released code takes the mean of the words beside it."""
    vectors = word_vectors(glove(tmp_path, VECTORS), WORDS)
    bird, cat, dog = vectors[2:]
    torch.testing.assert_close(bird, (cat + dog) / 2)
    assert not torch.equal(bird, cat)  # what "bird cat" would give it there


def test_word_vectors(tmp_path):
    vectors = word_vectors(glove(tmp_path, VECTORS), WORDS)
    mean = [2, 3, 4.25]
    assert vectors.tolist() == [[0, 0, 0], mean, mean, [1, 2, 3], [3, 4, 5.5]]
    assert vectors.dtype == torch.float32
    assert torch.equal(word_vectors(glove(tmp_path, VECTORS.replace("\n", " \n")), WORDS), vectors)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat 1 2 3\ndog 1 2\n", "line 2 of .*glove.txt is broken: its word is not followed by 3"),
        ("cat 1 2 3\ndog 1 x 2\n", "line 2 of .* is broken"),
        ("cat 1 2 3\ndog 1 nan 2\n", "line 2 of .* is broken"),
        ("cat 1 2 3\ndog 1 1e39 2\n", "line 2 of .* is broken"),  # infinite as a float32
        ("cat\n", "have none of the 3 words"),
        ("2 3\ncat 1 2 3\n", "glove.txt begins with a count: delete the first line"),
        ("cat 1\n", "line 1 of .* is broken"),
        ("", "have none of the 3 words"),
        ("owl 1 2 3\n", "have none of the 3 words"),
        (b"cat 1 2 3\n\xe9 1 2 3\n", "are no text in UTF-8"),
    ],
)
def test_word_vectors_that_are_broken(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        word_vectors(glove(tmp_path, text), WORDS)


def test_word_vectors_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        word_vectors(tmp_path / "none.txt", WORDS)
    with pytest.raises(ValueError, match="path must be a path, got NoneType"):
        word_vectors(None, WORDS)


MEANING = {w: pair for slot in module._MEANINGS for pair in slot for w in pair}


def stated(pair) -> float:
    """The score without noise, from the words alone."""
    one, other = (s.split()[-5:] for s in spell(pair))
    words = zip(one, other, strict=True)
    return sum(1 if a == b else 0.8 * (MEANING[a] == MEANING[b]) for a, b in words)


def test_scores_are_what_is_stated():
    data = sentence_pairs(2000).train
    clean = torch.tensor([stated(pair) for pair in data.inputs])
    noise = (data.targets - clean)[(clean > 0.5) & (clean < 4.5)]
    assert noise.mean().abs() < 0.02 and noise.std().item() == pytest.approx(0.15, rel=0.1)
    assert data.targets.min() >= 0 and data.targets.max() <= 5


def test_scores_cover_the_range():
    targets = sentence_pairs().train.targets
    assert 0.3 < (targets < 2).float().mean() < 0.4
    assert (torch.histc(targets, 5, 0, 5) / len(targets)).min() > 0.1


def test_pairs_by_seed_and_count():
    (train, test), again, other = sentence_pairs(), sentence_pairs(), sentence_pairs(seed=1)
    assert (len(train), len(test)) == (2250, 750) and train.inputs.shape[1:] == (2, 10)
    assert torch.equal(train.inputs, again.train.inputs)
    assert torch.equal(train.targets, again.train.targets)
    assert not torch.equal(train.inputs, other.train.inputs)
    assert len(sentence_pairs(4).test) == 1 and load("sentence_pairs").train.task == "regression"
    lengths = (train.inputs > 0).sum(2)
    assert lengths.unique().tolist() == [5, 6] and not (train.inputs == 1).any()
    assert set(train.inputs.flatten().tolist()) == set(range(len(PAIR_WORDS))) - {1}


def test_pairs_leave_the_global_generators_alone():
    state, python = torch.get_rng_state(), random.getstate()
    sentence_pairs(50), pair_vectors()
    assert torch.equal(torch.get_rng_state(), state) and random.getstate() == python


def test_pair_vectors_put_synonyms_together():
    vectors = pair_vectors()
    assert vectors.shape == (len(PAIR_WORDS), 64) and not vectors[:2].any()
    distance = torch.cdist(vectors, vectors) + 1e9 * torch.eye(len(vectors))
    for word in MEANING:
        nearest = PAIR_WORDS[distance[PAIR_WORDS.index(word)].argmin()]
        assert nearest in MEANING[word] and nearest != word


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sentence_pairs(3), "count must be a whole number of at least 4, got 3"),
        (lambda: sentence_pairs("many"), "count must be .* got 'many'"),
        (lambda: sentence_pairs(2.5), "count must be .* got 2.5"),
        (lambda: sentence_pairs(seed=-1), "seed must be a whole number of at least 0, got -1"),
        (lambda: sentence_pairs(seed=None), "seed must be .* got NoneType"),
        (lambda: pair_vectors(0), "width must be a whole number of at least 1, got 0"),
        (lambda: pair_vectors(seed="x"), "seed must be"),
        (lambda: spell(sentence_pairs(4).train.inputs), r"shape \(2, 10\), .*got \(3, 2, 10\)"),
        (lambda: spell([1, 2]), "got list"),
        (lambda: spell(torch.zeros(2, 10)), "one pair has shape"),
        (lambda: spell(torch.full((2, 10), 99)), "from 99 to 99, but there are 38 words"),
        (lambda: spell(torch.full((2, 10), -1)), "from -1 to -1"),
    ],
)
def test_calls_that_make_no_sense(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
