"""Looking inside a language model on some prompts; nothing here knows of circuits, facts or data sets.

All prompts of a call have one length and no padding; rows are independent of each other.

passes.py    the upper blocks, resumed for rows of which the lower ones are known
roles.py     where a subject is, and what each position of a prompt is to it
lens.py      what each position would say after each block
direct.py    what each head and MLP adds to a difference of logits
tracing.py   what a restored state does when the subject is noise
neurons.py   the MLP neurons that a probability rests on
heads.py     where heads look, what they write, and of which type they are
"""
