"""Make the student version of an assignment, or grade a folder of submissions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from minilearn.course.grading import KEY, grade
from minilearn.course.sandbox import protection
from minilearn.course.sources import assign


def main(arguments: Sequence[str] | None = None):
    """Run the command line; every error is one sentence."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "assign":
            print(f"{assign(asked.source, asked.out, nbgrader=asked.nbgrader)} written")
            return
        print(protection())
        limits = {"seconds": asked.seconds, "memory": int(asked.memory * 2**30)}
        rows = grade(asked.source, asked.folder, asked.out, key=os.environ.get(KEY, ""), **limits)
        print(f"{len(rows)} submissions graded, see {asked.out}")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; what is graded is kept, and the same command goes on from there")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m minilearn.course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("assign", help="write the student version of a source")
    two = commands.add_parser("grade", help="grade every notebook of a folder")
    for command in (one, two):
        command.add_argument("source", help="the notebook with the answers")
    one.add_argument("out", help="the notebook for students")
    one.add_argument("--nbgrader", action="store_true", help="a source for nbgrader instead")
    two.add_argument("folder", help="the folder with the submissions")
    two.add_argument("--out", default="grades.csv", help="the table (default: grades.csv)")
    two.add_argument("--seconds", type=float, default=60, help="for one cell (default: 60)")
    two.add_argument("--memory", type=float, default=4, help="GiB beyond the start (default: 4)")
    return parser


if __name__ == "__main__":
    main()
