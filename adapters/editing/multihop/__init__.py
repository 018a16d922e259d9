"""Questions that lead through several edited facts: MQuAKE, and chains of the embedded world."""
