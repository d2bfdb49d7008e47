"""What the tests of silent errors share: an ordinary user's training set."""

import pytest
from shared import labelled

from minilearn.data import Examples


@pytest.fixture
def train() -> Examples:
    """Sixty examples of three classes."""
    return labelled(60, seed=1)
