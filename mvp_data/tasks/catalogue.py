"""The tasks, one `Task` object each; docs/tasks.md shows a question of each.

`mvp` (select the hidden frames and put them in order) is the task of the paper; the others ask for a part of it. To add
a task, add an object here; no other module names one. The trainer imports this module, so it uses only the standard
library.
"""

from mvp_data.core.errors import ConfigError
from mvp_data.tasks.forms import Direction, Distractors, HiddenFrames
from mvp_data.tasks.task import Task

MVP = Task(
    name="mvp",
    form=HiddenFrames(),
    asks="Which candidates fill the gap, in their original order?",
    asks_briefly="which {k} of the {n} fill the gap, in what order?",
    main=True,
)
JIGSAW = Task(
    name="jigsaw",
    form=HiddenFrames(),
    asks="In what order do they fill the gap?",
    asks_briefly="in what order do the {n} fill the gap?",
    distractors=0,
)
SELECT = Task(
    name="select",
    form=HiddenFrames(ordered=False),
    asks="Which candidates fill the gap?",
    asks_briefly="which {k} of the {n} fill the gap, in any order?",
)
NEXT = Task(
    name="next",
    form=HiddenFrames(),
    asks="Which candidates come next, in their original order?",
    asks_briefly="which {k} of the {n} come next, in what order?",
    gap_at_end=True,
)
ARROW = Task(
    name="arrow",
    form=Direction(),
    asks="Do they run forwards (A) or backwards (B)?",
    asks_briefly="the {n} fill the gap, forwards (A) or backwards (B)?",
    distractors=0,
    in_a_row=True,
)
ODD_ONE_OUT = Task(
    name="odd-one-out",
    form=Distractors(),
    asks="Which candidate does not fill the gap?",
    asks_briefly="which of the {n} does not belong in the gap?",
    distractors=1,
    needs_order=False,
)

# By name, in the order of reports and shards. Tests register a task with `monkeypatch.setitem(TASKS, task.name, task)`;
# that is enough, since worker processes only decode videos.
TASKS = {task.name: task for task in (MVP, JIGSAW, SELECT, NEXT, ARROW, ODD_ONE_OUT)}


def parse_shares(text: str) -> tuple[tuple[str, float], ...]:
    """Parse tasks with relative shares (default 1); return them in the order of `TASKS`.

    >>> parse_shares("jigsaw, mvp=3")
    (('mvp', 3.0), ('jigsaw', 1.0))

    Raises:
        ConfigError: a task is unknown or given twice, or a share is not a positive number.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        task, _, share = (piece.strip() for piece in part.partition("="))
        try:
            value = float(share or 1)
        except ValueError:
            value = -1
        if task not in TASKS or task in shares or not 0 < value <= 1e6:
            raise ConfigError(
                f"tasks: {part.strip()!r} in {text!r:.200}: write each of {', '.join(TASKS)} at most once, "
                "as TASK=SHARE with a positive share"
            )
        shares[task] = value
    return tuple((task, shares[task]) for task in TASKS if task in shares)
