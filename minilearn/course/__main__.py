"""Make the student version of an assignment, or grade a folder of submissions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from minilearn.course.grading import KEY, grade
from minilearn.course.sandbox import protection
from minilearn.course.sources import assign


def main(command_line: Sequence[str] | None = None):
    """Run the command line; every error is one sentence."""
    arguments = _parser().parse_args(command_line)
    try:
        if arguments.command == "assign":
            print(f"{assign(arguments.source, arguments.out, nbgrader=arguments.nbgrader)} written")
            return
        print(protection())
        limits = {"seconds": arguments.seconds, "memory": int(arguments.memory * 2**30)}
        limits["key"] = os.environ.get(KEY, "")
        rows = grade(arguments.source, arguments.folder, arguments.out, **limits)
        print(f"{len(rows)} submissions graded, see {arguments.out}")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; what is graded is kept, and the same command goes on from there")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m minilearn.course", description=__doc__)
    home = os.path.expanduser
    commands = parser.add_subparsers(dest="command", required=True)
    assigning = commands.add_parser("assign", help="write the student version of a source")
    grading = commands.add_parser("grade", help="grade every notebook of a folder")
    for command in (assigning, grading):
        command.add_argument("source", type=home, help="the notebook with the answers")
    assigning.add_argument("out", type=home, help="the notebook for students")
    assigning.add_argument("--nbgrader", action="store_true", help="a source for nbgrader instead")
    grading.add_argument("folder", type=home, help="the folder with the submissions")
    grading.add_argument("--out", type=home, default="grades.csv", help="default: grades.csv")
    grading.add_argument("--seconds", type=float, default=60, help="for one cell (default: 60)")
    grading.add_argument(
        "--memory", type=float, default=4, help="GiB beyond the start (default: 4)"
    )
    return parser


if __name__ == "__main__":
    main()
