"""What a network keeps beside its weights: in copies, in files, in what is looked at."""

import copy
import random

import numpy as np
import pytest
import torch
from shared import SHORT, Net
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from minilearn.data import Examples, targets_of
from minilearn.evaluation import evaluate
from minilearn.methods import (
    L2UL,
    SCRUB,
    SISA,
    BadTeacher,
    Unrolling,
    bad_teacher,
    finetune,
    l2ul,
    scrub,
    sharded,
    sisa,
    unrolling,
)
from minilearn.methods.continual import continual
from minilearn.models import build, chain, representation
from minilearn.parts.importance import importance
from minilearn.requests import by_index
from minilearn.training import Training, fit


def with_function(net):
    net.post = lambda h: net.two(h)


def with_functions(net):
    net.posts = {"first": [lambda h: net.two(h)]}


def with_hook(net):
    net.one.register_forward_hook(lambda _, x, y: y + net.one(x[0] * 0))


@pytest.mark.parametrize("keep", [with_function, with_functions, with_hook])
def test_a_copy_with_a_function_that_names_the_network_is_refused(train, keep):
    net = build(Net, 0)
    keep(net)
    with pytest.raises(ValueError, match="keeps a function, .*that names this very network"):
        finetune(net, train, config=SHORT)


def test_a_copy_with_functions_that_name_no_network_is_made(train):
    net, seen = build(Net, 0), []
    net.one.register_forward_hook(lambda _, x, y: seen.append(len(x[0])))
    net.scale = lambda h: h * 2
    assert finetune(net, train, config=SHORT) and seen


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.model(x).relu())


def test_a_network_with_a_part_called_model_is_trained_whole(train):
    net = build(Wrapper, 0)
    before = copy.deepcopy(net.state_dict())
    after = finetune(net, train, config=SHORT).model
    assert all(not torch.equal(value, before[name]) for name, value in after.state_dict().items())
    with pytest.raises(ValueError, match="Unlearned holds the network: give its .model"):
        evaluate(finetune(net, train, config=SHORT), train)


