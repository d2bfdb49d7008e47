"""The repository as a whole: what is derived, budgets, docstrings, imports, names and versions."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from minilearn.check import EXERCISES
from minilearn.data import BANDS
from minilearn.methods import METHODS
from minilearn.metrics import METRICS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))  # as Sphinx does
apidoc = importlib.import_module("apidoc")
MODULES = sorted((ROOT / "minilearn").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "book" / "experiments").glob("*.py"))
NOT_OURS = re.compile(
    r"\.(?!ci$|git\w+$).*|_build|__pycache__|katex|.*\.egg-info|gpu_(data|cache|out)"
)
TEXT = {
    ".py",
    ".md",
    ".ipynb",
    ".toml",
    ".yml",
    ".txt",
    ".cff",
    ".bib",
    ".csv",
    ".svg",
    ".css",
    ".js",
    "",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree() -> list[Path]:
    """Every text file that is ours."""
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.suffix in TEXT
        and not any(NOT_OURS.fullmatch(part) for part in path.relative_to(ROOT).parts)
        and path.is_file()
    )


def definitions(path: Path) -> list[ast.AST]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, kinds)]


def test_everything_carries_the_address():
    command = [sys.executable, ROOT / "book" / "derive.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + "run: python book/derive.py"


# Lines of code of a wing: explanations are not counted. One may grow only in a commit that says
# what it buys.
WINGS = {
    ("methods", "parts"): 1850,
    ("metrics",): 1748,
    ("kernels",): 914,
    ("data",): 1268,
    ("course",): 1226,
}
WHOLE = 11874  # without check/


def test_budgets_of_files():
    methods = {ROOT / "minilearn" / "methods" / f"{method}.py" for method in METHODS}
    every = [*MODULES, *EXPERIMENTS]
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in every}
    limits = {path: 130 if path in methods else 300 for path in every}
    over = [f"{name(p)}: {n} of {limits[p]}" for p, n in sizes.items() if n > limits[p]]
    assert not over, over


def test_budgets_of_wings():
    package = ROOT / "minilearn"
    sizes = {path.relative_to(package): code_lines(path) for path in MODULES}
    for wings, limit in WINGS.items():
        lines = sum(n for path, n in sizes.items() if path.parts[0] in wings)
        assert lines <= limit, f"{' and '.join(wings)} have {lines} lines of code, of {limit}"
    lines = sum(n for path, n in sizes.items() if path.parts[0] != "check")
    assert lines <= WHOLE, f"the package has {lines} lines of code, of {WHOLE}"


def code_lines(path: Path) -> int:
    """Lines that are neither blank, nor comments, nor docstrings: what explains is not counted."""
    text = path.read_text("utf-8")
    explained = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            explained |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(i not in explained and not re.fullmatch(r"\s*(#.*)?", line) for i, line in lines)


def test_budget_of_functions():
    """A body has at most 40 lines; signature and docstring are not counted."""
    over = []
    for path in [*MODULES, *EXPERIMENTS]:
        for node in definitions(path):
            if isinstance(node, ast.ClassDef):
                continue
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = node.end_lineno - first.lineno + 1
            if lines > 40:
                over.append(f"{name(path)}:{node.lineno} {node.name}: {lines} lines")
    assert not over, over


def public(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.AST]]:
    """Public functions and classes, and the public methods of public classes."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append((prefix + node.name, node))
            if isinstance(node, ast.ClassDef):
                found += public(node.body, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("path", [*MODULES, *EXPERIMENTS], ids=name)
def test_public_names_have_docstrings(path):
    module = ast.parse(path.read_text("utf-8"))
    nodes = [*public(module.body), *([("the module", module)] if module.body else [])]
    # forward() and torch's own hooks are described by the class
    bare = [n for n, node in nodes if not ast.get_docstring(node) and not n.endswith(".forward")]
    assert not bare, f"without a docstring: {bare}"


def test_no_path_of_a_machine():
    places = "home/[a-z]|root/|work/|Users/[a-z]|tmp/[a-z]|opt/[a-z]|mnt/"
    pattern = re.compile(rf"(?<![\w.~/}})])/(?:{places})")
    found = [
        f"{name(path)}:{i}: {line.strip()[:100]}"
        for path in tree()
        if path.suffix != ".svg" and path != Path(__file__)
        for i, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_what_is_installed_alone_imports_nothing_of_the_book():
    """The package, and the notebooks, which run in Colab with nothing but the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["minilearn*"]
    pattern = re.compile(r"\b(?:from|import) book\b|\bminilearn\.experiments\b")
    notebooks = (ROOT / "notebooks").rglob("*.ipynb")
    found = [name(p) for p in [*MODULES, *notebooks] if pattern.search(p.read_text("utf-8"))]
    assert not found, f"these name what is not installed: {found}"


def test_importing_the_package_is_light():
    heavy = ("torchvision", "sklearn", "matplotlib", "seaborn", "ipywidgets", "pandas", "scipy")
    # what torch imports by itself is not ours
    program = (
        "import sys, torch; before = set(sys.modules); import minilearn; "
        f"print(*sorted({{m.split('.')[0] for m in set(sys.modules) - before}} & set({heavy})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not result.stdout.split(), f"import minilearn imports {result.stdout}"


def package_words() -> set[str]:
    return set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in MODULES)))


def exists(dotted: str) -> bool:
    """Whether `metrics.kl` or `Examples.inputs` is in the package; a field of a class counts."""
    head, *rest = dotted.split(".")
    if importlib.util.find_spec(f"minilearn.{head}"):
        thing = importlib.import_module(f"minilearn.{head}")
    else:
        homes = (
            importlib.import_module(f"minilearn.{m}") for m in ("data", "requests", "training")
        )
        thing = next((getattr(home, head) for home in homes if hasattr(home, head)), None)
    for part in rest:
        if part in getattr(thing, "__annotations__", {}):
            return part == rest[-1]
        thing = getattr(thing, part, None)
    return thing is not None


def test_notation_names_exist():
    rows = [
        line.split("|")[3]
        for line in (ROOT / "book/notation.md").read_text("utf-8").splitlines()
        if line.startswith("|") and "---" not in line
    ]
    names = [n for row in rows for n in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 15
    words = package_words()
    missing = [n for n in names if not (exists(n) if "." in n else n in words)]
    assert not missing, f"in book/notation.md but not in the package: {missing}"


def test_api_page_lists_every_module():
    """A new file of a package is on the page by itself."""
    page = apidoc.listed((ROOT / "book/api.md").read_text("utf-8"))
    listed = re.findall(r"automodule:: (\S+)", page)
    assert len(listed) == len(set(listed)), "a module is on the page twice"
    there = {
        name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in MODULES
        if public(ast.parse(path.read_text("utf-8")).body)
    }
    answers = {
        f"minilearn.check.{part}" for part in ("assignments", "chapters", "programs", "puzzles")
    }
    there = {m for m in there if not any(part.startswith("_") for part in m.split("."))} - answers
    assert there <= set(listed), f"not in book/api.md: {sorted(there - set(listed))}"


def test_api_page_lists_the_names_of_methods_metrics_and_exercises():
    page = apidoc.listed((ROOT / "book/api.md").read_text("utf-8"))
    assert all(f"- `{name}`: " in page for name in [*METHODS, *METRICS, *BANDS])
    assert all(f"`{name}`" in page for name in EXERCISES)
    assert "`mnist, class`" in page
    assert "<!-- names" not in page


def test_arguments_are_shown_as_a_list():
    doc = "Args:\n    a, b: how far, in `units`\n        and where\n    c: when\nRaises: never"
    shown = [line for line in apidoc.render(doc.splitlines()) if line.strip()]
    assert shown == [
        ":Args:",
        "   - ``a, b``: how far, in \\ ``units``\\ ",
        "     and where",
        "   - ``c``: when",
        ":Raises:",
        "   never",
    ]


def test_every_setting_is_described():
    """Each field of a method's config has its line in the docstring, which `help` shows."""
    for method in METHODS.values():
        config = type(inspect.signature(method).parameters["config"].default)
        lines = re.findall(r"(?m)^ {8}([\w, ]+): ", config.__doc__)
        described = {field for line in lines for field in line.split(", ")}
        fields = {field.name for field in dataclasses.fields(config)}
        assert fields == described & fields, f"{config.__name__}: {sorted(fields - described)}"


def test_every_argument_of_a_method_is_described():
    for method in METHODS.values():
        words = set(re.findall(r"\w+", method.__doc__.partition("Args:")[2].partition("Paper:")[0]))
        names = set(inspect.signature(method).parameters) - {"model", "config"}
        assert names <= words, f"{method.__name__}: {sorted(names - words)}"


def requirements(file: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_constraints_cover_the_requirements():
    pins = {canonicalize_name(r.name): r.specifier for r in requirements("constraints.txt")}
    for wanted in requirements("requirements.txt"):
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted.name} is not in constraints.txt"
        (exact,) = pin
        assert exact.operator == "==" and wanted.specifier.contains(exact.version), (
            f"{wanted}: {pin}"
        )


def test_what_is_pinned_installs_on_the_oldest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    pinned = [requirement.name for requirement in requirements("constraints.txt")]
    needs = {name: requires_python(name) for name in pinned}
    too_new = {n: s for n, s in needs.items() if s and not SpecifierSet(s).contains(oldest)}
    assert not too_new, f"not for Python {oldest}: {too_new}"


def requires_python(package: str) -> str | None:
    try:
        return metadata.metadata(package).get("Requires-Python")
    except metadata.PackageNotFoundError:  # pinned for another platform, or for nbgrader
        return None


def test_package_leaves_what_is_installed_alone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    book = {canonicalize_name(r.name) for r in requirements("requirements.txt")}
    for text in project["dependencies"]:
        wanted = Requirement(text)
        assert {s.operator for s in wanted.specifier} == {">="}, f"{text}: lower bounds only"
        assert canonicalize_name(wanted.name) in book, f"{text} is not in requirements.txt"


def test_versions_agree():
    version = importlib.import_module("minilearn").__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())[1] == version


def test_every_chapter_is_in_the_book():
    contents = (ROOT / "book/_toc.yml").read_text()
    intro = (ROOT / "book/intro.md").read_text("utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"notebooks/{path.stem}\n" in contents, f"{path.name} is not in book/_toc.yml"
        assert f"](../notebooks/{path.name})" in intro, f"{path.name} is not in book/intro.md"


@pytest.mark.parametrize("page", ["intro", "instructors"])
def test_a_page_says_of_links_that_they_lead_nowhere_on_github(page):
    """The students' versions are made with the book."""
    text = " ".join((ROOT / "book" / f"{page}.md").read_text("utf-8").split())
    assert "](../notebooks/students/" in text
    assert re.search(r"`make book` makes these [\w ]*pages, so on GitHub .* lead nowhere\.", text)


def test_no_notebook_is_large():
    big = [name(p) for p in tree() if p.suffix == ".ipynb" and p.stat().st_size > 250_000]
    assert not big, f"more than 250 kB: {big}"


def test_colab_keeps_what_it_has():
    """Installing the package there replaces nothing and brings nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    listed = (ROOT / "book/colab.txt").read_text("utf-8").splitlines()
    colab = dict(line.split("==") for line in listed if not line.startswith("#"))
    assert set(needed) <= set(colab), "Colab would have to install these"
    replaced = [name for name, bound in needed.items() if colab[name] not in bound]
    assert not replaced, f"Colab's versions are out of bounds: {replaced}"
