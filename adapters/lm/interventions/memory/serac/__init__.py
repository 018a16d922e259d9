"""A memory of requests, and a trained classifier of what is in the scope of one."""
