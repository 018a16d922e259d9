"""What Benchwright can benchmark: one folder for each family, and the substrates that they share."""