class Keeping(Net):
    """It keeps what it has computed in collections."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def forward(self, x):
        self.seen["features"] = [self.one(x).relu()]
        return self.two(self.seen["features"][0])


def test_a_network_that_keeps_features_in_collections_is_copied(train):
    net = build(Keeping, 0)
    fit(net, train, SHORT)
    assert finetune(net, train, config=SHORT)


class Cooling(Net):
    """A tensor that counts, and is no buffer."""

    def __init__(self):
        super().__init__()
        self.warmth = torch.tensor(1.0)

    def forward(self, x):
        if self.training:
            self.warmth = self.warmth * 1.01
        return super().forward(x) * self.warmth


class Counting(Net):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return super().forward(x) * min(1.0, self.steps / 100)


class Cut(Exception):
    pass


def cut_in(epoch: int):
    def watch(now, model):
        if now == epoch:
            raise Cut
        return {}

    return watch


def test_a_run_that_cannot_go_on_with_a_networks_state_says_so(train, tmp_path):
    recipe = Training(epochs=4, batch_size=8, lr=1e-2)
    with pytest.raises(Cut):
        fit(build(Cooling, 0), train, recipe, checkpoint=tmp_path / "run", watch=cut_in(3))
    with pytest.warns(UserWarning, match="cannot hold what the network keeps as warmth"):
        fit(build(Cooling, 0), train, recipe, checkpoint=tmp_path / "run")


def test_a_stream_goes_on_with_the_numbers_that_a_network_counts(train, tmp_path):
    stream = [by_index(train, range(i, i + 5)) for i in (0, 5, 10)]
    whole, _ = continual(finetune, build(Counting, 0), stream, config=SHORT)
    served = []

    def measure(model):
        served.append(1)
        if len(served) == 2:
            raise Cut
        return {}

    given = {"config": SHORT, "checkpoint": tmp_path / "stream"}
    with pytest.raises(Cut):
        continual(finetune, build(Counting, 0), stream, measure=measure, **given)
    served += [1, 1]
    after, _ = continual(finetune, build(Counting, 0), stream, measure=measure, **given)
    assert after.steps == whole.steps
    assert all(map(torch.equal, after.parameters(), whole.parameters()))


def test_unrolling_takes_the_gradient_of_frozen_batch_normalisation(train):
    start = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    start[1].requires_grad_(False)
    start[1].running_mean.uniform_(-1, 1)
    model = copy.deepcopy(start)
    fit(model, train, Training(1, 8, 1e-2, "sgd"))
    config = Unrolling(epochs=1, batch_size=len(train), lr=1.0)
    moved = unrolling(model, train, start=start, config=config).model
    twin = copy.deepcopy(start).train()
    twin[1].eval()
    nn.functional.cross_entropy(twin(train.inputs), train.targets).backward()
    gradient = moved[0].weight - model[0].weight
    assert torch.allclose(gradient, twin[0].weight.grad, atol=1e-5)


def test_batch_mean_importance_keeps_frozen_statistics(train):
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    net[1].requires_grad_(False)
    net[1].running_mean.uniform_(-1, 1)
    found = importance(net, train, "batch-mean", train=True, batch_size=len(train))
    twin = copy.deepcopy(net).eval()
    twin(train.inputs).norm(dim=1).mean().backward()
    assert torch.allclose(found["0.weight"], twin[0].weight.grad.abs(), atol=1e-6)


class Blocks(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.stem = nn.Linear(5, 8)
        self.blocks = kind([nn.Linear(8, 8), nn.ReLU()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_a_list_of_blocks_is_a_part_of_the_chain():
    names = chain(Blocks(nn.ModuleList))
    assert names == chain(Blocks(lambda parts: nn.Sequential(*parts)))
    assert names == ["stem", "blocks.0", "blocks.1"]


class Adapted(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 16), nn.Linear(16, 3)
        self.down, self.up = nn.Linear(16, 2), nn.Linear(2, 3)

    def forward(self, x):
        h = self.body(x).relu()
        return self.head(h) + self.up(self.down(h))


class TwoExits(Net):
    def forward(self, x):
        h = self.one(x)
        return self.two(h.relu()) + self.two(h.tanh())


def test_a_representation_that_may_be_another_is_said(train):
    with pytest.warns(UserWarning, match="what 'down' gives to 'up'"):
        assert representation(Adapted(), train).shape == (60, 2)
    assert representation(Adapted(), train, layer="body").shape == (60, 16)
    with pytest.raises(ValueError, match="the last linear layer, 'two', runs more than once"):
        representation(TwoExits(), train)


def test_importance_is_checked_again_where_something_was_hooked_in(train):
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    importance(net, train)
    hook = net[0].register_forward_hook(lambda _, x, y: y * 2)
    with pytest.raises(ValueError, match="has no product here"):
        importance(net, train)
    hook.remove()
    assert importance(net, train)


def test_importance_of_torchs_own_transformer_names_the_loop():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))
    with pytest.raises(ValueError, match='cannot be opened .*importance="loop"'):
        importance(net, torch.randn(4, 3, 8))


def test_labels_as_numbers_in_a_tensor_dataset_are_warned_of(train):
    net = nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    data = TensorDataset(train.inputs, (train.targets > 0).float())
    with pytest.warns(UserWarning, match="all targets are the numbers 0 and 1"):
        finetune(net, data, config=SHORT)
    several = TensorDataset(train.inputs, nn.functional.one_hot(train.targets, 3).float().fliplr())
    several.tensors[1][0] = 1.0
    with pytest.warns(UserWarning, match="all targets are rows of 0 and 1"):
        finetune(Net(), several, config=SHORT)

    class Own(TensorDataset):
        """It may give others than its tensors: then what was read tells."""

    with pytest.warns(UserWarning, match="all targets are the numbers 0 and 1"):
        evaluate(net, Own(*data.tensors))


def test_frozen_instance_normalisation_keeps_its_statistics(train):
    norm = nn.InstanceNorm1d(4, track_running_stats=True, affine=True)
    body = nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (4, 2)), norm, nn.Flatten())
    net = nn.Sequential(body.requires_grad_(False), nn.Linear(8, 3))
    fit(net, train, SHORT)
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_looking_leaves_a_bounded_embedding_alone():
    net = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(12, 3))
    data = Examples(torch.randint(9, (8, 3)), torch.arange(8) % 3)
    before = net[0].weight.clone()
    evaluate(net, data)
    assert torch.equal(net[0].weight, before)


class Inputs(Dataset):
    """Inputs alone, with noise from all three generators."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        noise = torch.rand(()) + np.random.rand() + random.random()
        return self.inputs[i] + 0.01 * noise.float()


