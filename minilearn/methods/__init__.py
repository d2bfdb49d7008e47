"""Unlearning methods: each is a file, and in it a function whose signature is what it may see.

A new file in this folder is found by itself: its public names are names of this package, and the
function that is named as the file, if it returns `Unlearned`, is in `METHODS`.
"""

from importlib import import_module
from pkgutil import iter_modules

from minilearn.parts.attack import PGD, l2_pgd
from minilearn.parts.importance import importance
from minilearn.unlearn import access, unlearn
from minilearn.unlearned import NothingToDo, Unlearned

__all__ = ["PGD", "NothingToDo", "Unlearned", "access", "importance", "l2_pgd", "unlearn"]

# Every method, by the name that results and reports use. Not here: `continual`, which is made of
# methods, and `sisa`, which must have been there when the model was trained.
METHODS = {}

for _, _name, _ in iter_modules(__path__):
    _module = import_module(f"{__name__}.{_name}")
    _own = {
        name: value
        for name, value in vars(_module).items()
        if getattr(value, "__module__", "") == _module.__name__ and not name.startswith("_")
    }
    if _name not in _own:
        raise ImportError(f"minilearn/methods/{_name}.py must define a function {_name}")
    globals().update(_own)
    __all__ += _own
    if _own[_name].__annotations__.get("return") in (Unlearned, "Unlearned"):
        METHODS[_name] = _own[_name]
