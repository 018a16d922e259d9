"""Retinal image quality: grading photographs as Good, Usable or Reject."""
