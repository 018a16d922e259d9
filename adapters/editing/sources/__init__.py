"""Where edit cases come from: the published data sets, files of a user's own, and the embedded world.

`params.py` is what a spec can say; every other module is one format, read into `EditCase` (../cases.py).
"""
