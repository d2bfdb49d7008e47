"""Judge one candidate after another: two bell curves, and what the attack makes of all of them."""

from __future__ import annotations

from inspect import signature

from torch import Tensor

from minilearn.checks import check_kind
from minilearn.data import Examples
from minilearn.metrics import ulira
from minilearn.metrics.of_candidates import of_forgotten
from minilearn.trials import ORIGINAL, RETRAINED, Trials
from minilearn.widgets.interactive import FINE, Interactive, inked, packed

PRIOR = signature(ulira).parameters["prior"].default
FEWEST = 5  # pairs of draws, so that there is a choice of how many are fitted


def judge_candidate(found: Trials, train: Examples) -> Interactive:
    """The two bell curves of a candidate, which move with the method and the number of models.

    The page fits them as `metrics.ulira` does, to the first draws, reads the models of the others,
    or those that were fitted, and computes the attack's area over all candidates for every number
    of fitted models. Candidates come in the order in which the originals give them away.

    Args: found: what `minilearn.trials` returns. train: the training set that it was given
    Raises: ValueError if the trials are handmade and do not say where their candidates are, or have
        several numbers of one, as where a class is forgotten whole; there are fewer than 5 pairs
        of draws or no method; answers lie too far apart for the page; the images are not grey
    """
    check_kind("found", found, Trials)
    check_kind("train", train, Examples)
    positions = found.positions
    if positions is None or len(positions.unique()) < len(positions):
        raise ValueError(
            "every candidate needs one position: give what `trials` returns, without whole=True"
        )
    if positions.max() >= len(train):
        raise ValueError(f"there is no candidate {positions.max()} in {len(train)} examples")
    answers = {name: of_forgotten(each, found.forgotten) for name, each in found.candidates.items()}
    pairs = len(answers[RETRAINED])
    names = [name for name in answers if name != RETRAINED]
    if pairs < FEWEST or not names:
        raise ValueError(
            f"needs a method and {FEWEST} pairs of draws, got {len(names)} and {pairs}"
        )
    told = (answers.get(ORIGINAL, answers[names[0]]) - answers[RETRAINED]).mean(0)
    order = told.abs().argsort(descending=True, stable=True)
    candidates = train[positions[order].to(train.device)]
    data = {
        "answers": {name: _packed(name, each[:, order]) for name, each in answers.items()},
        "retrained": RETRAINED,
        "pairs": pairs,
        "prior": PRIOR,
        "images": inked(candidates.inputs),
        "labels": candidates.targets.tolist(),
    }
    alt = (
        "Two bell curves of what unlearned and retrained models say of one candidate, with the "
        "models as dots; and the attack's area over all candidates by the number of fitted models."
    )
    return Interactive("judge_candidate", data, alt)


def _packed(name: str, answers: Tensor) -> dict:
    """Each kind of models between its own ends, so that none makes another one coarse."""
    low, high = answers.min().item(), answers.max().item()
    spread = answers.std(0).median().item()
    if high - low > FINE / 20 * spread:
        raise ValueError(
            f"the answers of {name} lie between {low:.3g} and {high:.3g}, too far apart for a page "
            f"that shows differences of {spread:.2g}: leave the extreme candidates out"
        )
    return packed(answers, low, high)
