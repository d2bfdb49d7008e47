"""The metric that CONTRIBUTING shows: in a file of its own it is found and reported."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import torch
from minilearn.data import Examples
from minilearn.metrics import METRICS, report
from minilearn.requests import by_class
x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
train = Examples(x, torch.arange(40) % 3)
nets = [torch.nn.Linear(4, 3) for _ in range(4)]
test = Examples(x + 1e-6, train.targets)
found = report(by_class(train, 1), test, original=nets[:1], retrained=nets[1:3],
               methods={"mine": nets[3:]}, metrics=["sureness"])
rows = [row for row in found.rows if row.metric == "sureness"]
assert len(rows) >= 4 and all(1 / 3 <= row.mean <= 1 for row in rows), rows
print("sureness" in METRICS)
"""


def test_a_new_metric_touches_its_file(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "minilearn", tmp_path / "minilearn", ignore=ignored)
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (file,) = re.findall(r'```python\n("""How sure a model is.*?)```', text, flags=re.DOTALL)
    (tmp_path / "minilearn" / "metrics" / "sureness.py").write_text(file)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["True"], done.stderr[-1500:]
