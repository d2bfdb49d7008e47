"""Make the student version of an assignment, or grade a folder of submissions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from minilearn.course.grading import grade
from minilearn.course.sandbox import sandbox
from minilearn.course.sources import assign
from minilearn.course.tables import read


def main(command_line: Sequence[str] | None = None):
    """Run the command line; every error is one sentence."""
    given = _parser().parse_args(command_line)
    try:
        if given.command == "assign":
            print(f"{assign(given.source, given.out)} written")
            return
        print(f"Submissions run in a sandbox: {sandbox()[0] or 'none'}.")
        options = vars(given) | {"key": os.environ.get("MINILEARN_KEY", "")}
        options["memory"] = int(given.memory * 2**30)
        rows = grade(**{name: value for name, value in options.items() if name != "command"})
        unread = [row["file"] for row in read(Path(given.out).with_name("not_read.csv"))]
        print(f"{len(rows)} rows in {given.out}; not read: {', '.join(unread)[:300] or 'nothing'}")
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
    add = grading.add_argument
    add("folder", type=home, help="the folder with the submissions")
    add("--out", type=home, default="grades.csv", help="the table (default: grades.csv)")
    add("--roster", type=home, help="a CSV file with the columns id and name, and email, login, ID")
    add("--jobs", type=int, default=1, help="submissions at once (default: 1)")
    add("--only", default="", metavar="STUDENT", help="grade this submission again")
    add("--question", default="", metavar="NAME", help="grade this question again")
    add("--seconds", type=float, default=60, help="for one cell (default: 60)")
    add("--total-seconds", type=float, default=900, help="for a submission (default: 900)")
    add("--memory", type=float, default=4, help="GiB beyond the start (default: 4)")
    add("--i-trust-them", action="store_true", dest="trusted", help="grade without a sandbox")
    return parser


if __name__ == "__main__":
    main()
