"""The build: a notebook that it runs ahead of Jupyter Book says how long it took."""

from types import SimpleNamespace

import nbformat
from jupyter_cache import get_cache

from book import build


def test_an_executed_notebook_keeps_its_seconds(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(notebook, tmp_path / "short.ipynb")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: short\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "TOC", tmp_path / "_toc.yml")
    monkeypatch.setattr(
        build,
        "single_nb_execution",
        lambda notebook, *folder, **how: SimpleNamespace(nb=notebook, err=None, time=12.5),
    )
    cache = get_cache(tmp_path / "cache")
    build.execute(cache)
    # as the page of seconds reads it
    assert cache.match_cache_notebook(notebook).data == {"execution_seconds": 12.5}
