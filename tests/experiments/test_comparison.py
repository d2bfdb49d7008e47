"""The shared comparison against the same calls by hand."""

import dataclasses
from functools import partial

import pytest

from book.experiments import Run, electricity, rotated_digits, said, stsb
from book.experiments.comparison import Case, compare
from minilearn import metrics
from minilearn.data import daily_loads
from minilearn.data.sentences import PAIR_WORDS, Corpus, sentence_pairs
from minilearn.evaluation import evaluate
from minilearn.methods import METHODS, retrain, unlearn
from minilearn.methods.amnesiac import Amnesiac
from minilearn.methods.blindspot import Blindspot
from minilearn.methods.neggrad import NegGrad
from minilearn.requests import by_index
from minilearn.training import Best, Plateau, Training
from minilearn.unlearned import History

RECIPE = Training(epochs=3, batch_size=8, lr=1e-2)
CONFIGS = {
    "finetune": Training(epochs=1, batch_size=8),
    "amnesiac": Amnesiac(batch_size=8),
    "blindspot": Blindspot(batch_size=8, layers=(), teacher=Training(epochs=2, batch_size=8)),
}
NAMES = ["original", "retrained", "finetune", "amnesiac", "blindspot_model", "blindspot"]


@pytest.fixture
def fresh(tiny_net):
    return partial(type(tiny_net()), 1)


@pytest.fixture
def case(regression, fresh):
    options = {"units": ("points", "points"), "settings": "a small network"}
    request, unseen = by_index(regression, range(7)), by_index(regression[:9], range(4))
    return Case("a set", request, unseen, fresh, RECIPE, CONFIGS, **options)


def measured(units) -> dict:
    """{(method, seed): {(metric, split): value}}, without seconds."""
    found = {}
    for unit in units:
        rows = {(row["metric"], row["split"]): float(row["value"]) for row in unit.measure()}
        rows.pop(("seconds", ""))
        found[unit.method, unit.seed] = rows
    return found


def test_every_method_is_measured_for_every_seed(case):
    units = list(compare(Run(seeds=range(2)), case))
    assert [(unit.method, unit.seed) for unit in units] == [(n, s) for s in (0, 1) for n in NAMES]
    assert {unit.request for unit in units} == {"7 chosen examples"}
    splits = ("forget", "retain", "test_forget", "test_retain")
    expected = [*(("mae", split) for split in splits)]
    expected += [("wasserstein", "forget"), ("paired_difference", "forget")]
    expected += [("samples", ""), ("seconds", "")]
    for unit in units[:6]:
        assert [(row["metric"], row["split"]) for row in unit.measure()] == expected


def test_nothing_is_trained_before_it_is_asked_for(case):
    case = dataclasses.replace(case, fresh=lambda: pytest.fail("a network was made"))
    assert len(list(compare(Run(), case))) == 5 * len(NAMES)


def test_the_numbers_are_those_of_the_calls_by_hand(case, fresh):
    found, request = measured(compare(Run(seeds=range(1)), case)), case.request
    original = retrain(fresh, request.train, config=RECIPE, seed=0)
    first, second = (retrain(fresh, request.retain, config=RECIPE, seed=100 + s) for s in (0, 1))
    results = {"original": (original, first), "retrained": (first, second)}
    for name in ("finetune", "amnesiac", "blindspot"):  # this one trains its own blindspot model
        options = {"fresh": fresh, "config": CONFIGS[name], "seed": 0}
        results[name] = (unlearn(METHODS[name], original.model, request, **options), first)
    for name, (result, reference) in results.items():
        here = found[name, 0]
        outputs = evaluate(result.model, request.forget).outputs
        apart = outputs - evaluate(reference.model, request.forget).outputs
        assert here["paired_difference", "forget"] == pytest.approx(apart.abs().mean().item())
        for split, data in (("retain", request.retain), ("test_forget", case.unseen.forget)):
            error = metrics.mae(evaluate(result.model, data))
            assert here["mae", split] == pytest.approx(error, abs=1e-6)
        assert here["samples", ""] == result.cost.samples


def test_a_unit_alone_gives_what_it_gives_among_the_others(case):
    run = Run(seeds=range(2))
    together = measured(compare(run, case))
    for i in (11, 6, 3):  # after a restart, what it needs is trained again
        (alone,) = measured([list(compare(run, case))[i]]).items()
        assert together[alone[0]] == alone[1]


