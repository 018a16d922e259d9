raise ImportError("a library that it needs is missing")
