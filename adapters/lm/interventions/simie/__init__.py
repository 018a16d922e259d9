"""What an editor of weights would have come to, had it known all requests from the start."""