def test_a_look_at_inputs_alone_moves_no_generator(train):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    net = build(Net, 0)
    forget = Inputs(train.inputs[:16])
    scrub(net, forget, train[16:], config=SCRUB(epochs=1))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_a_run_over_inputs_alone_goes_on(train, tmp_path):
    net, sets = build(Net, 0), (Inputs(train.inputs[:16]), Inputs(train.inputs[16:]))
    given = {"fresh": Net, "config": BadTeacher(epochs=3)}
    whole = bad_teacher(net, *sets, **given).model
    with pytest.raises(Cut):
        bad_teacher(net, *sets, checkpoint=tmp_path / "run", watch=cut_in(2), **given)
    after = bad_teacher(net, *sets, checkpoint=tmp_path / "run", **given).model
    assert all(map(torch.equal, after.parameters(), whole.parameters()))


def test_a_watch_that_cannot_be_called_is_refused_before_the_training(train):
    steps = []
    net = build(Net, 0)
    net.register_forward_hook(lambda _, __, y: steps.append(1))
    with pytest.raises(ValueError, match=r"watch\(epoch, model\) is called, but .* too many"):
        finetune(net, train, config=SHORT, watch=lambda model: {})
    with pytest.raises(ValueError, match=r"measure\(model\) is called, but .* missing"):
        continual(finetune, net, [by_index(train, [0])], measure=lambda epoch, model: {})
    assert not steps


def test_sisa_passes_over_a_slice_with_one_example_for_batch_normalisation(train):
    def fresh():
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    records = sharded(fresh, train, config=SISA(shards=2, slices=2))
    first = (records.place == 0).nonzero().flatten()
    after = sisa(records, by_index(train, first[1:]))
    assert after.result.model is not None
    logits = evaluate(after.result.model, train).outputs
    assert bool(logits.isfinite().all())


class Masked(Net):
    def __init__(self):
        super().__init__()
        mask = torch.full((3, 3), -torch.inf).triu(1)
        self.mask = nn.Parameter(mask, requires_grad=False)


def test_a_frozen_mask_may_be_infinite_and_a_trained_weight_may_not(train):
    net = build(Masked, 0)
    assert finetune(net, train, config=SHORT)
    net.one.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        finetune(net, train, config=SHORT)


def test_the_cure_for_two_precisions_is_the_right_one(train):
    with pytest.raises(ValueError, match=r"Give model\.float\(\)"):
        evaluate(build(Net, 0).double(), train)
    double = TensorDataset(train.inputs.double(), train.targets)
    with pytest.raises(ValueError, match=r"Give inputs\.float\(\)"):
        evaluate(build(Net, 0), double)


def test_targets_that_are_names_are_passed_over():
    data = TensorDataset(torch.randn(6, 5), torch.arange(6) % 3)
    data.targets = ["a", "b", "c"]
    assert targets_of(data).tolist() == [0, 1, 2, 0, 1, 2]


def test_a_seed_of_numpy_is_a_seed(train):
    net = nn.Sequential(nn.Linear(5, 3))
    seeds = np.int32(3000), 3000
    records = [sharded(lambda: copy.deepcopy(net), train, seed=seed) for seed in seeds]
    assert all(map(torch.equal, *(r.result.model.parameters() for r in records)))


class Quantised(Net):
    """It holds whole numbers, or floats of 8 bits, as a quantised network does."""

    def __init__(self, dtype):
        super().__init__()
        self.codes = nn.Parameter(torch.ones(3).to(dtype), requires_grad=False)

    def forward(self, x):
        return super().forward(x) + self.codes.float()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn])
def test_numbers_that_cannot_be_trained_stay(train, dtype):
    net, start = Quantised(dtype), Quantised(dtype)
    fit(net, train, SHORT)
    found = l2ul(net, train[:3], config=L2UL(attack=None, epochs=3, lr=1e-2)).model
    back = unrolling(net, train[:3], start=start).model
    for model in (found, back):
        assert model.codes.dtype == dtype and not model.codes.requires_grad
        assert not torch.equal(model.one.weight, net.one.weight)
    kinds = [importance(net, train, kind) for kind in ("per-item", "loop")]
    assert kinds[0].keys() == kinds[1].keys() == {n for n, _ in net.named_parameters()} - {"codes"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_network_is_refused(train):
    scripted = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(5, 3)))
    with pytest.raises(ValueError, match="give what it was scripted from"):
        finetune(scripted, train, config=SHORT)
