"""How rows are made and judged with a model's help: parsing of replies, and the algorithms, one module each."""