def test_a_cache_changes_no_number(case, tmp_path):
    run = Run(seeds=range(1), cache=tmp_path)
    first = measured(compare(run, case))
    made = sorted(path.name for path in tmp_path.iterdir())
    assert len(made) == 4  # original, blindspot model, and two retrained ones
    assert measured(compare(run, case)) == first == measured(compare(Run(seeds=range(1)), case))


def test_experiments_and_requests_share_a_cache(case, fresh, tmp_path):
    """Two networks or two bands on one set, as of the faces."""
    other = by_index(case.request.train, range(5))
    cases = [("a_net", case), ("another_net", dataclasses.replace(case, recipe=Training(2, 8)))]
    cases.append(("a_net", dataclasses.replace(case, request=other)))
    for name, one in cases:
        run = Run(seeds=range(1), cache=tmp_path, experiment=name)
        assert measured(compare(run, one)) == measured(compare(Run(seeds=range(1)), one))
    assert len(list(tmp_path.iterdir())) == 3 * 4


def test_a_published_figure_stands_where_it_belongs(case):
    published = {("finetune", "test_forget"): 5.5}
    case = dataclasses.replace(case, published=published, source="a notebook")
    rows = [(u.method, row) for u in compare(Run(seeds=range(1)), case) for row in u.measure()]
    has = [
        (m, row["split"], row["published"], row["source"]) for m, row in rows if row["published"]
    ]
    assert has == [("finetune", "test_forget", "5.5", "a notebook")]
    plain = dataclasses.replace(case, published={})
    assert measured(compare(Run(seeds=range(1)), case)) == measured(
        compare(Run(seeds=range(1)), plain)
    )


def test_with_validation_pairs_the_best_epoch_is_kept(case, fresh):
    from minilearn.training import Best

    case = dataclasses.replace(case, validation=case.unseen)
    units = list(compare(Run(seeds=range(1)), case))
    found = measured(units[:2])
    for name, data, watched, seed in (
        ("original", case.request.train, case.unseen.train, 0),
        ("retrained", case.request.retain, case.unseen.retain, 100),
    ):
        best = Best(watched)
        result = retrain(fresh, data, config=RECIPE, seed=seed, watch=best)
        best.restore(result.model)
        error = metrics.mae(evaluate(result.model, case.request.forget))
        assert found[name, 0]["mae", "forget"] == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("loss, metric", [("squared", "mse"), ("absolute", "mae")])
def test_the_score_is_named_by_the_loss(case, loss, metric):
    case = dataclasses.replace(case, recipe=dataclasses.replace(RECIPE, loss=loss))
    row = next(iter(compare(Run(seeds=range(1)), case))).measure()[0]
    assert row["metric"] == metric


# ---- the experiments themselves

TOY = Run(seeds=range(1))


@pytest.mark.parametrize("module", [rotated_digits, stsb, electricity], ids=lambda m: m.__name__)
def test_the_settings_tell_everything(module):
    units = list(module.units(TOY))
    assert len({unit.config for unit in units}) >= len(module.CONFIGS) + 1
    for unit in units:
        assert unit.config.startswith("size=toy; ") and repr(module.CONFIGS).isprintable()
        if unit.method in module.CONFIGS:
            assert f"{unit.method}={said(module.CONFIGS[unit.method])}" in unit.config
    dataset = {rotated_digits: "rotated_digits", stsb: "sentence_pairs", electricity: "daily_loads"}
    assert {unit.dataset for unit in units} == {dataset[module]}


def test_published_figures_are_for_the_published_setting_alone():
    assert set(stsb.PUBLISHED) == {unit.method for unit in stsb.units(TOY)}
    unit = next(unit for unit in stsb.units(TOY) if unit.method == "original")
    case = unit.measure.args[0]
    assert case.published == {} and case.dataset == "sentence_pairs"


def test_the_paper_size_shows_the_published_figures(monkeypatch):
    train, test = sentence_pairs(60)
    monkeypatch.setattr(stsb, "_corpus", lambda size: Corpus(train, test, test, PAIR_WORDS))
    monkeypatch.setattr(stsb, "_vectors", lambda size: None)
    case = next(iter(stsb.units(Run(seeds=range(1), size="paper")))).measure.args[0]
    assert case.published["retrained", "test_forget"] == 7.222 and "97b097e" in case.source
    assert len(case.published) == 12 and case.validation is not None


