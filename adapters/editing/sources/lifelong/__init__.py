"""Data sets of lifelong editing: WISE's two and WikiBigEdit."""
