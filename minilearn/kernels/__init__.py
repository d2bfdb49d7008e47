"""The GPU kernels: each in a file of its own, beside the reference that it must agree with.

A file is read from top to bottom: the formula with its shapes and the bytes that must be moved,
`reference` in plain torch, the Triton kernel, its launch, its registration, the public function.
Every public function takes `impl`: "triton", "reference" or "auto". If it is not given, the
innermost `with use(...)` decides, else the variable MINILEARN_KERNELS, else it is "auto": the
kernel on a GPU that it can run on and where a comparison with the reference has passed, the
reference anywhere else. `status()` says which runs here, and why. Nothing here needs Triton, and
nothing needs a GPU. Triton is imported where there is a GPU, or where TRITON_INTERPRET is set
before this package is imported: then kernels run on the CPU, in its interpreter.

A new file in this folder is found by itself: the kernels that it registers are in `NAMES`.
"""

from importlib import import_module
from pkgutil import iter_modules

from minilearn.kernels.dispatch import _KERNELS, interpreted, kernel, status, use

__all__ = ["NAMES", "interpreted", "kernel", "status", "use"]

for _, _file, _ in iter_modules(__path__):  # in alphabetical order, in some 30 ms
    import_module(f"{__name__}.{_file}")
NAMES = tuple(_KERNELS)
