"""Assignments: one source makes the student's notebook, and grades what comes back.

    python -m minilearn.course assign SOURCE OUT
    python -m minilearn.course grade SOURCE FOLDER --out grades.csv

A source is a notebook with the answers in it. Between `### BEGIN SOLUTION` and `### END SOLUTION`
stands what students write themselves, between `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS`
what they do not see; these are nbgrader's markers. A test is a cell that begins with
`# TEST name (3 points)` and has one block, `with attempt("name"):`. Lines
`# PART words (1 point)` in it divide its points. Hidden tests may draw data by `key()`.
A question for a reader is a text cell with the line `<!-- ANSWER name (4 points) -->`; what
stands between `<!-- BEGIN RUBRIC -->` and `<!-- END RUBRIC -->` is for the reader.
"""

from minilearn.course.attempts import attempt, key
from minilearn.course.grading import grade
from minilearn.course.sources import Question, assign, questions, read_source, student_version
