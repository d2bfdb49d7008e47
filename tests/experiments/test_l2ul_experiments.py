"""The L2UL experiments: what is asked, what is written, and what stands on the released side."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from book.experiments import (
    KNOWN,
    Run,
    instances,
    l2ul_cifar10,
    l2ul_digits,
    l2ul_width,
    oracle,
    released_l2ul,
    said,
    speed_l2ul,
)
from minilearn.data import Examples, load
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, PGD, importance, l2_pgd, l2ul
from minilearn.methods.continual import continual
from minilearn.parts import attack
from minilearn.requests import by_index
from minilearn.training import Training

# the attacks of these tests are too short to arrive
pytestmark = pytest.mark.filterwarnings("ignore:only .* adversarial images reach")

BOX = (-9.0, 9.0)
SHORT = L2UL(PGD(1.0, steps=3, repeats=2, box=BOX), epochs=2, forget_loss_on="remaining")


def splits(request) -> dict:
    return {"forget": request.forget, "retain": request.retain, "test": request.train}


def measured(trained, request, config: L2UL) -> dict:
    given = "a set", lambda: request, "two items", "l2ul", 0, config, "size=toy; base"
    unit = instances.unit(*given, lambda: trained, splits)
    assert unit.config.startswith("size=toy; base; L2UL(attack=")
    rows = unit.measure()
    assert {row["metric"] for row in rows} <= KNOWN
    return {(row["metric"], row["split"]): float(row["value"]) for row in rows}


def test_a_unit_is_what_the_method_gives(trained, classification):
    right = evaluate(trained, classification).correct.nonzero().flatten()
    request = by_index(classification, right[:2])
    found = measured(trained, request, SHORT)
    result = l2ul(trained, request.forget, config=SHORT, seed=0)
    for split, data in splits(request).items():
        expected = evaluate(result.model, data).correct.double().mean().item()
        assert found["accuracy", split] == expected
    assert found["steps", ""] == len(result.history.loss)
    assert found["finished", ""] == result.finished
    assert 0 <= found["reached", ""] <= 1 and 0 <= found["agreement", ""] <= 1
    untouched = measured(trained, request, dataclasses.replace(SHORT, lr=0.0))
    assert untouched["agreement", ""] == 1


def test_a_stream_is_what_continual_gives(trained, classification):
    right = evaluate(trained, classification).correct.nonzero().flatten()
    stream = [by_index(classification, right[i : i + 2]) for i in (0, 2)]
    after, served = continual(l2ul, trained, stream, config=SHORT, seed=0)

    def asked():  # every request made anew, over an equal training set
        return [by_index(classification[:], right[i : i + 2]) for i in (0, 2)]

    rows = instances.streamed(asked, 0, SHORT, lambda: trained, splits)
    found = {(row["metric"], row["split"]): float(row["value"]) for row in rows}
    items = classification[right[:4]]
    assert found["accuracy", "forget"] == evaluate(after, items).correct.double().mean().item()
    assert found["finished", ""] == all(one.finished for one in served)
    assert found["samples", ""] == sum(one.samples for one in served)


def test_items_are_called_by_their_new_labels(trained, classification):
    right = evaluate(trained, classification).correct.nonzero().flatten()
    request = by_index(classification, right[:2])
    new = (request.forget.targets + 1) % 3
    given = "a set", lambda: request, "relabel", "l2ul", 0, SHORT, "size=toy", lambda: trained
    unit = instances.unit(*given, splits, relabel=lambda items: new)
    found = {(row["metric"], row["split"]): float(row["value"]) for row in unit.measure()}
    result = l2ul(trained, request.forget, relabel=new, config=SHORT, seed=0)
    assert found["steps", ""] == len(result.history.loss)
    expected = evaluate(result.model, request.forget).correct.double().mean().item()
    assert found["accuracy", "forget"] == expected and found["finished", ""] == result.finished


def test_a_run_that_overflows_or_has_nothing_to_do_is_a_row(trained, classification):
    right = evaluate(trained, classification).correct
    wild = L2UL(attack=None, anchor=0.0, lr=1e30)
    found = measured(trained, by_index(classification, right.nonzero()[:2, 0]), wild)
    assert found == {("finished", ""): 0, ("overflowed", ""): 1}
    met = measured(trained, by_index(classification, (~right).nonzero()[:1, 0]), SHORT)
    assert met["finished", ""] == 1 and met["steps", ""] == 0 and met["accuracy", "forget"] == 0


def test_the_ascent_is_the_published_one():
    forms = instances.methods(dataclasses.replace(l2ul_digits.BASE, importance="batch-mean"))
    assert list(forms) == ["neggrad", "neggrad_open", "l2ul_adv", "l2ul"]
    ascent = forms["neggrad"]
    assert (ascent.attack, ascent.anchor, ascent.forget_loss_on) == (None, 0, "all")
    assert forms["l2ul_adv"].anchor == 0 and forms["l2ul_adv"].attack
    assert list(instances.methods(L2UL.paper("cifar10"))) == ["neggrad", "l2ul_adv", "l2ul"]


@pytest.mark.parametrize("count, steps, passes", [(1, 800, 800), (16, 800, 400), (4000, 10, 1)])
def test_the_cap_is_in_steps(count, steps, passes):
    assert instances.capped(l2ul_digits.BASE, count, steps).epochs == passes


@pytest.mark.parametrize(
    "module, options",
    [(l2ul_digits, {}), (l2ul_cifar10, {}), (l2ul_cifar10, {"size": "paper"}), (l2ul_width, {})],
)
def test_no_setting_is_measured_twice_and_every_label_says_what_is_changed(module, options):
    units = list(module.units(Run(seeds=range(2), **options)))
    keys = [(u.dataset, u.request, u.method, u.seed, u.config) for u in units]
    assert len(set(keys)) == len(keys)
    bare = [(u.request, u.method, u.seed, u.config.split("; ")[2:]) for u in units]
    assert len({str(one) for one in bare}) == len(bare)  # nor under another label
    assert all(u.config.startswith("size=") for u in units)


def test_random_items_are_drawn_by_the_seed_and_grow(classification):
    few, more = (instances.random_items(classification, n, 3) for n in (2, 5))
    assert torch.equal(few, more[:2]) and len(set(more.tolist())) == 5
    assert not torch.equal(more, instances.random_items(classification, 5, 4))


def test_resnet18_is_asked_for_all_numbers_of_items_by_both_recipes():
    asked = {(count, label) for count, label, *_ in l2ul_cifar10.asked("paper")}
    assert asked == {(k, label) for k in (1, 16, 64, 128, 256) for label in ("base", "as released")}
    factors = {(count, label) for count, label, *_ in l2ul_cifar10.asked("toy")}
    assert {count for count, label in factors if label == "as released"} == {16}


def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nought():
    count = l2ul_cifar10.RECIPE.epochs
    rates = [l2ul_cifar10.one_cycle(l2ul_cifar10.RECIPE, epoch) for epoch in range(count)]
    top = rates.index(max(rates))
    assert max(rates) == l2ul_cifar10.RECIPE.lr and top + 1 == count / 5
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True) and 0 < rates[-1] < 0.05 * max(rates)


def test_the_resnet18_goes_on_where_it_stopped_and_is_laid_out_as_others(tmp_path, monkeypatch):
    monkeypatch.setattr(l2ul_cifar10, "RECIPE", Training(2, 16, 0.05, "sgd"))
    monkeypatch.setattr(l2ul_cifar10, "resnet18", lambda pool: nn.Sequential(*small_layers()))
    train = Examples(torch.rand(32, 3, 8, 8), torch.arange(32) % 10)
    whole = l2ul_cifar10.trained(Run(), train)
    run = Run(cache=tmp_path)
    rate = l2ul_cifar10.one_cycle

    def stopped(recipe, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return rate(recipe, epoch)

    monkeypatch.setattr(l2ul_cifar10, "one_cycle", stopped)
    with pytest.raises(KeyboardInterrupt):
        l2ul_cifar10.trained(run, train)
    monkeypatch.setattr(l2ul_cifar10, "one_cycle", rate)
    again = l2ul_cifar10.trained(run, train)
    assert not again.training
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b) and b.is_contiguous()


def test_a_step_of_the_oracle_is_the_formula_s_and_it_stops_when_none_is_recognised(
    trained, classification
):
    right = evaluate(trained, classification).correct.nonzero().flatten()
    request = by_index(classification, right[:3])
    for on in ("all", "remaining"):
        config = oracle.Oracle(1, 10_000, 0.01, 0.0, 0.0, on)  # all retained examples in one step
        found = oracle.oracle(trained, request, config, 0)
        by_hand = copy.deepcopy(trained)
        x, y = request.forget.inputs, request.forget.targets
        keep = request.retain.inputs, request.retain.targets
        cross_entropy = nn.functional.cross_entropy
        loss = cross_entropy(by_hand(keep[0]), keep[1]) - cross_entropy(by_hand(x), y)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        for new, old, gradient in zip(
            found.model.parameters(), by_hand.parameters(), gradients, strict=True
        ):
            torch.testing.assert_close(new, old - 0.01 * gradient)
        assert len(found.history.loss) == 1 and not found.finished
    config = oracle.Oracle(200, 64, 0.05, batch_norm="train")
    given = "a set", lambda: request, "three items", 0, config, "size=toy; base"
    unit = oracle.unit(*given, lambda: trained, splits)
    rows = {(r["metric"], r["split"]): float(r["value"]) for r in unit.measure()}
    assert rows["accuracy", "forget"] == 0 and rows["finished", ""] == 1
    assert 1 < rows["steps", ""] < 200 * (len(request.retain) // 64 + 1)
    assert unit.method == "oracle" and {metric for metric, _ in rows} <= KNOWN
    assert rows["accuracy", "retain"] > 0.6


def test_every_width_is_trained_by_one_recipe_and_asked_the_same(tmp_path, monkeypatch):
    made = {}

    def pretrain(net, train, recipe, rate, file):
        made[str(file)] = net
        assert recipe is l2ul_width.RECIPE and rate(0) == l2ul_cifar10.one_cycle(recipe, 0)
        return net

    monkeypatch.setattr(l2ul_width, "pretrain", pretrain)
    run = Run(seeds=range(1), cache=tmp_path)
    for width in (0.125, 0.25):
        l2ul_width.trained(run, width, None)
    kept = [f"{tmp_path}/cifar10-resnet18-{width}-toy-cpu" for width in (0.125, 0.25)]
    assert list(made) == kept  # of a measurement that is under way
    channels = [next(net.parameters()).shape[0] for net in made.values()]
    assert channels == [8, 16] and len(made) == 2
    asked = {}
    for unit in l2ul_width.units(run):
        width = unit.config.split("width ")[1].split(";")[0]
        settings = unit.config.rsplit("; ", 1)[-1]
        asked.setdefault(width, []).append((unit.request, unit.method, settings))
    asked = {width: each[1:] for width, each in asked.items()}  # the original, whose width is named
    assert list(asked) == ["0.125", "0.25"] and asked["0.125"] == asked["0.25"]
    assert {request for request, *_ in asked["0.25"]} == {f"{k} random items" for k in (16, 64)} | {
        "1 random item"
    }


def small_layers() -> list[nn.Module]:
    return [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)]


def test_images_are_shifted_and_mirrored():
    x = torch.rand(40, 3, 6, 5)
    moved = l2ul_cifar10.moved(x, torch.Generator().manual_seed(0))
    order = torch.Generator().manual_seed(0)
    dy, dx, flip = (torch.randint(0, high, (40,), generator=order) for high in (9, 9, 2))
    for i in range(40):
        padded = nn.functional.pad(x[i], (4, 4, 4, 4))
        cut = padded[:, dy[i] : dy[i] + 6, dx[i] : dx[i] + 5]
        assert torch.equal(moved[i], cut.flip(2) if flip[i] else cut)


@pytest.fixture(scope="module")
def photographs(realdata_root):
    """CIFAR-10, read once; while it is used the pretrained networks are found, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINILEARN_DATA", str(realdata_root))
        yield load("cifar10")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_pretrained_networks_classify_real_images(photographs, name):
    test = photographs.test.sample(1000)
    model = l2ul_cifar10.pretrained(name, Run())
    assert evaluate(model, test).correct.double().mean() > 0.89  # 91.7 and 93.4 % of all


