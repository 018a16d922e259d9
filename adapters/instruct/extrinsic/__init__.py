"""The extrinsic track: what a student learns from the rows that a pipeline kept, beside one that learned from random
rows; as many rows, and as many tokens."""
