"""Hyper-parameter files of another library, EasyEdit, as method specs."""
