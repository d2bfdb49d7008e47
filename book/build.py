"""Build the book into _build/html; any failing cell and any warning is an error.

Executed notebooks are kept in a cache whose key is their code. A change in the package, in what is
installed or in the recorded results changes their outputs too, so the cache is thrown away then.
"""

import hashlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import single_nb_execution
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
TOC = ROOT / "book" / "_toc.yml"
ALONE = "11_where_the_time_goes"  # it measures time
CODE = ("minilearn/**/*.py", "minilearn/widgets/*.js", "minilearn/widgets/*.css")
OUTPUTS_DEPEND_ON = (*CODE, "requirements.txt", "constraints.txt", "book/results/*")


def fingerprint() -> str:
    """One hash over everything but the notebooks themselves that their outputs depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for pattern in OUTPUTS_DEPEND_ON:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def execute(cache: JupyterCacheAbstract) -> None:
    """Fill the cache two notebooks at a time, which Jupyter Book would execute one by one.

    A notebook that fails is left to Jupyter Book, which executes it again and tells what is wrong.
    """
    pages = (ROOT / f"{page}.ipynb" for page in parse_toc_yaml(TOC))
    paths = [str(page) for page in pages if page.exists() and page.stem != ALONE]
    for path in paths:
        cache.add_nb_to_project(path)

    def run(path: str):
        notebook, folder = cache.get_project_notebook(path).nb, str(Path(path).parent)
        try:
            return single_nb_execution(notebook, folder, timeout=300, allow_errors=False)
        except RuntimeError:  # the kernel died: perhaps there was no memory for two
            return None

    paths = [record.uri for record in cache.list_unexecuted(paths)]
    with ThreadPoolExecutor(2) as pool:
        for path, result in zip(paths, pool.map(run, paths), strict=True):
            if result and result.err is None:
                took = {"execution_seconds": result.time}  # for the page that says how long
                bundle = CacheBundleIn(result.nb, path, data=took)
                cache.cache_notebook_bundle(bundle, check_validity=False)
                print(f"{Path(path).stem}: {result.time:.0f} s", flush=True)


def main() -> int:
    """Build from scratch, but for executed notebooks that are still true."""
    mark, now = CACHE / "fingerprint", fingerprint()
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        mark.write_text(now)
    execute(get_cache(CACHE))
    # Sphinx forgets the warnings of pages that it does not read again: it reads all of them.
    shutil.rmtree(BUILD / "html", ignore_errors=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["--all", "-W", "-n", "--keep-going"]
    command = [jupyter_book, "build", ".", "--toc", TOC, *strict]
    if subprocess.run(command, cwd=ROOT).returncode:
        print("\nThe book was not built: see the errors and warnings above.", file=sys.stderr)
        return 1
    print(f"\nThe book is built. Open {BUILD / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