@pytest.mark.realdata
def test_one_photograph_is_forgotten_by_a_real_network(photographs):
    """The paper's order on real data: with adversarial images more is left than without."""
    train, test = photographs
    model, some = l2ul_cifar10.pretrained("resnet20", Run()), test.sample(500)
    item = train[instances.random_items(train, 4, 0)]
    forms = instances.methods(dataclasses.replace(l2ul_cifar10.BASE, epochs=60, lr=3e-3))
    left = {}
    for name in ("neggrad", "l2ul_adv"):
        result = l2ul(model, item, config=forms[name])
        left[name] = evaluate(result.model, some).correct.double().mean()
    assert left["l2ul_adv"] > left["neggrad"] + 0.1


@pytest.mark.realdata
def test_half_of_the_gradients_of_a_real_network_lie_below_the_released_floor(
    photographs, monkeypatch
):
    """So the released attack moves less; both still reach their class."""
    model, items = l2ul_cifar10.pretrained("resnet20", Run()), photographs.train.sample(4)
    lengths, step = [], attack.l2_pgd_step

    def spied(x, gradient, *rest, **options):
        lengths.append(gradient.flatten(1).norm(dim=1))
        return step(x, gradient, *rest, **options)

    monkeypatch.setattr(attack, "l2_pgd_step", spied)
    plain = l2_pgd(model, items, PGD(4.0, steps=20, repeats=1))
    below = (torch.stack(lengths[1:]) < 1e-6).double().mean()
    assert 0.5 < below < 1
    released = l2_pgd(model, items, PGD(4.0, steps=20, repeats=1, floor=1e-6))
    assert plain.reached.all() and released.reached.all()
    assert (plain.images - released.images).flatten(1).norm(dim=1).mean() > 0.1


