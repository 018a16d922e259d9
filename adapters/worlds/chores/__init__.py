"""A world of small chores with checkable answers, and a student that learns them from rows of instruction data.

language.py             the verbs, how each is asked for, and what the right answer is
faults.py, world.py     pools of rows with known faults, and questions that no pool has
student.py              a language model that is taught rows, and what it then answers exactly
base.py, tokenizer.py   the small model that is shipped: it can do the chores, but knows no instruction
"""
