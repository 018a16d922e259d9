"""Methods of this family: `analyzer.py` finds circuits, `looking.py` looks inside."""
