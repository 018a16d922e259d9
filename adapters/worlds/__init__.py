"""Small made-up worlds and the language models trained on them: what a first run works on without any download.

`knowledge` is a world of facts about people, companies, cities and countries; see docs/world.md.
"""
