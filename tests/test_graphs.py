"""A captured step is the step."""

import pytest
import torch
from torch import nn

from minilearn.graphs import capture

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif("not torch.cuda.is_available()"))]


@pytest.mark.parametrize("device", DEVICES)
def test_ten_captured_steps_are_ten_steps(device):
    batches = torch.randn(10, 8, 5, device=device)

    def trained(captured: bool):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, capturable=device == "cuda")

        def step(x):
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        if not captured:
            return net, [float(step(x)) for x in batches]
        start = [p.detach().clone() for p in net.parameters()]
        step(batches[0])  # the optimiser makes its state
        made = [v for s in optimizer.state.values() for v in s.values()]
        with torch.no_grad():
            for p, value in zip(net.parameters(), start, strict=True):
                p.copy_(value)
            for v in made:
                v.zero_()
        run = capture(step, batches[0], state=[*net.parameters(), *made])
        return net, [float(run(x)) for x in batches]

    (one, losses), (other, same) = trained(False), trained(True)
    assert losses == pytest.approx(same, rel=1e-5) and len(set(losses)) == 10
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_other_shapes_are_refused():
    run = capture(lambda x: x.sum(), torch.zeros(3))
    for other in (torch.zeros(4), torch.zeros(3, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"captured with \[\(3,\)\], got"):
            run(other)
    with pytest.raises(ValueError, match="capture it anew"):
        run()
