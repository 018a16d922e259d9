"""Find where a fact is read, and rewrite what is read there.

An edit is a site (a projection and a token), a key (what goes into the projection there), a value (what should come
out, found by gradient descent), a spread over layers, a solver (which change of the weight maps the key to the value),
and what is done to the change afterwards. ROME, R-ROME, MEMIT, EMMET, PMET, AlphaEdit, RECT and PRUNE are points of
this algebra; see params.py.
"""
