"""List the package's modules, and show their docstrings as they are written.

A line `<!-- modules: minilearn.methods -->` of a page becomes a heading and an `automodule` for
every public module of that package, so that a new file is on the page by itself. A line
`<!-- names: minilearn.metrics:METRICS -->` becomes the names of a table, with their words.

A docstring here is plain text: sentences, then fields such as `Args:`, `Paper:` or `Example:`.
This extension turns the fields into a field list and escapes the text, so that no docstring can
warn. Formulas (indented, under `Paper:` or before the first field) and examples stand as written,
and `Args:` with a line an argument becomes a list.
"""

import inspect
import re
import textwrap
from importlib import import_module
from pkgutil import iter_modules

from minilearn.metrics.metric import Metric

FIELD = re.compile(r"([A-Z]\w+):(?:\s+(.*))?$")
VERBATIM = {None, "Paper", "Example"}  # fields whose indented lines are a formula or a session
ARGUMENT = re.compile(r"    ([\w, ]+): (.*)")
MODULES = re.compile(r"<!-- modules: (\S+) -->")
NAMES = re.compile(r"<!-- names: (\S+):(\w+) -->")


def modules(package: str) -> list[str]:
    """The package and its public modules, by name; a module alone is itself."""
    folders = getattr(import_module(package), "__path__", ())
    names = [name for _, name, _ in iter_modules(folders) if not name.startswith("_")]
    return [package, *(f"{package}.{name}" for name in names)]


def listed(text: str) -> str:
    """A page's text with a heading and an `automodule` for every module that it asks for."""

    def sections(match: re.Match) -> str:
        block = "### {0}\n\n```{{eval-rst}}\n.. automodule:: {0}\n```"
        return "\n\n".join(block.format(name) for name in modules(match[1]))

    return MODULES.sub(sections, NAMES.sub(named, text))


def named(match: re.Match) -> str:
    """The names of a table of the package: a list with what each is, or where it has no words one
    paragraph."""
    table = getattr(import_module(match[1]), match[2])
    names = [", ".join(name) if isinstance(name, tuple) else name for name in table]
    said = [words_of(name, value) for name, value in zip(names, table.values(), strict=True)]
    if any(said):
        return "\n".join(f"- `{name}`: {words}" for name, words in zip(names, said, strict=True))
    return ", ".join(f"`{name}`" for name in names) + "."


def words_of(name: str, value) -> str:
    """What a function, a metric or a pair of numbers of such a table is; "" of anything else."""
    if isinstance(value, Metric):
        return str(value).removeprefix(f"{name}: ")
    if isinstance(value, tuple):
        return str(value)
    return inspect.getdoc(value).partition("\n")[0] if inspect.isfunction(value) else ""


def escape(line: str) -> str:
    """One line of plain text as reStructuredText; what stands between backticks stays code."""
    parts = re.split(r"``?([^`]+)``?", line)
    parts[0::2] = [re.sub(r"([\\*_|`])", r"\\\1", text) for text in parts[0::2]]
    parts[1::2] = [f"\\ ``{code.strip()}``\\ " for code in parts[1::2]]
    text = re.sub(r"::$", r":\:", "".join(parts))
    return re.sub(r"^(?=[-+.:=#~^>(\d])", r"\\", text)


def literal(block: list[str]) -> list[str]:
    """Lines shown as they stand; an example is shown as a Python session."""
    text = textwrap.dedent("\n".join(block)).strip("\n")
    language = "pycon" if ">>>" in text else "text"
    head = ["", f".. code-block:: {language}", "   :force:", ""]
    return [*head, *textwrap.indent(text, "   ").splitlines(), ""] if text else [""]


def body(lines: list[str], verbatim: bool) -> list[str]:
    """Paragraphs, and literal blocks for what is indented (or for a session on the first line)."""
    out, block = [], []
    for line in lines:
        if verbatim and (line.startswith((" ", ">>>")) or (block and not line.strip())):
            block.append(line)
        else:
            out += (literal(block) if block else []) + [escape(line.strip())]
            block = []
    return out + literal(block)


def arguments(lines: list[str]) -> list[str]:
    """A list with an entry for every argument that has a line of its own, else a paragraph."""
    if not ARGUMENT.fullmatch(next(filter(None, lines), "")):
        return body(lines, False)
    out = []
    for line in filter(None, lines):
        entry = ARGUMENT.fullmatch(line)
        out.append(
            f"- ``{entry[1]}``: {escape(entry[2])}" if entry else f"  {escape(line.strip())}"
        )
    return [*out, ""]


def render(lines: list[str]) -> list[str]:
    """The whole docstring: what stands before the first field, then the fields."""
    sections: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in lines:
        if field := FIELD.match(line):
            sections.append((field[1], [field[2] or ""]))
        else:
            sections[-1][1].append(line)
    out = []
    for name, content in sections:
        text = arguments(content) if name == "Args" else body(content, name in VERBATIM)
        out += text if name is None else [f":{name}:", *(f"   {line}" for line in text)]
        out.append("")
    return out


def process(app, what, name, obj, options, lines):
    """Replace the lines of one docstring in place, as autodoc asks."""
    lines[:] = render(lines)


def setup(app):
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", process)
    app.connect("source-read", lambda app, page, source: source.append(listed(source.pop())))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
