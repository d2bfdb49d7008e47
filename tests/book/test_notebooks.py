"""The chapters as they are stored: form, budgets, alternative text, prose and links."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted([*(ROOT / "book").glob("*.md"), *ROOT.glob("*.md")])
INSTALL = re.compile(
    r"import importlib\.util\n"
    r'if importlib\.util\.find_spec\("minilearn"\) is None:  # Colab, or a fresh environment\n'
    r'    %pip install -q "git\+https://github\.com/[\w.-]+/[\w.-]+"\n\n'
    r"from minilearn\.environment import setup\n\n"
    r"setup\(minutes=\d\)"
)
DETAILS = re.compile(r"<details.*?</details>", re.S)
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\\begin\{.*?\\end\{|<[^>]+>|\]\([^)]*\)|https?://\S+",
    re.S,
)
# A share, a count of what a run measures, or a decimal fraction; "1 % FPR" and "95 % interval" are
# parts of definitions.
TYPED = re.compile(
    r"\b\d[\d,]*(?:\.\d+)?\s*(?:%|per ?cent\b|(?:percentage )?points?\b|seconds?\b|degrees?\b)"
    r"(?!\s+(?:FPR|false|interval|confidence))|(?<![\w.])\d+\.\d+(?![\w.])"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def cells(path: Path, kind: str) -> list[tuple[int, dict]]:
    """The cells of one kind with their number in the notebook, counted from 0."""
    return [(i, cell) for i, cell in enumerate(read(path)["cells"]) if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def code(path: Path) -> list[tuple[int, str]]:
    """The code that the page shows: checks, quotations and folded drawing code are left out."""
    hidden = {"remove-cell", "remove-input", "hide-input"}
    return [(i, source(c)) for i, c in cells(path, "code") if not hidden & set(tags(c))]


def quotation(cell: dict) -> str:
    """The text that a quoting cell displays, with `x` for every number that it quotes."""
    (call,) = [n for n in ast.walk(python(source(cell))) if is_markdown(n)]
    parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]]
    return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in parts)


def is_markdown(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "Markdown"


def prose_cells(path: Path) -> list[tuple[int, str, dict]]:
    """What a reader reads: the Markdown cells, and what quoting cells display."""
    markdown = [(i, source(c), c) for i, c in cells(path, "markdown")]
    quoting = [(i, quotation(c), c) for i, c in cells(path, "code") if "remove-input" in tags(c)]
    return sorted([*markdown, *quoting], key=lambda found: found[0])


def python(text: str) -> ast.Module:
    """The cell's syntax tree, with lines for the notebook itself (magics) blanked out."""
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", text))


def prose(text: str) -> str:
    return NOT_PROSE.sub(" ", text)


def test_there_are_chapters():
    assert NOTEBOOKS


@each_notebook
def test_format(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids)), "cell ids are not unique"
    for i, cell in enumerate(notebook["cells"]):
        allowed = {"tags", "mystnb", "cellView", "jupyter"}
        assert set(cell["metadata"]) <= allowed, f"cell {i}: {cell['metadata']}"
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    assert path.read_text(encoding="utf-8") == text, "not written as nbformat writes it"


@each_notebook
def test_stored_without_outputs(path):
    full = [i for i, c in cells(path, "code") if c["outputs"] or c["execution_count"] is not None]
    assert not full, f"cells with outputs or an execution count: {full}"


@each_notebook
def test_first_cells(path):
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown" and source(first).startswith("# ")
    link = rf"\[Open in Colab\]\(https://colab\.research\.google\.com/\S+/{path.name}\)"
    assert re.search(link, source(first)), "the first cell has no link to open the chapter in Colab"
    install = cells(path, "code")[0][1]
    assert "remove-cell" in tags(install) and INSTALL.fullmatch(source(install)), source(install)


ASSIGNMENTS = sorted((ROOT / "notebooks/assignments").glob("*.ipynb"))


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.stem)
def test_form_of_an_assignment(path):
    """Colab opens the students' version, which is published with the site."""
    first = source(read(path)["cells"][0])
    place = rf"/blob/gh-pages/_sources/notebooks/students/{path.name}"
    assert first.startswith("# ") and re.search(rf"\[Open in Colab\]\(\S+{place}\)", first)
    assert INSTALL.fullmatch(source(cells(path, "code")[0][1]))
    assert f"notebooks/students/{path.stem}\n" in (ROOT / "book/_toc.yml").read_text()
    hidden = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
    long = [i for i, text in code(path) if len(hidden.sub("", text).splitlines()) > 25]
    assert not long, f"cells of which students see more than 25 lines: {long}"


@each_notebook
def test_hidden_code_is_hidden_everywhere(path):
    """In the book by its tag, in JupyterLab and in Colab by what each of them reads."""
    for i, cell in cells(path, "code"):
        if {"remove-input", "hide-input"} & set(tags(cell)):
            assert cell["metadata"].get("cellView") == "form", f"cell {i}: Colab shows the code"
            hidden = cell["metadata"].get("jupyter") == {"source_hidden": True}
            assert hidden, f"cell {i}: JupyterLab shows the code"
            title = source(cell).splitlines()[0]
            assert title.startswith("# @title "), f"cell {i}: Colab needs a title, got {title}"