def test_the_paper_size_has_the_published_recipes(monkeypatch):
    train, test = sentence_pairs(60)
    monkeypatch.setattr(stsb, "_corpus", lambda size: Corpus(train, test, test, PAIR_WORDS))
    monkeypatch.setattr(stsb, "_vectors", lambda size: None)
    monkeypatch.setattr(electricity, "_loads", lambda size: ("electricity", "", daily_loads(2, 60)))
    for module, name, source in ((stsb, "stsb", "file"), (electricity, "electricity", "paper")):
        case = next(iter(module.units(Run(seeds=range(1), size="paper")))).measure.args[0]
        known = {"finetune": Training.paper(name, "finetune", source)}
        known["amnesiac"] = Amnesiac.paper(name, source)
        layers = case.configs["blindspot"].layers
        known["blindspot"] = dataclasses.replace(Blindspot.paper(name, source), layers=layers)
        assert case.configs == known
        schedule = Plateau(follows="validation" if case.validation else "loss")
        recipe = Training.paper(name, "blindspot", source)
        assert case.recipe == dataclasses.replace(recipe, schedule=schedule)


def test_a_rate_that_follows_validation_pairs_runs(fresh, case):
    """As size "paper" of `stsb` trains: the best epoch is kept, and the rate has fallen."""
    recipe = dataclasses.replace(RECIPE, epochs=6, lr=0.3, schedule=Plateau(0.5, 0))
    case = dataclasses.replace(case, recipe=recipe, validation=case.unseen)
    result = next(iter(compare(Run(seeds=range(1)), case))).measure.args[1]["original"](0)
    rates = [recipe.lr_at(n, History(epochs=result.history.epochs[:n])) for n in range(7)]
    assert len(set(rates)) > 1 and rates == sorted(rates, reverse=True)


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("module", [stsb, electricity], ids=lambda m: m.__name__)
def test_the_real_data_are_read(module, realdata_root, monkeypatch):
    monkeypatch.setenv("MINILEARN_DATA", str(realdata_root))
    units = list(module.units(Run(seeds=range(1), size="small")))
    assert {unit.dataset for unit in units} == {module.__name__.rsplit(".", 1)[1]}


def test_the_papers_attack_and_index_are_those_of_the_calls_by_hand(case, fresh):
    recipe = Training(epochs=2, batch_size=8, lr=1e-2)
    case = dataclasses.replace(case, relearning=recipe)
    found, request = measured(compare(Run(seeds=range(1)), case)), case.request
    original = retrain(fresh, request.train, config=RECIPE, seed=0).model
    gold = retrain(fresh, request.retain, config=RECIPE, seed=100).model
    model = unlearn(METHODS["finetune"], original, request, config=CONFIGS["finetune"]).model
    sets = [evaluate(model, data) for data in (request.train, case.unseen.train, request.forget)]
    expected = metrics.svc_attack_published(*sets).shares[0]
    assert found["finetune", 0]["svc_published", "forget"] == pytest.approx(expected)
    parts = (request.retain, case.unseen.retain, request.forget, case.unseen.forget)
    *sets, alike = (evaluate(model, data) for data in parts)
    expected = metrics.svc_attack(*sets, unseen_forget=alike).balanced_accuracy
    assert found["finetune", 0]["svc", "forget"] == pytest.approx(expected)
    steps = 2 * -(-len(request.train) // 8)
    sets = request.train, case.unseen.forget
    index = metrics.anamnesis_index(model, gold, original, *sets, cap=steps, config=recipe, seeds=1)
    low, high = index.median or (None, None)
    assert found["finetune", 0].get(("anamnesis", "")) == (low if low == high else None)


def test_selected_models_alone_keep_their_best_epoch_and_ascent_sees_no_retained_data(case, fresh):
    validation = by_index(case.request.train, range(9))
    configs = CONFIGS | {"neggrad": NegGrad(epochs=2, batch_size=4)}
    given = {"configs": configs, "selected": ("original",), "without_retain": ("neggrad",)}
    case = dataclasses.replace(case, validation=validation, **given)
    found, request = measured(compare(Run(seeds=range(1)), case)), case.request
    best = Best(validation.train)
    original = retrain(fresh, request.train, config=RECIPE, seed=0, watch=best).model
    best.restore(original)
    gold = retrain(fresh, request.retain, config=RECIPE, seed=100).model
    model = unlearn(METHODS["finetune"], original, request, config=configs["finetune"]).model
    ascent = METHODS["neggrad"](original, request.forget, config=configs["neggrad"], seed=0).model
    for name, one in (("retrained", gold), ("finetune", model), ("neggrad", ascent)):
        error = metrics.mae(evaluate(one, request.forget))
        assert found[name, 0]["mae", "forget"] == pytest.approx(error, abs=1e-6), name
