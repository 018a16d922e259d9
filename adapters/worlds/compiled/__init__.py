"""Language models that nobody trained: a circuit is written into the weights by hand, so that its edges are known.

design.py     what can be varied, and the named designs
facts.py      the words, who has which attribute, the questions and their counterparts
circuit.py    which heads and which MLP do what, and the edges that follow from it
features.py   the directions of the residual stream that stand for words, relations and attributes
weights.py    the circuit as weights of a GPT-2, and what surrounds it
making.py     all of it together, checked

The idea of compiling a known program into a transformer is that of Tracr (Lindner et al. 2023, arXiv 2301.05062); that
of scoring circuit discovery against it is InterpBench's (Gupta et al. 2024, arXiv 2407.14494).
"""
