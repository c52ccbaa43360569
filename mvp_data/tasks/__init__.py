"""Tasks: the question of a puzzle, the form of its answer, how an answer is graded, and what a random guess scores.

It must not know how puzzles are made, stored or shown. Other packages use its `Task` objects and never compare names.
"""
