"""Instruction data in the shapes that people keep it in: `shapes.py` says what a record means, `files.py` reads and
writes files of them."""
