"""The intrinsic track: what rows are like by themselves, beside random and longest ones of the same number."""
