"""How a text reads: counted on one that is made."""

import json

import pytest

from book import prose

MADE = """# A heading: it does not count

We count; you look. See [our page](https://a.b/c;d) and `code: x`. Nought is old.

| a table; | of words: |
|---|---|

```python
we = 1; you = 2  # no prose: shall
```

```{results} stsb
Whatever stands here is a note: you read it.
```

- one two three
$$ x: y; z $$
"""
# We count you look / See our page and code / Nought is old / Whatever ... read it / one two three
WORDS = 4 + 5 + 3 + 9 + 3 + 1  # the formula counts as one


def test_a_made_text_is_counted_right():
    found = prose.figures(MADE)
    assert (found.words, found.old) == (WORDS, 2)
    per = 1000 / WORDS
    assert found.semicolons == pytest.approx(1 * per)
    assert found.colons == pytest.approx(1 * per)
    assert found.spoken == pytest.approx(4 * per)  # We, you, our, you
    assert found.median == 4 and found.long == 0


def test_long_sentences_are_a_share():
    text = f"{' '.join(['word'] * 31)}. {' '.join(['word'] * 30)}. A short one. Another short one."
    assert prose.figures(text).long == 0.25
    assert prose.figures("").words == 0


def test_what_a_cell_quotes_is_read(tmp_path):
    quoting = '# @title In numbers\nmean = 0.5\nMarkdown(f"We see {mean:.0%}" " at last.")'
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["You look.\n", "Here."]},
        {"cell_type": "code", "metadata": {"tags": ["remove-input"]}, "source": [quoting]},
        {"cell_type": "code", "metadata": {}, "source": ["shall = 1  # no prose"]},
    ]
    path = tmp_path / "made.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert prose.text_of(path) == "You look.\nHere.\n\nWe see x at last."
