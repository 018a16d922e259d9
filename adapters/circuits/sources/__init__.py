"""Where questions come from: files (files.py, lre.py, known.py), a world (world.py), or templates (tasks.py)."""
