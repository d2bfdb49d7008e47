"""Build the book into _build/html; any failing cell and any warning is an error.

Executed notebooks are kept in a cache whose key is their code. A change in the package, in what is
installed or in the recorded results changes their outputs too, so the cache is thrown away then.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
OUTPUTS_DEPEND_ON = ("minilearn/**/*.py", "requirements.txt", "constraints.txt", "book/results/*")


def fingerprint() -> str:
    """One hash over everything but the notebooks themselves that their outputs depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for pattern in OUTPUTS_DEPEND_ON:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def main() -> int:
    """Build from scratch, but for executed notebooks that are still true."""
    mark, now = CACHE / "fingerprint", fingerprint()
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        mark.write_text(now)
    # Sphinx forgets the warnings of pages that it does not read again: it reads all of them.
    shutil.rmtree(BUILD / "html", ignore_errors=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["--all", "-W", "-n", "--keep-going"]
    command = [jupyter_book, "build", ".", "--toc", "book/_toc.yml", *strict]
    if subprocess.run(command, cwd=ROOT).returncode:
        print("\nThe book was not built: see the errors and warnings above.", file=sys.stderr)
        return 1
    print(f"\nThe book is built. Open {BUILD / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
