"""How edges and nodes are scored: params.py says what a spec can choose, the other modules do it."""
