"""How an edit changes a circuit."""