@each_notebook
def test_a_quotation_is_nothing_but_text_with_numbers_from_variables(path):
    """`Markdown(f"...")` is the last statement, and the only one that shows anything."""
    for i, cell in cells(path, "code"):
        if "remove-input" not in tags(cell):
            continue
        *before, last = python(source(cell)).body
        assert isinstance(last, ast.Expr) and is_markdown(last.value), f"cell {i}: no Markdown(...)"
        assert not [n for n in before if isinstance(n, ast.Expr)], f"cell {i} shows something else"
        fields = [n for n in ast.walk(last.value) if isinstance(n, ast.FormattedValue)]
        assert fields, f"cell {i} quotes nothing: write it as Markdown"
        typed = [ast.unparse(f.value) for f in fields if isinstance(f.value, ast.Constant)]
        assert not typed, f"cell {i} quotes what is typed: {typed}"


@each_notebook
def test_amount_of_code(path):
    sizes = {i: len(text.splitlines()) for i, text in code(path)}
    assert 10 <= len(sizes) <= 25, f"{len(sizes)} code cells"
    assert not [i for i, n in sizes.items() if n > 25], f"cells of more than 25 lines in {sizes}"
    short = sum(n <= 8 for n in sizes.values())
    assert 2 * short >= len(sizes), f"only {short} of {len(sizes)} cells have at most 8 lines"


@each_notebook
def test_live_cells_are_not_built(path):
    live = [c for _, c in cells(path, "code") if re.search(r"(?m)^live\(", source(c))]
    bad = [c["id"] for c in live if not {"remove-cell", "skip-execution"} <= set(tags(c))]
    assert not bad, f"cells with live() that the build would run: {bad}"


@each_notebook
def test_line_length(path):
    shown = [source(c) for _, c in cells(path, "code") if "remove-cell" not in tags(c)]
    shown = [text for text in shown if "Markdown(" not in text]
    long = [line for text in shown for line in text.splitlines() if len(line) > 79]
    assert not long, "\n".join(long)


@each_notebook
def test_amount_of_prose(path):
    text = "\n\n".join(text for _, text, _ in prose_cells(path))
    words = len(re.findall(r"\w[\w'-]*", prose(DETAILS.sub(" ", text))))
    assert 1200 <= words <= 3000, f"{words} words outside folded parts"


def draws(text: str) -> bool:
    """Whether the cell ends in a call of `plots` or `plt`, or in the name of what one returned."""

    def plots(node: ast.AST) -> bool:
        calls = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
        return any(call.startswith(("plots.", "plt.")) for call in calls)

    *before, last = python(text).body or [ast.Pass()]
    made = [n for n in before if isinstance(n, ast.Assign) and plots(n)]
    names = {n.id for m in made for t in m.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    shown = (
        isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and last.value.id in names
    )
    return shown or (isinstance(last, ast.Expr) and plots(last))


@each_notebook
def test_figures_have_captions_and_alternative_text(path):
    """What the page really shows is checked in test_site.py; this says which cell to mend."""
    for i, cell in cells(path, "code"):
        if {"remove-cell", "remove-output"} & set(tags(cell)) or not draws(source(cell)):
            continue
        shown = cell["metadata"].get("mystnb", {})
        for words in (shown.get("image", {}).get("alt"), shown.get("figure", {}).get("caption")):
            assert words, f"cell {i} lacks its caption or alternative text:\n{source(cell)}"


@each_notebook
def test_no_result_is_typed_into_prose(path):
    for i, text, cell in prose_cells(path):
        found = [m[0] for m in TYPED.finditer(prose(text))]
        assert not found or "allow-number" in tags(cell), f"cell {i}: {found}; let a cell print it"


@each_notebook
def test_colab_shows_the_markdown(path):
    directive = re.compile(r"(?m)^\s*```\s*\{|\{(?:cite|ref|eq|numref|doc|prf)(?::\w+)?\}`")
    for i, text, _ in prose_cells(path):
        found = directive.findall(text)
        assert not found, f"cell {i}: directives and roles belong in book/*.md: {found}"


def texts(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(text for _, text, _ in prose_cells(path))


def anchors(path: Path) -> set[str]:
    """The anchors of a page: its headings as GitHub and the book write them, and its labels."""
    text = texts(path)
    heads = re.findall(r"(?m)^#+ +(.*?)\s*$", re.sub(r"```.*?```", "", text, flags=re.S))
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return (
        slugs
        | set(re.findall(r"(?m)^\(([\w-]+)\)=", text))
        | set(re.findall(r'id="([^"]+)"', text))
    )


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.name)
def test_no_dead_link_inside_the_repository(path):
    text = re.sub(r"```.*?```|`[^`]*`", "", texts(path), flags=re.S)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text)
    targets += re.findall(r"(?:href|src)=\"([^\"]+)\"", text)
    for target in targets:
        if inside := re.match(r"https://\S+?/blob/main/([^#?]+)", target):
            assert (ROOT / inside[1]).exists(), f"{target}: no such file"
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        name = name.replace("/students/", "/assignments/")  # made from them
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{target}: no such file"
        if anchor and file.suffix in {".md", ".ipynb"}:
            assert anchor in anchors(file), f"{target}: no such heading"
