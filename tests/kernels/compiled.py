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

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

F32 = {"ACC": tl.float32}
# file, kernel, what it is compiled for, warps
CASES = {
    "mixed_l1": ("mixed_l1", "_rows", F32 | {"EXTRA": False, "BLOCK": 1024}, 4),
    "mixed_l1 with a term": ("mixed_l1", "_rows", F32 | {"EXTRA": True, "BLOCK": 1024}, 4),
    "mixed_l1 mean": ("mixed_l1", "_mean", F32 | {"BLOCK": 1024}, 4),
    "attention maps": ("attention_tap", "_maps", F32 | {"C": 16, "P": 256}, 4),
    "attention compare": ("attention_tap", "_compare", F32 | {"P": 1024}, 4),
    "attention back": ("attention_tap", "_back", F32 | {"ABOVE": True, "C": 16, "P": 256}, 4),
    "abs_bmm": ("abs_bmm", "_tile", {"PRECISION": "ieee", "TILE": 64, "INNER": 32}, 4),
    "abs_bmm tf32": ("abs_bmm", "_tile", {"PRECISION": "tf32", "TILE": 64, "INNER": 32}, 4),
    "cosine": ("laf_losses", "_cosine", F32 | {"BLOCK": 1024}, 4),
    "alignment": ("laf_losses", "_alignment", F32 | {"BLOCK": 1024}, 4),
    "rebuilding": ("laf_losses", "_rebuilding", F32 | {"SATURATED": True, "BLOCK": 1024}, 4),
    "gaussian_elbo": ("gaussian_elbo", "_row", F32 | {"BLOCK": 1024}, 4),
}
for first in (True, False):
    order = "clamp_project" if first else "project_clamp"
    on_chip, streamed = ({"CLAMP_FIRST": first, "BLOCK": size} for size in (8192, 4096))
    small = {"CLAMP_FIRST": first, "BLOCK": 4096}
    CASES[f"l2_pgd 3072 {order}"] = ("l2_pgd", "_on_chip", F32 | small, 8)
    CASES[f"l2_pgd 8192 {order}"] = ("l2_pgd", "_on_chip", F32 | on_chip, 8)
    CASES[f"l2_pgd streamed {order}"] = ("l2_pgd", "_streamed", F32 | streamed, 8)

BYTES = {"forget": "*i1"}
NUMBERS = dict.fromkeys(("step", "eps", "low", "high", "temperature", "weight"), "fp32")
SIZES = {"n", "size", "width", "latent", "channels", "positions", "columns", "rows"}
SIZES |= {"items", "each", "n_r", "n_f", "count", "divisor"}
SIZES |= {"xb", "xc", "xp", "tb", "tc", "tp", "ab", "ac", "ap", "ob", "oc", "op"}
INNERMOST = {"xp", "tp", "ap", "op"}  # strides of 1


def types(name: str, arguments: list[str], constants: dict) -> tuple[dict, dict]:
    """The type of every argument, by its name, and the constants among them."""
    found = {}
    for arg in arguments:
        if arg in constants:
            found[arg] = "constexpr"
        elif arg in INNERMOST:
            found[arg], constants = "constexpr", constants | {arg: 1}
        elif arg in SIZES:
            found[arg] = "i32"
        else:
            found[arg] = BYTES.get(arg) or NUMBERS.get(arg) or "*fp32"
    if name == "attention_tap" and "weight" in found:
        found["weight"] = "*fp32"
    return found, constants


def compiled(case: str, capability: int) -> dict:
    """Compile one kernel for one kind of GPU and look at the machine code."""
    file, function, constants, warps = CASES[case]
    kernel = getattr(import_module(f"minilearn.kernels.{file}"), function)
    signature, constants = types(file, kernel.arg_names, dict(constants))
    aligned = [
        i for i, a in enumerate(signature) if signature[a][0] == "*" or signature[a] == "i32"
    ]  # as they are at large sizes: buffers, strides and lengths are multiples of 16
    attrs = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)
    target = GPUTarget("cuda", capability, 32)
    binary = triton.compile(source, target=target, options={"num_warps": warps}).asm["cubin"]
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage = run(tools / "cuobjdump", "-res-usage", file.name)
        code = run(tools / "nvdisasm", "-c", file.name)
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
    json.dump(
        {f"{case}, sm_{c}": compiled(case, c) for case in CASES for c in (75, 90)}, sys.stdout
    )
