"""Methods that grade or rate images: `answers(grading, classes, job)`; see run.py."""
