"""A world in which made-up words are forbidden, and small language models that often say them.

language.py                   its sentences
making.py, world.py           its words, who is in which split, and what the untouched model refuses
grammar.py                    what is known for certain about a response: unsafe, refusal, answer, or no language
documents.py, tokenizer.py    what a model is trained on
training.py, scoring.py       training, and how the model then behaves
folder.py                     model folders
"""