def test_the_size_of_the_paper_takes_its_recipes():
    units = [*l2ul_cifar10.units(Run(seeds=range(1), size="paper"))]
    assert all("one cycle, crops and flips, inside fast" in u.config for u in units)
    ours = {u.config for u in units if u.config.startswith("size=paper; as released")}
    for config in instances.methods(L2UL.paper("cifar10")).values():
        capped = instances.capped(config, 16, l2ul_cifar10.STEPS)
        assert any(one.endswith(f"; {said(capped)}") for one in ours)


def test_the_network_of_the_paper_is_normalised_and_trained_as_released(monkeypatch):
    short = dataclasses.replace(l2ul_cifar10.RECIPE, epochs=1)
    monkeypatch.setattr(l2ul_cifar10, "RECIPE", short)
    train = Examples(torch.rand(4, 3, 8, 8), torch.arange(4))
    net = l2ul_cifar10.trained(Run(size="paper"), train)
    assert net[0].mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert net[0].std.flatten().tolist() == pytest.approx([0.2023, 0.1994, 0.2010])
    assert not net.training


def test_without_the_weights_it_says_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="pretrained/resnet20-12fca82f.th belongs in the folder"):
        l2ul_cifar10.pretrained("resnet20", Run())
    (tmp_path / "pretrained").mkdir()
    torch.save({"w": torch.zeros(3)}, tmp_path / "pretrained" / "resnet20-12fca82f.th")
    with pytest.raises(ValueError, match="does not hold the weights of a resnet20"):
        l2ul_cifar10.pretrained("resnet20", Run())


