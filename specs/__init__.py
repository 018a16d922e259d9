"""Specs and small data that ship with Benchwright. Data only: nothing here is code."""
