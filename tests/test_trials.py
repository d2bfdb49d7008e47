"""Trials: many draws, their models made once, and what strong attacks say of them."""

import math
import shutil

import pytest
import torch
from shared import Pairs, line
from torch import nn

from minilearn import together as module
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, BadTeacher, bad_teacher, finetune, l2ul, retrain
from minilearn.metrics import signal
from minilearn.models import build
from minilearn.precision import fast
from minilearn.requests import by_class
from minilearn.schedule import Plateau
from minilearn.stack import stack
from minilearn.together import SEEDS, Draw
from minilearn.training import Training
from minilearn.trials import AGAIN, pairs_of_draws, trials

RECIPE = Training(epochs=30, batch_size=16, lr=1e-2)
METHODS = {"finetune": Training(epochs=1, lr=1e-4), "neggrad": None}
INSTANCES = L2UL(attack=None)
TEACHER = BadTeacher(epochs=2, batch_size=16, lr=1e-2)


def network():
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.fixture(scope="module")
def train() -> Examples:
    """Easy examples, but the first eight have labels at random: they must be learnt by heart."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    y = x[:, :3].argmax(1)
    y[:8] = (y[:8] + 1) % 3
    return Examples(x, y)


@pytest.fixture(scope="module")
def unseen() -> Examples:
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(2))
    return Examples(x, x[:, :3].argmax(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def done(train, unseen, folder):
    return trials(network, train, range(8), unseen, METHODS, folder, draws=12, training=RECIPE)


def test_draws_are_halves_and_their_complements():
    forgotten = pairs_of_draws(6, 9, seed=3)
    assert forgotten.sum(1).tolist() == [4, 5] * 3
    assert torch.equal(forgotten[0::2], ~forgotten[1::2])
    assert not torch.equal(forgotten, pairs_of_draws(6, 9, seed=4))
    for wrong, sentence in ((3, "an even number, got 3"), (0, "at least 2"), (2.0, "whole number")):
        with pytest.raises(ValueError, match=sentence):
            pairs_of_draws(wrong, 9)


def double_network():
    return network().double()


def of_draw(number: int, one=network):
    """What makes the networks of a draw: a seed of its own, and a number that torch draws."""
    return lambda: build(one, int(torch.randint(2**31, ())) + SEEDS * number)


def test_each_answer_is_the_model_s_made_by_hand(train, unseen, done):
    fresh, draw = of_draw(3), Draw(3, done.forgotten[3].nonzero().flatten(), trials_seed=0)
    everything, forgotten_first = draw.orders(64)
    assert torch.equal(forgotten_first[:4].sort().values, draw.forgotten)
    assert not torch.equal(everything, Draw(2, draw.forgotten, trials_seed=0).orders(64)[0])
    retain = train[forgotten_first[4:]]
    original = retrain(fresh, train[everything], config=RECIPE, seed=0).model
    made = {
        "original": original,
        "retrained": retrain(fresh, retain, config=RECIPE, seed=1).model,
        AGAIN: retrain(fresh, retain, config=RECIPE, seed=2).model,
        "finetune": finetune(original, retain, config=METHODS["finetune"], seed=0).model,
    }
    for column, model in made.items():
        assert torch.equal(done.candidates[column][3], signal(evaluate(model, train[range(8)])))
        assert torch.equal(done.unseen[column][3], signal(evaluate(model, unseen)))


def test_the_two_orders_of_a_draw_know_nothing_of_each_other():
    """Else an original and its retrained models would see what is retained in one order."""
    draw = Draw(5, torch.arange(4), trials_seed=0)
    everything, forgotten_first = draw.orders(64)
    assert not torch.equal(everything[everything >= 4], forgotten_first[4:])
    assert everything.sort().values.tolist() == forgotten_first.sort().values.tolist()


def test_draws_at_once_answer_as_those_made_one_by_one(train, unseen, tmp_path, monkeypatch):
    """With methods that read networks, weights, inputs alone; and one that cannot be stacked.

    In double precision: in single Adam's long steps make much of a last bit.
    """
    train, unseen = (Examples(part.inputs.double(), part.targets) for part in (train, unseen))
    methods = METHODS | {"bad_teacher": TEACHER, "l2ul": INSTANCES}
    given = double_network, train, range(8), unseen, methods
    options = {"draws": 4, "training": RECIPE}
    done = trials(*given, tmp_path / "alone", **options)
    stacked = set()

    def counted(networks, inputs):
        stacked.add(len(networks))
        return stack(networks, inputs)

    monkeypatch.setattr(module, "stack", counted)
    together = trials(*given, tmp_path / "together", **options, at_once=3)
    near = {"rtol": 1e-8, "atol": 1e-8}
    for column, values in done.candidates.items():
        torch.testing.assert_close(together.candidates[column], values, **near)
        torch.testing.assert_close(together.unseen[column], done.unseen[column], **near)
    assert stacked == {2, 3}  # a look at two before all else
    fresh = of_draw(2, double_network)
    draw = Draw(2, done.forgotten[2].nonzero().flatten(), trials_seed=0)
    everything, forgotten_first = draw.orders(64)
    original = retrain(fresh, train[everything], config=RECIPE, seed=0).model
    forget, retain = train[forgotten_first[:4]], train[forgotten_first[4:]]
    made = {
        "bad_teacher": bad_teacher(
            original, forget.inputs, retain.inputs, fresh=fresh, config=TEACHER, seed=0
        ),
        "l2ul": l2ul(original, forget, config=INSTANCES, seed=draw.seed),
    }
    for column, result in made.items():
        answers = signal(evaluate(result.model, train[range(8)]))
        torch.testing.assert_close(together.candidates[column][2], answers, **near)
        assert (answers - done.candidates["original"][2]).abs().max() > 1e-2


def test_what_was_learnt_by_heart_is_found_and_a_second_retraining_is_not(done):
    nothing, null = done.attack("original"), done.attack(AGAIN)
    assert nothing.auc > 0.9 and nothing.low > 0.5
    assert null.low <= 0.5 <= null.high
    assert done.attack("finetune").auc > 0.9  # a gentle one forgets nothing
    frame = done.frame()
    assert list(frame.index) == ["original", AGAIN, *METHODS]
    assert frame.loc["original", "memory left"] == 1.0
    assert abs(frame.loc[AGAIN, "memory left"]) < 0.4 < frame.loc["finetune", "memory left"]
    assert frame.loc["original", "auc"] == nothing.auc


def test_the_same_call_trains_nothing_and_another_method_no_retrained_model(
    train, unseen, folder, done, monkeypatch
):
    trained = []

    def counted(fresh, retain, **options):
        trained.append(len(retain))
        return retrain(fresh, retain, **options)

    monkeypatch.setattr(module, "retrain", counted)
    options = {"draws": 12, "training": RECIPE}
    again = trials(network, train, range(8), unseen, METHODS, folder, **options)
    assert not trained
    for column, values in done.candidates.items():
        assert torch.equal(values, again.candidates[column])
    more = METHODS | {"finetune long": Training(epochs=2)}
    trials(network, train, range(8), unseen, more, folder, **options)
    assert trained == [64] * 12  # the originals, which the new method starts from
    trials(network, train, range(8), unseen, {}, folder, draws=2, training=Training(epochs=1))
    assert len(trained) > 12  # another recipe is another trial


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(train, unseen, tmp_path, monkeypatch, done):
    trained = []

    def stopped(fresh, retain, **options):
        trained.append(len(retain))
        if len(trained) == 2 * 3 + 2:
            raise KeyboardInterrupt
        return retrain(fresh, retain, **options)

    options = {"draws": 4, "training": RECIPE}  # a draw is the same among twelve
    with monkeypatch.context() as patch:
        patch.setattr(module, "retrain", stopped)
        with pytest.raises(KeyboardInterrupt):
            trials(network, train, range(8), unseen, METHODS, tmp_path, **options)
    kept = sorted(tmp_path.rglob("*.pt"))
    assert len(kept) == 2 * 5 + 1  # two whole draws, and the original of the third
    found = trials(network, train, range(8), unseen, METHODS, tmp_path, jobs=2, **options)
    for column, values in done.candidates.items():
        assert torch.equal(values[:4], found.candidates[column])
    kept[0].write_bytes(kept[0].read_bytes()[:-1])
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        trials(network, train, range(8), unseen, METHODS, tmp_path, **options)


def own_network(forward) -> type[nn.Module]:
    """A class of a network with a setting in a dictionary, whose `forward` was edited."""

    class Own(nn.Module):
        def __init__(self, act: str = "relu"):
            super().__init__()
            self.settings = {"act": act}
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    Own.forward = forward
    return Own


Own = own_network(lambda self, x: self.head(getattr(torch, self.settings["act"])(self.body(x))))
Edited = own_network(lambda self, x: self.head(self.body(x).tanh()))


def test_a_folder_keeps_the_answers_of_one_network_one_precision_and_one_code(
    train, unseen, tmp_path
):
    def answers(make, **options):
        options = {"draws": 2, "training": Training(epochs=1)} | options
        found = trials(make, train, range(8), unseen, {}, tmp_path, **options)
        return found.candidates["original"]

    first = answers(Own)
    assert torch.equal(first, answers(Own))
    assert not torch.equal(first, answers(Edited))
    assert not torch.equal(first, answers(lambda: Own("tanh")))
    assert torch.equal(answers(Edited), answers(lambda: Own("tanh")))
    with fast(torch.bfloat16):
        half = answers(Own)
        shutil.rmtree(tmp_path)
        assert torch.equal(half, answers(Own, jobs=2)) and not torch.equal(half, first)


def test_a_folder_keeps_the_answers_to_one_set_of_unseen_examples(train, unseen, tmp_path):
    others = Examples(unseen.inputs.flip(1), unseen.targets)
    options = {"draws": 2, "training": Training(epochs=1)}
    for part in (unseen, others):
        found = trials(network, train, range(8), part, {}, tmp_path / "one", **options)
        alone = tmp_path / f"of {part.inputs[0, 0]:.3f}"
        expected = trials(network, train, range(8), part, {}, alone, **options)
        assert torch.equal(found.unseen["original"], expected.unseen["original"])


def test_the_table_has_the_quantiles_of_the_memory_that_is_left(done):
    table = done.frame()
    for column in ("finetune", "neggrad"):
        left = done.memory_left(column)
        left = left[left.isfinite()]
        for name, share in (("10 %", 0.1), ("memory left", 0.5), ("90 %", 0.9)):
            assert table.loc[column, name] == pytest.approx(left.quantile(share).item())


def test_candidates_are_known_by_their_positions(train, unseen, tmp_path):
    found = trials(network, train, [7, 2, 5, 0], unseen, {}, tmp_path, draws=2)
    assert found.positions.tolist() == [0, 2, 5, 7]
    pool = (train.targets == 1).nonzero().flatten()
    options = {"draws": 2, "whole": True, "training": Training(epochs=1)}
    whole = trials(network, train, pool, unseen, {}, tmp_path, **options)
    assert whole.positions.tolist() == pool.repeat_interleave(2).tolist()
    assert whole.positions.shape == whole.forgotten[0].shape


def test_where_a_class_is_forgotten_whole_the_other_classes_are_read(train, unseen, tmp_path):
    pool = (train.targets == 2).nonzero().flatten()
    options = {"draws": 2, "training": Training(epochs=1), "whole": True, "at_once": 2}
    found = trials(network, train, pool, unseen, {"finetune": None}, tmp_path, **options)
    assert found.forgotten.all() and found.forgotten.shape == (2, 2 * len(pool))
    draw = Draw(1, pool, trials_seed=0)
    everything, _ = draw.orders(64)
    fresh = of_draw(1)
    model = retrain(fresh, train[everything], config=Training(epochs=1), seed=0).model
    expected = signal(evaluate(model, train[pool]), [0, 1])
    torch.testing.assert_close(found.candidates["original"][1], expected)
    assert found.unseen["finetune"].shape == (2, 2 * len(unseen))
    several = trials(network, train, range(9), unseen, {}, tmp_path, **options)
    assert several.candidates["original"].shape == (2, 9)  # no class is gone: phi


def test_a_draw_forgets_half_of_the_groups_and_each_of_them_whole(train, unseen, tmp_path):
    """Groups are named in the order of the pool; candidates come in that of their positions."""
    pool, owners = [9, 2, 4, 11, 3, 8, 20], [7, 1, 7, 5, 1, 30, 5]
    options = {"draws": 6, "training": Training(epochs=1), "seed": 2}
    found = trials(network, train, pool, unseen, {}, tmp_path, groups=owners, **options)
    owner = dict(zip(pool, owners, strict=True))
    gone = [
        {p for p, out in zip(sorted(pool), row, strict=True) if out}
        for row in found.forgotten.tolist()
    ]
    users = [{owner[position] for position in draw} for draw in gone]
    for draw, their in zip(gone, users, strict=True):
        assert len(their) == 2 and draw == {p for p in pool if owner[p] in their}
    assert all(
        one | other == set(owners) for one, other in zip(users[::2], users[1::2], strict=True)
    )
    assert len({frozenset(their) for their in users[::2]}) > 1
    draw = Draw(4, torch.tensor(sorted(gone[4])), trials_seed=2)
    retain = train[draw.orders(64)[1][len(gone[4]) :]]

    def fresh():
        return build(network, int(torch.randint(2**31, ())) + draw.seed)

    model = retrain(fresh, retain, config=Training(epochs=1), seed=2 * SEEDS + 1).model
    expected = signal(evaluate(model, train[sorted(pool)]))
    assert torch.equal(found.candidates["retrained"][4], expected)
    again = trials(network, train, pool, unseen, {}, tmp_path, **options)  # of items, beside it
    assert not torch.equal(again.forgotten, found.forgotten)
    assert not torch.equal(again.candidates["retrained"], found.candidates["retrained"])


def test_groups_of_one_size_are_trained_as_one(train, unseen, tmp_path):
    options = {"draws": 2, "training": Training(epochs=1), "groups": [0, 1, 2, 3] * 2}
    one, both = (
        trials(network, train, range(8), unseen, {}, tmp_path / str(n), at_once=n, **options)
        for n in (1, 2)
    )
    near = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(both.candidates["retrained"], one.candidates["retrained"], **near)


def test_numbers_and_datasets_of_one_s_own(tmp_path):
    numbers = line(*(float(i % 5) for i in range(20)))

    def small():
        return nn.Sequential(nn.Linear(1, 4), nn.Flatten(0), nn.Unflatten(0, (-1, 4)), Sum())

    found = trials(
        small,
        Pairs(numbers),
        [4, 2, 9, 11],
        line(7.5, 8.5),
        {},
        tmp_path,
        draws=2,
        training=Training(epochs=1),
    )
    assert found.candidates["original"].shape == (2, 4)

    def fresh():
        return build(small, int(torch.randint(2**31, ())))

    everything = numbers[Draw(0, torch.tensor([2, 4]), trials_seed=0).orders(20)[0]]
    model = retrain(fresh, Pairs(everything), config=Training(epochs=1), seed=0).model
    expected = model(numbers.inputs[[2, 4, 9, 11]]).double().detach()
    torch.testing.assert_close(found.candidates["original"][0], expected)
    assert math.isnan(found.attack("original").auc)  # too few draws
    assert "no verdict" in str(found.attack("original"))


class Sum(nn.Module):
    """Adds up what an example has."""

    def forward(self, x):
        return x.sum(1)


def test_bad_input_is_one_sentence(train, unseen, tmp_path, done, monkeypatch):
    def call(pool=range(8), others=unseen, methods=METHODS, make=network, data=train, **options):
        return trials(make, data, pool, others, methods, tmp_path, **options)

    def odd():
        return nn.Sequential(nn.Linear(6, 3), nn.Bilinear(3, 3, 3))

    def one():
        return nn.Linear(6, 1)

    ones = (train.targets == 1).nonzero().flatten()
    two = {"data": Examples(train.inputs, (train.targets == 1).long())}
    column = Examples(train.inputs, train.inputs[:, :1])
    of_column = {"data": column, "others": Examples(unseen.inputs, unseen.inputs[:, :1])}
    plateau = Training(schedule=Plateau(follows="loss"))
    for arguments, sentence in (
        ({"methods": {"forget me": None}}, "the first word of 'forget me' in methods is one of"),
        ({"methods": {"neggrad": RECIPE}}, r"methods\['neggrad'\] must be a NegGrad, got Training"),
        ({"methods": ["finetune"]}, "settings by name"),
        ({"pool": range(64)}, "nothing is retained"),
        ({"pool": [0, 0]}, "named twice"),
        ({"pool": [0]}, "candidates must be a whole number of at least 2"),
        ({"others": train[3:20]}, "5 of the unseen examples are candidates"),
        ({"others": train[20:40]}, "'unseen' holds training examples only"),
        ({"pool": train.targets == 1}, r"pool must be .*of a boolean mask give mask.nonzero\(\)"),
        ({"pool": by_class(train, 1)}, "pool must be a flat list .*of a request its indices"),
        ({"others": Examples(unseen.inputs, unseen.targets + 2)}, "the labels go up to 3"),
        ({"at_once": 2, "training": plateau}, "a Plateau follows the loss of one network"),
        ({"at_once": 2, "methods": {"finetune": plateau}}, "a Plateau follows the loss of one"),
        (two | {"pool": ones, "whole": True}, "without the pool there is 1: leave whole out"),
        (of_column | {"make": one}, "squeeze the network's answers"),
        ({"draws": 5}, "an even number, got 5"),
        ({"training": None}, "training must be a Training"),
        ({"jobs": 0}, "jobs must be"),
        ({"at_once": 0}, "at_once must be"),
        ({"whole": 1}, "whole is true or false, got 1"),
        ({"at_once": 2, "pool": range(7)}, "draws of one size, got 3 to 4 candidates"),
        ({"at_once": 2, "groups": [0, 0, 0, 1, 1, 1, 1, 1]}, "of one size, got 3 to 5 candidates"),
        ({"groups": range(7)}, "one number for each of the 8 candidates, got 7"),
        ({"groups": [0.5] * 8}, "groups must be a flat list of integers"),
        ({"groups": [3] * 8}, "half of the groups, but there is only 3"),
        ({"groups": range(8), "whole": True}, "give groups or whole, not both"),
        ({"at_once": 2, "data": Pairs(train)}, "at_once trains on Examples, got a Pairs"),
        ({"at_once": 2, "make": odd}, "1 is a Bilinear with weights; train them one by one"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call(**arguments)
    with pytest.raises(ValueError, match="column is one of .'original', 'retrained'"):
        done.attack("scrub")
    assert not any(tmp_path.iterdir())  # nothing was trained
    (tmp_path / "answers").write_text("")
    monkeypatch.setattr(module, "retrain", None)
    with pytest.raises(OSError, match="folder: .* could not be written, because .* is a file"):
        trials(network, train, range(8), unseen, METHODS, tmp_path / "answers")
