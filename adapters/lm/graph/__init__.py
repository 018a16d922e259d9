"""A transformer as a graph: what heads and MLPs write into the residual stream, and what reads it.

nodes.py      names and order of nodes and edges; no torch
wiring.py     what these nodes are among a model's own modules
finding.py    which modules they are, found by watching one forward pass
ungrouped.py  the same with keys and values of their own for each query head
values.py     what every source writes, for some prompts
pairs.py      clean and corrupt prompts in batches of equal length
targets.py    the number that an analysis is about, from the logits at the end of a prompt
backward.py   one forward and backward pass: gradients at every destination
gradients.py  their sums over passes, and products with what the sources write
masked.py     a model of whose edges some carry something else, each row with a mask of its own
restarted.py  passes that begin at the block of an intervention
"""