# ---- the released side


@pytest.fixture
def pictured():
    """A network with batch normalisation, and images of whole grey values that it names itself."""
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    net = nn.Sequential(*layers).eval()
    x = torch.randint(0, 256, (5, 3, 6, 6)) / 255
    with torch.no_grad():
        return net, Examples(x, net(x).argmax(1))


def test_the_released_attack_stays_in_box_and_ball_and_never_aims_at_the_label(pictured):
    net, items = pictured
    config = PGD(0.7, steps=4, repeats=3)
    arrays = released_l2ul.attack(net, items, config, batch=2)
    assert len(arrays) == 15
    for i, (image, target) in enumerate(arrays):
        away = torch.from_numpy(image) - items.inputs[i % 5]
        assert away.norm() <= 0.7 * (1 + 1e-5) and target != items.targets[i % 5]
        assert image.min() >= -1e-6 and image.max() <= 1 + 1e-6


def test_one_released_step_is_one_step_of_ours(pictured):
    """Same images, full batches, batch statistics, weights by numbers, the batch-mean anchor."""
    net, items = pictured
    config = dataclasses.replace(
        L2UL.paper("cifar10"), attack=PGD(0.7, steps=4, repeats=2), epochs=2, lr=0.05
    )
    mine = l2ul(net, items, config=config, seed=3)
    found = l2_pgd(net, items, config.attack, seed=3)
    arrays = list(zip(found.images.numpy(), found.targets.tolist(), strict=True))
    twin = copy.deepcopy(net)
    omega = importance(net, items, "batch-mean", train=True)
    steps = dataclasses.replace(config, epochs=len(mine.history.loss))
    right = released_l2ul.unlearn(twin, items, arrays, steps, omega)
    assert right == evaluate(mine.model, items).correct.double().mean()
    for a, b in zip(mine.model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_importance_by_vmap_is_the_same(pictured):
    net, items = pictured
    mine, theirs = importance(net, items), speed_l2ul.by_vmap(net, items)
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name])


