"""Judge one candidate after another: two bell curves, and what the attack makes of all of them."""

from __future__ import annotations

import torch

from minilearn.checks import check_kind
from minilearn.data import Examples
from minilearn.metrics.of_candidates import of_forgotten
from minilearn.trials import ORIGINAL, RETRAINED, Trials
from minilearn.widgets.interactive import Interactive, inked, packed

PRIOR = 8  # as `metrics.ulira`


def judge_candidate(found: Trials, candidates: Examples) -> Interactive:
    """The two bell curves of a candidate, which move with the method and the number of models.

    The page fits them as `metrics.ulira` does, reads the models that it did not fit, or those that
    it did, and computes the attack's area over all candidates for every number of fitted models.
    Candidates come in the order in which the originals give them away.

    Args:
        found: what `minilearn.trials` returns
        candidates: images and labels of its pool, in the order of their positions
    Raises: ValueError if the numbers of candidates differ, as they do where every draw forgets a
        whole class, there are fewer than 4 pairs of draws or no method, or the images are not grey
    """
    check_kind("found", found, Trials)
    count = check_kind("candidates", candidates, Examples) and len(candidates)
    if found.forgotten.shape[1] != count:
        raise ValueError(
            f"the trials have {found.forgotten.shape[1]} candidates, but there are {count} images: "
            "give those of the pool, by position; a class that is forgotten as a whole has more"
        )
    answers = {name: of_forgotten(each, found.forgotten) for name, each in found.candidates.items()}
    pairs = len(answers[RETRAINED])
    names = [name for name in answers if name != RETRAINED]
    if pairs < 4 or not names:
        raise ValueError(f"needs a method and 4 pairs of draws, got {len(names)} and {pairs}")
    told = answers.get(ORIGINAL, answers[names[0]]) - answers[RETRAINED]
    order = told.mean(0).abs().argsort(descending=True, stable=True)
    every = torch.stack([*answers.values()])
    ends = every.min().item(), every.max().item()
    data = {
        "answers": {name: packed(each[:, order], *ends) for name, each in answers.items()},
        "retrained": RETRAINED,
        "pairs": pairs,
        "prior": PRIOR,
        "images": inked(candidates.inputs[order]),
        "labels": candidates.targets[order].tolist(),
    }
    alt = (
        "Two bell curves of what unlearned and retrained models say of one candidate, with the "
        "models as dots; and the attack's area over all candidates by the number of fitted models."
    )
    return Interactive("judge_candidate", data, alt)
