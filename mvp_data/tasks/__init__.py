"""Tasks: the question of a puzzle, the form of its answer, the metrics of an answer, and their chance levels.

`catalogue` lists the tasks. `grading` has the terms of the reward and `chance` their means for random answers;
`mvp_train.reward` only weights them. This package must not know how puzzles are made, stored or shown. Other packages
read the fields of a `Task` and never branch on its name.
"""
