"""A transformer as a graph: what heads and MLPs write into the residual stream, and what reads it.

nodes.py    names and order of nodes and edges; no torch
wiring.py   where a model's own modules are these nodes, found by watching one forward pass
values.py   what every source writes, for some prompts
pairs.py    clean and corrupt prompts in batches of equal length
targets.py  the number that an analysis is about, from the logits at the end of a prompt
"""
