"""The track of long targets: what an edited model writes, compared with what it should have written."""
