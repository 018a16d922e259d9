"""Sets of rows with planted defects: what is wrong with which row is known, and hidden from the pipeline."""
