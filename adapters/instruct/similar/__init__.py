"""Rows that are like other rows: exactly, by their longest common subsequence, by what n-grams they share."""
