"""Tasks: the question of a puzzle, the form of its answer, how an answer is graded, and what a random guess scores.

It must not know how puzzles are made, stored or shown: other packages read its `Task` objects and never a task's name.
"""
