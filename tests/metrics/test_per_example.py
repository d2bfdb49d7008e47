"""Attacks per example against formulas written out, worlds with a known answer, and the null."""

import math

import pytest
import torch
from scipy.stats import norm, sem
from scipy.stats import t as student

from minilearn.evaluation import Evaluation
from minilearn.metrics import (
    auc,
    divergence_of_fits,
    klom,
    memory_left,
    per_example,
    rmia,
    signal,
    ulira,
)
from minilearn.metrics.of_candidates import of_forgotten


def draws(count: int, candidates: int, seed: int = 0) -> torch.Tensor:
    """Which candidates are forgotten: pairs of complementary halves."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(count // 2, candidates, generator=generator) < 0.5
    return torch.stack([half, ~half], 1).reshape(count, candidates)


def world(count: int, candidates: int, shift: float, seed: int = 0):
    """Unlearned models that stand `shift` standard deviations above retrained ones; who forgot."""
    generator = torch.Generator().manual_seed(seed)
    middle = 3 * torch.randn(candidates, generator=generator)

    def models(by: float) -> torch.Tensor:
        return middle + by + torch.randn(count, candidates, generator=generator)

    return models(shift), models(0.0), draws(count, candidates, seed)


def test_of_each_pair_the_draw_counts_that_forgets():
    forgotten = torch.tensor([[True, False, True], [False, True, False]])
    answers = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert of_forgotten(answers, forgotten).tolist() == [[1.0, 5.0, 3.0]]


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_with_many_draws_it_is_as_good_as_knowing_both_distributions(shift):
    found = ulira(*world(128, 64, shift))
    assert found.auc == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=0.03)
    assert found.low < norm.cdf(shift / math.sqrt(2)) + 0.02 and found.high > found.auc > 0.5
    assert (found.candidates, found.draws) == (64, 128)


def test_scores_are_the_formula_written_out():
    u, r, forgotten = world(16, 5, 1.0)
    mine = [of_forgotten(values, forgotten) for values in (u, r)]
    fit, prior = torch.tensor([0, 2, 5]), 8.0
    score = per_example._likelihood_ratio(mine[0][fit], mine[1][fit], prior)(mine[0])
    for i in range(5):
        logs = []
        for values in mine:
            columns = values[fit].numpy()
            squares = ((columns - columns.mean(0)) ** 2).sum(0)
            pooled = squares.sum() / (5 * 2)
            variance = (prior * pooled + squares[i]) / (prior + 2)
            scale = math.sqrt(variance * (1 + 1 / 3))
            x = mine[0][:, i].numpy()
            logs.append(student.logpdf(x, prior + 2, columns[:, i].mean(), scale))
        torch.testing.assert_close(score[:, i], torch.from_numpy(logs[0] - logs[1]))


def test_the_area_is_that_of_other_attacks():
    generator = torch.Generator().manual_seed(3)
    members, others = torch.randint(0, 5, (2, 3, 9), generator=generator).double()  # with ties
    expected = [auc(*pair) for pair in zip(members, others, strict=True)]
    assert per_example._auc(members, others).tolist() == pytest.approx(expected)


def test_a_second_retrained_model_is_at_one_half_and_inside_the_interval():
    nulls = [ulira(*world(16, 24, 0.0, seed)) for seed in range(30)]
    assert sum(null.auc for null in nulls) / 30 == pytest.approx(0.5, abs=0.015)
    assert sum(null.low <= 0.5 <= null.high for null in nulls) >= 27


def test_the_interval_is_students_where_every_pair_has_a_share_of_its_own():
    """Then the area is the mean of the shares, and the jackknife the error of that mean."""
    found = torch.tensor([3, 4, 5, 6, 5, 4, 2, 6])  # of 8 candidates, by pair

    def scores(fit, read):
        members = torch.arange(8) < found[read][:, None]
        return 2.0 * members - 1, torch.zeros(len(read), 8)

    verdict = per_example._verdict(scores, 8, 8, 16, 0)
    shares = found.double().numpy() / 8
    low, high = student.interval(0.95, 7, shares.mean(), sem(shares))
    assert (verdict.auc, verdict.low, verdict.high) == pytest.approx((shares.mean(), low, high))


def test_fitting_where_one_reads_finds_what_is_not_there(monkeypatch):
    """The planted fault that the folds are for."""
    verdict = per_example._verdict

    def in_sample(scores, *rest):
        return verdict(lambda fit, read: scores(read, read), *rest)

    worlds = [world(16, 24, 0.0, seed) for seed in range(8)]
    right = sum(ulira(*one).auc for one in worlds) / 8
    monkeypatch.setattr(per_example, "_verdict", in_sample)
    wrong = sum(ulira(*one).auc for one in worlds) / 8
    assert abs(right - 0.5) < 0.03 < 0.1 < wrong - 0.5


def test_memory_left_is_one_at_the_original_and_nought_at_the_retrained():
    _, retrained, forgotten = world(32, 12, 0.0)
    original = retrained + 4.0
    original[:, :3] = retrained[:, :3] + 0.01  # the original hardly knows these
    for unlearned, left in ((original, 1.0), (retrained, 0.0), (retrained + 1.0, 0.25)):
        found = memory_left(unlearned, retrained, original, forgotten)
        assert found[:3].isnan().all()
        torch.testing.assert_close(found[3:], torch.full((9,), left, dtype=torch.float64))
    two = [values[:2] for values in (original, retrained, original, forgotten)]
    assert memory_left(*two).isnan().all()  # one model of a kind has no spread
    beyond = memory_left(retrained - 2.0, retrained, original, forgotten)
    assert beyond[3:] == pytest.approx(-0.5)


def test_what_is_known_stands_out_from_the_spread_of_the_retrained_models_alone():
    _, retrained, forgotten = world(32, 2, 0.0)
    middle = retrained.mean(0)
    scattered = middle + 5.0 + 9.0 * (retrained - middle)
    alike = (middle + 1.0).expand(32, 2)
    for original, known in ((scattered, True), (alike, False)):
        left = memory_left(retrained, retrained, original, forgotten)
        assert bool(left.isfinite().all()) == known and bool(left.isnan().any()) != known


def test_memory_of_numbers_is_the_same_whether_they_are_read_up_or_down():
    _, retrained, forgotten = world(32, 12, 0.0)
    side = torch.ones(12).index_fill(0, torch.arange(5), -1.0)
    unlearned, original = retrained + side, retrained + 4.0 * side
    left = memory_left(unlearned, retrained, original, forgotten)
    torch.testing.assert_close(left, torch.full((12,), 0.25, dtype=torch.float64))
    assert torch.equal(left, memory_left(-unlearned, -retrained, -original, forgotten))


def test_the_divergence_is_that_of_two_normal_distributions():
    unlearned, retrained, forgotten = world(512, 8, 1.0)
    parts = [of_forgotten(values, forgotten) for values in (unlearned, retrained)]
    p, q = (torch.distributions.Normal(x.mean(0), x.std(0)) for x in parts)
    expected = torch.distributions.kl_divergence(p, q).mean().item()
    assert divergence_of_fits(unlearned, retrained, forgotten) == pytest.approx(expected, rel=0.05)
    assert expected == pytest.approx(0.5, abs=0.1)
    assert divergence_of_fits(retrained, retrained, forgotten) == pytest.approx(0, abs=1e-12)


def test_rmia_is_the_share_of_unseen_that_a_candidate_beats():
    unlearned, retrained, forgotten = world(16, 6, 1.5)
    unlearned, retrained = unlearned - 9, retrained - 9  # logarithms of probabilities
    generator = torch.Generator().manual_seed(5)
    unseen = [torch.randn(16, 7, generator=generator) - 9 for _ in range(2)]
    seen = {}

    def spy(scores, *rest):
        fit, read = torch.tensor([1, 4, 6]), torch.tensor([0, 3])
        seen["scores"] = scores(fit, read)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(per_example, "_verdict", spy)
        rmia(unlearned, retrained, forgotten, *unseen, references=2, gamma=2.0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))
    for row, j in enumerate((0, 3)):
        for i in range(6):
            draw = 2 * j + int(not forgotten[2 * j, i])
            for side, (mine, others) in enumerate(((u, unseen[0]), (r, unseen[1]))):
                base = r[[1, 4], i].exp().mean()
                ratio = mine[j, i].exp() / base
                beaten = 0
                for z in range(7):
                    base_z = unseen[1][[2, 8], z].double().exp().mean()
                    beaten += bool(ratio / (others[draw, z].double().exp() / base_z) > 2.0)
                assert seen["scores"][side][row, i].item() == pytest.approx(beaten / 7)
    assert rmia(unlearned, retrained, forgotten, *unseen).auc > 0.6


def test_where_every_draw_forgets_all_each_of_them_counts():
    unlearned, retrained, _ = world(64, 24, 1.0)
    every = torch.ones(64, 24, dtype=torch.bool)
    assert torch.equal(of_forgotten(unlearned, every), unlearned.double())
    found = ulira(unlearned, retrained, every)
    assert found.auc == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.03) and found.draws == 64
    assert memory_left(retrained, retrained, unlearned + 9, every).tolist() == [0.0] * 24
    unseen = [torch.randn(64, 7, generator=torch.Generator().manual_seed(6)) - 9 for _ in range(2)]
    assert rmia(unlearned - 9, retrained - 9, every, *unseen).auc > 0.6
    with pytest.raises(ValueError, match="33 references need 68 draws, got 64"):
        rmia(unlearned - 9, retrained - 9, every, *unseen, references=33)
    assert math.isnan(ulira(unlearned[:5], retrained[:5], every[:5]).auc)


def test_of_a_class_that_is_gone_the_other_classes_are_read():
    """How sure a model is of the class itself has no influence."""
    logits = torch.tensor([[2.0, 0.0, -1.0, 4.0], [0.0, 1.0, 3.0, -2.0]])
    result = Evaluation(logits, torch.tensor([1, 1]), torch.zeros(2))
    expected = logits[:, [0, 2, 3]].double().softmax(1).log().flatten()
    torch.testing.assert_close(signal(result, [0, 2, 3]), expected)
    moved = Evaluation(logits + torch.tensor([0.0, 7.0, 0.0, 0.0]), result.targets, result.loss)
    assert torch.equal(signal(moved, [0, 2, 3]), signal(result, [0, 2, 3]))
    numbers = Evaluation(torch.zeros(2), torch.zeros(2), torch.zeros(2))
    for one, kept in ((result, [1]), (result, [0, 4]), (numbers, [0, 1])):
        with pytest.raises(ValueError, match="kept must be classes below"):
            signal(one, kept)


def test_with_too_few_candidates_or_draws_there_is_no_verdict():
    for count, candidates in ((10, 64), (64, 3)):
        found = ulira(*world(count, candidates, 3.0))
        assert math.isnan(found.auc) and math.isnan(found.low)
        assert str(found) == (
            "no verdict: it takes 4 candidates and 6 models that forgot each, "
            f"here are {candidates} candidates, {count} draws"
        )
    assert str(ulira(*world(16, 8, 3.0))).endswith("8 candidates, 16 draws")


def test_the_signal_is_phi_or_the_signed_prediction():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    classes = Evaluation(logits, torch.tensor([0, 1]), torch.zeros(2))
    p = logits.double().softmax(1)[[0, 1], [0, 1]]
    torch.testing.assert_close(signal(classes), (p / (1 - p)).log(), rtol=1e-5, atol=1e-6)
    values = torch.tensor([-1.0, 2.0])
    assert signal(Evaluation(values, torch.zeros(2), values.abs())).tolist() == [-1.0, 2.0]
    with pytest.raises(
        ValueError, match=r"one prediction per example is needed, .* shape \(2, 3\)$"
    ):
        signal(Evaluation(logits, logits, torch.zeros(2)))


U, R, FORGOTTEN = world(16, 8, 1.0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((U, R, FORGOTTEN.long()), "forgotten must be a boolean tensor"),
        ((U, R, FORGOTTEN[:-1]), "draws must come in pairs"),
        ((U, R, torch.zeros_like(FORGOTTEN)), "draws must come in pairs"),
        ((U[:-2], R, FORGOTTEN), r"numbers \(T, P\) with 16 rows, got shape"),
        ((U[:, :-1], R, FORGOTTEN), r"one shape \(T, P\)"),
        (
            (U, R / 0, FORGOTTEN),
            "must be finite: 128 are not, the first is that of draw 0 at place 0",
        ),
        (("text", R, FORGOTTEN), "answers must be numbers, as a tensor, got 'text'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ulira(*arguments)


def test_bad_settings_are_one_sentence():
    with pytest.raises(ValueError, match="prior must be a finite number above 0"):
        ulira(U, R, FORGOTTEN, prior=0)
    u, r = U - 9, R - 9
    with pytest.raises(ValueError, match="7 references need 32 draws, got 16"):
        rmia(u, r, FORGOTTEN, u, r, references=7)
    with pytest.raises(ValueError, match=r"the same unseen examples, got \(16, 8\) and \(16, 1\)"):
        rmia(u, r, FORGOTTEN, u, r[:, :1])
    with pytest.raises(ValueError, match="same unseen examples"):
        rmia(u, r, FORGOTTEN, u[:, :0], r[:, :0])
    with pytest.raises(
        ValueError, match=r"some here are larger: of .signal.'s phi give .*logsigmoid"
    ):
        rmia(U, R, FORGOTTEN, u, r)
    with pytest.raises(ValueError, match="gamma must be a finite number above 0"):
        rmia(U, R, FORGOTTEN, U, R, gamma=0)


def test_klom_is_the_formula_written_out():
    u, r, forgotten = world(40, 6, 1.5)
    found = klom(u, r, forgotten, bins=7)
    for i in range(6):
        mine, theirs = ([x[t, i].item() for t in range(40) if forgotten[t, i]] for x in (u, r))
        low, high = min(mine + theirs), max(mine + theirs)

        def shares(values, low=low, high=high):
            places = [min(6, int((x - low) / (high - low) * 7)) for x in values]
            return [places.count(place) / len(places) for place in range(7)]

        pairs = zip(shares(mine), shares(theirs), strict=True)
        terms = [p * math.log(p / max(q, 1e-5)) for p, q in pairs if p]
        assert found[i].item() == pytest.approx(sum(terms))


def test_klom_of_the_same_models_is_nothing_and_of_others_as_much_as_it_can_say():
    u, r, forgotten = world(64, 5, 0.0)
    assert klom(u, u, forgotten).abs().max() < 1e-12
    assert klom(torch.ones_like(u), torch.ones_like(u), forgotten).abs().max() < 1e-12
    far = torch.zeros_like(u)
    assert klom(far, far + 9, forgotten).tolist() == pytest.approx([math.log(1e5)] * 5)
    assert torch.equal(klom(far, far + 1e3, forgotten), klom(far, far + 100, forgotten))
    with pytest.raises(ValueError, match="answers lie beyond 100, .* give them in another unit"):
        klom(u + 300, r + 300, forgotten)  # prices, of which the clip leaves nothing


def test_klom_has_a_null_far_from_nothing_where_the_fits_have_not():
    null = world(32, 300, 0.0)
    assert klom(*null).mean() > 1 > 5 * divergence_of_fits(*null)


def test_a_verdict_tells_what_is_found_at_one_false_alarm_in_a_hundred():
    found = ulira(*world(32, 64, 2.0))
    members, others = found.members, found.nonmembers
    threshold = others.sort(descending=True).values[len(others) // 100]
    assert found.tpr_at_1fpr == (members > threshold).double().mean().item()
    assert 0.1 < found.tpr_at_1fpr < (members > others.quantile(0.8)).double().mean()


def test_an_interval_ends_where_an_area_must():
    found = ulira(*world(12, 6, 2.5))
    assert found.low < found.auc < found.high == 1.0 < 2 * found.auc - found.low


def test_a_verdict_keeps_its_scores_for_a_picture():
    verdict = ulira(*world(64, 40, 1.0))
    assert len(verdict.members) == len(verdict.nonmembers) == per_example.FOLDS * 32 * 40
    assert auc(verdict.members, verdict.nonmembers) == pytest.approx(verdict.auc, abs=0.05)
    assert not len(ulira(*world(6, 40, 1.0)).members)
    assert "members" not in repr(verdict)
