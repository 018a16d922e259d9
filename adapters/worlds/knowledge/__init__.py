"""A world of facts about people, companies, cities and countries, and small language models that know it.

relations.yaml, language.py   its sentences
making.py, world.py           its entities and facts, and what is held out of training
probes.py, notes.py           questions with their answers
documents.py, tokenizer.py    what a model is trained on
training.py, scoring.py       training, and what the model then knows
folder.py                     model folders, and the ones that are shipped
"""