def test_passes_are_medians_of_ratios_after_a_turn_that_does_not_count(monkeypatch):
    seconds = iter([9, 9, 9, 9, 1, 2, 4, 8, 2, 2, 2, 40, 1, 3, 3, 30])
    monkeypatch.setattr(speed_l2ul, "_seconds", lambda way, device: float(next(seconds)))
    monkeypatch.setattr(speed_l2ul, "TURNS", 3)
    rows = speed_l2ul._passes("net", lambda: nn.Linear(2, 2), torch.rand(3, 2), torch.device("cpu"))
    found = {row["metric"]: float(row["value"]) for row in rows}
    ways = ["pass", "importance", "vmap", "loop"]
    assert [found[f"{way}_passes"] for way in ways] == [1, 2, 3, 20]
    assert [found[f"{way}_seconds"] for way in ways] == [1, 2, 3, 30]
    assert found["turns"] == 3


def test_the_ways_are_timed_on_the_same_batches(monkeypatch):
    monkeypatch.setattr(speed_l2ul, "TURNS", 1)
    monkeypatch.setattr(speed_l2ul, "ENOUGH", 0)
    seen = []

    class Net(nn.Module):
        """It tells without a hook, for a network with hooks is checked at every call."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            seen.append(len(x))
            return self.layer(x)

    net = Net()
    speed_l2ul._passes("net", lambda: net, torch.rand(40, 2), torch.device("cpu"))
    one_pass, ours, vmapped, loop = [32, 8], [32, 8], [1, 1], [1] * 40
    assert seen[-44 - 2 :] == [*one_pass, *ours, *vmapped, *loop]


def test_the_speed_units_time_both_sides(monkeypatch):
    monkeypatch.setattr(speed_l2ul, "SIZES", {"toy": ("resnet20", 8, 1, 1)})
    seen = []

    def timed(name, ours, theirs, device) -> list:
        ours(), theirs(0)
        seen.append(name)
        return []

    units = list(speed_l2ul.units(Run(seeds=range(1)), timed))
    ours = ["l2_pgd", "l2_pgd_fast", "l2ul", "l2ul_fast"]
    assert [u.method for u in units[:6]] == [*ours, "importance", "vmap(grad)"]
    assert [u.method for u in units[6:]] == [*speed_l2ul.PASSES]
    assert all("0x" not in u.config and u.config.startswith("size=toy; cpu") for u in units)
    for unit in units[:4]:
        unit.measure()
    assert seen == ours
