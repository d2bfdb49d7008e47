"""The audit per example: what its rows are, and of which methods."""

import pytest
import torch

from book.experiments import Run, audit_digits
from minilearn.methods import METHODS, access
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, pairs_of_draws


def found() -> Trials:
    """Answers whose originals stand two standard deviations above retrained models."""
    generator = torch.Generator().manual_seed(0)

    def answers(by: float, count: int) -> torch.Tensor:
        return by + 0.3 * torch.randn(16, count, generator=generator).double()

    shifts = {ORIGINAL: 2.0, RETRAINED: 0.0, AGAIN: 0.0, "finetune": 1.0}
    candidates = {name: answers(by, 8) for name, by in shifts.items()}
    return Trials(pairs_of_draws(16, 8), candidates, {n: answers(0.0, 5) for n in shifts})


def test_every_method_for_classes_that_forgets_has_its_column():
    columns = [unit.method for unit in audit_digits.units(Run(seeds=range(1), size="small"))]
    assert columns[:2] == [ORIGINAL, AGAIN] and len(columns) == len(set(columns))
    assert set(columns[2:]) == set(METHODS) - set(audit_digits.LEFT_OUT)
    quick = [unit.method for unit in audit_digits.units(Run(seeds=range(1)))]
    assert set(columns) - set(quick) == set(audit_digits.SLOW)
    assert all("model" in access(METHODS[name]) for name in columns[2:])


def test_the_rows_are_the_trials_numbers(tmp_path, monkeypatch):
    asked = {}

    def stub(fresh, train, pool, unseen, methods, folder, **options):
        asked.update(options, pool=len(pool), methods=methods, folder=folder)
        return found()

    monkeypatch.setattr(audit_digits, "trials", stub)
    unit = next(u for u in audit_digits.units(Run(cache=tmp_path)) if u.method == "finetune")
    rows = {(row["metric"], row["split"]): float(row["value"]) for row in unit.measure()}
    assert asked["draws"] == 16 and asked["pool"] == 64 and asked["methods"] == {"finetune": None}
    assert asked["folder"].parent == tmp_path
    verdict = found().attack("finetune")
    assert rows["ulira_auc", "forget"] == verdict.auc > 0.9
    assert rows["ulira_low", "forget"] <= verdict.auc <= rows["ulira_high", "forget"]
    assert rows["ulira_low", "test"] < 0.5 < rows["ulira_high", "test"]
    assert rows["memory_left", "forget"] == pytest.approx(0.5, abs=0.1)
    assert rows["memory_left_low", "forget"] <= rows["memory_left", "forget"]
