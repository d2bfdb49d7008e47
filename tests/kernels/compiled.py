"""Compile the kernels for real GPUs, on a machine without one, and print what came out as JSON.

Run in a process of its own: Triton either interprets or compiles. Of each kernel: registers, bytes
of local memory (spilled registers), and counts of instructions in the machine code.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import triton  # before the kernels are imported, which otherwise do without it
import triton.language as tl
from kernel_checks import GPUS, Translation, entries
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def types(arguments: list[str], case: Translation) -> tuple[dict, dict]:
    """The type of every argument, by its name, and the constants among them."""
    constants = case.constants | ({"ACC": tl.float32} if "ACC" in arguments else {})
    known = dict.fromkeys(constants, "constexpr") | dict.fromkeys(case.flags.split(), "*i1")
    known |= dict.fromkeys(case.ints.split(), "i32") | dict.fromkeys(case.floats.split(), "fp32")
    unknown = sorted(set(known) - set(arguments))
    assert not unknown, f"{case.function} has no arguments {unknown}"
    return {arg: known.get(arg, "*fp32") for arg in arguments}, constants


def compiled(file: str, case: Translation, capability: int) -> dict:
    """Compile one kernel for one kind of GPU and look at the machine code."""
    kernel = getattr(import_module(f"minilearn.kernels.{file}"), case.function)
    signature, constants = types(kernel.arg_names, case)
    aligned = [
        i for i, a in enumerate(signature) if signature[a][0] == "*" or signature[a] == "i32"
    ]  # as they are at large sizes: buffers, strides and lengths are multiples of 16
    attrs = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)
    target = GPUTarget("cuda", capability, 32)
    binary = triton.compile(source, target=target, options={"num_warps": case.warps}).asm["cubin"]
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage = run(tools / "cuobjdump", "-res-usage", file.name)
        code = run(tools / "nvdisasm", "-c", "-ndf", file.name)
    counts = {
        "double": r"\b(?:DADD|DMUL|DFMA|DSETP|DMNMX)\b|\.F64",
        "wide loads": r"\bLDG\.E\.128",
        "narrow loads": r"\bLDG\.E(?!\.128)",
        "wide stores": r"\bSTG\.E\.128",
        "tensor cores": r"\bHG?MMA",
    }
    found = {name: len(re.findall(pattern, code)) for name, pattern in counts.items()}
    found["registers"] = int(re.search(r"REG:(\d+)", usage)[1])
    found["local"] = sum(int(n) for n in re.findall(r"(?:STACK|LOCAL):(\d+)", usage))
    return found


def run(*command) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    found = {
        f"{file}, {title}, sm_{capability}": compiled(file, case, capability)
        for file, title, case in entries("TRANSLATIONS")
        for capability in GPUS
    }
    json.dump(found, sys.stdout)
