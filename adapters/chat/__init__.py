"""Models that are asked in words: endpoints, models in this process, scripts; with a journal of every reply."""
