"""What every method of the registry must keep to; one that is added later is tested as well."""

import copy
import dataclasses
import importlib.util
import inspect
import os
from pathlib import Path

import pytest
import torch
from shared import bits
from tape import taped
from torch import Tensor, nn

from minilearn.data import Examples, without_targets
from minilearn.fingerprints import fingerprint
from minilearn.methods import METHODS, Unlearned, access, unlearn
from minilearn.models import build, copy_of
from minilearn.precision import fast
from minilearn.requests import by_class, by_index
from minilearn.training import History


def case_of(name: str) -> dict:
    """What a method's own test file says of it, in `CASE`: what it may see ("access"); the "task",
    if it is for one only; the "settings" that it needs besides a short run; whether it is
    "one_step", without epochs, draws and anything to resume; and whether what comes out is a
    "new_network", although the model is seen."""
    path = Path(__file__).with_name(f"test_{name}.py")
    if not path.exists():
        pytest.fail(f"the method {name} has no tests: write {path.name}, see CONTRIBUTING.md")
    spec = importlib.util.spec_from_file_location(f"case_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    usual = {"task": None, "settings": {}, "one_step": False, "new_network": False}
    return usual | module.CASE


CASES = {name: case_of(name) for name in METHODS}


@pytest.fixture(params=METHODS.values(), ids=list(METHODS))
def method(request):
    """Every method in turn."""
    return request.param


@pytest.fixture
def train(method, classification, regression) -> Examples:
    """A training set of the method's task."""
    return regression if CASES[method.__name__]["task"] == "regression" else classification


@pytest.fixture
def case(train):
    """The first seven examples are to be forgotten."""
    return by_index(train, range(7))


@pytest.fixture
def fresh(train, tiny_net):
    """A function that makes new networks, as a user writes it: decided by torch's global state."""
    kind, outputs = type(tiny_net()), train.classes or 1
    return lambda: kind(outputs)


@pytest.fixture
def original(fresh) -> nn.Module:
    """A model with flags, gradients and buffers that a careless method would change."""
    model = fresh()
    model.scale.fill_(1.25)
    model.train()
    model.body[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


@pytest.fixture
def given(method, fresh) -> dict:
    """What a method needs besides what every method may see: the weights of before training."""
    return {"start": build(fresh, 9)} if "start" in access(method) else {}


@pytest.fixture
def run(method, fresh, original, case, given):
    """Run the method through `unlearn`, for few steps."""
    config = inspect.signature(method).parameters["config"].default
    short = {"epochs": 2, "batch_size": 5, "lr": 1e-2}
    fields = {f.name for f in dataclasses.fields(config)}
    short |= CASES[method.__name__]["settings"]
    config = dataclasses.replace(config, **{k: v for k, v in short.items() if k in fields})

    def call(model=original, request=case, **options):
        return unlearn(method, model, request, fresh=fresh, **{"config": config} | given | options)

    call.config = config
    return call


@pytest.fixture
def parts(method, original, fresh, case, given):
    """What the method is given, by the names of its arguments."""
    all_of_it = {"model": original, "fresh": fresh, "forget": case.forget, "retain": case.retain}
    all_of_it |= given
    sees = [part.split() for part in access(method)]
    seen = {n: without_targets(all_of_it[n]) if rest else all_of_it[n] for n, *rest in sees}
    return seen


@pytest.fixture
def epochs(method):
    """Skips methods that have none."""
    if CASES[method.__name__]["one_step"]:
        pytest.skip("it is one gradient: nothing is drawn, watched or resumed")


def test_access_is_what_its_test_says(method):
    assert access(method) == CASES[method.__name__]["access"]


def test_the_given_model_and_data_are_as_before(run, original, case, everything_of):
    train = case.train
    before = everything_of(original), fingerprint((train, case.mask)), torch.get_rng_state()
    result = run()
    after = everything_of(original), fingerprint((train, case.mask)), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert isinstance(result, Unlearned) and isinstance(result.history, History)


def test_the_new_model_shares_nothing_and_carries_no_gradient(run, original, case, everything_of):
    new = run().model
    mine = [*original.parameters(), *original.buffers(), case.train.inputs, case.train.targets]
    mine += [p.grad for p in original.parameters()]
    theirs = [*new.parameters(), *new.buffers()]
    storages = {t.untyped_storage().data_ptr() for t in mine}
    assert not storages & {t.untyped_storage().data_ptr() for t in theirs}
    assert all(p.grad is None for p in new.parameters())
    assert not {id(m) for m in original.modules()} & {id(m) for m in new.modules()}
    assert everything_of(new)[3] == everything_of(original)[3]  # no hook was left in it


def test_the_student_moved(run, original):
    start = fingerprint(original)
    assert fingerprint(run().model) != start


def test_no_optimiser_holds_the_given_model(run, original, monkeypatch, epochs):
    held, add = set(), torch.optim.Optimizer.add_param_group

    def spy(optimizer, group):
        add(optimizer, group)
        held.update(id(parameter) for parameter in group["params"])

    monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", spy)
    new = run().model
    assert held & {id(p) for p in new.parameters()}
    assert not held & {id(p) for p in original.parameters()}


def test_same_seed_same_bits_other_seed_other_bits(run, epochs):
    one = run(seed=1)
    torch.randn(5)
    assert bits(one) == bits(run(seed=1)) != bits(run(seed=2))


def test_cost_is_what_hooks_count(method, run):
    """Every module that a method runs is hooked through nn.Module's own global hooks.

    A pass is one of the extractor, `body`: what follows it is not always run.
    """
    passed = {"forward": 0, "backward": 0}

    def forward(module, inputs, output):
        if inputs[0].is_meta:  # a look at shapes without numbers is no pass
            return
        if isinstance(module, nn.Sequential) and isinstance(module[1], nn.BatchNorm1d):
            passed["forward"] += len(inputs[0])
            if isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(lambda grad: backward(len(grad)))

    def backward(samples):
        passed["backward"] += samples

    hook = nn.modules.module.register_module_forward_hook(forward)
    try:
        cost = run().cost
    finally:
        hook.remove()
    assert (cost.forward.total(), cost.backward.total()) == (passed["forward"], passed["backward"])
    assert cost.samples == passed["forward"] + 2 * passed["backward"] > 0
    assert set(cost.by_source()) <= {"forget", "retain", "other"} and cost.seconds > 0
    sees = " ".join(access(method))
    assert all(cost.forward[source] == 0 for source in ("forget", "retain") if source not in sees)


def test_watch_sees_every_epoch(run, epochs):
    seen = []

    def watch(epoch, model):
        seen.append(epoch)
        return {"twice": 2 * epoch}

    result = run(watch=watch)
    assert seen == [1, 2]
    assert result.history.epochs == [{"epoch": 1, "twice": 2}, {"epoch": 2, "twice": 4}]
    assert bits(result) == bits(run())  # watching changes nothing


@pytest.mark.filterwarnings("ignore:.* under another watch")
def test_a_checkpoint_resumes_bit_for_bit(run, tmp_path, epochs):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    path, whole = tmp_path / "run", run(watch=lambda epoch, model: {})
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        run(watch=stop, checkpoint=path)
    resumed = run(watch=lambda epoch, model: {}, checkpoint=path)
    assert bits(resumed) == bits(whole)
    assert resumed.cost.by_source() == whole.cost.by_source()


def test_a_recorded_run_is_the_run_bit_for_bit(method, run, epochs):
    """Nothing but the batch and the state decides a step; and the ledger counts replays."""
    options = {"watch": lambda epoch, model: {}}
    with fast():
        plain = run(**options)
    with taped() as tapes, fast(graph=True):
        replayed = run(**options)
    assert tapes
    assert bits(replayed) == bits(plain)
    assert replayed.cost.by_source() == plain.cost.by_source()


@pytest.mark.filterwarnings("ignore:only .* adversarial images reach")
def test_a_checkpoint_of_another_call_is_refused(method, run, tmp_path, case, original, epochs):
    path = tmp_path / "run"
    run(checkpoint=path)
    other_request = by_index(case.train, range(1, 8))
    changes = [{"seed": 5}, {"request": other_request}]
    for field in dataclasses.fields(run.config):
        value = getattr(run.config, field.name)
        if type(value) is float:
            changes.append(
                {"config": dataclasses.replace(run.config, **{field.name: value / 2 + 0.1})}
            )
    sees = [part.split()[0] for part in access(method)]
    for place in [3] * ("forget" in sees) + [20] * ("retain" in sees):  # one number in one example
        inputs = case.train.inputs.clone()
        inputs[place, 0] += 1e-3
        changed = Examples(inputs, case.train.targets)
        changes.append({"request": by_index(changed, range(7))})
    if "model" in sees:
        with torch.no_grad():
            changes.append({"model": copy_of(original)})
            next(changes[-1]["model"].parameters()).add_(1)
    for change in changes:
        with pytest.raises(ValueError, match="belongs to a run with other"):
            run(checkpoint=path, **change)


def test_a_file_that_is_of_no_use_is_refused_before_a_network_is_asked(
    method, run, original, tmp_path, epochs
):
    path, broken = tmp_path / "run", tmp_path / "broken"
    run(checkpoint=path)
    broken.write_bytes(path.read_bytes()[:-1])
    left = sorted(tmp_path.iterdir())
    another = {"lr": 0.5, "lr_extraction": 0.5, "epochs": 3}
    fields = {f.name for f in dataclasses.fields(run.config)}
    config = dataclasses.replace(run.config, **{k: v for k, v in another.items() if k in fields})
    asked = torch.nn.modules.module.register_module_forward_pre_hook(fail)
    try:
        for place in (True, tmp_path, broken, broken / "run", "a/", os.devnull):
            with pytest.raises((ValueError, OSError), match="checkpoint"):
                run(checkpoint=place)
        for change in ({"seed": 7}, {"config": config}):
            with pytest.raises(ValueError, match="belongs to a run with other (seed|settings) [(]"):
                run(checkpoint=path, **change)
    finally:
        asked.remove()
    assert sorted(tmp_path.iterdir()) == left


def fail(module, inputs):
    raise AssertionError("a network was asked")


def test_a_checkpoint_lies_where_home_is(run, tmp_path, monkeypatch, epochs):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(checkpoint="~/new folder/run")
    files = {path.name for path in (tmp_path / "new folder").iterdir()}
    assert "run" in files and all(name.startswith("run") for name in files)
    assert [path.name for path in tmp_path.iterdir()] == ["new folder"]


def test_a_frozen_part_stays_and_a_frozen_whole_is_trained(method, run, original):
    if "model" not in access(method) or CASES[method.__name__]["new_network"]:
        pytest.skip("it starts from a fresh model")
    original.body[0].requires_grad_(False)
    start = fingerprint(original.body[0])
    assert fingerprint(run().model.body[0]) == start
    original.requires_grad_(False)
    assert fingerprint(run().model) != fingerprint(original)
    assert not any(p.requires_grad for p in original.parameters())


@pytest.mark.parametrize("model", [len, "net", None, nn.Flatten()])
def test_what_is_no_model_is_refused(method, run, model):
    if "model" not in access(method):
        pytest.skip("it does not see the model")
    with pytest.raises(ValueError, match="torch.nn.Module|no parameters"):
        run(model=model)


@pytest.mark.parametrize("empty", [None, [], torch.zeros(0, 6)], ids=["None", "list", "tensor"])
def test_an_empty_set_is_refused(method, run, parts, empty):
    for name in {"forget", "retain"} & set(parts):
        if empty is None and inspect.signature(method).parameters[name].default is None:
            continue  # it can do without
        with pytest.raises(ValueError, match=f"the {name} set is empty"):
            method(**parts | {name: empty}, config=run.config)


def test_what_is_no_set_is_refused(method, run, parts, case):
    for name in {"forget", "retain"} & set(parts):
        for wrong in (case, 3, "data", (case.train.inputs, case.train.targets)):
            with pytest.raises(ValueError, match=f"the {name} set"):
                method(**parts | {name: wrong}, config=run.config)


def test_labels_are_refused_where_they_may_not_be_seen(method, run, parts, case):
    for name in [part.split()[0] for part in access(method) if part.endswith("inputs")]:
        labelled = getattr(case, name)
        pairs = list(zip(labelled.inputs, labelled.targets, strict=True))
        for given in (labelled, pairs, [list(pair) for pair in pairs]):
            with pytest.raises(ValueError, match=f"the {name} set comes with targets"):
                method(**parts | {name: given}, config=run.config)


@pytest.mark.parametrize("wrong", [{"epochs": 3}, 3, "fast", object()])
def test_a_wrong_config_is_refused(method, run, wrong):
    with pytest.raises(ValueError, match="config must be a"):
        run(config=wrong)


# ---- the contract itself


def test_a_method_that_may_not_see_labels_is_not_given_any(classification):
    request, seen = by_class(classification, 1), {}

    def blind(model, forget: Tensor, retain: "torch.Tensor | None" = None, *, seed=0):
        seen.update(forget=forget, retain=retain)

    unlearn(blind, None, request)
    assert access(blind) == ("model", "forget inputs", "retain inputs")
    assert torch.equal(seen["forget"], request.forget.inputs) and type(seen["forget"]) is Tensor
    assert torch.equal(seen["retain"], request.retain.inputs) and type(seen["retain"]) is Tensor

    pairs = [(row, 7) for row in classification.inputs]
    pairs[0] = (pairs[0][0], 1)
    unlearn(blind, None, by_index(pairs, [0]))
    assert all(type(item) is Tensor for part in seen.values() for item in (part[0], part[-1]))


def test_what_a_method_does_not_name_it_is_not_given(classification):
    request, seen = by_class(classification, 1), {}

    def narrow(retain, **rest):
        seen.update(rest, retain=retain)

    unlearn(narrow, "the model", request, fresh="fresh", seed=4)
    assert set(seen) == {"retain", "seed"} and seen["seed"] == 4
    assert torch.equal(seen["retain"].targets, request.retain.targets)

    def either(model, forget, retain=None, **rest):
        seen.update(rest, model=model, retain=retain)

    unlearn(either, "the model", request, retain=None)
    assert seen["retain"] is None and seen["model"] == "the model"


@pytest.mark.parametrize("name", ["finetune", None, 3, nn.Linear(1, 1)])
def test_a_method_is_given_as_a_function(classification, name):
    with pytest.raises(ValueError, match="give the method itself, as in unlearn.finetune"):
        unlearn(name, nn.Linear(6, 3), by_class(classification, 1))


def test_unlearn_refuses(classification):
    with pytest.raises(ValueError, match="makes a request; this is a Examples"):
        unlearn(METHODS["finetune"], nn.Linear(6, 3), classification)
    with pytest.raises(ValueError, match="give fresh=lambda: MyNetwork"):
        unlearn(METHODS["retrain"], None, by_class(classification, 1))


def test_the_registry_names_methods_by_their_functions():
    for name, method in METHODS.items():
        assert method.__name__ == name and method.__module__ == f"minilearn.methods.{name}"
        assert dataclasses.is_dataclass(inspect.signature(method).parameters["config"].default)


def test_a_model_that_cannot_be_copied_is_one_sentence():
    model = nn.Linear(2, 2)
    model.kept = (each for each in [1])  # a generator
    with pytest.raises(ValueError, match="cannot be copied with copy.deepcopy"):
        copy_of(model)


def test_build_is_decided_by_the_seed_alone(tiny_net):
    kind = type(tiny_net())
    state = torch.get_rng_state()
    assert fingerprint(build(kind, 3)) == fingerprint(build(kind, 3)) != fingerprint(build(kind, 4))
    assert torch.equal(state, torch.get_rng_state())


def test_build_refuses_what_is_not_new(tiny_net):
    model = tiny_net()
    for given in (model, "net", None):
        with pytest.raises(ValueError, match="fresh must be a function"):
            build(given, 0)
    for given in (lambda: model, lambda: nn.Sequential(model.body, nn.Linear(8, 3))):
        with pytest.raises(ValueError, match="the same weights out twice"):
            build(given, 0)
    with pytest.raises(ValueError, match="torch.nn.Module, got int"):
        build(lambda: 3, 0)


@pytest.mark.parametrize("part", ["forget", "retain"])
def test_a_set_on_another_device_is_one_sentence(method, case, run, part):
    sees = [name for name in access(method) if name.startswith(part)]
    if method.__name__ == "retrain" or not sees:
        pytest.skip("it is not given this set, or moves the new model to it")
    elsewhere = copy.copy(getattr(case, part))
    for name in ("inputs", "targets"):
        object.__setattr__(elsewhere, name, getattr(elsewhere, name).to("meta"))
    data = elsewhere.inputs if "inputs" in sees[0] else elsewhere
    with pytest.raises(ValueError, match="the model is on cpu but the data are on meta"):
        run(**{part: data})
    if method.__name__ == "blindspot":
        with pytest.raises(ValueError, match="the model is on cpu but the data are on meta"):
            run(**{part: data, "teacher": run().model})
